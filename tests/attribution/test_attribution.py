"""What a method answers is a value that is shown in one line."""

import json
from dataclasses import FrozenInstanceError, replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from builders.networks import batch, network_of, small
from jaxtyping import jaxtyped

from explgraph.attribution import (
    Activation,
    Explanation,
    NodeEvidence,
    ablation,
    deconvnet,
    gradcam,
    guided_gradcam,
    integrated_gradients,
    occlusion,
    saliency,
    segment,
)

NODE = NodeEvidence("2:3:0", "2", 3, 0.25, 0.5, 0.75, 1.5, 0.125)
EXPLANATION = Explanation(
    classes=((3, "zebra", 0.9), (1, "tiger cat", 0.05)),
    index=3,
    name="zebra",
    score=12.5,
    probability=0.9,
    nodes=(NODE,),
    n_tested=7,
    without=(11.0, 0.8),
    without_random=(float("nan"), float("nan")),
)


@pytest.mark.parametrize(
    ("found", "parts"),
    [
        (saliency(network_of(small()), batch(2), target=3), ["maps=(2, 18, 24)", "'zebra'"]),
        (gradcam(network_of(small()), batch(1), layer="2"), ["layer=2", "cells=(1, 9, 12)"]),
        (occlusion(network_of(small()), batch(1), size=9, stride=9), ["size=(9, 9)", "tops=(2,)"]),
        (ablation(network_of(small()), batch(1), [Activation("2", 1)]), ["drops=(1,)"]),
        (segment(np.zeros((4, 5, 3), np.uint8), np.eye(4, 5)), ["mask=(4, 5)"]),
        (EXPLANATION, ["zebra 90.0%, score 12.50", "1 of 7 nodes tested: 2:3:0 -1.50"]),
    ],
)
def test_a_result_is_shown_in_one_line_and_cannot_be_changed(found, parts):
    shown = repr(found)
    assert shown.startswith(type(found).__name__ + "(")
    assert "\n" not in shown
    assert "tensor" not in shown
    assert len(shown) < 400
    for part in parts:
        assert part in shown
    with pytest.raises(FrozenInstanceError):
        found.targets = None


def test_an_explanation_is_plain_values_with_none_for_what_is_no_number():
    record = json.loads(json.dumps(EXPLANATION.to_dict(), allow_nan=False))
    assert list(record) == [
        "classes",
        "class",
        "class_index",
        "score",
        "probability",
        "nodes_tested",
        "nodes",
        "without_these",
        "without_others",
    ]
    assert record["classes"][0] == {"index": 3, "name": "zebra", "probability": 0.9}
    assert record["nodes"][0]["probability_drop"] == 0.125
    assert record["without_these"] == {"score": 11.0, "probability": 0.8}
    assert record["without_others"] == {"score": None, "probability": None}


def assert_shapes(found):
    """The arrays of a result have the shapes that its annotations say, one size for each word.

    Beartype, which checks other rooms as the tests run, draws from the random state that calls in
    this room must leave alone.
    """
    with jaxtyped("context"):
        for name, hint in get_type_hints(type(found)).items():
            shapes = [kind for kind in (hint, *get_args(hint)) if hasattr(kind, "dim_str")]
            value = getattr(found, name)
            assert not shapes or value is None or isinstance(value, shapes[0]), name


CALLS = {
    "saliency": saliency,
    "integrated gradients": integrated_gradients,
    "gradcam": gradcam,
    "guided gradcam": guided_gradcam,
    "deconvnet": deconvnet,
    "occlusion": lambda *call, **asked: occlusion(*call, size=(5, 7), stride=6, **asked),
    "ablation": lambda network, images, **asked: ablation(
        network, images[:1], [Activation("2", 1), Activation("4", 2)], **asked
    ),
}


@pytest.mark.parametrize("target", [None, 3, Activation("4", 2), lambda scores: scores[:, 1]])
@pytest.mark.parametrize("name", CALLS)
def test_results_have_the_shapes_that_they_say(name, target):
    found = CALLS[name](network_of(small()), batch(2), target=target)
    assert_shapes(found)
    assert_shapes(found.targets)


def test_a_result_of_another_shape_is_found_out():
    found = saliency(network_of(small()), batch(2))
    with pytest.raises(AssertionError, match="maps"):
        assert_shapes(replace(found, maps=torch.zeros(18, 24)))
    with pytest.raises(AssertionError, match="colours"):
        assert_shapes(replace(found, colours=torch.zeros(2, 3, 24, 18)))
