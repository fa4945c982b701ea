import numpy as np
import pytest
from builders.pictures import inside, photograph

from explgraph.errors import UsageError
from explgraph.figures import Panel, maps_figure

HEIGHT, WIDTH = 40, 60
GREY = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)


def overlay(image, map, **options):
    return maps_figure(image, [Panel(map, **options)])


def test_an_even_map_covers_the_image_to_its_edges():
    figure = overlay(GREY, np.ones((7, 9)))
    seen = inside(figure, figure.axes[1])
    assert np.ptp(seen, axis=(0, 1)).max() <= 2
    assert seen.mean((0, 1))[0] > seen.mean((0, 1))[2] + 60  # the bright end of the scale is yellow


def test_a_peak_of_the_map_lies_over_its_pixel():
    map = np.zeros((HEIGHT, WIDTH))
    map[30, 10] = 1
    figure = overlay(np.zeros((HEIGHT, WIDTH, 3), np.uint8), map)
    seen = inside(figure, figure.axes[1])
    rows, cols = np.nonzero(seen[..., 0] > 0.9 * seen[..., 0].max())
    assert (rows.mean() + 1) / seen.shape[0] == pytest.approx(30.5 / HEIGHT, abs=0.01)
    assert (cols.mean() + 1) / seen.shape[1] == pytest.approx(10.5 / WIDTH, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(40, 60), (90, 20), (20, 200)])
def test_the_image_keeps_its_aspect_and_the_colour_bar_its_height(height, width):
    box = (1, 2, 10, 5)
    panel = Panel(np.ones((height, width)), boxes=[box])
    figure = maps_figure(photograph(height, width), [panel], title="a $title$", boxes=[box])
    figure.canvas.draw()
    left, right, *_ = figure.axes
    bar = right.child_axes[0].get_window_extent()
    for axes in (left, right):
        extent = axes.get_window_extent()
        assert extent.width / extent.height == pytest.approx(width / height, rel=0.01)
    assert (bar.y0, bar.y1) == pytest.approx((extent.y0, extent.y1), abs=1)


def test_large_photographs_are_shrunk_without_moving_anything():
    image, map = np.full((1300, 2600, 3), 40, np.uint8), np.zeros((1300, 2600))
    image[900:1000, 500:600] = 255
    map[900:1000, 500:600] = 1
    figure = overlay(image, map)
    for axes in figure.axes[:2]:
        assert max(axes.images[0].get_array().shape) <= 1600
        seen = inside(figure, axes)[..., 0]
        rows, cols = np.nonzero(seen > 0.7 * seen.max())
        assert (rows.mean() + 1) / seen.shape[0] == pytest.approx(950 / 1300, abs=0.01)
        assert (cols.mean() + 1) / seen.shape[1] == pytest.approx(550 / 2600, abs=0.01)


def test_signed_maps_diverge_from_zero_and_plain_ones_hide_what_is_below():
    map = np.zeros((HEIGHT, WIDTH))
    map[:, :30], map[:, 30:] = -1, 0.5
    signed = overlay(GREY, map, signed=True)
    against, towards = (inside(signed, signed.axes[1])[20, i] for i in (10, -10))
    assert against[2] > against[0] + 40  # blue
    assert towards[0] > towards[2] + 20  # red
    plain = overlay(GREY, map)
    assert np.ptp(inside(plain, plain.axes[1])[20, 10]) == 0  # still grey


def test_maps_without_evidence_are_drawn_too():
    figure = overlay(photograph(), np.zeros((HEIGHT, WIDTH)))
    assert np.ptp(inside(figure, figure.axes[1]), axis=-1).max() <= 1


def test_a_ranged_map_is_equally_opaque_and_ends_at_its_own_extremes():
    map = np.linspace(5, 6, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    figure = overlay(GREY, map, ranged=True)
    assert len(np.unique(figure.axes[1].images[1].get_array()[..., 3])) == 1
    assert figure.axes[1].child_axes[0].get_ylim() == pytest.approx((5, 6))


def test_whole_numbers_get_a_colour_each_and_the_frequent_ones_a_name():
    map = np.full((HEIGHT, WIDTH), np.nan)
    map[:, :20], map[:, 20:50] = 3, 7
    figure = overlay(GREY, map, names={3: "cat", 7: "dog", 9: "bird"})
    legend = figure.axes[1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["dog", "cat"]
    picture = inside(figure, figure.axes[1])
    assert legend.get_window_extent().y1 <= figure.axes[1].get_window_extent().y0 + 1
    cat, dog, neither = (picture[50, int(x * picture.shape[1])] for x in (0.1, 0.6, 0.95))
    assert cat[2] > cat[0]  # blue, the second colour
    assert dog[0] > dog[2]  # orange, the first
    assert np.ptp(neither) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map": np.ones((3, 4, 2))}, "a map must be finite"),
        ({"map": [[float("nan")]]}, "a map must be finite"),
        ({"map": np.ones((3, 4)), "quantile": 0.0}, "quantile must be above 0"),
        ({"picture": np.ones((3, 4, 3))}, "an image must be uint8"),
    ],
)
def test_what_cannot_be_drawn_is_refused(options, message):
    with pytest.raises(UsageError, match=message):
        maps_figure(GREY, [Panel(**options)])


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40)])
def test_no_place_of_the_grid_is_empty_and_nothing_hides_another(n, height, width):
    panels = [Panel(np.ones((height, width)), title="t", scale="s") for _ in range(n)]
    figure = maps_figure(photograph(height, width), panels, title="all")
    figure.canvas.draw()
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert figure.get_suptitle() == "all"
    first, *rest = (axes.get_window_extent() for axes in figure.axes)
    rows = {}
    for box in [first, *rest] if first.width == pytest.approx(rest[0].width) else rest:
        rows.setdefault(round(box.y0), []).append(box)
    assert len({len(row) for row in rows.values()}) == 1


def test_the_legend_names_each_kind_of_box_once():
    first = Panel(np.ones((40, 60)), boxes=[(1, 2, 10, 5)], box_names=["a $box$"])
    second = Panel(
        np.ones((40, 60)), boxes=[(3, 2, 9, 5), (1, 1, 4, 4)], box_names=["a $box$", "b"]
    )
    figure = maps_figure(GREY, [first, second], boxes=[(1, 2, 10, 5)], box_names=["a $box$"])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a $box$", "b"]
    key, other = (patch.get_edgecolor() for patch in legend.get_patches())
    image, left, right = ([box.get_edgecolor() for box in axes.patches] for axes in figure.axes)
    assert image == left == [key]
    assert right == [key, other]
    assert not overlay(GREY, np.ones((3, 3))).legends


def test_the_bar_says_what_the_colours_measure_in_plain_numbers():
    tiny, huge = np.eye(40, 60) * 0.003, np.eye(40, 60) * 28000
    for map, ticks in ((tiny, {"0", "0.003"}), (huge, {"0", "25000"})):
        figure = overlay(GREY, map, scale="nodes")
        figure.canvas.draw()
        bar = figure.axes[1].child_axes[0]
        assert bar.get_ylabel() == "nodes"
        assert ticks <= {text.get_text() for text in bar.get_yticklabels()}
        assert bar.yaxis.get_offset_text().get_text() == ""


def test_a_picture_has_a_bar_of_signs_where_it_measures_something():
    signed, plain = (maps_figure(GREY, [Panel(picture=GREY, scale=s)]) for s in ("for it", ""))
    signed.canvas.draw()
    bar = signed.axes[1].child_axes[0]
    assert [text.get_text() for text in bar.get_yticklabels()] == ["\u2212", "0", "+"]
    assert not plain.axes[1].child_axes


def test_a_scale_may_have_fixed_ends():
    figure = overlay(GREY, np.full((4, 6), 0.9999), ranged=True, limits=(0.0, 1.0))
    assert figure.axes[1].child_axes[0].get_ylim() == pytest.approx((0, 1))


def test_of_a_large_photograph_the_surroundings_of_the_box_are_shown():
    image = photograph(200, 300)
    map = np.zeros((200, 300))
    map[60, 120] = 1
    panels = [Panel(map, boxes=[(110, 50, 20, 20)], box_names=["found"]), Panel(picture=GREY)]
    figure = maps_figure(image, panels, box=(100, 50, 40, 20))
    whole, beside, own = figure.axes[:3]
    assert whole.get_xlim() == beside.get_xlim() == (0, 80)  # half of the longer side around it
    assert whole.get_ylim() == (60, 0)
    assert own.get_xlim() == (0, WIDTH)  # a picture of its own stays whole
    corners = [patch.get_xy() for patch in beside.patches]
    assert corners == [(20, 20), (30, 20)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "the object's box",
        "found",
    ]
