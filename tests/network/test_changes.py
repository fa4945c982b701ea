"""A filter silenced in its weights is the filter ablated, and nothing else changes."""

import pytest
import torch
from builders.badged import Badged
from builders.tiny_network import BOTTOM, MIDDLE, TOP, make
from torch import nn
from torchvision.models.squeezenet import Fire

from explgraph.attribution import Activation, ablated
from explgraph.errors import UsageError
from explgraph.network import changed, feature_maps, last_linear, scale_channel, wrap

IMAGES = torch.randn(3, 3, 48, 64, generator=torch.Generator().manual_seed(0))


def wrapped(*layers, channels=6):
    """A network of these layers, its mean over the map, and a classifier."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        body = [layer() if callable(layer) else layer for layer in layers]
        end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 3)]
        return wrap(nn.Sequential(*body, *end).eval(), input_size=(48, 64))


CONVOLUTION = lambda: nn.Conv2d(3, 6, 3)
NETWORKS = {
    "convolution": (lambda: wrap(make()), TOP, 3),
    "before another": (lambda: wrap(make()), BOTTOM, 2),
    "in the middle": (lambda: wrap(make()), MIDDLE, 5),
    "relu in place": (lambda: wrapped(CONVOLUTION, lambda: nn.ReLU(inplace=True)), "1", 1),
    "normalised": (
        lambda: wrapped(CONVOLUTION, lambda: nn.BatchNorm2d(6).requires_grad_(False), nn.ReLU),
        "2",
        4,
    ),
    "first of two joined": (lambda: wrapped(lambda: Fire(3, 2, 4, 2)), "0", 1),
    "second of two joined": (lambda: wrapped(lambda: Fire(3, 2, 4, 2)), "0", 5),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_silenced_in_the_weights_is_ablated(name):
    build, layer, channel = NETWORKS[name]
    network = build()
    before = {key: one.clone() for key, one in network.model.state_dict().items()}
    state = scale_channel(network, IMAGES, layer, channel, 0.0)
    with torch.no_grad():
        plain = network.model(IMAGES)
        with changed(network, state):
            silenced = network.model(IMAGES)
        with ablated(network, [Activation(layer, channel)]):
            without = network.model(IMAGES)
    assert torch.allclose(silenced, without, atol=1e-6)
    assert not torch.allclose(silenced, plain, atol=1e-6)
    # And all is as it was: tensors, and which of them take gradients.
    assert all(torch.equal(one, before[key]) for key, one in network.model.state_dict().items())
    assert all(
        one.requires_grad == ("1." not in key or name != "normalised")
        for key, one in network.model.named_parameters()
    )


def test_damped_is_in_between():
    network = wrap(make())
    maps = []
    for factor in (1.0, 0.25):
        state = scale_channel(network, IMAGES, TOP, 3, factor)
        with torch.no_grad(), changed(network, state):
            maps.append(feature_maps(network.model, IMAGES, [TOP])[TOP])
    assert torch.allclose(maps[1][:, 3], 0.25 * maps[0][:, 3], atol=1e-6)
    assert torch.equal(maps[1][:, :3], maps[0][:, :3])


def test_tied_tensors_change_under_all_their_names():
    model = make()
    model.twin = model.features[4]
    state = scale_channel(wrap(model), IMAGES, TOP, 3, 0.0)
    assert sorted(state) == [f"{TOP}.bias", f"{TOP}.weight", "twin.bias", "twin.weight"]


class Shortcut(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)

    def forward(self, x):
        x = self.first(x)
        return x + self.second(x)


def test_a_channel_that_no_row_makes_alone_is_refused():
    network = wrapped(Shortcut)
    with pytest.raises(UsageError, match="no row of weights makes channel 2 of 0 alone; name"):
        scale_channel(network, IMAGES, "0", 2, 0.0)
    assert scale_channel(network, IMAGES, "0.second", 2, 0.0)


def test_a_silent_channel_and_one_that_is_not_there_are_refused():
    network = wrapped(CONVOLUTION, nn.ReLU)
    with torch.no_grad():
        network.model[0].bias[2] = -100.0
    with pytest.raises(UsageError, match="silent on these images"):
        scale_channel(network, IMAGES, "1", 2, 0.0)
    for channel in (-1, 6):
        with pytest.raises(UsageError, match=r"channels 0\.\.5, got"):
            scale_channel(network, IMAGES, "1", channel, 0.0)


def test_the_context_puts_everything_back_after_an_error():
    network = wrap(make())
    before = network.model.classifier.bias.clone()
    with (
        pytest.raises(RuntimeError, match="broke off"),
        changed(network, {"classifier.bias": before + 1}),
    ):
        raise RuntimeError("broke off")
    assert torch.equal(network.model.classifier.bias, before)


def test_the_last_linear_layer_is_the_one_whose_output_is_the_networks():
    name, features = last_linear(wrap(Badged()), IMAGES)
    assert name == "classifier"
    assert torch.equal(Badged().features(IMAGES).mean((2, 3)), features)
    with pytest.raises(UsageError, match="does not end in a linear layer"):
        last_linear(
            wrap(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten()), input_size=(9, 9)), IMAGES
        )
