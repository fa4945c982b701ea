"""DeconvNet and guided backpropagation, and the activations that they project."""

import numpy as np
import pytest
import torch
from builders.networks import HEIGHT, WIDTH, assert_same, batch, network_of, seeded, small
from torch import nn
from torch.nn import functional as F

from explgraph.attribution import (
    Activation,
    PlacedNode,
    deconvnet,
    guided_backprop,
    strongest_activations,
)
from explgraph.errors import LayerError, UsageError
from explgraph.network import measure_geometry

METHODS = {"deconv": deconvnet, "guided": guided_backprop}


# What a ReLU does to the signal from above, by the sign of what came from below.
RULES = {
    "deconv": lambda signal, active: signal.relu(),
    "guided": lambda signal, active: signal.relu() * active,
    "gradient": lambda signal, active: signal * active,
}


def paper():
    """Strides that do not divide, groups, a pooling that leaves cells out, height unlike width."""
    return seeded(
        lambda: nn.Conv2d(3, 6, 5, stride=2, padding=2),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.MaxPool2d((2, 3)),
        lambda: nn.Conv2d(6, 8, 3, padding=(0, 1), groups=2),
        lambda: nn.BatchNorm2d(8),
        nn.ReLU,
        lambda: nn.Conv2d(8, 5, (2, 3), stride=(1, 2), padding=1),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(30, 6),
    )


def forward(model, image):
    """Return what goes into each module, and the switches of the poolings."""
    inputs, switches, value = [], {}, image
    for number, module in enumerate(model):
        inputs.append(value)
        if isinstance(module, nn.MaxPool2d):
            value, switches[number] = F.max_pool2d(
                value, module.kernel_size, module.stride, return_indices=True
            )
        else:
            value = F.relu(value) if isinstance(module, nn.ReLU) else module(value)
    return inputs, switches


def transposed(conv, signal, size):
    """The transpose of the convolution; its result has the size of what went into it."""
    options = {"stride": conv.stride, "padding": conv.padding, "groups": conv.groups}
    smallest = F.conv_transpose2d(signal, conv.weight, **options).shape[2:]
    rest = (size[0] - smallest[0], size[1] - smallest[1])  # rows and columns that no stride reaches
    return F.conv_transpose2d(signal, conv.weight, output_padding=rest, **options)


def projected(model, image, signal, top, rule):
    """Zeiler and Fergus 2014, section 2.1: from the output of module ``top`` down to the pixels."""
    inputs, switches = forward(model, image)
    for number in reversed(range(top + 1)):
        module, below = model[number], inputs[number]
        if isinstance(module, nn.Conv2d):
            signal = transposed(module, signal, below.shape[2:])
        elif isinstance(module, nn.ReLU):
            signal = RULES[rule](signal, below > 0)
        elif isinstance(module, nn.MaxPool2d):
            signal = F.max_unpool2d(
                signal,
                switches[number],
                module.kernel_size,
                module.stride,
                output_size=below.shape[2:],
            )
        elif isinstance(module, nn.BatchNorm2d):
            signal = (
                signal * (module.weight / (module.running_var + module.eps).sqrt())[:, None, None]
            )
        elif isinstance(module, nn.Flatten):
            signal = signal.reshape(below.shape)
        else:
            signal = signal @ module.weight
    return signal


# Definition


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("top", [0, 1, 2, 3, 4, 5, 6, 7])
def test_an_activation_is_projected_down_as_the_paper_says(method, top):
    network, images = paper(), batch(2).double()
    maps = network.model[: top + 1](images.clone())
    place = maps.flatten(1).argmax(1)
    channel, row, col = (x.numpy() for x in torch.unravel_index(place, maps.shape[1:]))
    cell = np.stack([row, col], 1)
    signal = torch.zeros_like(maps)
    signal[torch.arange(2), channel, row, col] = 1
    found = METHODS[method](network, images, target=Activation(str(top), channel, cell))
    assert_same(found.colours, projected(network.model, images, signal, top, method))
    np.testing.assert_array_equal(found.maps, found.colours.abs().amax(1))
    np.testing.assert_allclose(found.targets.scores, maps.flatten(1).amax(1), rtol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_so_is_a_class(method):
    network, images = paper(), batch(2).double()
    signal = torch.eye(6, dtype=torch.float64)[[4, 4]]
    assert_same(
        METHODS[method](network, images, target=4).colours,
        projected(network.model, images, signal, 9, method),
    )


@pytest.mark.parametrize("method", METHODS)
def test_a_whole_map_starts_from_its_active_cells_alone(method):
    """The DeconvNet from what they are, as published; guided backpropagation from 1 each."""
    network, images = paper(), batch(2).double()
    maps = network.model[:7](images.clone())
    signal = torch.zeros_like(maps)
    signal[:, 3] = maps[:, 3].relu() if method == "deconv" else (maps[:, 3] > 0).double()
    assert 0 < signal.mean() < 1 / 5
    found = METHODS[method](network, images, target=Activation("6", 3))
    assert_same(found.colours, projected(network.model, images, signal, 6, method))


def test_the_deconvnet_of_a_node_starts_from_the_activation_about_its_place():
    network, images = paper(), batch(2).double()
    maps = network.model[:7](images.clone())
    layer = measure_geometry(network, ["6"], input_size=(HEIGHT, WIDTH))["6"]
    node = PlacedNode("6:3:0", layer, 3, np.array([0.4, 0.5]), 0.3, (HEIGHT, WIDTH))
    signal = torch.zeros_like(maps)
    signal[:, 3] = maps[:, 3].relu() * torch.from_numpy(node.window(2))
    found = deconvnet(network, images, target=node)
    expected = projected(network.model, images, signal, 6, "deconv")
    scale = expected.abs().max()
    torch.testing.assert_close(found.colours.double() / scale, expected / scale, atol=1e-5, rtol=0)
    np.testing.assert_allclose(found.targets.scores, signal.sum((1, 2, 3)), rtol=1e-5)


def test_twice_the_activation_is_projected_twice_as_strong():
    """So it does not matter that the paper starts from the activation itself, and here it is 1."""
    network, image = paper(), batch(1).double()
    for rule in RULES:
        one, strong = (
            projected(network.model, image, s * torch.eye(6).double()[[1]], 9, rule)
            for s in (1, 3.5)
        )
        np.testing.assert_allclose(3.5 * one, strong, rtol=1e-10)


def overlapping():
    return seeded(
        lambda: nn.Conv2d(3, 4, 3),
        nn.ReLU,
        lambda: nn.MaxPool2d(3, 2, ceil_mode=True),
        lambda: nn.Conv2d(4, 3, 3),
    )


def test_where_windows_overlap_their_signals_add_at_the_maximum_that_they_share():
    network, image = overlapping(), batch(1).double()
    conv, _, pool, last = network.model
    active = F.relu(conv(image))
    top = last(pool(active))
    channel, row, col = (int(x) for x in torch.unravel_index(top.argmax(), top.shape[1:]))
    signal = torch.zeros_like(top)
    signal[0, channel, row, col] = 1
    signal = F.conv_transpose2d(signal, last.weight)
    unpooled, counts = torch.zeros_like(active), torch.zeros_like(active)
    for k, i, j in np.ndindex(*signal.shape[1:]):
        window = active[0, k, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        down, across = divmod(int(window.argmax()), window.shape[1])
        unpooled[0, k, 2 * i + down, 2 * j + across] += signal[0, k, i, j]
        counts[0, k, 2 * i + down, 2 * j + across] += 1
    assert counts.max() > 1
    expected = F.conv_transpose2d(unpooled.relu(), conv.weight)
    assert_same(
        deconvnet(network, image, target=Activation("3", channel, (row, col))).colours, expected
    )


# The relation to the gradient: Simonyan et al. 2014, section 4


def gradient(network, images, index):
    image = images.clone().requires_grad_()
    return torch.autograd.grad(network.model(image)[:, index].sum(), image)[0]


def test_without_a_relu_the_deconvnet_is_the_gradient():
    network = seeded(
        lambda: nn.Conv2d(3, 6, 5, stride=2, padding=2),
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda: nn.BatchNorm2d(6),
        lambda: nn.AvgPool2d(2),
        nn.Flatten,
        lambda: nn.Linear(36, 6),
    )
    images = batch(2).double()
    for method in METHODS.values():
        assert_same(method(network, images, target=2).colours, gradient(network, images, 2))


def test_with_one_relu_the_two_differ_in_its_mask_alone():
    network, images = (
        seeded(lambda: nn.Conv2d(3, 6, 3), nn.ReLU, nn.Flatten, lambda: nn.Linear(6 * 16 * 22, 6)),
        batch(2).double(),
    )
    conv, linear = network.model[0], network.model[3]
    signal, active = linear.weight[2].reshape(1, 6, 16, 22), conv(images) > 0
    down = lambda signal: F.conv_transpose2d(signal, conv.weight)
    assert_same(gradient(network, images, 2), down(signal * active))
    assert_same(
        deconvnet(network, images, target=2).colours,
        down(signal * (signal > 0)).expand(2, -1, -1, -1),
    )
    assert_same(
        guided_backprop(network, images, target=2).colours, down(signal * active * (signal > 0))
    )


def test_where_all_is_active_and_all_speaks_for_the_target_there_is_no_difference():
    network = seeded(
        lambda: nn.Conv2d(3, 6, 3),
        nn.ReLU,
        lambda: nn.Conv2d(6, 4, 3),
        nn.ReLU,
        nn.Flatten,
        lambda: nn.Linear(1120, 6),
    )
    for module in network.model:
        if hasattr(module, "weight"):
            module.weight.data.abs_()
    images = batch(2).double().abs() + 0.1
    for method in METHODS.values():
        assert_same(method(network, images, target=2).colours, gradient(network, images, 2))


def test_an_activation_that_is_not_there_has_no_projection():
    network, images = paper(), batch(1).double()
    maps = network.model[:4](images.clone())
    row, col = divmod(int(maps[0, 2].argmin()), maps.shape[3])
    assert maps[0, 2, row, col] < 0
    for method in METHODS.values():
        found = method(network, images, target=Activation("3", 2, (row, col)))
        assert not found.colours.any()
        assert found.targets.scores.tolist() == [0]


# Property


@pytest.mark.parametrize("method", METHODS.values())
def test_images_of_a_batch_do_not_bear_on_each_others_projection(method):
    network, images = network_of(small()), batch(4)
    apart = torch.cat([method(network, images[i : i + 1]).colours for i in range(4)])
    np.testing.assert_allclose(method(network, images).colours, apart, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_callers_mode_changes_nothing(mode):
    network, images = network_of(small()), batch()
    expected = [method(network, images).colours for method in METHODS.values()]
    with mode():
        found = [method(network, batch()).colours for method in METHODS.values()]
        found_of_inference = [method(network, images).colours for method in METHODS.values()]
    for one, other, third in zip(expected, found, found_of_inference, strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)


def test_a_network_whose_weights_could_be_trained_gives_the_same():
    network = network_of(small())
    expected = deconvnet(network, batch())
    network.model.requires_grad_(True)
    assert torch.equal(deconvnet(network, batch()).colours, expected.colours)
    assert all(parameter.grad is None for parameter in network.model.parameters())


# The strongest activations


def slowly_strongest(maps, channel):
    """All candidates of one image as (value, channel, row, column), strongest first."""
    found = []
    for k, one in enumerate(maps.tolist()):
        for (row, col), value in np.ndenumerate(np.array(one)):
            about = [r[max(col - 1, 0) : col + 2] for r in one[max(row - 1, 0) : row + 2]]
            largest = max(map(max, one)) if channel is None else max(map(max, about))
            if channel in (None, k) and value == largest:
                found.append((value, k, row, col))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("channel", [None, 0, 4])
@pytest.mark.parametrize("layer", [0, 1, 2, 3])
def test_the_strongest_activations_are_those_of_a_slow_search(layer, channel):
    network, images = network_of(small()), batch(4)
    maps = network.model[: layer + 1](images.clone())
    found = strongest_activations(network, images, str(layer), n=4, channel=channel)
    assert [one.layer for one in found] == [str(layer)] * 4
    for i in range(4):
        expected = slowly_strongest(maps[i], channel)[:4]
        got = [
            (
                float(maps[i, one.channel[i], *one.cell[i]]),
                int(one.channel[i]),
                *one.cell[i].tolist(),
            )
            for one in found
        ]
        assert got == [(pytest.approx(value), *rest) for value, *rest in expected]


@pytest.mark.parametrize("channel", [None, 2])
def test_each_image_has_its_own_and_none_twice(channel):
    network, images = network_of(small()), batch(4)
    found = strongest_activations(network, images, "2", n=5, channel=channel)
    for i in range(4):
        places = {(int(one.channel[i]), *map(int, one.cell[i])) for one in found}
        assert len(places) == 5
        assert len({one[0] for one in places}) == (5 if channel is None else 1)
        alone = strongest_activations(network, images[i : i + 1], "2", n=5, channel=channel)
        assert [one.cell[0].tolist() for one in alone] == [one.cell[i].tolist() for one in found]


def test_what_they_are_worth_falls_and_can_be_projected():
    network, images = network_of(small()), batch(3)
    found = strongest_activations(network, images, "2", n=3)
    projections = [deconvnet(network, images, target=one) for one in found]
    worth = np.stack([one.targets.scores for one in projections])
    assert (np.diff(worth, axis=0) <= 0).all()
    assert (worth > 0).all()
    assert all(one.maps.flatten(1).any(1).all() for one in projections)


def test_a_channel_with_too_few_maxima_is_refused():
    network = network_of(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(704, 6)))
    network.model[0].weight.data.fill_(1)
    hill = -((torch.arange(HEIGHT)[:, None] - 7.0) ** 2) - (torch.arange(WIDTH) - 9.0) ** 2
    images = (hill / 100).expand(1, 3, -1, -1)
    (top,) = strongest_activations(network, images, "0", n=1, channel=1)
    assert top.cell.tolist() == [[6, 8]]
    with pytest.raises(
        UsageError, match="channel 1 of layer '0' has 1 local maxima in an image, asked for 2"
    ):
        strongest_activations(network, images, "0", n=2, channel=1)


@pytest.mark.parametrize(
    ("layer", "options", "error", "message"),
    [
        ("2", {"channel": 7}, UsageError, "layer '2' has 7 channels, counted from 0; got 7"),
        ("2", {"channel": -1}, UsageError, "counted from 0; got -1"),
        ("2", {"channel": True}, UsageError, "counted from 0; got True"),
        ("2", {"n": 0}, UsageError, "offers 7 activations, asked for 0"),
        ("2", {"n": 8}, UsageError, "offers 7 activations, asked for 8"),
        ("2", {"n": 109, "channel": 0}, UsageError, "offers 108 activations, asked for 109"),
        ("8", {}, UsageError, "layer '8' offers 6 activations, asked for 9"),
        ("features.2", {}, LayerError, "'features.2' is no layer of tests:small"),
    ],
)
def test_activations_that_are_not_there_are_refused(layer, options, error, message):
    with pytest.raises(error, match=message):
        strongest_activations(network_of(small()), batch(), layer, **options)
