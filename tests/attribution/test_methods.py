import numpy as np
import pytest
import torch
from builders.networks import (
    CLASSES,
    HEIGHT,
    WIDTH,
    Residual,
    Wrapped,
    batch,
    network_of,
    small,
    state_of,
)
from builders.real import SHARED
from torch import nn

from explgraph.attribution import find_class, gradcam, last_layer, resolve_target, saliency
from explgraph.errors import LayerError, NetworkError, UsageError
from explgraph.images import ImageObject, load_input
from explgraph.network import load_network, measure_geometry

# targets


def test_a_class_is_found_by_number_by_name_in_any_case_or_by_a_part_that_is_unique():
    network = network_of(small())
    wanted = {3: 3, "3": 3, "ZEBRA": 3, " zeb ": 3, "tabby": 0, "Tiger Cat": 1, "12": 5}
    assert {target: find_class(network, target) for target in wanted} == wanted


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "cat",
            r"'cat' fits 2 classes \(0 'Tabby cat', 1 'tiger cat'\); "
            r"give one name in full, or a number",
        ),
        ("crane", r"'crane' fits 2 classes \(2 'crane', 4 'crane'\)"),
        ("tigre cat", "'tigre cat' is not a class of tests:small; did you mean 'tiger cat'"),
        ("qqq", "give a part of its name, or a number 0 to 5"),
        ("", "is not a class"),
        (6, "number must be 0 to 5, got 6"),
        (-1, "number must be 0 to 5, got -1"),
        ("600", "number must be 0 to 5, got 600"),
        (True, "a number or a name, got True"),
        (1.0, "a number or a name, got 1.0"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_the_near_ones(target, message):
    network = network_of(small())
    with pytest.raises(UsageError, match=message):
        find_class(network, target)
    with pytest.raises(UsageError, match=message):
        saliency(network, batch(), target=target)


def test_a_network_without_class_names_takes_numbers_only():
    network = network_of(small(), classes=None)
    found = saliency(network, batch(1), target=2).targets
    assert (found.indexes.tolist(), found.names) == ([2], ("class 2",))
    with pytest.raises(
        UsageError,
        match="does not say what its classes are called; give a number 0 to 5, got 'zebra'",
    ):
        saliency(network, batch(1), target="zebra")


def test_class_names_of_another_number_than_the_outputs_are_not_used():
    network = network_of(small(), classes=("a", "b"))
    assert saliency(network, batch(1), target=5).targets.names == ("class 5",)


def test_the_default_target_is_each_images_own_first_choice_with_its_probability():
    network = network_of(small())
    scores = network.model(batch())
    targets = resolve_target(network, scores=scores)
    assert targets.indexes.tolist() == scores.argmax(1).tolist()
    assert targets.names == tuple(CLASSES[i] for i in targets.indexes)
    np.testing.assert_allclose(targets.scores, scores.amax(1), rtol=1e-6)
    np.testing.assert_allclose(targets.probabilities, scores.softmax(1).amax(1), rtol=1e-6)


# saliency


def test_saliency_of_a_linear_network_is_its_largest_weight_over_the_colours():
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 6)))
    expected = network.model[1].weight[4].reshape(3, HEIGHT, WIDTH).abs().amax(0)
    result = saliency(network, batch(), target=4)
    assert (result.maps.dtype, result.maps.shape) == (torch.float32, (3, HEIGHT, WIDTH))
    np.testing.assert_allclose(result.maps, expected.expand(3, -1, -1), rtol=1e-6)


def test_saliency_is_the_finite_difference_of_the_score():
    network = network_of(small().double())
    images = batch(1).double()
    result = saliency(network, images, target=1).maps[0]
    for row, col in [(0, 0), (7, 20), (17, 23)]:
        slopes = []
        for colour in range(3):
            step = torch.zeros_like(images)
            step[0, colour, row, col] = 1e-5
            slopes.append(
                ((network.model(images + step) - network.model(images - step))[0, 1] / 2e-5).item()
            )
        assert result[row, col] == pytest.approx(max(map(abs, slopes)), rel=1e-4)


def test_photographs_are_normalised_as_the_network_says():
    network = network_of(small())
    pixels = np.random.default_rng(0).integers(0, 256, (2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    from_pixels = saliency(network, pixels)
    from_input = saliency(network, network.preprocess(torch.from_numpy(pixels)))
    np.testing.assert_array_equal(from_pixels.maps, from_input.maps)


# Grad-CAM


def slow_gradcam(model, image, layer, index):
    """Equations 1 and 2 of Selvaraju et al. 2017, cell by cell, by finite differences."""
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


# what cannot be


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


@pytest.mark.parametrize("trainable", [False, True])
def test_a_layer_that_does_not_bear_on_the_scores_is_refused(trainable):
    network = network_of(Wrapped(lambda scores: scores))
    network.model.requires_grad_(trainable)
    with pytest.raises(LayerError, match="no gradient leads from the scores"):
        gradcam(network, batch(), layer="aside")


@pytest.mark.parametrize(
    "shape", [(3, 1, HEIGHT, WIDTH), (HEIGHT, WIDTH, 3), (0, 3, HEIGHT, WIDTH)]
)
def test_images_of_another_kind_are_refused(shape):
    for ask in (saliency, gradcam):
        with pytest.raises(UsageError, match=r"images must be uint8|at least one image"):
            ask(network_of(small()), torch.zeros(shape))


# state


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


# real


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
