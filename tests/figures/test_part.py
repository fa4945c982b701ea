import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.errors import UsageError
from explgraph.figures import PartPanel, part_figure
from explgraph.figures.part import FOUND, MARKED


def panel(*, annotated):
    nodes, votes = np.array([[5.0, 9.0], [20.0, 30.0]]), np.array([[7.0, 9.0], [70.0, -5.0]])
    weight, part = np.array([0.4, 1.0]), np.array([12.0, 13.0])
    return PartPanel(photograph(), nodes, votes, weight, ["b", "a"], part, annotated, "a $title$")


def test_lines_lead_from_nodes_to_votes_and_the_cross_says_who_found_the_part():
    figure = part_figure([panel(annotated=flag) for flag in (True, False)], title="", layers="ab")
    for axes, colour in zip(figure.axes, (MARKED, FOUND), strict=True):
        lines, dots, _, cross = axes.collections
        np.testing.assert_allclose(lines.get_segments()[0], [(5, 9), (7, 9)])
        np.testing.assert_allclose(dots.get_offsets(), [(5, 9), (20, 30)])
        np.testing.assert_allclose(cross.get_offsets(), [(12, 13)])
        expected = tuple(int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        assert tuple(cross.get_facecolors()[0][:3]) == pytest.approx(expected)
        assert axes.get_xlim() == (0, 60)  # a vote outside of the box does not widen the picture
    vote = "its vote for the place of the part"
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["node of a", "node of b", vote, "the part, marked", "the part, found"]
    figure.canvas.draw()


def test_a_picture_of_no_object_is_refused():
    with pytest.raises(UsageError, match="at least one object"):
        part_figure([], title="", layers=[])
