"""Networks in which a square changes more than its surroundings."""

import numpy as np
import pytest
import torch
from builders.chains import photographs, random_network
from builders.networks import network_of
from builders.squares import slowly
from torch import nn
from torch.nn import functional as F

from explgraph.attribution import occlusion


class Local(nn.Module):
    """Three convolutions, wide enough that leaving out pays, with ``between`` behind the first."""

    def __init__(self, between):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = (
            nn.Conv2d(3, 24, 3, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.Conv2d(24, 24, 3, padding=1),
        )
        self.between, self.head = between, nn.Linear(24, 6)

    def forward(self, x):
        x = self.between(self.a(x)).relu()
        return self.head((self.c(self.b(x).relu()) ** 2).mean((2, 3)))


class Block(nn.Module):
    """A function as a module, of which the chain sees no more than its input and its output."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, last):
        super().__init__()
        self.squeeze, self.last = nn.Conv2d(24, 24, 1), last

    def forward(self, x):
        return x * self.last(4 * self.squeeze(x.mean((2, 3), keepdim=True)))


class Encoded(nn.Module):
    """Values laid over the whole map, as encoded places are; a Sequential is traced through."""

    def __init__(self, function, model):
        super().__init__()
        self.function, self.model = function, model
        self.places = nn.Parameter(
            torch.randn(1, 24, 40, 56, generator=torch.Generator().manual_seed(0))
        )

    def forward(self, x):
        x = self.function(self.model.a(x), self.places).relu()
        return self.model.head((self.model.c(self.model.b(x).relu()) ** 2).mean((2, 3)))


def set_one_channel(x):
    x = x.clone()
    x[:, 1] = 0
    return x


def encoded(function):
    return Encoded(function, Local(nn.Identity()))


# What is laid between, and whether something can be left out.
BETWEEN = {
    "nothing": (Local(nn.Identity()), True),
    "a large kernel": (Local(nn.Conv2d(24, 24, 7, padding=3, groups=24)), True),
    "a reflected border": (Local(nn.Conv2d(24, 24, 5, padding=2, padding_mode="reflect")), True),
    "an uneven border": (
        Local(Block(lambda x: F.avg_pool2d(F.pad(x, (0, 1, 0, 1), mode="replicate"), 3, 2))),
        True,
    ),
    "a pooling with ceil": (Local(nn.MaxPool2d(3, 2, ceil_mode=True)), True),
    "a pooling that counts": (
        Local(nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False)),
        True,
    ),
    "space to depth": (
        Local(Block(lambda x: torch.cat([x[:, :12, ::2, ::2], x[:, 12:, 1::2, 1::2]], 1))),
        True,
    ),
    "a batch normalisation": (Local(nn.BatchNorm2d(24)), True),
    "a gate": (Local(Gate(nn.Sigmoid())), False),
    "a hard gate": (Local(Gate(nn.Hardsigmoid())), False),
    "a group normalisation": (Local(nn.GroupNorm(4, 24)), False),
    "an instance normalisation": (Local(nn.InstanceNorm2d(24)), False),
    "its own deviation": (
        Local(Block(lambda x: x / x.detach().std((1, 2, 3), keepdim=True))),
        False,
    ),
    "a border that wraps around": (
        Local(nn.Conv2d(24, 24, 3, padding=1, padding_mode="circular")),
        False,
    ),
    "a mirror": (Local(Block(lambda x: x.flip(-1))), False),
    "a roll": (Local(Block(lambda x: x.roll(5, -1))), False),
    "a sum along rows": (Local(Block(lambda x: x.cumsum(-1))), False),
    "a Fourier transform": (Local(Block(lambda x: torch.fft.rfft2(x, norm="ortho").real)), False),
    "a resize": (Local(Block(lambda x: F.adaptive_avg_pool2d(x, (13, 17)))), False),
    "an assignment": (Local(Block(set_one_channel)), False),
    "encoded places": (encoded(lambda x, places: x + places), False),
    "columns numbered": (encoded(lambda x, places: x + torch.linspace(0, 1, x.shape[3])), False),
    "a number per column": (
        encoded(lambda x, places: x * torch.linspace(0, 1, 56, dtype=torch.float64)),
        False,
    ),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_where_a_square_reaches_further_the_passes_are_whole_and_right(name):
    model, local = BETWEEN[name]
    network, images = network_of(model.double()), photographs(2, size=(40, 56))
    found = occlusion(network, images, target=1, size=(5, 7), stride=(11, 10), value=2.0)
    expected = slowly(lambda x: network.model(x)[0, 1], images, (5, 7), (11, 10), 2.0)
    own = network.model(images)[:, 1].numpy()
    np.testing.assert_allclose(found.values, expected, rtol=1e-6, atol=1e-6 * np.abs(own).max())
    assert found.incremental.tolist() == [local, local]
    assert (
        np.abs(expected - own[:, None, None]).max() > 1e-4 * np.abs(own).max()
    )  # the squares do count


@pytest.mark.parametrize("name", ["efficientnet_b0", "mobilenet_v3_small"])
def test_networks_full_of_gates_are_right(name):
    network, image = random_network(name), photographs()
    found = occlusion(network, image, target=1, size=20, stride=40)
    np.testing.assert_allclose(
        found.values, slowly(lambda x: network.model(x)[0, 1], image, (20, 20), (40, 40)), rtol=1e-5
    )
