"""explain: why a class, and what if a filter or a node were taken away."""

import json
import shutil

import numpy as np
import pytest
from builders.commands import explgraph, files_of, refused
from builders.tiny_network import TOP, Tiny
from PIL import Image


def test_explain_names_nodes_with_their_measured_drop(workspace, photo, tmp_path):
    answer = explgraph(
        "explain", photo, "--workspace", workspace, "--nodes", 3, "--out", tmp_path, "--json"
    )
    (record,) = answer.json()["results"]
    assert files_of(tmp_path) == ["04.explain.json", "04.explain.png"]
    assert json.loads((tmp_path / "04.explain.json").read_text()) == record
    assert record["class"] in Tiny.classes
    assert record["class"] == record["classes"][0]["name"]
    drops = [one["drop"] for one in record["nodes"]]
    assert drops == sorted(drops, reverse=True)
    assert 0 < len(drops) <= 3
    assert record["without_these"]["score"] < record["score"]
    assert sum(record["explained"].values()) == pytest.approx(1)
    with Image.open(photo) as image:
        assert all(
            0 <= one["x"] <= image.width and 0 <= one["y"] <= image.height
            for one in record["nodes"]
        )
    text = explgraph("explain", photo, "--workspace", workspace, "--nodes", 3).out
    assert all(one["node"] in text for one in record["nodes"])
    assert f"Of all activation here: {record['explained']['part']:.0%} part, " in text


def test_explain_names_the_part_that_a_node_lies_on(workspace, scenes, photo, tmp_path):
    copy = tmp_path / "ws"
    shutil.copytree(workspace, copy)
    fitted = explgraph(
        "part",
        "fit",
        copy,
        "--name",
        "face",
        "--annotations",
        scenes.coco,
        "--ids",
        "1000,1021",
        "--landmark",
        "head",
    )
    assert fitted.code == 0, fitted.err
    record = explgraph("explain", photo, "--workspace", copy, "--nodes", 90, "--json").json()[
        "results"
    ][0]
    parts = {one["node"]: one["part"] for one in record["nodes"]}
    assert set(parts.values()) == {"face", None}
    votes = explgraph("part", "show", copy, "--name", "face", "--top", 999, "--json").json()[
        "strongest"
    ]
    near = {vote["node"] for vote in votes if np.hypot(vote["d_row"], vote["d_col"]) <= 0.1}
    assert {node for node, part in parts.items() if part} == near & set(parts)
    before = explgraph("explain", photo, "--workspace", workspace, "--nodes", 90, "--json").json()[
        "results"
    ][0]
    assert {one["part"] for one in before["nodes"]} == {None}


def test_explain_can_be_asked_for_another_class_and_without_a_filter(workspace, photo):
    answer = explgraph(
        "explain",
        photo,
        "--workspace",
        workspace,
        "--target",
        "nothing",
        "--ablate",
        f"{TOP}:2",
        "--json",
    )
    (record,) = answer.json()["results"]
    assert record["class"] == "nothing"
    assert record["ablated"]["removed"] == [f"{TOP}:2"]


def test_a_repair_says_what_it_does_to_the_accuracy(workspace, node, scenes, photo):
    plain = explgraph("explain", photo, "--workspace", workspace, "--json").json()["results"][0][
        "class"
    ]
    ask = lambda *removed: explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        scenes.folder,
        "--target",
        plain,
        *removed,
        "--limit",
        6,
        "--json",
    ).json()["repair"]
    every = [part for k in range(10) for part in ("--ablate", f"{TOP}:{k}")]
    found = ask(*every)
    assert found["images"] == 6
    assert 0 < found["correct_before"] <= 6
    # Nothing but the bias is left, so all images are said to be one class.
    assert found["correct_after"] in (0, 6)
    assert len(found["changed"]) >= abs(found["correct_before"] - found["correct_after"])
    assert ask("--ablate", node)["images"] == 6
    text = explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        scenes.folder,
        "--target",
        plain,
        *every,
        "--limit",
        6,
    ).out
    assert "accuracy" in text


def test_what_a_repair_could_not_read_is_named(workspace, scenes, tmp_path):
    shutil.copytree(scenes.folder, tmp_path / "creature")
    (tmp_path / "creature" / "03.png").write_bytes(b"broken")
    question = ("explain", "--workspace", workspace, "--accuracy", tmp_path, "--limit", 6)
    repair = explgraph(*question, "--ablate", f"{TOP}:1", "--json").json()["repair"]
    assert repair["images"] == 5
    assert [one["path"] for one in repair["skipped"]] == ["creature/03.png"]
    text = explgraph(*question, "--ablate", f"{TOP}:1").out
    assert text.startswith(f"without {TOP}:1: accuracy")
    assert "creature/03.png: its content is not" in text


def test_labels_are_the_subfolders_of_a_labelled_source(workspace, scenes, tmp_path):
    for label in ("creature", "something"):
        (tmp_path / label).mkdir()
    for number in range(3):
        name = f"{number:02d}.png"
        (tmp_path / ("creature" if number else "something") / name).write_bytes(
            (scenes.folder / name).read_bytes()
        )
    answer = explgraph(
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        tmp_path,
        "--ablate",
        f"{TOP}:1",
        "--json",
    )
    assert answer.json()["repair"]["images"] == 3
    (tmp_path / "lion").mkdir()
    (tmp_path / "lion" / "x.png").write_bytes((scenes.folder / "03.png").read_bytes())
    assert "'lion' is not a class" in refused(
        2,
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        tmp_path,
        "--ablate",
        f"{TOP}:1",
        "--quiet",
    )


def test_a_file_says_what_the_subfolders_mean(workspace, scenes, tmp_path):
    shutil.copytree(scenes.folder, tmp_path / "photos" / "n02391049")
    question = (
        "explain",
        "--workspace",
        workspace,
        "--accuracy",
        tmp_path / "photos",
        "--limit",
        3,
    )
    asked = (*question, "--ablate", f"{TOP}:1")
    assert "which class of builders.tiny_network:make 'n02391049' is" in refused(
        2, *asked, "--quiet"
    )
    correct = {}
    for name in Tiny.classes:
        (tmp_path / "classes.txt").write_text(f"n02391049 {name}\n")
        answer = explgraph(*asked, "--classes", tmp_path / "classes.txt", "--json").json()
        correct[name] = answer["repair"]["correct_before"]
    assert sum(correct.values()) == 3
    both = (*asked, "--classes", tmp_path / "classes.txt", "--target", "creature", "--quiet")
    assert "give one of them" in refused(2, *both)
    alone = ("explain", scenes.folder / "04.png", "--workspace", workspace, "--quiet")
    assert "give both" in refused(2, *alone, "--classes", tmp_path / "classes.txt")


def test_misuse_is_refused(workspace, photo, scenes):
    for code, arguments, message in (
        (2, ("explain", "--workspace", workspace, "--quiet"), "at least one IMAGE"),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--accuracy", scenes.folder, "--quiet"),
            "which filter or node",
        ),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--ablate", "a:" + "9" * 5000, "--quiet"),
            "--ablate takes LAYER:CHANNEL",
        ),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--ablate", "features", "--quiet"),
            "--ablate takes LAYER:CHANNEL",
        ),
        (
            2,
            ("explain", photo, "--workspace", workspace, "--target", "lion", "--quiet"),
            "'lion' is not a class",
        ),
    ):
        assert message in refused(code, *arguments), arguments
