import numpy as np
import pytest

from explgraph.attribution import boxes_of, map_to_image
from explgraph.attribution.boxes import resample
from explgraph.errors import UsageError
from explgraph.images import Frame

HEIGHT, WIDTH = 30, 40


def bump(frame, point, *, std=2.0):
    """A map of the network input that peaks where the image's ``point`` (x, y) is."""
    row, col = frame.to_input(point) * (frame.height, frame.width)
    rows, cols = np.mgrid[: frame.height, : frame.width] + 0.5
    return np.exp(-((rows - row) ** 2 + (cols - col) ** 2) / (2 * std**2)).astype(np.float32)


def peak_of(map):
    row, col = np.unravel_index(map.argmax(), map.shape)
    return int(col), int(row)


def test_resampling_is_bilinear_between_cells_and_held_beyond():
    maps = np.array([[0.0, 10.0], [20.0, 30.0]], np.float32)
    expected = [[0, 2.5, 10], [10, 12.5, 20], [20, 22.5, 30]]
    np.testing.assert_allclose(resample(maps, [-3, 0.5, 1.4], [0, 0.25, 9]), expected)


def test_wide_steps_average_what_lies_between():
    maps = np.zeros((1, 8), np.float32)
    maps[0, 4] = 1.0  # a sample every 4 cells at 1.5 and 5.5 would miss it
    assert resample(maps, [0], [1.5, 5.5]).max() == 0
    assert resample(maps, [0], [1.5, 5.5], spread=(1, 4)).max() > 0.1


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 200, 90), (20.25, 11.5, 100.5, 60.75), (31, 4, 25, 80)])
def test_a_peak_lands_on_its_pixel_of_the_image(fit, mirrored, box):
    frame, size = Frame(box, HEIGHT, WIDTH, fit), (200, 90)
    for point in [(40.5, 40.5), (50.5, 20.5), (33.5, 70.5)]:
        map = bump(frame, point, std=4)
        result = map_to_image(map[:, ::-1] if mirrored else map, frame, size, mirrored=mirrored)
        assert result.shape == (90, 200)
        assert result.dtype == np.float32
        rows, cols = np.mgrid[:90, :200] + 0.5
        # Bilinear values peak at a pixel of the input, so the centre of mass about the peak tells
        # more than the maximum.
        near = (result > 0.3) & (np.abs(cols - point[0]) < 20) & (np.abs(rows - point[1]) < 20)
        centre = (
            np.average(cols[near], weights=result[near]),
            np.average(rows[near], weights=result[near]),
        )
        pitch = np.array([frame.region[2] / WIDTH, frame.region[3] / HEIGHT])
        assert (np.abs(np.array(peak_of(result)) + 0.5 - point) <= np.maximum(pitch, 1)).all()
        if (
            min(point[0] - box[0], box[0] + box[2] - point[0]) > 20
            and min(point[1] - box[1], box[1] + box[3] - point[1]) > 20
        ):
            assert np.abs(np.subtract(centre, point)).max() < 0.35


def test_a_map_of_the_images_own_size_comes_back_unchanged():
    map = np.random.default_rng(0).random((HEIGHT, WIDTH), np.float32)
    result = map_to_image(map, Frame((3, 2, WIDTH, HEIGHT), HEIGHT, WIDTH), (50, 36))
    np.testing.assert_allclose(result[2:32, 3:43], map, rtol=1e-6)
    result[2:32, 3:43] = 0
    assert not result.any()


def test_a_row_of_steps_keeps_its_place_under_whole_factors():
    map = np.zeros((HEIGHT, WIDTH), np.float32)
    map[10, 7] = 1
    larger = map_to_image(
        map, Frame((0, 0, 3 * WIDTH, 3 * HEIGHT), HEIGHT, WIDTH), (3 * WIDTH, 3 * HEIGHT)
    )
    assert peak_of(larger) == (3 * 7 + 1, 3 * 10 + 1)
    assert larger.max() == 1
    smaller = map_to_image(
        map, Frame((0, 0, WIDTH // 2, HEIGHT // 2), HEIGHT, WIDTH), (WIDTH // 2, HEIGHT // 2)
    )
    assert peak_of(smaller) == (3, 5)


def test_a_letterboxs_padding_bears_on_nothing():
    frame = Frame((0, 0, 40, 10), HEIGHT, WIDTH, "letterbox")
    left, top, width, height = frame.content
    assert (left, top, width, height) == (0, 10, 40, 10)
    map = np.full((HEIGHT, WIDTH), 100, np.float32)
    map[10:20] = 0
    map[14:16, 20:25] = 1
    assert map_to_image(map, frame, (40, 10)).max() == 1
    assert boxes_of(map, frame=frame) == [(20, 4, 5, 2)]
    assert boxes_of(map)[0] == (0, 0, 40, 10)


def test_boxes_come_largest_first_and_corners_connect():
    map = np.zeros((HEIGHT, WIDTH))
    map[2:4, 30:33] = 5
    map[10:15, 5:10] = 2
    map[15:17, 10:12] = 1
    map[25, 25] = 0.1
    assert boxes_of(map, threshold=0.2) == [(5, 10, 7, 7), (30, 2, 3, 2)]
    assert boxes_of(map, threshold=1) == [(30, 2, 3, 2)]


def test_boxes_go_to_the_image_and_back_from_its_mirror():
    frame = Frame((10, 20, 80, 30), HEIGHT, WIDTH)
    map = np.zeros((HEIGHT, WIDTH))
    map[3:6, 4:10] = 1
    assert boxes_of(map, frame=frame)[0] == pytest.approx((18, 23, 12, 3))
    assert boxes_of(map[:, ::-1], frame=frame, mirrored=True)[0] == pytest.approx((18, 23, 12, 3))
    assert boxes_of(map[:, ::-1], mirrored=True) == [(4, 3, 6, 3)]


def test_a_map_without_evidence_has_no_boxes():
    assert boxes_of(np.zeros((HEIGHT, WIDTH))) == []
    assert boxes_of(np.full((HEIGHT, WIDTH), -1.0)) == []


def test_impossible_requests_are_refused():
    frame = Frame((0, 0, 10, 10), HEIGHT, WIDTH)
    for map, options, message in [
        (np.zeros((HEIGHT, WIDTH)), {"threshold": 0}, "above 0 and at most 1"),
        (np.zeros((HEIGHT, WIDTH)), {"threshold": 1.5}, "above 0 and at most 1"),
        (np.zeros((2, HEIGHT, WIDTH)), {}, r"shape \(height, width\), got \(2, 30, 40\)"),
        (np.zeros((WIDTH, HEIGHT)), {"frame": frame}, r"shape \(30, 40\), got \(40, 30\)"),
        (np.full((HEIGHT, WIDTH), np.nan), {}, "must be finite"),
    ]:
        with pytest.raises(UsageError, match=message):
            boxes_of(map, **options)
    with pytest.raises(UsageError, match="shape"):
        map_to_image(np.zeros((WIDTH, HEIGHT)), frame, (10, 10))
