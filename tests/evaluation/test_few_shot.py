"""Errors of parts that were fitted from a few annotations."""

import json
import math

import numpy as np
import pytest

from explgraph.errors import SourceError
from explgraph.evaluation import (
    FewShotScore,
    Split,
    SplitScore,
    read_splits,
    score_split,
    summarise_splits,
)


def slow_score(found, truth, usual, score):
    """Mean distances in diagonals, by a loop: of all, of the constant, of the surer half."""
    far = lambda a, b: float(np.hypot(*(a - b))) / 2**0.5
    errors = [far(a, b) for a, b in zip(found, truth, strict=True)]
    ranked = sorted(range(len(errors)), key=lambda i: -score[i])
    half = ranked[: max(len(errors) // 2, 1)]
    constants = [far(usual, b) for b in truth]
    return np.mean(errors), np.mean(constants), np.mean([errors[i] for i in half])


@pytest.mark.parametrize("n", [1, 2, 7])
def test_scores_of_a_split_are_those_of_a_slow_loop(n):
    rng = np.random.default_rng(n)
    found, truth, usual = rng.random((n, 2)), rng.random((n, 2)), rng.random(2)
    score = rng.random(n)
    got = score_split(found, truth, usual, score)
    expected = slow_score(found, truth, usual, score)
    assert (got.error, got.constant, got.surer) == pytest.approx(expected)


def test_splits_are_summed_up_by_their_number_of_annotations():
    splits = [
        Split(0, "head", (1,), (7, 8)),
        Split(1, "head", (1, 2, 3), (7,)),
        Split(2, "leg", (4,), (9,)),
    ]
    scores = [SplitScore(0.2, 0.4, 0.1), SplitScore(0.1, 0.4, 0.1), SplitScore(0.4, 0.8, 0.4)]
    one, three = summarise_splits(splits, scores)
    assert (one.shots, one.splits, one.objects) == (1, 2, 3)
    assert (one.error, one.constant, one.best_half) == pytest.approx((0.3, 0.6, 0.75))
    assert one.ratio == one.to_dict()["ratio"] == pytest.approx(0.5)
    assert (three.shots, three.error, three.best_half) == pytest.approx((3, 0.1, 1.0))


def test_splits_are_read_by_the_data_sets_name_or_as_a_list(tmp_path):
    entries = [{"split": 4, "part": "head", "fit": [1], "test": [2, 3], "shots": 1}]
    path = tmp_path / "splits.json"
    for content in (entries, {"zebra": entries, "other": []}):
        path.write_text(json.dumps(content))
        assert read_splits(path, "zebra") == [Split(4, "head", (1,), (2, 3))]


@pytest.mark.parametrize("text", ["{", "{}", "[]", "[3]", '[{"split": 1}]', '[{"fit": 3}]'])
def test_what_is_not_a_list_of_splits_is_refused(tmp_path, text):
    (tmp_path / "splits.json").write_text(text)
    with pytest.raises(SourceError, match="holds no splits for zebra: expected JSON"):
        read_splits(tmp_path / "splits.json", "zebra")


ENTRY = {"split": 4, "part": "head", "fit": [1], "test": [2, 3]}


@pytest.mark.parametrize(
    "wrong",
    [
        {"fit": "123"}, {"fit": []}, {"test": []}, {"fit": [1.9]}, {"test": [True]},
        {"fit": [1e400]}, {"split": 2**70}, {"split": 1.5}, {"part": None}, {"part": 3},
        {"test": [2, 2]}, {"fit": [1, 3]}, {"test": {"2": 1}}, {"fit": [10**400]},
    ],
)  # fmt: skip
def test_splits_that_would_be_read_as_others_are_refused(tmp_path, wrong):
    (tmp_path / "splits.json").write_text(json.dumps([ENTRY, ENTRY | wrong]))
    with pytest.raises(SourceError, match=r"splits\.json holds no splits for zebra: expected JSON"):
        read_splits(tmp_path / "splits.json", "zebra")


def test_json_nested_a_thousand_deep_is_no_list_of_splits(tmp_path):
    (tmp_path / "splits.json").write_text("[" * 5000 + "]" * 5000)
    with pytest.raises(SourceError, match="holds no splits"):
        read_splits(tmp_path / "splits.json", "zebra")


def test_the_ratio_to_a_constant_that_does_not_err_is_no_number():
    assert math.isnan(FewShotScore(1, 1, 1, error=0.1, constant=0.0, best_half=1.0).ratio)
