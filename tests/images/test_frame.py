import numpy as np
import pytest

from explgraph.errors import UsageError
from explgraph.images import FITS, Frame, clip_box, mirror

CORNERS = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])


def random_frames(fit, count=50):
    rng = np.random.default_rng(3)
    for _ in range(count):
        box = (*rng.uniform(0, 5000, 2), *rng.uniform(1, 5000, 2))
        yield (
            Frame(
                tuple(map(float, box)), int(rng.integers(1, 500)), int(rng.integers(1, 500)), fit
            ),
            rng,
        )


@pytest.mark.parametrize("fit", FITS)
def test_box_to_input_to_box_is_the_identity(fit):
    for frame, rng in random_frames(fit):
        x, y, width, height = frame.box
        points = np.array([x, y]) + rng.uniform(-0.5, 1.5, (7, 5, 2)) * [width, height]
        flags = rng.random((7, 5)) < 0.5
        back = frame.to_image(frame.to_input(points, mirrored=flags), mirrored=flags)
        assert back.shape == points.shape
        np.testing.assert_allclose(back, points, rtol=0, atol=1e-9)


@pytest.mark.parametrize("fit", FITS)
def test_input_to_box_to_input_is_the_identity(fit):
    for frame, rng in random_frames(fit):
        places = rng.uniform(size=(11, 2))
        np.testing.assert_allclose(
            frame.to_input(frame.to_image(places)), places, rtol=0, atol=1e-9
        )


def test_stretching_puts_the_corners_of_the_input_on_the_corners_of_the_box():
    frame = Frame((10.0, 20.0, 30.0, 50.0), height=60, width=90)
    np.testing.assert_allclose(frame.to_image(CORNERS), [[10, 20], [40, 20], [10, 70], [40, 70]])


def test_centre_of_the_first_input_pixel_is_half_an_input_pixel_from_the_corner():
    frame = Frame((10.0, 20.0, 30.0, 50.0), height=100, width=90)
    np.testing.assert_allclose(frame.to_image([0.5 / 100, 0.5 / 90]), [10 + 0.5 / 3, 20 + 0.5 / 2])


def test_letterbox_keeps_the_aspect_and_centres_the_box():
    frame = Frame((100.0, 40.0, 200.0, 100.0), height=224, width=224, fit="letterbox")
    assert frame.content == (0, 56, 224, 112)
    assert frame.region == (100.0, -10.0, 200.0, 200.0)
    np.testing.assert_allclose(frame.to_image([0.5, 0.5]), [200, 90])


def test_letterboxed_content_is_the_box_exactly_even_where_pixels_round():
    for frame, _ in random_frames("letterbox"):
        left, top, width, height = frame.content
        x, y, box_width, box_height = frame.box
        places = np.array([[top, left], [top + height, left + width]]) / [frame.height, frame.width]
        np.testing.assert_allclose(
            frame.to_image(places), [[x, y], [x + box_width, y + box_height]], atol=1e-9
        )


def test_thin_boxes_keep_at_least_one_pixel_in_the_letterbox():
    assert Frame((0.0, 0.0, 5000.0, 1.0), height=30, width=40, fit="letterbox").content == (
        0,
        14,
        40,
        1,
    )


def test_mirrored_places_are_found_on_the_other_side_and_rows_stay():
    frame = Frame((0.0, 0.0, 100.0, 50.0), height=50, width=100)
    points = frame.to_image([[0.1, 0.2], [0.1, 0.2]], mirrored=[False, True])
    np.testing.assert_allclose(points, [[20, 5], [80, 5]])
    np.testing.assert_allclose(mirror(mirror([0.1, 0.2])), [0.1, 0.2])


def test_places_outside_of_the_box_are_mapped_on():
    frame = Frame((10.0, 20.0, 30.0, 50.0), height=60, width=90)
    np.testing.assert_allclose(frame.to_input([-20.0, 120.0]), [2.0, -1.0])


def test_single_precision_places_are_mapped_in_double_precision():
    frame = Frame((4000.0, 20.0, 30.0, 50.0), height=60, width=90)
    assert frame.to_image(np.full((3, 2), 0.5, np.float32)).dtype == np.float64


def test_no_places_give_no_points():
    assert Frame((0.0, 0.0, 3.0, 5.0), height=4, width=6).to_image(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 0, 5, 5), 10, 20, "crop"), "stretch, letterbox"),
        (((0, 0, 5, 5), 0, 20), "at least 1 x 1"),
        (((0, 0, 0, 5), 10, 20), "positive width"),
        (((0, 0, float("nan"), 5), 10, 20), "positive width"),
    ],
)
def test_impossible_frames_are_refused(arguments, message):
    with pytest.raises(UsageError, match=message):
        Frame(*arguments)


@pytest.mark.parametrize("places", [0.5, [1.0, 2.0, 3.0]])
def test_places_that_are_no_pairs_are_refused(places):
    with pytest.raises(UsageError, match="shape"):
        Frame((0, 0, 5, 5), 10, 20).to_image(places)


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ((10, 5, 20, 10), (10.0, 5.0, 20.0, 10.0)),
        ((-10, -5, 120, 70), (0.0, 0.0, 100.0, 50.0)),
        ((99, 10, 20, 10), (99.0, 10.0, 1.0, 10.0)),
        ((99.5, 10, 20, 10), None),
        ((100, 10, 20, 10), None),
        ((-20, 10, 20, 10), None),
        ((10, 5, float("nan"), 10), None),
    ],
)
def test_boxes_are_clipped_to_the_image(box, clipped):
    assert clip_box(box, 100, 50) == clipped
