import itertools

import numpy as np
import pytest
import torch
from builders import tiny_network
from builders.tiny_network import BOTTOM, MIDDLE, TOP

from explgraph.attribution.correspondence import correspondence, hide, pair_distances
from explgraph.errors import LayerError, UsageError
from explgraph.network import feature_maps, load_network

HEIGHT, WIDTH = tiny_network.Tiny.input_size
LAYERS = [TOP, BOTTOM]


@pytest.fixture(scope="module")
def network():
    return load_network("builders.tiny_network:make")


def noise(n=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, HEIGHT, WIDTH, 3), dtype=np.uint8)


def squares(n=5, seed=0, side=12):
    places = np.random.default_rng(seed).integers(0, (WIDTH - side, HEIGHT - side), (n, 2))
    return np.column_stack([places, np.full((n, 2), side)]).astype(float)


def slowly(network, images, boxes, layer):
    """Section 4.4, one image and one pair at a time."""
    changes = []
    for image, (x, y, width, height) in zip(images, boxes.astype(int), strict=True):
        whole = network.preprocess(torch.as_tensor(image[None]))
        masked = whole.clone()
        masked[:, :, y : y + height, x : x + width] = 0
        with torch.no_grad():
            x_i, hidden = (
                feature_maps(network.model, value, [layer])[layer] for value in (whole, masked)
            )
        changes.append(np.sign((x_i - hidden).numpy()).ravel())
    return np.array([(one != other).mean() for one, other in itertools.combinations(changes, 2)])


# Definition


def test_the_distances_are_those_of_a_slow_loop():
    signs = np.random.default_rng(0).integers(-1, 2, (7, 301)).astype(np.int8)
    expected = [
        np.mean([a != b for a, b in zip(*pair, strict=True)])
        for pair in itertools.combinations(signs, 2)
    ]
    np.testing.assert_allclose(pair_distances(signs), expected, rtol=1e-12)


def test_many_dimensions_are_counted_exactly():
    signs = np.random.default_rng(0).integers(-1, 2, (3, 200_001)).astype(np.int8)
    expected = [np.count_nonzero(a != b) for a, b in itertools.combinations(signs, 2)]
    assert np.rint(pair_distances(signs) * 200_001).tolist() == expected


def test_the_table_is_that_of_the_paper(network):
    images, boxes = noise(), squares()
    table = correspondence(network, images, {"head": boxes}, LAYERS)
    assert [(row.layer, row.part, row.n_images, row.pairs) for row in table] == [
        (layer, "head", 5, 10) for layer in LAYERS
    ]
    for row in table:
        expected = slowly(network, images, boxes, row.layer)
        assert expected.min() > 0
        assert (row.mean, row.std) == pytest.approx(
            (expected.mean(), expected.std()), abs=1e-3
        )  # signs of changes about 0


def test_the_mask_covers_the_pixels_whose_centres_are_inside():
    hidden = hide(torch.ones(2, 3, 5, 7), np.array([[1, 2, 3, 2], [0, 0, 7, 1]]))
    expected = torch.ones(2, 3, 5, 7)
    expected[0, :, 2:4, 1:4] = 0
    expected[1, :, :1] = 0
    assert torch.equal(hidden, expected)


def test_fractions_of_pixels_and_what_lies_outside_are_rounded_and_cut_off(network):
    images = noise(3)
    rough = np.array([[-9, 3.4, 20.6, 9.2], [4.5, 5.5, 10, 12], [60, 40, 90, 90]])
    whole = np.array([[0.0, 3, 12, 10], [4, 5, 10, 12], [60, 40, 4, 8]])
    assert correspondence(network, images, {"a": rough}, LAYERS) == correspondence(
        network, images, {"a": whole}, LAYERS
    )


# Property


def test_identical_images_and_masks_do_not_differ(network):
    images, boxes = np.repeat(noise(1), 4, axis=0), np.repeat(squares(1), 4, axis=0)
    for row in correspondence(network, images, {"same": boxes}, LAYERS):
        assert row.mean == row.std == 0
        assert row.random_mean > 0.01


def test_unrelated_masks_are_as_far_apart_as_random_ones(network):
    for row in correspondence(
        network, noise(16), {"nothing": squares(16, seed=5)}, LAYERS, n_random=20
    ):
        assert row.random_error < row.random_mean / 5
        assert abs(row.mean - row.random_mean) < 3 * row.random_error


def test_a_thing_that_looks_alike_is_nearer_than_random_places(network):
    images, places = noise(8), np.tile([20.0, 16, 14, 14], (8, 1))
    images[:, 14:32, 18:36] = noise(1, seed=9)[0, 14:32, 18:36]
    for row in correspondence(network, images, {"thing": places}, LAYERS):
        assert row.mean < 0.8 * row.random_mean


def test_the_order_of_the_images_changes_nothing(network):
    images, boxes, order = noise(), squares(), [3, 1, 4, 0, 2]
    for row, other in zip(
        correspondence(network, images, {"head": boxes}, LAYERS),
        correspondence(network, images[order], {"head": boxes[order]}, LAYERS),
        strict=True,
    ):
        assert (row.mean, row.std, row.pairs) == pytest.approx(
            (other.mean, other.std, other.pairs), abs=1e-3
        )


def test_batches_change_nothing(network):
    images, boxes = noise(), squares()
    rows = [
        correspondence(network, images, {"head": boxes}, LAYERS, batch_size=size)
        for size in (1, 2, 5, 64)
    ]
    for row in rows:
        assert [x.mean for x in row] == pytest.approx([x.mean for x in rows[0]], abs=1e-3)
        assert [x.random_mean for x in row] == pytest.approx(
            [x.random_mean for x in rows[0]], abs=1e-3
        )


def test_a_row_depends_neither_on_the_other_parts_nor_on_the_other_layers(network):
    images, masks = noise(), {"head": squares(seed=1), "tail": squares(seed=2, side=7)}
    table = correspondence(network, images, masks, [TOP, MIDDLE, BOTTOM])
    assert [(row.part, row.layer) for row in table] == list(
        itertools.product(masks, [TOP, MIDDLE, BOTTOM])
    )
    assert correspondence(network, images, {"tail": masks["tail"]}, [MIDDLE]) == [table[4]]


def test_the_seed_decides_the_random_places_alone(network):
    images, masks = noise(), {"head": squares()}
    (first,), (again,), (other,) = (
        correspondence(network, images, masks, [TOP], seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.random_mean != other.random_mean
    assert (first.mean, first.std) == (other.mean, other.std)


def test_images_without_the_part_are_left_out_of_it(network):
    images, boxes = noise(), squares()
    boxes[1], boxes[3, 2] = np.nan, np.nan
    kept = [0, 2, 4]
    partly = correspondence(network, images, {"head": boxes}, LAYERS)
    assert partly == correspondence(network, images[kept], {"head": boxes[kept]}, LAYERS)
    assert [(row.n_images, row.pairs) for row in partly] == [(3, 3)] * 2


def test_one_repetition_has_no_error_between_repetitions(network):
    (row,) = correspondence(network, noise(2), {"head": squares(2)}, [TOP], n_random=1)
    assert np.isnan([row.random_error, row.shuffled_error]).all()
    assert (row.pairs, row.std) == (1, 0)


def test_shuffling_two_images_swaps_their_boxes(network):
    images, boxes = noise(2), squares(2, side=30)
    (row,) = correspondence(network, images, {"head": boxes}, [TOP])
    (swapped,) = correspondence(network, images, {"head": boxes[::-1]}, [TOP])
    assert row.mean != row.shuffled_mean == pytest.approx(swapped.mean)
    assert row.shuffled_error == pytest.approx(0)


def test_masks_that_overlap_are_near_for_that_alone_and_shuffling_tells(network):
    boxes = np.tile([20.0, 16, 14, 14], (12, 1)) + np.random.default_rng(0).integers(
        -2, 3, (12, 4)
    ) * [1, 1, 0, 0]
    for row in correspondence(network, noise(12), {"nothing": boxes}, LAYERS):
        assert row.mean < 0.8 * row.random_mean
        assert row.mean == pytest.approx(row.shuffled_mean, rel=0.05)


@pytest.mark.parametrize("window", [0, 1, 3])
def test_a_window_follows_the_mask_wherever_it_is(network, window):
    patch, ground, stride = (
        noise(1, seed=9)[0, :12, :12],
        np.full((HEIGHT, WIDTH, 3), 90, np.uint8),
        4,
    )
    images, boxes = np.repeat(ground[None], 3, axis=0), np.tile([0.0, 0, 12, 12], (3, 1))
    for image, box, (y, x) in zip(images, boxes, [(16, 16), (16, 36), (24, 28)], strict=True):
        assert x % stride == y % stride == 0
        image[y : y + 12, x : x + 12] = patch
        box[:2] = x, y
    whole, cut = (
        correspondence(network, images, {"patch": boxes}, [TOP, MIDDLE], window=w)[1]
        for w in (None, window)
    )
    assert cut.layer == MIDDLE
    assert whole.mean > 0.05
    assert cut.mean < 0.01


def test_a_window_as_large_as_the_map_sees_the_same_changes(network):
    images, boxes = (
        noise(),
        np.tile([24.0, 16, 16, 16], (5, 1)),
    )  # all at one place, so that the windows are too
    (whole,), (cut,) = (
        correspondence(network, images, {"head": boxes}, [TOP], window=w) for w in (None, 16)
    )
    assert cut.mean * 33**2 == pytest.approx(whole.mean * 12 * 16)


def test_images_may_be_the_networks_input_itself(network):
    images, masks = noise(), {"head": squares()}
    given = network.preprocess(torch.as_tensor(images))
    before = given.clone()
    assert correspondence(network, given, masks, LAYERS) == correspondence(
        network, images, masks, LAYERS
    )
    assert torch.equal(given, before)


# Odd requests


def test_impossible_requests_are_refused(network):
    images, boxes = noise(3), squares(3)
    outside, missing, infinite = boxes.copy(), boxes.copy(), boxes.copy()
    outside[2, 0], missing[1:], infinite[0, 2] = WIDTH + 5, np.nan, np.inf
    for masks, options, message in [
        ({}, {}, "at least one part"),
        ({"head": boxes[:2]}, {}, r"shape \(3, 4\), got \(2, 4\)"),
        ({"head": boxes[:, :3]}, {}, "shape"),
        ({"head": missing}, {}, "'head' must be in at least 2 images"),
        ({"head": outside}, {}, "image 2"),
        ({"head": infinite}, {}, "finite"),
        ({"head": boxes * [1, 1, -1, 1]}, {}, "cover a pixel of the 64 x 48 input"),
        ({"head": boxes}, {"n_random": 0}, "at least 1"),
        ({"head": boxes}, {"batch_size": 0}, "at least 1"),
        ({"head": boxes}, {"window": -1}, "window 0 or more"),
    ]:
        with pytest.raises(UsageError, match=message):
            correspondence(network, images, masks, [TOP], **options)
    with pytest.raises(LayerError, match="features"):
        correspondence(network, images, {"head": boxes}, ["features.99"])
    with pytest.raises(UsageError, match="layer 'classifier' has no places for a window"):
        correspondence(network, images, {"head": boxes}, ["classifier"], window=1)
    with pytest.raises(UsageError, match="images must be"):
        correspondence(network, images / 255, {"head": boxes}, [TOP])
