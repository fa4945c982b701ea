import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.errors import UsageError
from explgraph.figures import NodePanel, node_figure

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
