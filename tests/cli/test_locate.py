"""`explgraph locate`: files, tables and pictures; moved weights; turned photographs."""

import csv
import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from builders.commands import TINY, explgraph, files_of, refused
from builders.tiny_network import seeded
from PIL import Image, ImageOps

COLUMNS = [
    *("annotation_id", "image", "node", "layer", "x", "y", "score", "mirrored"),
    "facing_sureness",
]


def plain(table):
    return table.to_pylist()


def rows_of(path):
    """Return the rows of a locations file as dictionaries of alike types."""
    if path.suffix == ".parquet":
        return plain(pq.read_table(path))
    if path.suffix == ".json":
        return json.loads(path.read_text())
    kinds = {
        "annotation_id": int,
        "x": float,
        "y": float,
        "score": float,
        "mirrored": lambda text: text == "true",
        "facing_sureness": lambda text: float(text) if text else None,
    }
    with path.open(newline="") as file:
        return [
            {key: kinds.get(key, str)(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def stored(workspace):
    return plain(
        pa.concat_tables(
            pq.read_table(p) for p in sorted((workspace / "locations").glob("*.parquet"))
        )
    )


def by_object_and_node(rows):
    return {(row["annotation_id"], row["node"]): row for row in rows}


def assert_same_places(rows, expected):
    rows, expected = by_object_and_node(rows), by_object_and_node(expected)
    assert rows.keys() == expected.keys()
    for key, row in rows.items():
        other = expected[key]
        assert [row[k] for k in ("image", "layer", "mirrored")] == [
            other[k] for k in ("image", "layer", "mirrored")
        ]
        assert (row["x"], row["y"]) == pytest.approx((other["x"], other["y"]), abs=1e-3)  # pixels
        assert row["score"] == pytest.approx(other["score"], abs=1e-3, rel=1e-4)


@pytest.mark.parametrize("suffix", ["parquet", "csv", "json"])
def test_the_mined_objects_are_located_where_mining_found_them(workspace, scenes, tmp_path, suffix):
    path = tmp_path / f"places.{suffix}"
    answer = explgraph("locate", workspace, scenes.coco, "--out", path, "--batch-size", 10)
    rows = rows_of(path)
    assert answer.out.startswith(f"{path}: {len(rows)} rows, 138 objects\n")
    assert list(rows[0]) == COLUMNS
    assert_same_places(rows, stored(workspace))
    assert files_of(tmp_path) == [path.name]


def test_top_keeps_the_best_nodes_of_each_object(folder_workspace, scenes, tmp_path):
    path = tmp_path / "best.json"
    assert (
        explgraph(
            "locate", folder_workspace, scenes.folder, "--out", path, "--top", 3, "--json"
        ).json()["rows"]
        == 78
    )
    best = rows_of(path)
    everything = stored(folder_workspace)
    for number in (1, 17):
        scores = sorted(
            (r["score"] for r in everything if r["annotation_id"] == number), reverse=True
        )
        assert [r["score"] for r in best if r["annotation_id"] == number] == pytest.approx(
            scores[:3], abs=1e-3
        )


def test_without_a_file_the_best_nodes_are_printed(folder_workspace, scenes):
    lines = explgraph("locate", folder_workspace, scenes.folder, "--limit", 2).out.splitlines()
    assert lines[0].split() == ["image", "object", "node", "x", "y", "score", "mirrored"]
    assert [line.split()[0] for line in lines[1:11]] == ["00.png"] * 5 + ["01.png"] * 5
    assert lines[11].split() == ["image", "object", "activation"]
    assert all(" part, " in line and " texture, " in line for line in lines[12:])
    assert [line.split()[0] for line in lines[12:]] == ["00.png", "01.png"]
    answer = explgraph(
        "locate", folder_workspace, scenes.folder / "03.png", "--top", 7, "--json"
    ).json()
    assert (answer["objects"], answer["rows"], len(answer["locations"])) == (1, 7, 7)
    assert list(answer["locations"][0]) == [*COLUMNS, "found"]
    (shares,) = answer["explained"]
    assert shares["image"] == "03.png"
    assert shares["part"] + shares["texture"] + shares["nothing"] == pytest.approx(1)


def test_draw_writes_a_picture_per_object(workspace, scenes, tmp_path):
    answer = explgraph(
        "locate", workspace, scenes.coco, "--limit", 4, "--draw", tmp_path / "pictures", "--json"
    ).json()
    names = sorted(os.path.basename(path) for path in answer["pictures"])
    assert names == [
        "scene-00-1000.png",
        "scene-00-1007.png",
        "scene-00-1014.png",
        "scene-01-1021.png",
    ]
    for path in answer["pictures"]:
        with Image.open(path) as picture:
            picture.load()
            assert min(picture.size) > 50
    assert (
        "1 pictures in"
        in explgraph(
            "locate", workspace, scenes.coco, "--limit", 1, "--draw", tmp_path / "pictures"
        ).out
    )


def test_broken_images_are_skipped_and_named(folder_workspace, scenes, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(scenes.folder / "00.png", folder / "b.png")
    (folder / "a.png").write_bytes(b"broken")
    (folder / "notes.txt").write_text("x")
    answer = explgraph("locate", folder_workspace, folder, "--json").json()
    assert answer["objects"] == 1
    assert {one["path"] for one in answer["skipped"]} == {"a.png", "notes.txt"}
    assert {row["image"] for row in answer["locations"]} == {"b.png"}
    assert "skipped 2:\n" in explgraph("locate", folder_workspace, folder).out
    (folder / "b.png").unlink()
    assert "none of the 1 images could be read" in refused(
        1, "locate", folder_workspace, folder, "--out", tmp_path / "x.csv"
    )
    assert not list(tmp_path.glob("x.csv*"))


def test_printed_scores_can_be_told_apart(workspace, scenes):
    rows = explgraph("locate", workspace, scenes.coco, "--limit", 4, "--json").json()["locations"]
    lines = explgraph("locate", workspace, scenes.coco, "--limit", 4).out.splitlines()[
        1 : 1 + len(rows)
    ]
    printed = [float(line.split()[5]) for line in lines]
    assert printed == pytest.approx([row["score"] for row in rows], abs=6e-4)
    assert len(set(printed)) > len(printed) / 2


def test_photographs_turned_left_to_right_give_places_turned_left_to_right(
    folder_workspace, scenes, tmp_path
):
    turned = tmp_path / "turned"
    turned.mkdir()
    widths = {}
    for path in scenes.folder.iterdir():
        with Image.open(path) as image:
            widths[path.name] = image.width
            ImageOps.mirror(image).save(turned / path.name)
    explgraph("locate", folder_workspace, turned, "--out", tmp_path / "turned.json")
    found, before = (
        by_object_and_node(rows_of(tmp_path / "turned.json")),
        by_object_and_node(stored(folder_workspace)),
    )
    assert all(found[key]["mirrored"] != before[key]["mirrored"] for key in before)
    x = np.array(
        [(widths[row["image"]] - found[key]["x"], row["x"]) for key, row in before.items()]
    )
    y = np.array([(found[key]["y"], row["y"]) for key, row in before.items()])
    off = np.hypot(x[:, 0] - x[:, 1], y[:, 0] - y[:, 1])
    assert (off < 0.5).mean() > 0.98  # pixels


def test_what_cannot_be_written_or_read_is_misuse_or_an_error(folder_workspace, scenes, tmp_path):
    for out, words in (
        ("places.xlsx", "end"),
        ("no/places.csv", "does not exist; create it"),
        ("places", "must end in .parquet or .csv or .json, got ''"),
    ):
        assert words in refused(
            2, "locate", folder_workspace, scenes.folder, "--out", tmp_path / out
        )
    assert "no source at" in refused(1, "locate", folder_workspace, tmp_path / "nowhere")
    assert files_of(tmp_path) == []


def test_weights_that_moved_are_found_again_and_others_refused(scenes, tmp_path):
    weights, moved, others = (tmp_path / name for name in ("w.pth", "moved.pth", "others.pth"))
    torch.save(seeded(8).state_dict(), weights)
    torch.save(seeded(9).state_dict(), others)
    ws = tmp_path / "ws"
    assert (
        explgraph(
            "mine", scenes.folder, *TINY, "--weights", weights, "--no-mirror", "--out", ws
        ).code
        == 0
    )
    question = ("locate", ws, scenes.folder, "--limit", 3)
    expected = explgraph(*question).out
    weights.rename(moved)
    assert (
        f"the weights are no longer at {weights}; say with --weights where they are now"
        in refused(1, *question)
    )
    assert explgraph(*question, "--weights", moved).out == expected
    line = refused(1, *question, "--weights", others)
    assert "the graph was mined from weights with sha256 " in line
    assert "give the right file with --weights" in line
