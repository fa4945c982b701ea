"""Geometry against two definitions: the recursion over kernels, and perturbed pixels."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from explgraph.errors import LayerError, NetworkError
from explgraph.network import geometry, list_layers, load_network, measure_geometry
from explgraph.network.weights import NoInitialisation


def recursion(*steps):
    """Stride, first centre and field by the textbook, from each (kernel, stride, padding)."""
    field, jump, start = 1, 1, 0.5
    for kernel, stride, padding in steps:
        field += (kernel - 1) * jump
        start += ((kernel - 1) / 2 - padding) * jump
        jump *= stride
    return jump, start, field


CONV3, POOL2 = (3, 1, 1), (2, 2, 0)
VGG = {  # torchvision's numbering
    "features.5": [CONV3] * 2 + [POOL2] + [CONV3],
    "features.14": [CONV3] * 2 + [POOL2] + [CONV3] * 2 + [POOL2] + [CONV3] * 3,
    "features.21": [CONV3] * 2
    + [POOL2]
    + [CONV3] * 2
    + [POOL2]
    + ([CONV3] * 3 + [POOL2])
    + [CONV3] * 3,
    "features.28": [CONV3] * 2
    + [POOL2]
    + [CONV3] * 2
    + [POOL2]
    + ([CONV3] * 3 + [POOL2]) * 2
    + [CONV3] * 3,
}
STEM = [(7, 2, 3), (3, 2, 1)]
DOWN = (3, 2, 1)  # ResNet-50 strides in the 3 x 3 convolution of a stage's first block
RESNET50 = {
    "layer1": STEM + [CONV3] * 3,
    "layer3": STEM + [CONV3] * 3 + [DOWN] + [CONV3] * 3 + [DOWN] + [CONV3] * 5,
    "layer4": STEM
    + [CONV3] * 3
    + [DOWN]
    + [CONV3] * 3
    + [DOWN]
    + [CONV3] * 5
    + [DOWN]
    + [CONV3] * 2,
}
SQUEEZE_POOL = (3, 2, 0)
SQUEEZENET = {
    "features.0": [(7, 2, 0)],
    "features.10": [(7, 2, 0), SQUEEZE_POOL] + [CONV3] * 3 + [SQUEEZE_POOL] + [CONV3] * 4,
    "features.12": [(7, 2, 0), SQUEEZE_POOL]
    + [CONV3] * 3
    + [SQUEEZE_POOL]
    + [CONV3] * 4
    + [SQUEEZE_POOL]
    + [CONV3],
}
ALEX = [(11, 4, 2), (3, 2, 0), (5, 1, 2), (3, 2, 0), CONV3, CONV3, CONV3]
ALEXNET = {f"features.{i}": ALEX[:n] for i, n in ((0, 1), (3, 3), (6, 5), (8, 6), (10, 7))}


@pytest.mark.parametrize(
    ("builder", "layers"),
    [
        (models.vgg16, VGG),
        (models.resnet50, RESNET50),
        (models.squeezenet1_0, SQUEEZENET),
        (models.alexnet, ALEXNET),
    ],
    ids=["vgg16", "resnet50", "squeezenet1_0", "alexnet"],
)
def test_known_networks_follow_the_recursion(builder, layers):
    with NoInitialisation():
        model = builder()
    geometry = measure_geometry(model, list(layers), input_size=(192, 224))
    assert list(geometry) == list(layers)
    for name, steps in layers.items():
        stride, first, size = recursion(*steps)
        found = geometry[name]
        assert (found.stride, found.first, found.size) == (
            (stride,) * 2,
            (first,) * 2,
            (size,) * 2,
        ), name


def test_vgg16_conv5_3_is_as_published():
    with NoInitialisation():
        model = models.vgg16()
    found = measure_geometry(model, ["features.28"], input_size=(224, 224))["features.28"]
    assert (found.stride, found.first, found.size) == (
        (16, 16),
        (8, 8),
        (196, 196),
    )  # 8.5 where pixels are counted from 1
    assert (found.kind, found.channels, found.height, found.width) == ("Conv2d", 512, 14, 14)


def test_inception_has_rows_and_columns_of_their_own():
    model = models.inception_v3(init_weights=False)
    model.transform_input = True  # shifts the input by constants, on which nothing depends
    found = measure_geometry(model, ["Mixed_6b.branch7x7_2", "Mixed_6b"], input_size=(299, 299))
    first = found["Mixed_6b.branch7x7_2"]
    assert first.size[1] - first.size[0] == 6 * 16  # a 1 x 7 convolution at stride 16
    assert found["Mixed_6b"].size[0] == found["Mixed_6b"].size[1]


class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fc = nn.Conv2d(channels, channels, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.fc(x.mean((2, 3), keepdim=True)))


class Ragged(nn.Module):
    """Uneven kernels, strides and paddings, dilation; joined, summed, in place, normalised."""

    def __init__(self, gated=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, (5, 3), stride=(2, 1), padding=(1, 0))
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 2, (1, 3), padding=(0, 1))
        self.right = nn.Conv2d(4, 2, 3, padding=2, dilation=2, bias=False)
        self.pool = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.mix = nn.Conv2d(4, 4, 3, padding="same", groups=2)
        self.gate = Gate(4) if gated else nn.Identity()
        self.top = nn.Conv2d(4, 6, (3, 2), stride=(1, 2))
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        x = nn.functional.leaky_relu_(self.norm(self.stem(x)), 0.3)
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = nn.functional.avg_pool2d(self.pool(x), 2, stride=1)
        y = self.gate(self.mix(x))
        y += x
        return self.head(self.top(y).mean((2, 3)))


LAYERS = ["stem", "left", "right", "pool", "mix", "top"]


def perturbed_fields(model, names, size):
    """Per layer and cell, the rows and columns of the pixels that change it, one by one."""
    outputs = {}
    hooks = [
        model.get_submodule(n).register_forward_hook(
            lambda _m, _a, out, n=n: outputs.update({n: out.clone()})
        )
        for n in names
    ]
    pixels = [(row, col) for row in range(size[0]) for col in range(size[1])]
    torch.manual_seed(1)
    base = torch.rand(1, 3, *size, dtype=torch.float64)
    batch = base.repeat(len(pixels), 1, 1, 1)
    for i, (row, col) in enumerate(pixels):
        batch[i, :, row, col] += (
            10 * torch.rand(3, dtype=torch.float64) + 5
        )  # strong, so that a maximum passes it on
    with torch.no_grad():
        model(base)
        reference = dict(outputs)
        model(batch)
    for hook in hooks:
        hook.remove()
    return {
        n: ((outputs[n] - reference[n]).abs() > 1e-9)
        .any(1)
        .reshape(*size, *outputs[n].shape[2:])
        .numpy()
        for n in names
    }


def test_measured_fields_are_those_of_perturbed_pixels():
    torch.manual_seed(0)
    model = Ragged().double().eval()
    size = (26, 23)
    geometry = measure_geometry(model, LAYERS, input_size=size)
    for name, changed in perturbed_fields(model, LAYERS, size).items():
        layer = geometry[name]
        assert (layer.height, layer.width) == changed.shape[2:]
        for axis, centres in enumerate(layer.centres()):
            touched = changed.any((1 - axis, 3 - axis))  # (pixel, cell) along the axis
            for cell, centre in enumerate(centres):
                low, high = (
                    centre - layer.size[axis] / 2,
                    centre + layer.size[axis] / 2,
                )  # edges of the field
                seen = np.flatnonzero(touched[:, cell])
                # At a border, the field is the part of it inside the image; a ceil-mode window
                # may have less.
                assert seen[0] >= max(low, 0), (name, axis, cell)
                assert seen[-1] + 1 <= min(high, size[axis]), (name, axis, cell)
                if low > 0 and high < size[axis] - 1:
                    assert (seen[0], seen[-1] + 1) == (low, high), (name, axis, cell)


def test_gates_do_not_widen_the_field_but_pooled_maps_see_everything():
    torch.manual_seed(0)
    gated, plain = Ragged(gated=True), Ragged()
    size = (64, 48)
    assert measure_geometry(gated, ["top"], input_size=size) == measure_geometry(
        plain, ["top"], input_size=size
    )

    class Context(nn.Sequential):
        def forward(self, x):
            x = self[0](x)
            return self[1](x + x.mean((2, 3), keepdim=True))

    found = measure_geometry(
        Context(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), ["0", "1"], input_size=size
    )
    assert found["0"].size == (3, 3)
    assert found["1"].size == (math.inf, math.inf)
    assert found["1"].first == (64 / 60 / 2, 48 / 44 / 2)


def test_measuring_leaves_the_model_as_it_was():
    torch.manual_seed(0)
    model = Ragged().train()
    model.norm.eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    measure_geometry(model, ["top"], input_size=(40, 50))
    list_layers(model, input_size=(40, 50))
    assert model.training
    assert not model.norm.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_cells_become_fractions_of_the_input():
    model = nn.Sequential(nn.Conv2d(3, 2, 5, stride=4, padding=2))
    layer = measure_geometry(model, ["0"], input_size=(40, 80))["0"]
    assert layer.to_fraction(0.0, 0.0) == (0.5 / 40, 0.5 / 80)
    rows, cols = layer.centres()
    np.testing.assert_allclose(layer.to_fraction(np.arange(10), np.arange(20))[1] * 80, cols)
    torch.testing.assert_close(
        layer.to_fraction(torch.arange(10.0), torch.arange(20.0))[0] * 40, torch.from_numpy(rows)
    )


def test_list_shows_convolutions_and_blocks_in_forward_order():
    names = [layer.name for layer in list_layers(load_network("squeezenet1_0", weights="none"))]
    assert names[0] == "features.0"
    assert (
        names.index("features.3.squeeze")
        < names.index("features.3")
        < names.index("features.10")
        < names.index("features.12")
    )
    assert "features.1" not in names  # ReLU

    resnet = [layer.name for layer in list_layers(load_network("resnet18", weights="none"))]
    assert {"conv1", "layer3", "layer3.1", "layer4.0.conv1"} <= set(resnet)
    assert "layer1.0.relu" not in resnet


def test_unusable_layers_and_sizes_are_refused_clearly():
    model = nn.Sequential(nn.Conv2d(3, 2, 7), nn.Flatten(2), nn.Flatten())
    with pytest.raises(LayerError, match="must yield maps"):
        measure_geometry(model, ["1"], input_size=(20, 30))
    with pytest.raises(
        LayerError, match=r"'2' yields vectors \(672 values\), which have no places"
    ):
        measure_geometry(model, ["2"], input_size=(20, 30))
    with pytest.raises(NetworkError, match="does not run on an input of 5 x 30"):
        measure_geometry(model, ["0"], input_size=(5, 30))


def test_a_module_that_says_nothing_of_its_input_is_measured_at_224_pixels():
    model = nn.Sequential(nn.Conv2d(3, 2, 7))
    assert measure_geometry(model, ["0"])["0"].input_size == (224, 224)
    model.input_size = (20, 30)
    assert measure_geometry(model, ["0"])["0"].input_size == (20, 30)


def test_a_module_is_measured_once_and_again_when_it_was_changed(monkeypatch):
    model = nn.Sequential(nn.Conv2d(3, 2, 5, stride=2))
    first = measure_geometry(model, ["0"], input_size=(40, 40))
    monkeypatch.setattr(geometry, "_sweep", None)  # cannot be measured now
    assert measure_geometry(model, ["0"], input_size=(40, 40)) == first
    monkeypatch.undo()
    model[0].stride = (4, 4)
    assert measure_geometry(model, ["0"], input_size=(40, 40))["0"].stride == (4.0, 4.0)
    assert measure_geometry(model, ["0"], input_size=(20, 40))["0"].height == 4
