import itertools

import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.figures.canvas import new_figure, show_image
from explgraph.figures.markers import draw_markers, move_apart


def nearest(places):
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(places, 2))


@pytest.mark.parametrize("n", [2, 10, 20])
def test_places_in_one_spot_end_up_apart_and_inside(n):
    apart = move_apart(np.full((n, 2), (95.0, 50.0)), 10, size=(100, 100))
    assert nearest(apart) >= 9.5
    assert apart.min() >= 5
    assert apart.max() <= 95


def test_places_that_are_apart_stay_where_they_are():
    places = [(20.0, 20.0), (50.0, 20.0), (20.0, 70.0)]
    np.testing.assert_allclose(move_apart(places, 10, size=(100, 100)), places, atol=1e-3)
    assert move_apart([], 10, size=(100, 100)).shape == (0, 2)


def test_numbers_do_not_hide_each_other_and_a_line_leads_to_the_place():
    figure = new_figure(4, 4)
    axes = figure.add_axes((0, 0, 1, 1))
    show_image(axes, photograph(40, 60))
    places = [(30.0, 20.0), (30.5, 20.0), (5.0, 5.0)]
    draw_markers(axes, places, ["red", "blue", "green"])
    figure.canvas.draw()
    assert [text.get_text() for text in axes.texts] == ["1", "2", "3"]
    boxes = [text.get_window_extent() for text in axes.texts]
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    starts = [line.get_xydata()[0].tolist() for line in axes.lines if len(line.get_xydata()) == 2]
    assert starts == [[30.0, 20.0], [30.5, 20.0]]  # the third did not move
    np.testing.assert_allclose(axes.texts[2].get_position(), (5, 5), atol=0.1)
