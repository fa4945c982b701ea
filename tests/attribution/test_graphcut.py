import itertools

import networkx
import numpy as np
import pytest

from explgraph.attribution import boxes_of, map_to_image
from explgraph.attribution.graphcut import Links, contrast_links, minimum_cut, segment
from explgraph.errors import UsageError
from explgraph.images import Frame

HEIGHT, WIDTH = 30, 40
BLUE, RED = (20, 40, 200), (220, 30, 30)


def scene(*boxes, size=(HEIGHT, WIDTH), noise=0):
    """Red boxes (x, y, width, height) on blue ground, and where they are."""
    image, inside = np.full((*size, 3), BLUE, np.int64), np.zeros(size, bool)
    for x, y, width, height in boxes:
        image[y : y + height, x : x + width] = RED
        inside[y : y + height, x : x + width] = True
    image += np.random.default_rng(0).integers(-noise, noise + 1, image.shape)
    return image.clip(0, 255).astype(np.uint8), inside


def bump(x, y, *, size=(HEIGHT, WIDTH), std=3.0):
    """A map that peaks at the pixel (x, y)."""
    rows, cols = np.mgrid[: size[0], : size[1]]
    return np.exp(-((rows - y) ** 2 + (cols - x) ** 2) / (2 * std**2))


def random_problem(height, width, *, connectivity=8, seed=0):
    rng = np.random.default_rng(seed)
    links = contrast_links(
        rng.random((height, width, 3)), smoothness=rng.uniform(0.5, 5), connectivity=connectivity
    )
    return rng.normal(0, 4, (height, width)), links


def energy(mask, unary, links):
    """Slowly: what the pixels left out would have paid for, plus every pair that is parted."""
    flat = mask.ravel()
    total = sum(u for u, label in zip(unary.ravel(), flat, strict=True) if not label)
    return total + sum(v for p, q, v in zip(*links, strict=True) if flat[p] != flat[q])


# Definition


def test_the_links_are_those_of_the_formula():
    colours = np.random.default_rng(1).random((3, 4, 3))
    for connectivity, reach in ((4, 1.0), (8, 1.5)):
        places = list(itertools.product(range(3), range(4)))
        pairs = {
            (4 * p[0] + p[1], 4 * q[0] + q[1]): np.hypot(p[0] - q[0], p[1] - q[1])
            for p, q in itertools.combinations(places, 2)
            if np.hypot(p[0] - q[0], p[1] - q[1]) < reach + 0.1
        }
        flat = colours.reshape(-1, 3)
        contrast = {(p, q): ((flat[p] - flat[q]) ** 2).sum() for p, q in pairs}
        variance = np.mean(list(contrast.values()))
        links = contrast_links(colours, smoothness=7, connectivity=connectivity)
        found = {(min(p, q), max(p, q)): v for p, q, v in zip(*links, strict=True)}
        assert len(found) == len(links.first) == len(pairs)
        for pair, distance in pairs.items():
            assert found[pair] == pytest.approx(
                7 * np.exp(-contrast[pair] / (2 * variance)) / distance
            )


@pytest.mark.parametrize("connectivity", [4, 8])
@pytest.mark.parametrize("seed", range(6))
def test_no_labelling_of_a_small_grid_is_cheaper(seed, connectivity):
    unary, links = random_problem(3, 4, connectivity=connectivity, seed=seed)
    labellings = (np.arange(2**12)[:, None] >> np.arange(12)) & 1 == 1
    costs = np.where(labellings, 0, unary.ravel()).sum(1)
    costs += np.where(
        labellings[:, links.first] != labellings[:, links.second], links.weight, 0
    ).sum(1)
    mask = minimum_cut(unary, links)
    assert energy(mask, unary, links) == pytest.approx(costs.min(), abs=1e-5)
    assert energy(labellings[77].reshape(3, 4), unary, links) == pytest.approx(costs[77])


@pytest.mark.parametrize("seed", range(3))
def test_the_cut_is_that_of_another_solver(seed):
    unary, links = random_problem(9, 7, seed=seed)
    unary[2, 3], unary[6, 5] = np.inf, -np.inf
    graph = networkx.Graph()
    for p, q, v in zip(*links, strict=True):
        graph.add_edge(int(p), int(q), capacity=float(v))
    for p, u in enumerate(unary.ravel()):
        graph.add_edge("object" if u > 0 else "rest", p, capacity=min(abs(float(u)), 1e6))
    inside = networkx.minimum_cut(graph, "object", "rest")[1][0]
    expected = np.array([p in inside for p in range(unary.size)]).reshape(unary.shape)
    np.testing.assert_array_equal(minimum_cut(unary, links), expected)
    assert expected[2, 3]
    assert not expected[6, 5]


# Property


def test_without_links_every_pixel_judges_for_itself():
    unary, links = random_problem(9, 7)
    np.testing.assert_array_equal(
        minimum_cut(unary, links._replace(weight=0 * links.weight)), unary > 0
    )
    single = Links(np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    np.testing.assert_array_equal(
        minimum_cut(np.array([[0.1, 0.0, -0.1]]), single), [[True, False, False]]
    )
    assert not minimum_cut(np.zeros((2, 2)), single).any()


def test_strong_links_make_all_pixels_agree():
    unary, links = random_problem(9, 7)
    for shift in (-1, 1):
        tilted = unary - unary.mean() + shift
        mask = minimum_cut(tilted, links._replace(weight=np.full_like(links.weight, 1e4)))
        assert (mask == (shift > 0)).all()


def test_overwhelming_preferences_stay_exact_beside_small_ones():
    unary, links = random_problem(9, 7)
    larger = np.where(np.arange(63).reshape(9, 7) % 5 == 0, np.sign(unary) * 1e300, unary)
    fixed = np.where(np.abs(larger) > 1e200, np.sign(larger) * np.inf, larger)
    np.testing.assert_array_equal(minimum_cut(larger, links), minimum_cut(fixed, links))


@pytest.mark.parametrize(
    "turn", [lambda x: x[::-1], lambda x: x[:, ::-1], lambda x: x.swapaxes(0, 1)]
)
@pytest.mark.parametrize("connectivity", [4, 8])
def test_mirrored_and_turned_problems_have_mirrored_and_turned_cuts(turn, connectivity):
    rng = np.random.default_rng(3)
    colours, unary = rng.random((9, 7, 3)), rng.normal(0, 4, (9, 7))
    expected = turn(
        minimum_cut(unary, contrast_links(colours, smoothness=2, connectivity=connectivity))
    )
    links = contrast_links(turn(colours), smoothness=2, connectivity=connectivity)
    np.testing.assert_array_equal(minimum_cut(turn(unary), links), expected)


@pytest.mark.parametrize(
    "options", [{}, {"hard_seeds": True}, {"connectivity": 4}, {"components": 1}, {"smoothness": 0}]
)
def test_a_patch_with_the_peak_inside_is_recovered_exactly(options):
    image, inside = scene((12, 5, 11, 9))
    found = segment(image, bump(17, 9, std=2), foreground=0.97, **options)
    np.testing.assert_array_equal(found.mask, inside)
    assert found.box == (12, 5, 11, 9)


def test_noise_does_not_fray_the_patch():
    image, inside = scene((12, 5, 11, 9), noise=60)
    assert (segment(image, bump(17, 9), smoothness=20).mask == inside).all()


def test_colour_is_carried_on_but_only_the_largest_component_is_kept():
    image, _ = scene((2, 3, 6, 5), (15, 8, 20, 12), (37, 0, 3, 3))
    found = segment(
        image, bump(4, 5, std=1.5), foreground=0.98
    )  # the peak lies on the smaller patch of the same colour
    assert found.box == (15, 8, 20, 12)
    assert found.mask.sum() == 20 * 12


def test_hard_seeds_keep_their_label_whatever_their_colour():
    image, _ = scene((12, 5, 11, 9))
    image[8:10, 16:18] = BLUE  # a hole of the ground's colour, where the map peaks
    map = bump(17, 9)
    soft, hard = (segment(image, map, hard_seeds=x, smoothness=0.1) for x in (False, True))
    assert not soft.mask[8:10, 16:18].any()
    assert hard.mask[8:10, 16:18].all()
    assert hard.box == soft.box == (12, 5, 11, 9)


def test_the_same_request_gives_the_same_mask():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    map = bump(20, 15, std=9) + 0.3 * rng.random((HEIGHT, WIDTH))
    first, again = (segment(image, map, smoothness=1) for _ in range(2))
    np.testing.assert_array_equal(first.mask, again.mask)
    assert first.box == again.box


@pytest.mark.parametrize("factor", [1e-6, 3.0, 1e6])
def test_only_the_order_of_the_maps_values_counts(factor):
    image, _ = scene((12, 5, 11, 9), noise=60)
    expected = segment(image, bump(17, 9))
    np.testing.assert_array_equal(segment(image, factor * bump(17, 9) - 1).mask, expected.mask)


def test_large_inputs_are_cut_on_a_coarser_grid():
    image, inside = scene((120, 60, 110, 90), size=(300, 400))
    map = bump(170, 100, size=(300, 400), std=25)
    fine, coarse = (
        segment(image, map, foreground=0.97, side=400),
        segment(image, map, foreground=0.97, side=100),
    )
    np.testing.assert_array_equal(fine.mask, inside)
    assert coarse.mask.shape == (300, 400)
    assert np.abs(np.subtract(coarse.box, (120, 60, 110, 90))).max() <= 2


# Frames


def test_the_box_is_in_pixels_of_the_photograph():
    image, inside = scene((12, 5, 11, 9))
    frame = Frame((100, 50, 4 * WIDTH, 2 * HEIGHT), HEIGHT, WIDTH)
    found = segment(image, bump(17, 9, std=2), foreground=0.97, frame=frame)
    assert found.box == (100 + 4 * 12, 50 + 2 * 5, 4 * 11, 2 * 9)
    # The mirrored view of the same photograph: the mask is the view's, the box the photograph's.
    other = segment(
        image[:, ::-1], bump(17, 9, std=2)[:, ::-1], foreground=0.97, frame=frame, mirrored=True
    )
    assert other.box == found.box
    np.testing.assert_array_equal(other.mask, inside[:, ::-1])
    shown = map_to_image(other.mask, frame, (300, 200), mirrored=True)
    assert boxes_of(shown, threshold=0.5) == [found.box]


def test_a_letterboxs_padding_gives_no_colours_and_is_never_object():
    frame = Frame((0, 0, 40, 10), HEIGHT, WIDTH, "letterbox")
    assert frame.content == (0, 10, 40, 10)
    image, inside = scene((12, 12, 9, 5))
    image[:10] = image[20:] = RED
    map = bump(16, 14, std=2)
    map[:10], map[20:] = 5, -5
    found = segment(image, map, foreground=0.93, frame=frame)
    np.testing.assert_array_equal(found.mask, inside)
    assert found.box == (12, 2, 9, 5)


# Odd requests


@pytest.mark.parametrize("size", [(HEIGHT, WIDTH), (1, 1), (1, 5)])
def test_a_map_without_contrast_gives_no_object(size):
    image, _ = scene(size=size)
    for value in (0, 3, -2):
        found = segment(image, np.full(size, value))
        assert found.box is None
        assert found.mask.shape == size
        assert not found.mask.any()


def test_maps_of_few_values_still_seed():
    image, inside = scene((12, 5, 11, 9))
    single = np.zeros((HEIGHT, WIDTH))
    single[9, 17] = 1  # both quantiles are 0
    for map in (single, inside):  # the upper quantile is the maximum
        np.testing.assert_array_equal(segment(image, map).mask, inside)


def test_an_image_of_one_colour_has_no_boundary_to_find():
    image, _ = scene()
    found = segment(image, bump(17, 9))
    assert not found.mask.any()
    assert found.box is None


@pytest.mark.parametrize("size", [(1, 7), (7, 1), (2, 2)])
def test_thin_images_are_cut_too(size):
    image, _ = scene((0, 0, 1, 1), size=size)
    assert segment(image, bump(0, 0, size=size)).box == (0, 0, 1, 1)


def test_impossible_requests_are_refused():
    image, map = scene()[0], bump(3, 4)
    broken = map.copy()
    broken[0, 0] = np.nan
    for arguments, options, message in [
        ((image, map), {"foreground": 0.3, "background": 0.3}, "background < foreground"),
        ((image, map), {"foreground": 1.1}, "background < foreground"),
        ((image, map), {"background": float("nan")}, "background < foreground"),
        ((image, map), {"components": 0}, "at least 1"),
        ((image, map), {"side": 0}, "at least 1"),
        ((image, map), {"smoothness": -1}, "0 or more"),
        ((image, map), {"smoothness": float("inf")}, "0 or more"),
        ((image, map), {"connectivity": 6}, "4 or 8"),
        ((image, map[:, 1:]), {}, r"\(30, 40\), got \(30, 39\)"),
        ((image, map[None]), {}, r"got \(1, 30, 40\)"),
        ((image, broken), {}, "must be finite"),
        ((image / 255, map), {}, "uint8"),
        ((image[..., 0], map), {}, "uint8"),
        ((image[:0], map[:0]), {}, "uint8"),
        ((image, map), {"frame": Frame((0, 0, 9, 9), WIDTH, HEIGHT)}, "frame"),
    ]:
        with pytest.raises(UsageError, match=message):
            segment(*arguments, **options)
