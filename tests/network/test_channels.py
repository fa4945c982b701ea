"""Networks of grey images and of other channels: what they are shown, and what is refused."""

import numpy as np
import pytest
import torch
from builders.grey_network import Grey, make, of, two
from builders.pictures import photograph
from PIL import Image
from torch import nn

from explgraph.attribution import (
    deconvnet,
    gradcam,
    guided_gradcam,
    integrated_gradients,
    network_input,
    occlusion,
    saliency,
    show,
)
from explgraph.errors import NetworkError, UsageError
from explgraph.images import picture_input
from explgraph.network import ImageSet, list_layers, load_network, measure_geometry, wrap
from explgraph.network.channels import input_channels, luminance

METHODS = (deconvnet, gradcam, guided_gradcam, integrated_gradients, occlusion, saliency)
HEIGHT, WIDTH = Grey.input_size
SQUARES = {"size": 16, "stride": 16}


def small(method):
    return SQUARES if method is occlusion else {}


def test_the_luminance_is_that_of_pillow():
    image = photograph(30, 40)
    expected = np.asarray(Image.fromarray(image).convert("L"))
    found = luminance(torch.from_numpy(image[None]))
    np.testing.assert_array_equal(found[0, :, :, 0], expected)


def test_a_grey_picture_stays_what_it_is():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1)
    assert torch.equal(luminance(levels.expand(-1, -1, -1, 3)), levels)


def test_a_photograph_is_shown_as_its_luminance_with_the_mean_of_one_channel(tmp_path):
    image = photograph(HEIGHT, WIDTH)
    Image.fromarray(image).save(tmp_path / "a.png")
    network = wrap(make(), mean=0.5, std=(0.25,))
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float32)
    expected = torch.from_numpy((grey / 255 - 0.5) / 0.25)[None, None]
    for shown in (tmp_path / "a.png", image[None], grey.astype(np.uint8)[None, ..., None]):
        torch.testing.assert_close(network_input(network, shown), expected)
    torch.testing.assert_close(network_input(network, expected), expected)
    assert np.abs(show(network, expected).picture(0) - grey[..., None]).max() <= 1


def test_the_mean_is_that_of_imagenets_luminance_unless_it_is_given():
    weights = np.array([0.299, 0.587, 0.114])
    network = wrap(make())
    assert network.input.channels == 1
    assert network.input.mean == pytest.approx([weights @ (0.485, 0.456, 0.406)], abs=1e-3)
    assert network.input.std == pytest.approx([weights @ (0.229, 0.224, 0.225)], abs=1e-3)
    assert load_network("builders.grey_network:make", mean=0.25, std=0.5).input.mean == (0.25,)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("channels", [1, 2, 4])
def test_every_method_answers_for_tensors_of_any_channels(method, channels):
    network = wrap(of(channels))
    x = torch.randn(2, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))
    found = method(network, x, target=1, **small(method))
    assert found.maps.shape == (2, HEIGHT, WIDTH)
    assert found.maps.any()
    assert found.colours is None or found.colours.shape == x.shape
    assert found.overlay(1).size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("method", METHODS)
def test_a_grey_network_answers_as_one_of_colours_that_greys_them(method, tmp_path):
    """Its weights are the grey ones, once for each colour; the image has the same in all three."""
    grey, colour = make(), of(3)
    colour.load_state_dict(grey.state_dict() | {"features.0.weight": third(grey)})
    Image.fromarray(photograph(30, 40)).convert("L").save(tmp_path / "a.png")
    one, three = (
        method(
            wrap(model, mean=[0.5] * n, std=[0.5] * n),
            tmp_path / "a.png",
            target=1,
            **small(method),
        )
        for model, n in ((grey, 1), (colour, 3))
    )
    summed = one.maps
    if one.colours is not None:
        torch.testing.assert_close(one.colours[:, 0], three.colours.sum(1), rtol=1e-4, atol=1e-6)
    elif method is saliency:
        summed = one.maps / 3
    if one.colours is None:
        torch.testing.assert_close(summed, three.maps, rtol=1e-4, atol=1e-6)


def third(grey):
    return grey.state_dict()["features.0.weight"].expand(-1, 3, -1, -1) / 3


def test_its_geometry_is_that_of_the_same_network_of_colours():
    names = ["features.0", "features.4"]
    assert measure_geometry(make(), names) == measure_geometry(of(3), names)
    assert [one.name for one in list_layers(two())] == [one.name for one in list_layers(of(3))]


@pytest.mark.parametrize("channels", [2, 4])
def test_photographs_for_networks_of_other_channels_are_refused(channels):
    network, message = wrap(of(channels)), f"takes images of {channels} channels"
    with pytest.raises(UsageError, match=message):
        saliency(network, Image.fromarray(photograph()))
    with pytest.raises(UsageError, match=message):
        network.preprocess(torch.zeros(1, 4, 5, 3, dtype=torch.uint8))
    pixels, _, _ = picture_input(Image.fromarray(photograph()), height=HEIGHT, width=WIDTH)
    with pytest.raises(UsageError, match=message):
        saliency(network, pixels[None])


class Mixing(nn.Module):
    """A network of colours whose first convolution sees one channel, which it mixes itself."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(0.3 * x[:, :1] + 0.6 * x[:, 1:2] + 0.1 * x[:, 2:]).mean((2, 3))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        (make(), 1),
        (two(), 2),
        (of(3), 3),
        (Mixing(), 3),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(2)), None),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 26 * 26, 2)), 1),  # 28 x 28
    ],
)
def test_the_channels_are_those_of_the_convolution_that_takes_the_image(model, expected):
    assert input_channels(model, (HEIGHT, WIDTH)) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (0.5, 0.5, 0.5)}, r"mean must be one number \(grey\)"),
        ({"std": "dark"}, r"std must be one number \(grey\)"),
        ({"std": 0}, "std must be above 0"),
    ],
)
def test_a_mean_for_other_channels_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        wrap(make(), **options)


def test_what_a_module_declares_must_fit_its_channels():
    model = make()
    model.input_mean = (0.5, 0.5, 0.5)
    with pytest.raises(NetworkError, match=r"must have one value \(grey\)"):
        wrap(model)


def test_a_module_without_a_convolution_says_it_by_its_mean():
    model = nn.Sequential(nn.Flatten(), nn.Linear(30, 2))
    network = wrap(model, input_size=(5, 6), mean=0.5, std=0.5)
    assert network.preprocess(torch.zeros(1, 5, 6, 3, dtype=torch.uint8)).shape == (1, 1, 5, 6)
    with pytest.raises(UsageError, match="a mean and a std for each channel"):
        wrap(model, mean=0.5)


def test_images_at_hand_are_of_the_networks_channels():
    grey, colours = torch.zeros(3, 1, HEIGHT, WIDTH), torch.zeros(3, 3, HEIGHT, WIDTH)
    assert len(ImageSet(make(), grey)) == 3
    with pytest.raises(UsageError, match=r"floating point \(1, height, width\)"):
        ImageSet(make(), colours)
    uint8 = np.zeros((2, HEIGHT, WIDTH, 3), np.uint8)
    (batch,) = ImageSet(make(), uint8).batches()
    assert batch.shape == uint8.shape
