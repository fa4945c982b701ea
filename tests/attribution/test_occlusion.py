import numpy as np
import pytest
import torch
from builders.chains import Branching, Shared, photographs, random_network
from builders.networks import CLASSES, HEIGHT, WIDTH, Residual, batch, network_of, small
from builders.placed import placed
from builders.squares import slowly, starts
from torch import nn

from explgraph.attribution import Activation
from explgraph.attribution.occlusion import occlusion
from explgraph.errors import UsageError
from explgraph.network.partial import trace_chain

SQUARES = [(4, 4), (1, 2), (3, 7), (2, 5), (5, 3), (HEIGHT, WIDTH), (1, WIDTH)]


def slow_map(drop, shape, size, stride):
    total, count = np.zeros(shape), np.zeros(shape)
    for i, top in enumerate(starts(shape[0], size[0], stride[0])):
        for j, left in enumerate(starts(shape[1], size[1], stride[1])):
            total[top : top + size[0], left : left + size[1]] += drop[i, j]
            count[top : top + size[0], left : left + size[1]] += 1
    return np.where(count > 0, total / np.maximum(count, 1), 0)


# Definition


@pytest.mark.parametrize("stride", [(4, 4), (3, 5), (7, 2), (20, 30)])
@pytest.mark.parametrize("size", SQUARES)
def test_occlusion_is_a_slow_loop_over_squares(size, stride):
    network, images = network_of(small().double()), batch(2).double()
    score = lambda image: network.model(image)[0, 3]
    expected = slowly(score, images, size, stride, value=0.4)
    found = occlusion(network, images, target=3, size=size, stride=stride, value=0.4)
    assert found.tops.tolist() == starts(HEIGHT, size[0], stride[0])
    assert found.lefts.tolist() == starts(WIDTH, size[1], stride[1])
    assert (found.size, found.method, found.signed) == (size, "occlusion", True)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-7)
    drop = np.array([score(images[i : i + 1]).item() for i in range(2)])[:, None, None] - expected
    np.testing.assert_allclose(found.cells, drop, atol=1e-6)
    for i in range(2):
        np.testing.assert_allclose(
            found.maps[i], slow_map(drop[i], (HEIGHT, WIDTH), size, stride), atol=1e-6
        )


def test_the_probability_and_the_winner_are_those_of_the_hidden_image():
    network, images = network_of(small().double()), 3 * batch(3).double()
    found = occlusion(network, images, size=(6, 9), stride=(4, 5), value=1.0)
    first = network.model(images).argmax(1)
    assert found.targets.indexes.tolist() == first.tolist()
    for i in range(3):
        probability = slowly(
            lambda image, i=i: network.model(image).softmax(1)[0, first[i]],
            images[i : i + 1],
            (6, 9),
            (4, 5),
            1.0,
        )
        winner = slowly(
            lambda image: network.model(image).argmax(), images[i : i + 1], (6, 9), (4, 5), 1.0
        )
        np.testing.assert_allclose(found.probability[i], probability[0], rtol=1e-5)
        assert (found.winner[i].numpy() == winner[0]).all()
        assert np.allclose(
            found.values[i],
            slowly(
                lambda x, i=i: network.model(x)[0, first[i]], images[i : i + 1], (6, 9), (4, 5), 1.0
            )[0],
        )
    assert found.winner.unique().numel() > 1
    assert found.winner.dtype == torch.int64


def test_a_feature_is_watched_in_the_same_passes():
    network, images = network_of(small().double()), batch(2).double()
    total = lambda image: network.model[:3](image)[0, 4].relu().sum()
    found = occlusion(network, images, target=0, feature=Activation("2", 4), size=5, stride=3)
    np.testing.assert_allclose(found.activation, slowly(total, images, (5, 5), (3, 3)), rtol=1e-5)
    np.testing.assert_array_equal(
        found.values, occlusion(network, images, target=0, size=5, stride=3).values
    )
    assert occlusion(network, images, size=9).activation.isnan().all()


def test_each_image_may_have_a_feature_of_its_own():
    network, images = network_of(small()), batch(3)
    together = occlusion(
        network,
        images,
        feature=Activation("2", [1, 4, 0], [[1, 2], [3, 4], [8, 11]]),
        size=7,
        stride=5,
    )
    for i, (channel, cell) in enumerate([(1, (1, 2)), (4, (3, 4)), (0, (8, 11))]):
        alone = occlusion(
            network, images[i : i + 1], feature=Activation("2", channel, cell), size=7, stride=5
        )
        np.testing.assert_allclose(
            together.activation[i], alone.activation[0], rtol=1e-5, atol=1e-7
        )


TARGETS = {
    "its own choice": (None, None),
    "a number": (2, lambda network, x: network.model(x)[0, 2]),
    "a name": ("zebra", lambda network, x: network.model(x)[0, 3]),
    "a channel": (Activation("2", 3), lambda network, x: network.model[:3](x)[0, 3].relu().sum()),
    "a cell": (Activation("4", 1, (5, 2)), lambda network, x: network.model[:5](x)[0, 1, 5, 2]),
    "a node": (
        placed((0.4, 0.6)),
        lambda network, x: placed((0.4, 0.6)).values(network.model[:3](x))[0],
    ),
    "a function": (
        lambda scores: scores[:, 1] - scores[:, 2],
        lambda network, x: network.model(x)[0, 1] - network.model(x)[0, 2],
    ),
}


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_is_asked_is_asked_of_the_hidden_images(name):
    network, images = network_of(small().double()), batch(2).double()
    target, function = TARGETS[name]
    found = occlusion(network, images, target=target, size=(5, 8), stride=(6, 7))
    if function is None:
        function = lambda network, x: network.model(x)[
            0, found.targets.indexes[int(torch.equal(x[0, 0, 17], images[1, 0, 17]))]
        ]
        own = network.model(images).amax(1)
    else:
        own = torch.stack([function(network, image[None]) for image in images])
    expected = slowly(lambda x: function(network, x), images, (5, 8), (6, 7))
    if name != "its own choice":
        np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.targets.scores, own, rtol=1e-6)
    np.testing.assert_allclose(
        found.cells + found.values,
        own[:, None, None].expand(found.values.shape),
        rtol=1e-5,
        atol=1e-6,
    )
    is_class = name in ("its own choice", "a number", "a name")
    assert found.probability.isnan().all() == (not is_class)


def test_a_node_may_have_another_place_in_each_image():
    network, images = network_of(small()), batch(2)
    places = np.array([[0.3, 0.2], [0.7, 0.8]])
    together = occlusion(network, images, target=placed(places), size=5, stride=6)
    for i in range(2):
        alone = occlusion(network, images[i : i + 1], target=placed(places[i]), size=5, stride=6)
        np.testing.assert_allclose(together.values[i], alone.values[0], rtol=1e-4, atol=1e-7)


def test_a_layer_that_runs_twice_is_watched_at_its_first_run():
    network, images = network_of(Shared().double()), batch(1).double()
    first = lambda image: network.model.a(image).relu()[0, 2].sum()
    expected = slowly(first, images, (5, 5), (6, 6))
    as_feature = occlusion(
        network, images, target=1, feature=Activation("relu", 2), size=5, stride=6
    )
    np.testing.assert_allclose(as_feature.activation, expected, rtol=1e-5)
    as_both = occlusion(
        network,
        images,
        target=Activation("relu", 2),
        feature=Activation("relu", 1),
        size=5,
        stride=6,
    )
    np.testing.assert_allclose(as_both.values, expected, rtol=1e-5)
    np.testing.assert_allclose(
        as_both.activation,
        slowly(lambda x: network.model.a(x).relu()[0, 1].sum(), images, (5, 5), (6, 6)),
        rtol=1e-5,
    )


class Named(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = small()

    def forward(self, x):
        return {"scores": self.net(x)}


def test_a_function_may_read_any_output():
    network, images = network_of(Named()), batch(2)
    found = occlusion(
        network, images, target=lambda output: output["scores"][:, 1], size=5, stride=6
    )
    plain = occlusion(network_of(small()), images, target=1, size=5, stride=6)
    np.testing.assert_allclose(found.values, plain.values, rtol=1e-5, atol=1e-7)
    assert (found.winner == -1).all()


# Property


@pytest.mark.parametrize("batch_size", [1, 3, 7, 1000])
def test_the_number_of_squares_in_a_pass_does_not_matter(batch_size):
    network, images = network_of(small()), batch(2)
    expected = occlusion(network, images, size=4, stride=3, feature=Activation("2", 1))
    found = occlusion(
        network, images, size=4, stride=3, feature=Activation("2", 1), batch_size=batch_size
    )
    for name in ("maps", "values", "probability", "activation", "cells"):
        np.testing.assert_allclose(
            getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-6
        )
    assert torch.equal(found.winner, expected.winner)


def test_images_of_a_batch_do_not_bear_on_each_other():
    network, images = network_of(small()), batch(3)
    together = occlusion(network, images, size=4, stride=3)
    apart = torch.cat(
        [occlusion(network, images[i : i + 1], size=4, stride=3).maps for i in range(3)]
    )
    np.testing.assert_allclose(together.maps, apart, rtol=1e-4, atol=1e-6)


def test_a_square_of_what_is_there_already_changes_nothing():
    network = network_of(small())
    images = torch.full((1, 3, HEIGHT, WIDTH), 0.25)
    np.testing.assert_allclose(occlusion(network, images, size=5, value=0.25).maps, 0, atol=1e-6)


def test_pixels_that_no_square_covers_are_zero():
    found = occlusion(network_of(small()), batch(1), size=(2, 3), stride=(6, 8))
    assert found.tops.tolist() == [0, 6, 12, 18][: len(found.tops)]
    covered = np.zeros((HEIGHT, WIDTH), bool)
    for top in found.tops:
        for left in found.lefts:
            covered[top : top + 2, left : left + 3] = True
    assert not covered.all()
    assert not found.maps[0].numpy()[~covered].any()
    assert found.maps[0].numpy()[covered].all()


def test_the_object_is_where_hiding_it_counts():
    """Recovery: a network that sees one bright patch."""
    model = nn.Sequential(
        nn.AvgPool2d(3, 1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(3, 6)
    )
    images = torch.zeros(1, 3, HEIGHT, WIDTH)
    images[:, :, 7:11, 15:20] = 1
    model[4].weight.data.fill_(1)
    found = occlusion(network_of(model), images, target=1, size=5, stride=1)
    row, col = divmod(int(found.cells[0].argmax()), found.cells.shape[2])
    assert found.maps[0, 8, 17] == found.maps.max() > 0
    assert (
        found.tops[row] <= 8 < found.tops[row] + 5,
        found.lefts[col] <= 17 < found.lefts[col] + 5,
    ) == (True, True)
    assert not found.maps[0, :2].any()


def test_progress_counts_every_square_once():
    seen = []
    report = lambda stage, done, total: seen.append((stage, done, total))
    found = occlusion(network_of(small()), batch(2), size=4, stride=3, batch_size=7, report=report)
    total = 2 * len(found.tops) * len(found.lefts)
    assert [done for _, done, _ in seen] == sorted({done for _, done, _ in seen})
    assert seen[-1] == ("occlusion", total, total)


@pytest.mark.parametrize("size", [(5, 5), [5, 5], np.array([5, 5]), np.int64(5)])
def test_sizes_may_come_in_any_sequence(size):
    expected = occlusion(network_of(small()), batch(1), size=5, stride=4)
    np.testing.assert_array_equal(
        occlusion(network_of(small()), batch(1), size=size, stride=4).maps, expected.maps
    )


# Leaving out what cannot change


def test_a_layer_inside_a_block_is_watched_in_whole_passes():
    network, image = random_network("resnet18"), photographs()
    inside = Activation("layer1.1.conv1", 3)
    found = occlusion(network, image, target=inside, size=(9, 17), stride=(20, 30))
    outside = occlusion(
        network, image, feature=Activation("layer1.1", 3), size=(9, 17), stride=(20, 30)
    )
    assert not found.incremental.any()
    assert outside.incremental.all()

    def total(images, layer):
        held = []
        with network.watch(
            [layer], lambda _, maps: held.append(maps[0, 3].relu().sum()), stop=True
        ) as run:
            run(images.clone())
        return held[0]

    for values, layer in ((found.values, inside.layer), (outside.activation, "layer1.1")):
        np.testing.assert_allclose(
            values,
            slowly(lambda x, layer=layer: total(x, layer), image, (9, 17), (20, 30)),
            rtol=1e-5,
        )


def test_a_network_that_cannot_be_traced_is_computed_whole():
    network, images = network_of(Branching()), batch(2)
    assert trace_chain(network) is None
    found = occlusion(network, images, target=1, size=(5, 8), stride=(6, 7), value=0.5)
    np.testing.assert_allclose(
        found.values,
        slowly(lambda x: network.model(x)[0, 1], images, (5, 8), (6, 7), 0.5),
        rtol=1e-4,
        atol=1e-6,
    )
    assert not found.incremental.any()


def test_blocks_with_shortcuts_are_right():
    network, images = network_of(Residual().double()), batch(2).double()
    found = occlusion(network, images, target=1, size=(5, 8), stride=(6, 7))
    np.testing.assert_allclose(
        found.values,
        slowly(lambda x: network.model(x)[0, 1], images, (5, 8), (6, 7)),
        rtol=1e-5,
        atol=1e-7,
    )


# Odd requests


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"size": 0},
            "size must be a whole number of pixels of at least 1, or .down, across., got 0",
        ),
        ({"size": -3}, "size must be .* got -3"),
        ({"size": 2.5}, "size must be .* got 2.5"),
        ({"size": True}, "size must be .* got True"),
        ({"size": (3, 4, 5)}, "size must be"),
        ({"size": "33"}, "size must be"),
        ({"size": None}, "size must be"),
        ({"stride": 0}, "stride must be .* got 0"),
        ({"stride": (3, -1)}, r"stride must be .* got \(3, -1\)"),
        ({"size": (HEIGHT + 1, 3)}, "must fit the input of 18 x 24 pixels, got 19 x 3"),
        ({"size": (3, WIDTH + 1)}, "must fit the input of 18 x 24 pixels, got 3 x 25"),
        ({}, "must fit the input of 18 x 24 pixels, got 48 x 48"),
        ({"size": 4, "batch_size": 0}, "batch_size must be at least 1 and value finite, got 0"),
        ({"size": 4, "value": float("nan")}, "value finite, got 32 and nan"),
        ({"size": 4, "value": float("inf")}, "value finite, got 32 and inf"),
        ({"size": 4, "feature": 3}, "feature must be an Activation, the channel to watch, got 3"),
        (
            {"size": 4, "feature": Activation("2", 7)},
            "layer '2' has 7 channels, counted from 0; got 7",
        ),
        (
            {"size": 4, "feature": Activation("2", 0, (9, 0))},
            r"layer '2' has 9 x 12 cells, counted from 0; got \(9, 0\)",
        ),
        ({"size": 4, "feature": Activation("22", 0)}, "'22' is no layer of tests:small"),
        (
            {"size": 4, "feature": Activation("8", 6)},
            "layer '8' has 6 channels, counted from 0; got 6",
        ),
        ({"size": 4, "target": CLASSES[2]}, "'crane' fits 2 classes"),
    ],
)
def test_squares_that_cannot_be_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        occlusion(network_of(small()), batch(2), **options)
