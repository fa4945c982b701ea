"""The pass that answers, whichever method asks."""

import numpy as np
import pytest
import torch
from builders.networks import (
    HEIGHT,
    WIDTH,
    Wrapped,
    batch,
    network_of,
    small,
    state_of,
)
from torch import nn

from explgraph.attribution import gradcam, saliency
from explgraph.errors import LayerError, NetworkError, UsageError


def test_photographs_are_normalised_as_the_network_says():
    network = network_of(small())
    pixels = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    from_pixels = saliency(network, pixels)
    from_input = saliency(network, network.preprocess(torch.from_numpy(pixels)))
    np.testing.assert_array_equal(from_pixels.maps, from_input.maps)


@pytest.mark.parametrize("layer", ["0", "2", "3", None])
def test_inplace_relus_change_nothing(layer):
    plain, inplace = (network_of(small(inplace=flag)) for flag in (False, True))
    for ask in (saliency, lambda *args: gradcam(*args, layer=layer)):
        np.testing.assert_array_equal(ask(plain, batch()).maps, ask(inplace, batch()).maps)


def test_an_inplace_layer_that_comes_first_leaves_the_image_alone():
    model = nn.Sequential(
        nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 16 * 22, 6)
    )
    images = batch()
    kept = images.clone()
    result = saliency(network_of(model), images)
    gradcam(network_of(model), images, layer="1")
    assert torch.equal(images, kept)
    assert (result.maps[(images <= 0).all(1).numpy()] == 0).all()


def test_images_of_a_batch_do_not_bear_on_each_other():
    network, images = network_of(small()), batch(4)
    for ask in (saliency, gradcam):
        together = ask(network, images)
        apart = np.concatenate([ask(network, images[i : i + 1]).maps for i in range(4)])
        np.testing.assert_allclose(together.maps, apart, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda scores: {"scores": scores}, r"class scores of shape \(3, classes\), got a dict"),
        (lambda scores: scores[:, :, None, None], r"got shape \(3, 6, 1, 1\)"),
        (lambda scores: scores.sum(1), r"got shape \(3,\)"),
        (
            lambda scores: scores.softmax(1),
            "ends in a softmax, but the scores from before it are needed",
        ),
        (lambda scores: scores.log_softmax(1), "ends in a softmax"),
        (lambda scores: scores / 0, "not finite"),
    ],
)
def test_outputs_that_are_no_class_scores_are_refused(change, message):
    network = network_of(Wrapped(change))
    for ask in (saliency, gradcam):
        with pytest.raises(NetworkError, match=message):
            ask(network, batch())


def test_a_forward_pass_that_cuts_gradients_off_is_reported():
    network = network_of(Wrapped(torch.Tensor.detach))
    with pytest.raises(NetworkError, match="no gradient reaches back"):
        saliency(network, batch())
    with pytest.raises(LayerError, match=r"no gradient leads .* to layer 'net.2'"):
        gradcam(network, batch(), layer="net.2")


@pytest.mark.parametrize(
    "shape", [(3, 1, HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (0, 3, HEIGHT, WIDTH)]
)
def test_images_of_another_kind_are_refused(shape):
    for ask in (saliency, gradcam):
        with pytest.raises(UsageError, match=r"images must be uint8|at least one image"):
            ask(network_of(small()), torch.zeros(shape))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("fails", [False, True])
def test_hooks_gradients_and_modes_are_as_they_were(mode, fails):
    network = network_of(Wrapped((lambda scores: scores[0]) if fails else (lambda scores: scores)))
    network.model.net.train()
    network.model.net[0].requires_grad_(True)
    weights = {name: value.clone() for name, value in network.model.state_dict().items()}
    with mode():
        images = batch()
        before = state_of(network.model)
        for ask in (saliency, gradcam, lambda *args: gradcam(*args, layer="net.0")):
            if fails:
                with pytest.raises(NetworkError):
                    ask(network, images)
            else:
                assert ask(network, images).maps.any()
            assert state_of(network.model) == before
    assert images.grad is None
    assert not images.requires_grad
    for name, value in network.model.state_dict().items():  # batch normalisation has not moved
        assert torch.equal(value, weights[name])
