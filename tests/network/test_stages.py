"""The layers that are mined where nobody names some."""

import pytest
import torch
from torch import nn

from explgraph.errors import LayerError
from explgraph.network import last_stages, load_network, wrap


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("squeezenet1_0", ("features.12", "features.10")),  # and no maps of the 1,000 classes
        ("resnet18", ("layer4", "layer3")),
        ("vgg11", ("features.18", "features.13")),  # convolutions, not the pooling behind
        ("alexnet", ("features.10", "features.3")),
        ("mobilenet_v3_small", ("features.12", "features.8")),
        ("regnet_y_400mf", ("trunk_output.block4", "trunk_output.block3")),
    ],
)
def test_they_are_the_last_of_each_of_the_last_two_stages(name, layers):
    network = load_network(name, weights="none", input_size=128)
    assert last_stages(network) == layers


def conv(n_in, n_out, stride=1):
    return nn.Conv2d(n_in, n_out, 3, stride, 1)


class Wrapped(nn.Module):
    """A backbone that answers with a dict, as those of detectors do."""

    class Backbone(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body = conv(3, 4, 2), conv(4, 6, 2)

        def forward(self, x):
            return {"maps": self.body(self.stem(x))}

    def __init__(self):
        super().__init__()
        self.backbone = self.Backbone()

    def forward(self, x):
        return self.backbone(x)["maps"].mean((2, 3))


def test_a_backbone_of_any_kind_is_looked_into():
    assert last_stages(wrap(Wrapped(), input_size=32)) == ("backbone.body", "backbone.stem")


def test_the_maps_of_a_decoder_are_left_out():
    assert last_stages(load_network("builders.autoencoder:make")) == ("encoder.4", "encoder.0")


def test_maps_of_few_cells_and_of_the_classes_are_left_out():
    model = nn.Sequential(conv(3, 4), conv(4, 5, 2), conv(5, 6, 8), nn.Flatten())
    assert last_stages(wrap(model, input_size=(48, 32))) == ("1", "0")
    classes = nn.Sequential(
        conv(3, 4, 2), nn.Conv2d(4, 7, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    assert last_stages(wrap(classes, input_size=32)) == ("0",)


def test_an_encoder_that_returns_its_pooled_maps_keeps_its_last_stage():
    model = nn.Sequential(conv(3, 4), conv(4, 5, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    assert last_stages(wrap(model, input_size=32)) == ("1", "0")


def test_a_network_without_maps_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    with pytest.raises(LayerError, match="no layer with maps"):
        last_stages(wrap(model, input_size=8))


def test_the_module_stays_as_it_is():
    model = nn.Sequential(conv(3, 4), nn.BatchNorm2d(4), conv(4, 5, 2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    last_stages(wrap(model, input_size=32))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
