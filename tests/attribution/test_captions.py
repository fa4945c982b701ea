"""Targets behind an LSTM: the log-probability of a caption, by hand down to the pixels."""

import numpy as np
import pytest
import torch
from builders.captioner import captioner, down
from builders.networks import assert_same, batch, network_of
from torch import nn

from explgraph.attribution import (
    Activation,
    deconvnet,
    differentiable,
    gradcam,
    guided_backprop,
    guided_gradcam,
    integrated_gradients,
    occlusion,
    saliency,
)
from explgraph.errors import NetworkError

CAPTION = [2, 7, 1, 8, 2, 0]


def log_probability(scores):
    """Of the caption, word by word."""
    words = torch.tensor(CAPTION, device=scores.device)
    steps = torch.arange(len(CAPTION), device=scores.device)
    return scores.log_softmax(-1)[:, steps, words].sum(1)


@pytest.fixture(params=[False, True], ids=["mean", "attention"])
def network(request):
    return network_of(captioner(attention=request.param), classes=None)


@pytest.fixture
def images():
    return batch(2).double()


def below(network, images):
    """The maps behind the CNN, and the gradient of the log-probability there."""
    maps = network.model.cnn(images).requires_grad_()
    vector = network.model.look(maps)
    vector = network.model.project(vector)
    scores = network.model.say(vector, torch.tensor([[3, 1, 4, 1, 5]]))
    return maps.detach(), torch.autograd.grad(log_probability(scores).sum(), maps)[0]


# Without attention the ReLU of `project` is still the CNN's: only linear layers lie between.
def signal_at_maps(network, images, rule):
    maps, gradient = below(network, images)
    if network.model.attention is not None:
        return gradient
    vector = maps.mean((2, 3))
    linear, _ = network.model.project
    hidden = linear(vector)
    above = hidden.relu().detach().requires_grad_()
    scores = network.model.say(above, torch.tensor([[3, 1, 4, 1, 5]]))
    signal = torch.autograd.grad(log_probability(scores).sum(), above)[0].relu()
    signal = signal if rule == "deconv" else signal * (hidden > 0)
    cells = maps[0, 0].numel()
    return (signal @ linear.weight / cells)[:, :, None, None].expand_as(maps)


METHODS = {"deconv": deconvnet, "guided": guided_backprop}


@pytest.mark.parametrize("rule", METHODS)
def test_the_rule_holds_at_the_relus_of_the_cnn_and_the_gradient_behind_it(network, images, rule):
    found = METHODS[rule](network, images, target=log_probability)
    expected = down(network.model.cnn, images, signal_at_maps(network, images, rule), rule)
    assert_same(found.colours, expected)
    plain = saliency(network, images, target=log_probability)
    assert not torch.allclose(found.maps, plain.maps, rtol=0.1)


def test_guided_gradcam_of_a_caption_is_the_product_of_both(network, images):
    found = guided_gradcam(network, images, target=log_probability, layer="cnn")
    maps, gradient = below(network, images)
    weights = gradient.mean((2, 3), keepdim=True)
    assert_same(found.cells, (weights * maps).sum(1).relu().detach())
    fine = down(network.model.cnn, images, signal_at_maps(network, images, "guided"), "guided")
    coarse = gradcam(network, images, target=log_probability).maps
    assert_same(found.colours, fine * coarse[:, None])
    assert found.targets.names == ("log_probability",) * 2


def test_the_other_methods_take_a_caption_too(network, images):
    with torch.no_grad():
        expected = log_probability(network.model(images))
    found = occlusion(network, images, target=log_probability, size=6, stride=6)
    np.testing.assert_allclose(found.targets.scores, expected, rtol=1e-5)
    found = integrated_gradients(
        network, images, target=log_probability, steps=200, baseline="mean"
    )
    with torch.no_grad():
        change = expected - log_probability(network.model(0 * images))
    tolerance = 0.01 * float(found.maps.abs().sum((1, 2)).min())
    np.testing.assert_allclose(found.maps.sum((1, 2)), change, atol=tolerance)


@pytest.mark.parametrize(
    ("cnn", "what"),
    [
        ((nn.Conv2d(3, 4, 3), nn.SiLU(), nn.Conv2d(4, 8, 3), nn.ReLU()), "Silu"),  # inside
        ((nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3), nn.SiLU()), "Silu"),  # on its maps
        ((nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), "Softmax"),  # no ReLU
    ],
)
def test_what_the_cnn_itself_is_made_of_is_still_named(images, cnn, what):
    model = captioner(attention=True)
    model.cnn = nn.Sequential(*cnn).double()
    network = network_of(model, classes=None)
    with pytest.raises(NetworkError, match=f"has run .*{what}"):
        guided_backprop(network, images, target=log_probability)


def test_a_neuron_before_the_lstm_is_asked_as_in_any_network(network, images):
    found = saliency(network, images, target=Activation("project.0", 2))
    pixels = images.clone().requires_grad_()
    value = network.model.project[0](network.model.look(network.model.cnn(pixels)))[:, 2]
    expected = torch.autograd.grad(value.sum(), pixels)[0]
    assert_same(found.maps, expected.abs().amax(1))


def test_recurrent_layers_run_where_they_can_be_differentiated_in_evaluation_mode(network):
    """cuDNN's refuse: "cudnn RNN backward can only be called in training mode"."""
    before = torch.backends.cudnn.enabled
    with differentiable(network.model):
        assert not torch.backends.cudnn.enabled
    assert torch.backends.cudnn.enabled == before
    with differentiable(network.model.cnn):
        assert torch.backends.cudnn.enabled == before


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_differentiates_recurrent_layers_in_evaluation_mode(network, images):
    expected = saliency(network, images, target=log_probability).maps
    found = saliency(network.model.cuda(), images.cuda(), target=log_probability).maps
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-8)
