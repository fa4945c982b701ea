"""Grad-CAM against its definition."""

import numpy as np
import pytest
import torch
from builders.networks import (
    HEIGHT,
    WIDTH,
    Residual,
    Wrapped,
    batch,
    network_of,
    small,
)
from builders.real import SHARED
from torch import nn
from torchvision import models

from explgraph.attribution import gradcam, last_layer, saliency
from explgraph.errors import LayerError
from explgraph.images import ImageObject, load_input
from explgraph.network import load_network, measure_geometry


def slow_gradcam(model, image, layer, index):
    """Selvaraju et al. 2017, equations 1 and 2, cell by cell, by finite differences."""
    maps = model[: layer + 1](image[None])[0]
    result = torch.zeros(maps.shape[1:], dtype=maps.dtype)
    for k in range(maps.shape[0]):
        steps = torch.zeros(result.numel(), *maps.shape, dtype=maps.dtype)
        for cell in range(result.numel()):
            steps[cell, k].view(-1)[cell] = 1e-6
        above, below = (model[layer + 1 :](maps + sign * steps)[:, index] for sign in (1, -1))
        weight = sum((above - below).tolist()) / 2e-6 / result.numel()
        result += weight * maps[k]
    return result


@pytest.mark.parametrize("layer", [2, 3])
def test_gradcam_is_the_weighted_sum_of_the_paper(layer):
    network = network_of(small(inplace=False).double())
    image = batch(1).double()
    expected = slow_gradcam(network.model, image[0], layer, 2).numpy()
    signed = gradcam(network, image, layer=str(layer), target=2, signed=True)
    np.testing.assert_allclose(signed.cells[0], expected, rtol=1e-3, atol=1e-6)
    positive = gradcam(network, image, layer=str(layer), target=2)
    np.testing.assert_allclose(positive.cells[0], np.maximum(expected, 0), rtol=1e-3, atol=1e-6)
    assert expected.min() < 0 < expected.max()


def test_the_map_is_bilinear_between_the_measured_centres_and_held_at_the_edges():
    network = network_of(small())
    geometry = measure_geometry(network, ["2"])["2"]
    result = gradcam(network, batch(1), layer="2", signed=True)
    assert result.layer == geometry
    (rows, cols), cells = geometry.centres(), result.cells[0]
    assert rows.tolist() == [0.5 + 2 * i for i in range(9)]
    # Centres fall on pixel centres here: pixel r covers [r, r + 1], its centre is r + 0.5.
    on_centres = result.maps[0][np.ix_((rows - 0.5).astype(int), (cols - 0.5).astype(int))]
    np.testing.assert_allclose(on_centres, cells, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(result.maps[0, 1, 0], (cells[0, 0] + cells[1, 0]) / 2, rtol=1e-5)
    np.testing.assert_allclose(
        result.maps[0, -1, -1], cells[-1, -1], rtol=1e-5
    )  # beyond the last centre


def test_a_measured_geometry_stands_for_the_layers_name():
    network = network_of(small())
    by_name = gradcam(network, batch(), layer="2")
    by_geometry = gradcam(network, batch(), layer=measure_geometry(network, ["2"])["2"])
    np.testing.assert_array_equal(by_name.maps, by_geometry.maps)


def test_a_geometry_of_another_input_size_is_refused():
    network = network_of(small())
    geometry = measure_geometry(network, ["2"], input_size=(HEIGHT, WIDTH + 8))["2"]
    with pytest.raises(LayerError, match="measured for an input of 18 x 32 pixels, got 18 x 24"):
        gradcam(network, batch(), layer=geometry)


def test_the_default_layer_ends_where_the_last_convolutions_resolution_does():
    assert last_layer(network_of(small())) == "4"  # behind it comes a pooling
    residual = network_of(Residual())
    assert last_layer(residual) == "block"
    assert gradcam(residual, batch()).cells.shape == (3, 8, 11)


def test_a_network_without_maps_has_no_default_layer():
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 6)))
    with pytest.raises(LayerError, match="no convolution that yields maps; name a layer"):
        gradcam(network, batch())


@pytest.mark.parametrize("trainable", [False, True])
def test_a_layer_that_does_not_bear_on_the_scores_is_refused(trainable):
    network = network_of(Wrapped(lambda scores: scores))
    network.model.requires_grad_(trainable)
    with pytest.raises(LayerError, match="no gradient leads from the scores"):
        gradcam(network, batch(), layer="aside")


@pytest.mark.real
@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason=f"no real photographs in {SHARED}")
def test_squeezenet_sees_the_giant_panda_where_it_is():
    import json

    folder = SHARED / "data" / "animals" / "n02510455"
    data = json.loads(folder.with_suffix(".json").read_text())
    sizes = {
        image["id"]: (image["file_name"], image["width"], image["height"])
        for image in data["images"]
    }
    small_ones = [
        (sizes[a["image_id"]], a["bbox"])
        for a in data["annotations"]
        if a["bbox"][2] * a["bbox"][3] < 0.2 * sizes[a["image_id"]][1] * sizes[a["image_id"]][2]
    ][:6]
    network = load_network(
        "squeezenet1_0", weights=SHARED / "models" / "squeezenet1_0-imagenet.pth"
    )
    root = folder if (folder / small_ones[0][0][0]).is_file() else folder.parent
    inputs, inside = [], []
    for number, ((name, width, height), (x, y, w, h)) in enumerate(small_ones):
        pixels, _, _ = load_input(
            ImageObject(number, number, name, root / name), height=224, width=224
        )
        inputs.append(pixels)
        mask = np.zeros((224, 224), bool)
        left, right, top, bottom = (
            round(v)
            for v in (
                x / width * 224,
                (x + w) / width * 224,
                y / height * 224,
                (y + h) / height * 224,
            )
        )
        mask[top:bottom, left:right] = True
        inside.append(mask)
    assert last_layer(network) == "classifier.2"
    for ask in (saliency, gradcam, lambda *a, **k: gradcam(*a, layer="features.12", **k)):
        maps = ask(network, np.stack(inputs), target="giant panda").maps
        share = np.mean([m[mask].sum() / m.sum() for m, mask in zip(maps, inside, strict=True)])
        assert share > 1.5 * np.mean([mask.mean() for mask in inside]), share


def test_the_default_maps_of_a_densenet_are_the_rectified_ones():
    """``F.relu(features(x))``, which no module yields; A of the paper is rectified."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = models.densenet121().eval()
        images = torch.randn(2, 3, 64, 64)
    found = gradcam(model, images, target=5)
    with torch.no_grad():
        maps = model.features(images).relu()
    # The classifier is linear in the mean of the maps.
    weights = model.classifier.weight[5].detach() / maps[0, 0].numel()
    expected = torch.einsum("nkij,k->nij", maps, weights).relu()
    torch.testing.assert_close(found.cells, expected, rtol=1e-4, atol=1e-6)
    assert found.layer.name == last_layer(model, input_size=(64, 64)) == "features"
    # Named, a layer is taken as it is.
    named = gradcam(model, images, target=5, layer="features")
    assert not torch.allclose(named.cells, found.cells, rtol=1e-2)
