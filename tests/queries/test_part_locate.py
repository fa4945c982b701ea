"""`explgraph part locate` on creatures whose parts are exactly known."""

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from builders.commands import explgraph
from builders.parts import IDS, errors, located


def test_three_annotations_find_heads_of_both_facings(fitted, scenes, truth):
    places = located(fitted, scenes, "--name", "head")
    assert len(places) == 138
    error = errors(places, truth, 1)
    usual = np.mean([(np.array(truth[i][1]) - truth[i][0][:2]) / truth[i][0][2:] for i in IDS], 0)
    constant = [
        np.linalg.norm((np.array(h) - b[:2]) / b[2:] - usual) / 2**0.5 for b, h, _ in truth.values()
    ]
    assert error.mean() < 0.4 * np.mean(constant)
    mirrored = np.array([place["mirrored"] for place in places])
    assert 30 < mirrored.sum() < 108
    assert error[mirrored].mean() < 2 * error[~mirrored].mean()
    assert error[~mirrored].mean() < 2 * error[mirrored].mean()


def test_sure_answers_err_less(fitted, scenes, truth):
    places = located(fitted, scenes, "--name", "head")
    error, score = errors(places, truth, 1), np.array([place["score"] for place in places])
    order = np.argsort(-score)
    assert error[order[:69]].mean() < error[order[69:]].mean()
    assert ((score > 0) & (score <= 1)).all()
    assert {place["template"] for place in places} <= set(IDS)


def test_more_annotations_err_less(ws, scenes, truth):
    means = []
    for n in (1, 3, 10, 40):
        ids = ",".join(str(i) for i in list(truth)[:n])
        assert (
            explgraph(
                "part", "fit", ws, "--name", "head", "--annotations", scenes.coco, "--ids", ids
            ).code
            == 0
        )
        means.append(errors(located(ws, scenes, "--name", "head")[40:], truth, 1).mean())
    assert means[3] < means[2] < means[0]
    assert means[3] < 0.75 * means[0]


def test_new_copies_of_the_photographs_get_the_answers_of_the_cache(fitted, scenes, tmp_path):
    copy = shutil.copytree(scenes.coco.parent, tmp_path / "copy") / scenes.coco.name
    options = ("--name", "head", "--limit", "9", "--json", "--quiet")
    cached = explgraph("part", "locate", fitted, scenes.coco, *options).json()
    fresh = explgraph("part", "locate", fitted, copy, *options).json()
    assert (cached["known"], fresh["known"]) == (9, 0)
    for one, other in zip(cached["parts"], fresh["parts"], strict=True):
        assert one["image"] == other["image"]
        assert (one["x"], one["y"], one["score"]) == pytest.approx(
            (other["x"], other["y"], other["score"]), abs=0.05
        )


def test_every_format_says_the_same(fitted, scenes, tmp_path):
    files = {}
    for name, format in (
        ("a.csv", None),
        ("a.parquet", None),
        ("a.json", None),
        ("a.xml", None),
        ("tasks.json", "label-studio"),
    ):
        files[name] = tmp_path / name
        extra = ("--format", format) if format else ()
        answer = explgraph(
            "part",
            "locate",
            fitted,
            scenes.coco,
            "--name",
            "head",
            "--name",
            "leg",
            "--out",
            files[name],
            *extra,
        )
        assert answer.out.startswith(f"{files[name]}: 276 places"), answer
    table = pyarrow.csv.read_csv(files["a.csv"]).to_pylist()
    assert table == pq.read_table(files["a.parquet"]).to_pylist()
    coco = json.loads(files["a.json"].read_text())
    tasks = json.loads(files["tasks.json"].read_text())
    (category,) = coco["categories"]
    assert (category["id"], category["name"]) == (1, "creature")
    names = category["keypoints"]
    assert names == ["head", "leg"]
    by_id = {a["id"]: a for a in coco["annotations"]}
    sizes = {image["file_name"]: image for image in coco["images"]}
    points = {
        (image.get("name"), shape.get("label"), shape.get("points")): shape.get("occluded")
        for image in ElementTree.parse(files["a.xml"]).iter("image")
        for shape in image.iter("points")
    }
    marked = {entry["id"]: entry for task in tasks for entry in task["predictions"][0]["result"]}
    for row in table:
        k = 3 * names.index(row["part"])
        assert by_id[row["annotation_id"]]["keypoints"][k : k + 3] == [
            row["x"],
            row["y"],
            2 if row["visible"] else 1,
        ]
        entry = marked[f"{row['annotation_id']}-{row['part']}"]
        assert entry["value"]["x"] * sizes[row["image"]]["width"] / 100 == pytest.approx(row["x"])
        assert entry["value"]["keypointlabels"] == [row["part"]]
        place = f"{row['x']:.2f},{row['y']:.2f}"
        assert points[row["image"], row["part"], place] == str(int(not row["visible"]))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


def test_parts_are_located_together(fitted, scenes, truth):
    alone = located(fitted, scenes, "--name", "head", "--name", "leg")
    joint = located(fitted, scenes, "--name", "head", "--name", "leg", "--joint")
    of = lambda places, part: [place for place in places if place["part"] == part]
    for which, part in ((1, "head"), (2, "leg")):
        assert (
            errors(of(joint, part), truth, which).mean()
            <= 1.05 * errors(of(alone, part), truth, which).mean()
        )
    same = [of(alone, part) == of(joint, part) for part in ("head", "leg")]
    assert sorted(same) == [False, True]  # the root stays


def test_a_broken_photograph_of_three_objects_is_named_once(fitted, scenes, tmp_path):
    coco = shutil.copytree(scenes.coco.parent, tmp_path / "copy") / scenes.coco.name
    (coco.parent / "scene-00.png").write_bytes(b"broken")
    options = (coco, "--limit", 6, "--quiet")
    for command, objects in (
        (("locate", fitted), "objects"),
        (("part", "locate", fitted, "--name", "head"), "places"),
    ):
        answer = explgraph(*command, *options, "--json").json()
        assert [one["path"] for one in answer["skipped"]] == ["scene-00.png"]
        assert answer[objects] == 3
        text = explgraph(*command, *options).out
        assert "skipped 1:\n" in text
        assert text.count("scene-00.png") == 1


def test_parts_are_drawn_on_their_objects(fitted, scenes, tmp_path):
    ask = ("part", "locate", fitted, scenes.coco, "--name", "head", "--name", "leg", "--object")
    answer = explgraph(*ask, 1000, "--object", 1014, "--draw", tmp_path / "d", "--json").json()
    names = [Path(path).name for path in answer["pictures"]]
    assert names == ["scene-00-1000.png", "scene-00-1014.png"]
    assert all((tmp_path / "d" / name).stat().st_size > 1000 for name in names)
    assert "1 pictures in" in explgraph(*ask, 1007, "--draw", tmp_path / "e").out
