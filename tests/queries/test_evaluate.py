"""`explgraph evaluate`: figures against landmarks, and data sets that do not fit."""

import importlib.util
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders.commands import explgraph, refused, rows
from builders.real import SHARED
from builders.tiny_network import MIDDLE, TOP

JUDGE = SHARED / "eval" / "parts_eval.py"
FEW_SHOT_JUDGE = SHARED / "eval" / "few_shot_eval.py"


@pytest.fixture(scope="module")
def figures(workspace, scenes):
    return explgraph("evaluate", workspace, "--dataset", scenes.coco, "--json").json()


@pytest.fixture
def changed(scenes, tmp_path):
    """Give a function that writes the COCO file anew after a change."""

    def write(change):
        data = json.loads(scenes.coco.read_text())
        change(data)
        (tmp_path / "changed.json").write_text(json.dumps(data))
        for image in scenes.coco.parent.glob("*.png"):
            (tmp_path / image.name).symlink_to(image)
        return tmp_path / "changed.json"

    return write


def test_each_object_is_explained_by_parts_texture_and_nothing(workspace, scenes, figures):
    rows = figures["explained_images"]
    assert len(rows) == 138
    assert list(rows[0]) == ["annotation_id", "image", "part", "texture", "nothing"]
    shares = np.array([[row[name] for name in ("part", "texture", "nothing")] for row in rows])
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares.min() >= 0
    # The objects together are what the filters are together, up to what is cut off at 0 and 1.
    network = figures["explained"]["network"]
    assert abs(shares[:, 0].mean() - network["part"]) < 0.05
    assert (
        "of one object's activation"
        in explgraph("evaluate", workspace, "--dataset", scenes.coco).out
    )


def test_nodes_know_more_than_a_constant_about_where_parts_are(figures):
    assert figures["objects"] == 138
    assert figures["facing"] > 0.95
    assert list(figures["nodes"]) == list(figures["raw_filters"]) == [TOP, MIDDLE]
    for scores in (figures["nodes"], figures["raw_filters"]):
        assert all(0 < score["landmark_ratio"] < 0.9 for score in scores.values())


def test_the_table_on_the_terminal_holds_the_same_figures(workspace, scenes, figures):
    out = explgraph("evaluate", workspace, "--dataset", scenes.coco).out
    assert out.startswith("138 objects, facing 1.000; ")
    assert f"{figures['nodes'][TOP]['landmark_error']:.4f}" in out
    assert f"{figures['nodes'][TOP]['instability_100']:.4f}" in out
    assert f"{figures['explained']['network']['part']:.3f}" in out.splitlines()[-1]
    assert (
        len(out.splitlines()) == 13
    )  # a line about all, two tables of a head and a line for each layer and row, between them two


@pytest.mark.real
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.skipif(
    not JUDGE.is_file(),
    reason="needs the independent evaluation beside the checkout (EXPLGRAPH_SHARED)",
)
def test_an_independent_evaluation_comes_to_the_same_figures(workspace, scenes, figures):
    spec = importlib.util.spec_from_file_location("parts_eval", JUDGE)
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    judged = judge.evaluate(workspace / "locations" / "part-00000.parquet", scenes.coco)
    assert judged["facing"] == pytest.approx(figures["facing"], abs=5e-4)
    for layer, score in judged["layers"].items():
        for name in ("instability", "landmark_error", "constant_error", "landmark_ratio"):
            assert figures["nodes"][layer][name] == pytest.approx(score[name], rel=1e-3, abs=5e-5)


def test_a_single_landmark_has_no_facing_and_too_few_objects_give_null(workspace, changed):
    def one_landmark_of_four(data):
        data["categories"][0]["keypoints"] = ["head"]
        data["annotations"] = data["annotations"][:4]
        for annotation in data["annotations"]:
            annotation["keypoints"] = annotation["keypoints"][:3]

    figures = explgraph(
        "evaluate", workspace, "--dataset", changed(one_landmark_of_four), "--json"
    ).json()
    assert (figures["objects"], figures["facing"]) == (4, None)
    assert figures["nodes"][TOP]["landmark_error"] is None
    assert figures["nodes"][TOP]["instability"] > 0


def test_landmarks_that_are_missing_on_some_objects_are_left_out(workspace, changed, figures):
    def hide(data):
        for annotation in data["annotations"][::3]:
            annotation["keypoints"] = [0, 0, 0, *annotation["keypoints"][3:]]

    partly = explgraph("evaluate", workspace, "--dataset", changed(hide), "--json").json()
    assert partly["objects"] == 138
    assert np.isclose(
        partly["nodes"][TOP]["landmark_error"], figures["nodes"][TOP]["landmark_error"], rtol=0.5
    )


def drop_boxes(data):
    for annotation in data["annotations"]:
        del annotation["bbox"]


def drop_landmarks(data):
    for annotation in data["annotations"]:
        del annotation["keypoints"]


def rename_ids(data):
    for annotation in data["annotations"]:
        annotation["id"] += 1_000_000


def move_boxes(data):
    for annotation in data["annotations"]:
        annotation["bbox"][2] -= 5


def swap_images(data):
    names = [image["file_name"] for image in data["images"]]
    for image, name in zip(data["images"], names[::-1], strict=True):
        image["file_name"] = name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop_boxes, "gives no object: expected at least one box"),
        (
            drop_landmarks,
            "has no landmarks; expected the COCO keypoints file that the workspace was mined from",
        ),
        (rename_ids, "shares no object with the workspace"),
        (move_boxes, "shares no object with the workspace"),
        (swap_images, "shares no object with the workspace"),
    ],
)
def test_a_data_set_that_does_not_fit_is_named(workspace, changed, change, words):
    assert words in refused(1, "evaluate", workspace, "--dataset", changed(change))


def test_a_folder_has_no_landmarks(folder_workspace, scenes, tmp_path):
    assert "has no landmarks; expected the COCO keypoints file" in refused(
        1, "evaluate", folder_workspace, "--dataset", scenes.folder
    )
    assert "shares no object with the workspace" in refused(
        1, "evaluate", folder_workspace, "--dataset", scenes.coco
    )
    assert "no source at" in refused(
        1, "evaluate", folder_workspace, "--dataset", tmp_path / "none.json"
    )


# few-shot


def splits_of(truth, *, n=4):
    ids = list(truth)
    rng = np.random.default_rng(0)
    splits = []
    for number in range(n):
        mixed = rng.permutation(ids).tolist()
        shots = 1 if number % 2 else 3
        splits.append(
            {
                "split": number,
                "part": "head",
                "shots": shots,
                "fit": mixed[:shots],
                "test": sorted(mixed[60:]),
            }
        )
    return splits


@pytest.fixture(scope="module")
def few_shot(workspace, scenes, truth, tmp_path_factory):
    """Splits, predictions and the printed figures."""
    folder = tmp_path_factory.mktemp("few-shot")
    (folder / "splits.json").write_text(json.dumps({scenes.coco.stem: splits_of(truth)}))
    out = folder / "predictions.parquet"
    answer = explgraph(
        "evaluate",
        workspace,
        "--dataset",
        scenes.coco,
        "--few-shot",
        folder / "splits.json",
        "--out",
        out,
        "--json",
    )
    return folder / "splits.json", out, answer.json()


def test_few_shot_splits_are_fitted_searched_and_scored(few_shot, workspace, truth):
    _, out, figures = few_shot
    table = pq.read_table(out).to_pylist()
    assert {(row["split"], row["annotation_id"]) for row in table} == {
        (split["split"], i) for split in splits_of(truth) for i in split["test"]
    }
    assert set(figures["shots"]) == {"1", "3"}
    for shots in figures["shots"].values():
        assert shots["ratio"] == shots["error"] / shots["constant"] < 0.7
        assert shots["best_half"] < 1
    assert rows(workspace, "select count(*) from semantic_parts") == [(0,)]


@pytest.mark.real
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.skipif(
    not FEW_SHOT_JUDGE.is_file(),
    reason="needs the independent evaluation beside the checkout (EXPLGRAPH_SHARED)",
)
def test_an_independent_evaluation_of_few_shots_comes_to_the_same_figures(few_shot, scenes):
    spec = importlib.util.spec_from_file_location("few_shot_eval", FEW_SHOT_JUDGE)
    judge = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(judge)
    splits, out, figures = few_shot
    judged = judge.score(out, scenes.coco, splits)
    for shots, figure in figures["shots"].items():
        assert judged[shots]["error"] == pytest.approx(figure["error"], abs=1e-9)
        assert judged[shots]["constant"] == pytest.approx(figure["constant"], abs=1e-9)


def test_splits_that_do_not_fit_are_refused(workspace, scenes, truth, tmp_path):
    out = tmp_path / "p.parquet"
    evaluate = lambda *more: explgraph("evaluate", workspace, "--dataset", scenes.coco, *more)
    assert "go together" in evaluate("--few-shot", tmp_path / "s.json").err
    assert evaluate("--few-shot", tmp_path / "missing.json", "--out", out).code == 1
    (tmp_path / "s.json").write_text(json.dumps({"other": []}))
    assert (
        "holds no splits for scenes"
        in evaluate("--few-shot", tmp_path / "s.json", "--out", out).err
    )
    (tmp_path / "s.json").write_text(
        json.dumps([{"split": 0, "part": "head", "fit": [3], "test": [1000]}])
    )
    assert (
        "object 3 has no landmark" in evaluate("--few-shot", tmp_path / "s.json", "--out", out).err
    )
    assert not out.exists()


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_data_set_in_another_encoding_gives_the_same_figures(
    workspace, changed, figures, encoding
):
    file = changed(lambda data: data["categories"].append({"id": 2, "keypoints": None}))
    file.write_text(file.read_text(), encoding=encoding)
    assert explgraph("evaluate", workspace, "--dataset", file, "--json").json() == figures
