"""Neurons of linear layers are asked like channels; each answer against its definition."""

import numpy as np
import pytest
import torch
from builders.networks import HEIGHT, WIDTH, assert_same, batch, network_of
from torch import nn

from explgraph.attribution import (
    Activation,
    ablation,
    correspondence,
    deconvnet,
    gradcam,
    guided_backprop,
    integrated_gradients,
    occlusion,
    saliency,
    strongest_activations,
)
from explgraph.errors import LayerError, UsageError
from explgraph.network import feature_maps, load_network, measure_geometry

CONV, MAPS, FC6, FC7 = "0", "3", "5", "7"


class NoTrace(nn.Sequential):
    """A forward pass that torch.fx cannot follow, so that every pass is whole."""

    def forward(self, x):
        return super().forward(x if x.sum() > 1e9 else x + 0)


def fully_connected(kind=nn.Sequential):
    torch.manual_seed(4)
    model = kind(
        nn.Conv2d(3, 5, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(5, 6, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 9 * 12, 16),
        nn.ReLU(),
        nn.Linear(16, 12),
        nn.ReLU(),
        nn.Linear(12, 6),
    )
    return network_of(model.double())


@pytest.fixture(params=[nn.Sequential, NoTrace])
def network(request):
    return fully_connected(request.param)


@pytest.fixture
def images():
    return batch(2).double()


def neuron_of(network, images, layer, number):
    """The value before the next layer, in a pass of its own."""
    return network.model[: int(layer) + 1](images)[:, number]


def gradient(network, images, layer, number):
    images = images.clone().requires_grad_()
    return torch.autograd.grad(neuron_of(network, images, layer, number).sum(), images)[0]


@pytest.mark.parametrize("layer", [FC6, FC7, "9"])
def test_saliency_of_a_neuron_is_the_gradient_of_its_value_with_its_sign(network, images, layer):
    signs = set()
    for number in range(4):
        found = saliency(network, images, target=Activation(layer, number))
        values = neuron_of(network, images, layer, number)
        assert_same(found.maps, gradient(network, images, layer, number).abs().amax(1))
        np.testing.assert_allclose(found.targets.scores, values, rtol=1e-5)
        signs |= set(values.sign().tolist())
    assert signs == {-1.0, 1.0}
    assert found.targets.names[0] == f"{layer}:3"


def test_each_image_may_have_a_neuron_of_its_own(network, images):
    found = saliency(network, images, target=Activation(FC7, [2, 9]))
    expected = [gradient(network, images, FC7, number)[k] for k, number in enumerate((2, 9))]
    assert_same(found.maps, torch.stack(expected).abs().amax(1))


def test_integrated_gradients_of_a_neuron_add_up_to_its_change(network, images):
    found = integrated_gradients(
        network, images, target=Activation(FC7, 3), steps=300, baseline="mean"
    )
    change = neuron_of(network, images, FC7, 3) - neuron_of(network, 0 * images, FC7, 3)
    # Of what adds up: here most of it cancels out.
    tolerance = 0.01 * float(found.maps.abs().sum((1, 2)).min())
    np.testing.assert_allclose(found.maps.sum((1, 2)), change, atol=tolerance)
    ways = [gradient(network, images * (k + 0.5) / 300, FC7, 3) for k in range(300)]
    assert_same(found.maps, (images * torch.stack(ways).mean(0)).sum(1))


@pytest.mark.parametrize("weighting", ["gradcam", "gradcam++", "layercam"])
def test_gradcam_of_a_neuron_looks_at_the_last_maps_before_it(network, images, weighting):
    found = gradcam(network, images, target=Activation(FC7, 3), weighting=weighting)
    named = gradcam(network, images, target=Activation(FC7, 3), layer=MAPS, weighting=weighting)
    assert found.layer.name == MAPS
    assert torch.equal(found.cells, named.cells)


def test_gradcam_of_a_neuron_is_its_definition(network, images):
    found = gradcam(network, images, target=Activation(FC6, 3), layer=CONV, signed=True)
    maps = network.model[:1](images).requires_grad_()
    value = network.model[1:6](maps)[:, 3].sum()
    weights = torch.autograd.grad(value, maps)[0].mean((2, 3), keepdim=True)
    assert_same(found.cells, (weights * maps).sum(1).detach())


def test_a_vector_has_no_places(network, images):
    for ask in (
        lambda: gradcam(network, images, target=0, layer=FC6),
        lambda: measure_geometry(network, [FC6]),
    ):
        with pytest.raises(LayerError, match=r"'5' yields vectors \(16 values\).*ask for .* '5:0'"):
            ask()


def projected(network, images, layer, number, rule):
    """Layer by layer down from the neuron; ``rule`` says what passes a ReLU."""
    outputs = [images]
    for module in network.model[: int(layer) + 1]:
        outputs.append(module(outputs[-1]))
    signal = torch.zeros_like(outputs[-1])
    signal[:, number] = outputs[-1][:, number].relu() if rule == "deconv" else 1
    for position in reversed(range(int(layer) + 1)):
        module, below = network.model[position], outputs[position].detach().requires_grad_()
        if isinstance(module, nn.ReLU):
            signal = signal.relu() * (1 if rule == "deconv" else below > 0)
        else:
            signal = torch.autograd.grad(module(below), below, signal)[0]
    return signal


@pytest.mark.parametrize("layer", [FC6, FC7])
def test_a_neuron_is_projected_down_from_its_value(network, images, layer):
    active = neuron_of(network, images, layer, slice(None)).min(0).values
    number = int(active.argmax())
    assert active[number] > 0
    target = Activation(layer, number)
    found = deconvnet(network, images, target=target)
    assert_same(found.colours, projected(network, images, layer, number, "deconv").detach())
    found = guided_backprop(network, images, target=target)
    assert_same(found.colours, projected(network, images, layer, number, "guided").detach())


def test_the_strongest_activations_of_a_vector_are_its_largest_values(network, images):
    found = strongest_activations(network, images, FC7, n=3)
    values = neuron_of(network, images, FC7, slice(None))
    assert np.array_equal(
        np.stack([one.channel for one in found], 1), values.topk(3, dim=1).indices
    )
    assert all((one.cell == 0).all() for one in found)
    (alone,) = strongest_activations(network, images, FC7, n=3, channel=2)
    assert (alone.channel == 2).all()
    assert (alone.cell == 0).all()


@pytest.mark.parametrize("layer", [FC6, FC7])
def test_occlusion_of_a_neuron_is_a_loop_over_squares(network, images, layer):
    found = occlusion(
        network, images, target=Activation(layer, 3), feature=Activation(FC7, 5), size=6, stride=6
    )
    for row, top in enumerate(range(0, HEIGHT, 6)):
        for col, left in enumerate(range(0, WIDTH, 6)):
            hidden = images.clone()
            hidden[:, :, top : top + 6, left : left + 6] = 0
            values = neuron_of(network, hidden, layer, 3)
            np.testing.assert_allclose(found.values[:, row, col], values, rtol=1e-5)
            watched = neuron_of(network, hidden, FC7, 5)
            np.testing.assert_allclose(found.activation[:, row, col], watched, rtol=1e-5)


def test_every_neuron_of_a_layer_is_taken_away(network, images):
    found = ablation(network, images[:1], FC6, target=2)
    values = neuron_of(network, images[:1], FC6, slice(None))
    for number in range(16):
        without = values.clone()
        without[:, number] -= values[:, number].relu()
        expected = network.model[6:](without)[:, 2]
        np.testing.assert_allclose(found.values[number], expected, rtol=1e-5)


def test_the_correspondence_of_a_vector_is_a_loop_over_pairs(network):
    images = batch(4).double()
    boxes = [(2, 3, 8, 7), (4, 2, 8, 7), (9, 8, 8, 7), (12, 5, 8, 7)]
    layers = [MAPS, FC7]
    found = correspondence(network, images, {"head": boxes}, layers, n_random=2)
    hidden = images.clone()
    for image, (x, y, width, height) in zip(hidden, boxes, strict=True):
        image[:, y : y + height, x : x + width] = 0
    for one, layer in zip(found, layers, strict=True):
        both = [feature_maps(network.model, x, [layer])[layer].flatten(1) for x in (images, hidden)]
        signs = (both[0] - both[1]).sign()
        pairs = [(signs[i] != signs[j]).double().mean() for i in range(4) for j in range(i)]
        assert one.mean == pytest.approx(float(np.mean(pairs)))
        assert one.pairs == 6
    assert found[1].mean > 0


def test_a_window_needs_places(network, images):
    boxes = {"head": [(2, 3, 8, 7), (4, 2, 8, 7)]}
    with pytest.raises(UsageError, match="layer '7' has no places for a window"):
        correspondence(network, images, boxes, [FC7], window=1)


# The published network: fc6 is classifier.1, fc7 is classifier.4


@pytest.fixture(scope="module")
def alexnet():
    network = load_network("alexnet", weights="none", input_size=96)
    network.model.double()
    images = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(2)).double()
    return network, images


@pytest.mark.parametrize("layer", ["classifier.1", "classifier.4"])
def test_fc6_and_fc7_of_alexnet_are_asked(alexnet, layer):
    network, images = alexnet
    kept = {}
    module = network.model.get_submodule(layer)
    # A copy: the ReLU behind it works in place.
    hook = module.register_forward_hook(lambda *call: kept.update(values=call[2].clone()))
    pixels = images.clone().requires_grad_()
    network.model(pixels)
    hook.remove()
    expected = torch.autograd.grad(kept["values"][:, 7].sum(), pixels)[0].abs().amax(1)
    target = Activation(layer, 7)
    assert_same(saliency(network, images, target=target).maps, expected)
    found = gradcam(network, images, target=target)
    assert found.layer.name == "features.11"
    np.testing.assert_allclose(found.targets.scores, kept["values"][:, 7].detach(), rtol=1e-5)
    strongest = strongest_activations(network, images, layer, n=1)[0]
    assert (strongest.channel == kept["values"].argmax(1).numpy()).all()
    assert deconvnet(network, images, target=strongest).maps.isfinite().all()


def test_table_1_of_zeiler_and_fergus_has_both_its_layers(alexnet):
    """l = 5 and l = 7: the last maps and the last vector before the scores."""
    network, images = alexnet
    boxes = {"eye": [(20, 30, 24, 24), (50, 20, 24, 24), (60, 60, 24, 24)]}
    five, seven = correspondence(network, images, boxes, ["features.12", "classifier.5"])
    assert (five.pairs, seven.pairs) == (3, 3)
    assert 0 < five.mean < 1
    assert 0 < seven.mean < 1
