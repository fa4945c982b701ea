import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.errors import UsageError
from explgraph.figures import NodePanel, found_parts_figure, located_figure, node_figure

NAN = float("nan")


def test_dots_lie_at_their_places_in_their_layers_colour():
    panels = [
        NodePanel(photograph(40, 60), [(10.5, 20), (50, 3)], [1, 5], ["b", "a"]),
        NodePanel(photograph(50, 30), [(3, 40), (NAN, NAN)], [2, 3], ["a", "a"]),
        NodePanel(photograph(20, 20), [], [], []),
    ]
    figure = node_figure(panels, names=["a", "b"], columns=2)
    first, second, _ = (axes.collections[0] for axes in figure.axes)
    # Large ones lie below small ones.
    np.testing.assert_allclose(first.get_offsets(), [(50, 3), (10.5, 20)])
    assert first.get_facecolors()[0].tolist() == second.get_facecolors()[0].tolist()
    assert first.get_sizes()[0] > first.get_sizes()[1]
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["a", "b", "score 1", "score 5"]
    figure.canvas.draw()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"places": [(1, 2)]}, r"2 places and 2 scores.*got shapes \(1, 2\) and \(2,\)"),
        ({"scores": [1]}, "2 places and 2 scores"),
        ({"scores": [1, NAN]}, "scores must be finite"),
        ({"image": photograph().astype(float)}, "an image must be uint8"),
    ],
)
def test_nodes_that_do_not_fit_each_other_are_refused(change, message):
    asked = {"image": photograph(), "places": [(1, 2), (3, 4)], "scores": [1, 2], "names": "ab"}
    with pytest.raises(UsageError, match=message):
        NodePanel(**{**asked, **change})


def test_a_figure_without_images_is_refused():
    with pytest.raises(UsageError, match="at least one image"):
        node_figure([])


def test_scores_that_are_alike_are_drawn_alike():
    figure = node_figure([NodePanel(photograph(), [(1, 2), (3, 4)], [0.44, 0.46], "ab")])
    small, large = sorted(figure.axes[0].collections[0].get_sizes())
    assert large / small < 0.46 / 0.44


BOX = (30, 20, 40, 30)


def located(n=12, box=BOX):
    places = [(50.0, 35.0)] * n
    nodes = [f"{'ba'[k % 2]}:{k}:0" for k in range(n)]
    options = {"layers": ["a", "b"], "box": box, "title": "a $title$"}
    figure = located_figure(photograph(200, 300), places, [0.5] * n, nodes, **options)
    figure.canvas.draw()
    return figure


def test_the_objects_box_is_drawn_with_its_surroundings():
    figure = located()
    axes = figure.axes[0]
    (box,) = axes.patches
    assert (*box.get_xy(), box.get_width(), box.get_height()) == BOX
    assert (axes.get_xlim(), axes.get_ylim()) == ((10, 90), (70, 0))
    assert figure.texts[0].get_text() == "a $title$"
    keys = [text.get_text() for text in figure.legends[0].get_texts()]
    assert keys == ["node of a", "node of b", "the object's box"]


def test_every_node_has_a_number_that_the_table_names():
    picture, table = located().axes
    assert [text.get_text() for text in picture.texts] == [str(k) for k in range(1, 13)]
    rows = [text.get_text() for text in table.texts]
    assert rows[:3] == ["1", "b:0:0", "0.50"]
    assert len(rows) == 3 * 12 + 1
    for axes in (picture, table):
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_an_object_without_a_box_is_the_whole_photograph():
    figure = located(3, box=None)
    axes = figure.axes[0]
    assert not axes.patches
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 300), (200, 0))
    assert len(figure.legends[0].get_texts()) == 2


def test_a_part_that_is_not_visible_is_named_but_not_drawn():
    said = ["0.61", "0.20, unsure", "not visible"]
    parts = ["head", "leg", "tail"]
    figure = found_parts_figure(photograph(200, 300), [(50, 60), (90, 60)], parts, said, box=BOX)
    picture, table = figure.axes
    assert [text.get_text() for text in picture.texts] == ["1", "2"]
    rows = [text.get_text() for text in table.texts]
    assert rows == ["1", "head", said[0], "2", "leg", said[1], "tail", said[2], "score"]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["the object's box"]
