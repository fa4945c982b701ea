"""Networks whose output is a tuple, a list, a dict or a dataclass are asked all the same."""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
import torch
from builders.networks import Wrapped, assert_same, batch, network_of

from explgraph.attribution import (
    Activation,
    ablation,
    correspondence,
    deconvnet,
    gradcam,
    guided_gradcam,
    integrated_gradients,
    is_classifier,
    last_layer,
    node_heat_map,
    occlusion,
    saliency,
)
from explgraph.errors import NetworkError
from explgraph.locations import locate_images
from explgraph.mining import mine_images
from explgraph.network import list_layers


@dataclass
class Said:
    scores: torch.Tensor
    half: torch.Tensor


OUTPUTS = {
    "tuple": (lambda x: (x, x / 2), lambda said: said[0]),
    "list": (lambda x: [x, [x / 2]], lambda said: said[0]),
    "dict": (lambda x: {"scores": x, "half": x / 2}, lambda said: said["scores"]),
    "ordered": (lambda x: OrderedDict(scores=x), lambda said: said["scores"]),
    "dataclass": (lambda x: Said(x, x / 2), lambda said: said.scores),
    "maps": (lambda x: x[:, :, None, None].expand(-1, -1, 2, 3), lambda said: said[:, :, 0, 0]),
    "nothing": (lambda x: None, None),
}


@pytest.fixture(params=OUTPUTS)
def case(request):
    change, scores = OUTPUTS[request.param]
    torch.manual_seed(3)
    network = network_of(Wrapped(change).double(), classes=None)
    return network, scores, batch(2).double()


def test_layers_are_listed_and_the_last_maps_found(case):
    network, _, _ = case
    assert [one.name for one in list_layers(network)] == ["aside", "net.0", "net.2"]
    assert last_layer(network) == "net.4"
    assert not is_classifier(network)


def gradient(network, images, layer, channel):
    pixels = images.clone().requires_grad_()
    maps = network.model.net[: int(layer[-1]) + 1](pixels)[:, channel]
    value = maps.relu().sum() if maps.ndim == 3 else maps.sum()
    return torch.autograd.grad(value, pixels)[0]


@pytest.mark.parametrize(("layer", "channel"), [("net.2", 3), ("net.8", 1)])
def test_channels_and_neurons_are_asked(case, layer, channel):
    network, _, images = case
    target = Activation(layer, channel)
    expected = gradient(network, images, layer, channel)
    assert_same(saliency(network, images, target=target).maps, expected.abs().amax(1))
    values = ablation(network, images[:1], [Activation("net.0", 1)], target=target).values
    assert values.isfinite().all()
    for method in (gradcam, guided_gradcam, deconvnet, integrated_gradients):
        assert method(network, images, target=target).maps.isfinite().all()
    found = occlusion(network, images, target=target, size=9, stride=9)
    assert found.maps.any()
    assert (found.winner == -1).all()
    boxes = {"head": [(2, 3, 8, 7), (4, 2, 8, 7)]}
    assert correspondence(network, images, boxes, [layer], n_random=1)[0].pairs == 1


def test_a_function_of_the_output_is_asked(case):
    network, scores, images = case
    if scores is None:
        pytest.skip("there is nothing in it")
    target = lambda said: scores(said)[:, 4]
    expected = gradient(network, images, "net.8", 4)
    assert_same(saliency(network, images, target=target).maps, expected.abs().amax(1))
    same = gradcam(network, images, target=Activation("net.8", 4), layer="net.4")
    np.testing.assert_array_equal(gradcam(network, images, target=target).maps, same.maps)


@pytest.mark.parametrize("target", [None, 1, "zebra"])
@pytest.mark.parametrize("method", [saliency, gradcam, deconvnet, partial(occlusion, size=9)])
def test_a_class_is_refused_with_what_can_be_asked_instead(case, method, target):
    network, _, images = case
    with pytest.raises(NetworkError, match=r"must yield class scores .* Of any network a channel"):
        method(network, images, target=target)


def test_a_graph_of_it_is_mined_and_located(case):
    network, _, _ = case
    images = batch(16).double() / 10
    images[:, :, 5:11, 9:15] += 2  # something that each shows
    graph = mine_images(network, images, ["net.2"])
    found = locate_images(network, images, graph)
    assert found.place.shape == (16, len(graph), 2)
    maps = node_heat_map(
        graph, "net.2", found.place, found.score, nodes=found.nodes, input_size=images.shape[2:]
    )
    assert maps.shape == (16, *images.shape[2:])
