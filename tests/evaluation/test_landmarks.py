import importlib.util
import json

import numpy as np
import pandas as pd
import pytest
from builders.real import SHARED

from explgraph.evaluation import (
    facing_accuracy,
    instability,
    landmark_errors,
    landmarks_in_boxes,
    score_layer,
)
from explgraph.evaluation.landmarks import LayerScore

JUDGE = SHARED / "eval" / "parts_eval.py"
OBJECTS, NODES = 60, 23


def scene(seed=0, *, objects=OBJECTS, nodes=NODES, landmarks=2):
    """Nodes that follow the landmarks more or less; some landmarks are not annotated.

    Returns:
        place, score, marks, mirrored and images.
    """
    rng = np.random.default_rng(seed)
    marks = rng.uniform(0.1, 0.9, (objects, landmarks, 2))
    followed = rng.integers(landmarks, size=nodes)
    place = marks[:, followed] + rng.normal(
        0, rng.uniform(0.02, 0.3, nodes)[:, None], (objects, nodes, 2)
    )
    marks[rng.random((objects, landmarks)) < 0.2] = np.nan
    return (
        place,
        rng.gamma(2, 1, (objects, nodes)),
        marks,
        rng.random(objects) < 0.5,
        rng.integers(objects * 3 // 4, size=objects),
    )


def slow_instability(place, score, marks, n_nodes=167, n_best=20, n_shown=None):
    """Zhang et al. 2018, section 4: standard deviation of the node-landmark distance.

    It is taken over the best images, in diagonals.

    With ``n_shown``: over the best so many images among those that show the landmark.
    """
    objects, nodes = score.shape
    strength = [np.mean(sorted(score[:, v], reverse=True)[:n_best]) for v in range(nodes)]
    of_nodes = []
    for v in sorted(range(nodes), key=lambda v: -strength[v])[:n_nodes]:
        ranked = sorted(range(objects), key=lambda i: -score[i, v])
        of_marks = []
        for k in range(marks.shape[1]):
            showing = lambda images, k=k: [i for i in images if not np.isnan(marks[i, k, 0])]
            counted = showing(ranked)[:n_shown] if n_shown else showing(ranked[:n_best])
            distances = [float(np.hypot(*(place[i, v] - marks[i, k]))) for i in counted]
            if len(distances) > 2:
                mean = sum(distances) / len(distances)
                of_marks.append(
                    (sum((d - mean) ** 2 for d in distances) / (len(distances) - 1)) ** 0.5
                )
        if of_marks:
            of_nodes.append(sum(of_marks) / len(of_marks))
    return sum(of_nodes) / len(of_nodes) / 2**0.5


@pytest.mark.parametrize(
    "shape", [{}, {"nodes": 190}, {"objects": 12, "landmarks": 3}, {"objects": 4}]
)
def test_instability_is_that_of_a_loop_over_nodes_images_and_landmarks(shape):
    place, score, marks, _, _ = scene(1, **shape)
    assert instability(place, score, marks) == pytest.approx(
        slow_instability(place, score, marks), rel=1e-9
    )


@pytest.mark.parametrize("shape", [{}, {"objects": 150}, {"objects": 12, "landmarks": 3}])
def test_the_later_variant_takes_the_100_best_images_that_show_the_landmark(shape):
    place, score, marks, _, _ = scene(1, **shape)
    found = instability(place, score, marks, later=True)
    assert found == pytest.approx(slow_instability(place, score, marks, n_shown=100), rel=1e-9)


def test_a_perfect_detector_is_stable_and_a_random_one_is_not():
    place, score, marks, _, _ = scene(2, landmarks=1)
    perfect = np.broadcast_to(np.nan_to_num(marks[:, :1], nan=0.5), place.shape)
    assert instability(perfect, score, marks) == pytest.approx(0, abs=1e-12)
    assert instability(np.random.default_rng(0).random(place.shape), score, marks) > 0.1


def test_without_landmarks_nothing_can_be_judged():
    place, score, marks, mirrored, images = scene(3)
    nothing = np.full_like(marks, np.nan)
    assert np.isnan(instability(place, score, nothing))
    assert np.isnan(landmark_errors(place, score, nothing, mirrored, images)).all()
    assert facing_accuracy(nothing, mirrored) is None


def test_nodes_that_follow_the_landmarks_predict_them_better_than_a_constant():
    place, score, marks, mirrored, images = scene(4, objects=120)
    error, constant = landmark_errors(place, score, marks, mirrored, images)
    assert error < 0.4 * constant
    still = np.broadcast_to([0.5, 0.5], place.shape).copy()
    error, same = landmark_errors(still, score, marks, np.zeros(120, bool), images)
    assert error == pytest.approx(same, rel=1e-9)


def test_the_constant_predictor_is_the_mean_over_the_fitting_half_as_photographed():
    place, score, marks, mirrored, images = scene(5)
    rng, errors = np.random.default_rng(7), []
    for _ in range(10):
        shuffled = rng.permutation(np.unique(images))
        fitting = set(shuffled[: len(shuffled) // 2])
        for k in range(2):
            seen = [i for i in range(OBJECTS) if not np.isnan(marks[i, k, 0])]
            fit, test = (
                [i for i in seen if images[i] in fitting],
                [i for i in seen if images[i] not in fitting],
            )
            mean = sum(marks[i, k] for i in fit) / len(fit)
            errors.append(np.mean([np.hypot(*(mean - marks[i, k])) for i in test]))
    assert landmark_errors(place, score, marks, mirrored, images, seed=7)[1] == pytest.approx(
        np.mean(errors) / 2**0.5, rel=1e-9
    )


def test_landmark_errors_do_not_depend_on_which_facing_is_called_mirrored():
    place, score, marks, mirrored, images = scene(6)
    one, other = (
        landmark_errors(place, score, marks, flags, images) for flags in (mirrored, ~mirrored)
    )
    assert one == pytest.approx(other, rel=1e-6)


def test_figures_leave_their_arguments_as_they_were():
    arguments = scene(7)
    before = [a.copy() for a in arguments]
    score_layer(*arguments)
    for a, b in zip(arguments, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("wrong", [0, 3, 9, 12])
def test_facing_counts_clearly_sideways_objects_under_either_naming(wrong):
    gap = np.r_[np.linspace(0.15, 0.8, 6), -np.linspace(0.15, 0.8, 6), 0.09, -0.02, np.nan]
    marks = np.stack([np.stack([0.5 + gap, gap], 1), np.full((15, 2), 0.5)], 1)
    mirrored = gap > 0
    mirrored[:wrong] ^= True
    right = (12 - wrong) / 12
    assert facing_accuracy(marks, mirrored) == pytest.approx(max(right, 1 - right))
    assert facing_accuracy(marks, ~mirrored) == pytest.approx(max(right, 1 - right))


def test_facing_needs_two_landmarks_and_five_clear_objects():
    _, _, marks, mirrored, _ = scene(8)
    assert facing_accuracy(marks[:, :1], mirrored) is None
    assert facing_accuracy(marks[:4], mirrored[:4]) is None


def test_landmarks_are_fractions_of_their_boxes_and_nan_where_not_annotated():
    boxes = np.array([[10.0, 20.0, 100.0, 50.0], [0.0, 0.0, 8.0, 4.0]])
    marks = landmarks_in_boxes(
        [{"tail": (35.0, 45.0), "eye": (1.0, 1.0)}, {"head": (2.0, 3.0)}], boxes, ["head", "tail"]
    )
    np.testing.assert_array_equal(
        marks, [[[np.nan, np.nan], [0.25, 0.5]], [[0.25, 0.75], [np.nan, np.nan]]]
    )
    assert landmarks_in_boxes([{}, {}], boxes, ["head"]).shape == (2, 1, 2)


def test_a_score_is_plain_values():
    score = score_layer(*scene(9))
    assert score.nodes == NODES
    assert json.loads(json.dumps(score.to_dict())) == {
        "nodes": NODES,
        "instability": score.instability,
        "instability_100": score.instability_100,
        "landmark_error": score.landmark_error,
        "constant_error": score.constant_error,
        "landmark_ratio": score.landmark_error / score.constant_error,
    }
    assert LayerScore(1, 0.1, 0.1, 0.2, 0.4).landmark_ratio == 0.5


# The independent judge.


def judge():
    spec = importlib.util.spec_from_file_location("parts_eval", JUDGE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(folder, place, score, marks, mirrored, images, boxes):
    """Write a locations table and a COCO file, as the judge reads them."""
    objects, nodes = score.shape
    xy = boxes[:, None, :2] + place * boxes[:, None, 2:]
    rows = {
        "annotation_id": np.repeat(np.arange(objects) + 100, nodes),
        "node": np.tile([f"l:{v:03d}:0" for v in range(nodes)], objects),
        "layer": np.tile(["a" if v % 2 else "b" for v in range(nodes)], objects),
        "x": xy[..., 0].ravel(),
        "y": xy[..., 1].ravel(),
        "score": score.ravel(),
        "mirrored": np.repeat(mirrored, nodes),
    }
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_parquet(folder / "locations.parquet")
    points = np.concatenate(
        [
            np.nan_to_num(boxes[:, None, :2] + marks * boxes[:, None, 2:]),
            2.0 * ~np.isnan(marks[..., :1]),
        ],
        -1,
    )
    annotations = [
        {
            "id": i + 100,
            "image_id": int(images[i]),
            "bbox": boxes[i].tolist(),
            "keypoints": points[i].ravel().tolist(),
        }
        for i in range(objects)
    ]
    (folder / "coco.json").write_text(json.dumps({"annotations": annotations}))
    return folder / "locations.parquet", folder / "coco.json"


@pytest.mark.real
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # the judge leaves a file open
@pytest.mark.skipif(
    not JUDGE.is_file(), reason=f"no independent judge at {JUDGE}; set EXPLGRAPH_SHARED"
)
@pytest.mark.parametrize("shape", [{}, {"objects": 90, "nodes": 350, "landmarks": 3}])
def test_the_independent_judge_agrees(tmp_path, shape):
    place, score, marks, mirrored, images = scene(10, **shape)
    boxes = np.random.default_rng(0).uniform(20, 300, (len(place), 4))
    table = judge().evaluate(*written(tmp_path, place, score, marks, mirrored, images, boxes))
    assert table["objects"] == len(place)
    assert table["facing"] == pytest.approx(facing_accuracy(marks, mirrored), abs=1e-12)
    for name, first in (("a", 1), ("b", 0)):
        ours = score_layer(
            place[:, first::2], score[:, first::2], marks, mirrored, images
        ).to_dict()
        del ours["instability_100"]  # the judge knows the first variant only
        assert ours.keys() == table["layers"][name].keys()
        for key, value in ours.items():
            assert value == pytest.approx(table["layers"][name][key], abs=1e-9), key
