import subprocess
import sys

import numpy as np
import pytest
from builders.real import ROOT
from PIL import Image

from explgraph.errors import GraphError, UsageError
from explgraph.figures.nodes import (
    contact_sheet,
    cut_patch,
    graph_figure,
    node_figure,
    overlay_figure,
    save_figure,
    save_heat_map,
)
from explgraph.graph import ExplanatoryGraph, Layer

HEIGHT, WIDTH = 40, 60


def photograph(height=HEIGHT, width=WIDTH, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def small_graph():
    graph = ExplanatoryGraph()
    layers = [
        Layer(name, 3, 4, 5, (8.0, 8.0), (4.0, 4.0), (20.0, 20.0))
        for name in ("top", "middle", "bottom")
    ]
    graph.graph["layers"] = tuple(layers)
    rest = {
        "std": 0.1,
        "weight": 0.1,
        "none": 0.1,
        "support": 5.0,
        "communality": 0.5,
        "kind": "part",
    }
    for layer in ("top", "middle", "bottom"):
        for i in range(4):
            graph.add_pattern(
                layer=layer, channel=i, index=0, row=0.2 * i, col=0.1 * i, score=float(i), **rest
            )
    for upper, lower in (("top", "middle"), ("middle", "bottom")):
        for i in range(4):
            for k in range(3):
                graph.add_edge(
                    f"{upper}:{k}:0",
                    f"{lower}:{i}:0",
                    d_row=0.0,
                    d_col=0.0,
                    std=0.1,
                    weight=0.1 + 0.1 * k,
                )
    return graph.check()


def rendered(figure):
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)


def inside(figure, axes):
    """The pixels of the figure that lie on the axes, without the outermost."""
    pixels, box = rendered(figure), axes.get_window_extent()
    top, bottom = pixels.shape[0] - box.y1, pixels.shape[0] - box.y0
    return pixels[
        int(np.ceil(top)) + 1 : int(bottom) - 1, int(np.ceil(box.x0)) + 1 : int(box.x1) - 1
    ]


def test_nothing_of_pyplots_global_state_is_touched():
    code = "import sys, explgraph.figures.nodes; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_an_even_map_covers_the_image_to_its_edges():
    figure = overlay_figure(np.full((HEIGHT, WIDTH, 3), 128, np.uint8), np.ones((7, 9)))
    seen = inside(figure, figure.axes[1])
    assert np.ptp(seen, axis=(0, 1)).max() <= 2
    assert seen.mean((0, 1))[0] > seen.mean((0, 1))[2] + 60  # the bright end of the scale is yellow


def test_a_peak_of_the_map_lies_over_its_pixel():
    map = np.zeros((HEIGHT, WIDTH))
    map[30, 10] = 1
    figure = overlay_figure(np.zeros((HEIGHT, WIDTH, 3), np.uint8), map)
    seen = inside(figure, figure.axes[1])
    rows, cols = np.nonzero(seen[..., 0] > 0.9 * seen[..., 0].max())
    assert (rows.mean() + 1) / seen.shape[0] == pytest.approx(30.5 / HEIGHT, abs=0.01)
    assert (cols.mean() + 1) / seen.shape[1] == pytest.approx(10.5 / WIDTH, abs=0.01)


def test_the_image_keeps_its_aspect_and_the_colour_bar_its_height():
    for height, width in [(40, 60), (90, 20), (20, 200)]:
        figure = overlay_figure(
            photograph(height, width),
            np.ones((height, width)),
            title="a $title$",
            boxes=[(1, 2, 10, 5)],
        )
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
    figure = overlay_figure(image, map)
    for axes in figure.axes[:2]:
        assert max(axes.images[0].get_array().shape) <= 1600
        seen = inside(figure, axes)[..., 0]
        rows, cols = np.nonzero(seen > 0.7 * seen.max())
        assert (rows.mean() + 1) / seen.shape[0] == pytest.approx(950 / 1300, abs=0.01)
        assert (cols.mean() + 1) / seen.shape[1] == pytest.approx(550 / 2600, abs=0.01)


def test_signed_maps_diverge_from_zero_and_plain_ones_hide_what_is_below():
    map = np.zeros((HEIGHT, WIDTH))
    map[:, :30], map[:, 30:] = -1, 0.5
    grey = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    against, towards = (
        inside(f := overlay_figure(grey, map, signed=True), f.axes[1])[20, i] for i in (10, -10)
    )
    assert against[2] > against[0] + 40  # blue
    assert towards[0] > towards[2] + 20  # red
    plain = overlay_figure(grey, map)
    assert np.ptp(inside(plain, plain.axes[1])[20, 10]) == 0  # still grey


def test_maps_without_evidence_are_drawn_too():
    save = overlay_figure(photograph(), np.zeros((HEIGHT, WIDTH)))
    assert np.ptp(inside(save, save.axes[1]), axis=-1).max() <= 1


def test_a_heat_map_is_written_in_its_own_size(tmp_path):
    map = np.zeros((HEIGHT, WIDTH))
    map[7, 50] = 1
    pixels = np.asarray(Image.open(save_heat_map(map, tmp_path / "map.png")))
    assert pixels.shape == (HEIGHT, WIDTH, 3)
    assert np.unravel_index(pixels.sum(-1).argmax(), map.shape) == (7, 50)


def test_files_are_whole_or_not_there(tmp_path):
    figure = contact_sheet([[photograph()]], ["top:0:0"])
    for name in ("a.png", "a.PDF", "a.svg"):
        assert save_figure(figure, tmp_path / name).stat().st_size > 500
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == ["a.PDF", "a.png", "a.svg"]
    for path, message in [
        (tmp_path / "b.docx", "must be one of .*, got '.docx'"),
        (tmp_path / "none" / "b.png", "existing folder"),
    ]:
        with pytest.raises(UsageError, match=message):
            save_figure(figure, path)
    with pytest.raises(UsageError, match="no image format"):
        save_heat_map(np.ones((3, 4)), tmp_path / "b.docx")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        save_figure(figure, tmp_path / "folder.png")
    assert sorted(path.name for path in tmp_path.iterdir()) == [*written, "folder.png"]


def test_a_patch_is_centred_on_its_point_and_grey_beyond_the_border():
    image = photograph()
    np.testing.assert_array_equal(cut_patch(image, 30.5, 20.5, 5), image[18:23, 28:33])
    np.testing.assert_array_equal(cut_patch(image, 30.0, 20.0, 4), image[18:22, 28:32])
    corner = cut_patch(image, 58.0, 2.0, 10)
    np.testing.assert_array_equal(corner[3:, :7], image[:7, 53:])
    assert (corner[:3] == 236).all()
    assert (corner[:, 7:] == 236).all()
    for x, y in [(-500, 10), (10, 1e4)]:
        assert (cut_patch(image, x, y, 10) == 236).all()
    assert cut_patch(image, 30, 20, 200).shape == (200, 200, 3)
    with pytest.raises(UsageError, match="finite"):
        cut_patch(image, float("nan"), 3)
    with pytest.raises(UsageError, match="at least 1 pixel"):
        cut_patch(image, 3, 3, 0)


def test_dots_lie_at_their_places_in_their_layers_colour():
    images = [photograph(40, 60), photograph(50, 30), photograph(20, 20)]
    places = [[(10.5, 20), (50, 3)], [(3, 40), (float("nan"), float("nan"))], []]
    figure = node_figure(
        images,
        places,
        [[1, 5], [2, 3], []],
        [["b", "a"], ["a", "a"], []],
        links=[[(1, 0)], [(0, 1)], []],
        layer_order=["a", "b"],
        columns=2,
    )
    first, second, _ = figure.axes
    dots = first.collections[-1]
    np.testing.assert_allclose(
        dots.get_offsets(), [(50, 3), (10.5, 20)]
    )  # large ones lie below small ones
    assert dots.get_facecolors()[0].tolist() == second.collections[-1].get_facecolors()[0].tolist()
    assert dots.get_sizes()[0] > dots.get_sizes()[1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "a",
        "b",
        "score 1",
        "score 5",
    ]
    assert [len(axes.collections[0].get_segments()) for axes in (first, second)] == [1, 0]
    figure.canvas.draw()
    assert node_figure(
        images, places, [[1, 5], [2, 3], []], [["b", "a"], ["a", "a"], []], rings=True
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": []}, "places must have one entry for each of 1, got 0"),
        ({"places": [[(1, 2)]]}, "has 1 places, 2 scores and 2 layers"),
        ({"scores": [[1, float("nan")]]}, "scores must be finite"),
        ({"links": [[(0, 2)]]}, "links must be numbers of the image's 2 nodes"),
        ({"layer_order": ["b"]}, "layer_order must name every layer, a is missing"),
        ({"images": [photograph().astype(float)]}, "an image must be uint8"),
        ({"columns": 0}, "at least one image and one column"),
        ({"titles": ["a", "b"]}, "titles must have one entry"),
    ],
)
def test_nodes_that_do_not_fit_each_other_are_refused(change, message):
    asked = {
        "images": [photograph()],
        "places": [[(1, 2), (3, 4)]],
        "scores": [[1, 2]],
        "layers": [["a", "a"]],
        **change,
    }
    with pytest.raises(UsageError, match=message):
        node_figure(**asked)


def test_a_contact_sheet_has_every_patch_and_says_whose_it_is():
    patches = [[photograph(9, 9, i) for i in range(n)] for n in (3, 1, 0)]
    figure = contact_sheet(
        patches, ["one", "two", "none"], captions=[["a", "b", "c"], ["d"], []], title="all"
    )
    assert len(figure.axes) == 4
    assert [text.get_text() for text in figure.texts] == ["one", "two", "none", "all"]
    boxes = [axes.get_window_extent() for axes in figure.axes]
    assert all(box.width == pytest.approx(box.height, abs=0.5) for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    for bad in ([], [[]]):
        with pytest.raises(UsageError, match="at least one patch"):
            contact_sheet(bad, ["x"] * len(bad))
    with pytest.raises(UsageError, match="captions"):
        contact_sheet(patches, ["one", "two", "none"], captions=[["a"], ["d"], []])


def segments(figure):
    return sum(
        len(c.get_segments()) for c in figure.axes[0].collections if hasattr(c, "get_segments")
    )


def test_the_graphs_figure_follows_the_heaviest_parents_up_to_the_top():
    graph = small_graph()
    assert segments(graph_figure(graph, node="bottom:1:0", n_parents=2)) == 2 + 2 * 2
    assert (
        segments(graph_figure(graph, node="middle:1:0", n_parents=2, image=photograph())) == 2 + 2
    )
    graph.remove_edges_from(list(graph.edges))
    figure = graph_figure(graph, n_nodes=2, title="no edges")
    assert segments(figure) == 0
    figure.canvas.draw()


def test_a_graph_that_cannot_be_drawn_is_refused():
    with pytest.raises(GraphError, match="'top:9:9' is not in the graph"):
        graph_figure(small_graph(), node="top:9:9")
    with pytest.raises(UsageError, match="without layers"):
        graph_figure(ExplanatoryGraph())


def test_a_workspace_is_opened_without_loading_what_only_pictures_and_mixtures_need():
    code = "import sys, explgraph.workspace; sys.exit(bool({'matplotlib', 'sklearn'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
