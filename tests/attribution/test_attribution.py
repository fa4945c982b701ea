"""What a method answers is a value that is shown in one line."""

import json
from dataclasses import FrozenInstanceError, replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch
from builders.networks import batch, network_of, small
from jaxtyping import jaxtyped
from torch import nn

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


# A map that shows nothing says so, and why


class Against(nn.Module):
    """The score falls with every activation of the layer, or rises a little with one channel."""

    def __init__(self, *, least=0.0):
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
        self.weights = torch.tensor([-1.0, -1.0, -1.0, least])

    def forward(self, x):
        return self.conv(x).mean((2, 3)) @ self.weights[:, None].expand(-1, 2)


def blind():
    """It says the same of every image, and yet its output has a gradient."""
    network = network_of(small())
    network.model[-1].weight.data.zero_()
    return network


METHODS = (saliency, integrated_gradients, gradcam, guided_gradcam, deconvnet, occlusion)


@pytest.mark.parametrize("method", METHODS)
def test_a_map_that_is_zero_says_so(method):
    more = {"size": 9, "stride": 9} if method is occlusion else {}
    more |= {"layer": "2"} if "gradcam" in method.__name__ else {}
    found = method(blind(), batch(2), target=3, **more)
    for number in range(2):
        assert found.why_empty(number)
        assert found.overlay(number).tobytes() == found.shown.picture(number).tobytes()
    assert "zebra" in found._repr_html_()
    assert found.why_empty(1).replace("'", "&#x27;") in found._repr_html_()
    seen = method(network_of(small()), batch(2), target=3, **more)
    assert not seen.why_empty(0)


@pytest.mark.parametrize(("least", "empty"), [(0.0, True), (1e-5, True), (1.0, False)])
def test_gradcam_of_a_class_that_all_cells_speak_against_says_so(least, empty):
    network = network_of(Against(least=least))
    found = gradcam(network, batch(2), target=0, layer="conv")
    assert ("speaks against it" in found.why_empty(1)) == empty
    assert not gradcam(network, batch(2), target=0, layer="conv", signed=True).why_empty()


def squeezed(least):
    """Two ReLUs; those above the lower one are below zero, but for a channel's, ``least``."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 1), nn.ReLU(), nn.Flatten(), nn.LazyLinear(2)
    ).double()
    model(batch(1).double())
    model[2].weight.data = -model[2].weight.data.abs() - 0.1
    model[2].weight.data[:, 0] = least
    model[2].bias.data.fill_(5)  # active all the same
    model[5].weight.data.abs_()
    return network_of(model)


@pytest.mark.parametrize(
    ("least", "said"),
    [(0.0, "lets nothing of the signal"), (1e-7, "lets a share of"), (0.1, "")],
)
def test_a_projection_that_does_not_arrive_says_which_relu_stopped_it(least, said):
    found = deconvnet(squeezed(least), batch(2).double(), target=1)
    for number in range(2):
        why = found.why_empty(number)
        assert said in why
        assert ("ReLU over 6 maps of 16 x 22" in why) == bool(said)
    assert bool(found.colours.any()) == (least > 0)


def test_a_small_field_near_the_image_is_not_taken_for_nothing():
    activation = Activation("0", 2, strongest_cell(network_of(small()), "0", 2))
    found = deconvnet(network_of(small()), batch(1), target=activation)
    assert 0 < (found.maps > 0).double().mean() < 0.05
    assert not found.why_empty()


def test_an_activation_that_is_zero_says_that_no_signal_starts():
    network = network_of(small())
    network.model[0].bias.data[2] = -100
    found = deconvnet(network, batch(1), target=Activation("0", 2))
    assert "no signal starts" in found.why_empty()


def strongest_cell(network, layer, channel):
    maps = network.model.get_submodule(layer)(batch(1))[0, channel]
    return divmod(int(maps.argmax()), maps.shape[1])
