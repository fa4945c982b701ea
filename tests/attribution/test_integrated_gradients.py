"""Integrated gradients: equal to Captum's, and complete: the map sums to the score's rise."""

import copy

import numpy as np
import pytest
import torch
from builders.chains import photographs, random_network
from builders.commands import explgraph
from builders.tiny_network import TOP
from torch import nn

from explgraph.attribution import integrated_gradients
from explgraph.errors import UsageError
from explgraph.images import load_input, read_source
from explgraph.network import load_network

captum = pytest.importorskip("captum.attr")


@pytest.fixture(scope="module")
def network():
    return random_network("resnet18")


@pytest.fixture(scope="module")
def images():
    return photographs(2)


def black(network, images):
    mean, std = (
        torch.tensor(x, dtype=images.dtype) for x in (network.input.mean, network.input.std)
    )
    return (-mean / std)[None, :, None, None].expand_as(images)


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_the_maps_are_captums(network, images, baseline):
    theirs = copy.deepcopy(network.model).requires_grad_(True)
    for module in theirs.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    found = integrated_gradients(network, images, steps=4, baseline=baseline)
    start = black(network, images) if baseline == "black" else torch.zeros_like(images)
    expected = captum.IntegratedGradients(theirs).attribute(
        images,
        start,
        target=found.targets.indexes.tolist(),
        n_steps=4,
        method="riemann_middle",
    )
    # The black image is made in float32, as every image is.
    for ours, his in ((found.colours, expected), (found.maps, expected.sum(1))):
        assert float((ours - his).abs().max()) < 1e-5 * float(his.abs().max())


def test_the_map_sums_to_what_the_score_gains_over_the_baseline(scenes):
    network = load_network("builders.tiny_network:make")
    obj = read_source(scenes.folder, limit=1).objects[0]
    pixels = load_input(obj, height=network.input.height, width=network.input.width)[0][None]
    with torch.no_grad():
        image, black = (
            network.model(network.preprocess(torch.from_numpy(x)))[0, 0]
            for x in (pixels, np.zeros_like(pixels))
        )
    gaps = []
    for steps in (1, 200):
        found = integrated_gradients(network, pixels, target=0, steps=steps)
        gaps.append(abs(float(found.maps.sum() / (image - black)) - 1))
    assert gaps[1] < 0.01
    assert gaps[1] < gaps[0]


def test_a_linear_score_needs_one_step(network, images):
    weight = torch.linspace(-1, 1, 3, dtype=images.dtype)[None, :, None, None]
    linear = copy.copy(network)
    linear = type(network)(**{**vars(network), "model": _Linear(weight)})
    found = integrated_gradients(linear, images, target=0, steps=1, baseline="mean")
    assert torch.allclose(found.colours.double(), (images * weight).double(), atol=1e-6)


class _Linear(nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.weight = weight

    def forward(self, x):
        return torch.stack([(x * self.weight).sum((1, 2, 3)), x.sum((1, 2, 3))], 1)


def test_impossible_options_are_misuse(network, images):
    for options in ({"steps": 0}, {"baseline": "white"}):
        with pytest.raises(UsageError, match="steps must be at least 1 and baseline black or mean"):
            integrated_gradients(network, images, **options)


def test_it_is_a_command_like_the_others(scenes, tmp_path):
    photo = scenes.folder / "04.png"
    command = ("integrated-gradients", photo, "--model", "builders.tiny_network:make")
    answer = explgraph(*command, "--steps", 5, "--channel", f"{TOP}:1", "--out", tmp_path, "--json")
    (record,) = answer.json()["results"]
    assert record["class"] == f"{TOP}:1"
    assert (tmp_path / "04.integrated-gradients.png").is_file()
    values = np.load(record["map"])
    assert values.min() < 0 < values.max()
    assert "integrated gradients 5/5" in answer.err
    assert explgraph(*command, "--baseline", "white", "--out", tmp_path).code == 2
