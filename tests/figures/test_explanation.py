from types import SimpleNamespace

import pytest
from builders.pictures import photograph

from explgraph.attribution import Explanation, NodeEvidence
from explgraph.figures import explain_figure
from explgraph.graph import Shares
from explgraph.images import Frame

NAN = float("nan")


def explanation(*, n=3, others=(9.0, 0.98)):
    nodes = tuple(
        NodeEvidence(f"top:{k}:0", "top", k, 0.5, 0.5, 0.9, 2.0 / (k + 1), 0.1, "head" * (k == 0))
        for k in range(n)
    )
    classes = ((7, "a $fox$", 0.99999), (2, "deer", 0.00001))
    return Explanation(classes, 7, "a $fox$", 10.0, 0.99999, nodes, 20, (4.0, 0.7), others)


def drawn(one, *, mirrored=False):
    graph = SimpleNamespace(layers=[SimpleNamespace(name="top"), SimpleNamespace(name="low")])
    frame = Frame((0, 0, 60, 40), height=32, width=32)
    view = SimpleNamespace(
        graph=graph,
        frame=frame,
        mirrored=mirrored,
        obj=SimpleNamespace(box=None),
        explained=Shares(0.62, 0.2, 0.18),
    )
    figure = explain_figure(photograph(40, 60), one, view)
    figure.canvas.draw()
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_the_picture_says_the_probability_once_and_what_is_lost_in_words():
    figure = drawn(explanation())
    _, drops, classes, together, shares = figure.axes
    assert figure.texts[0].get_text() == "Why a $fox$?"
    assert drops.get_title(loc="left") == "What the score 10.0 loses\nwithout this node alone"
    assert texts(classes) == ["a $fox$  >99.9%", "deer  <0.1%"]
    assert texts(together) == [
        "as it is: 10.0",
        "without these 3 nodes: 4.0 (70.0%)",
        "without 3 others, drawn at random: 9.0 (98.0%)",
    ]
    assert texts(shares) == ["activation: 62% part, 20% texture, 18% nothing"]
    assert [bar.get_width() for bar in shares.patches] == pytest.approx([0.62, 0.2, 0.18])


def test_the_axis_is_as_long_as_the_bars_and_the_names_stand_beside_it():
    _, drops, *_ = drawn(explanation()).axes
    assert drops.get_xlim() == pytest.approx((0, 2.0))
    box = drops.get_window_extent()
    named = [text for text in drops.texts if text.get_text().startswith("top:")]
    assert [text.get_text() for text in named] == ["top:0:0  head", "top:1:0", "top:2:0"]
    assert all(text.get_window_extent().x0 > box.x1 for text in named)
    written = [text.get_window_extent() for text in drops.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(written) for b in written[:i])


def test_nodes_in_one_spot_keep_numbers_that_can_be_read():
    places, *_ = drawn(explanation(n=9)).axes
    boxes = [text.get_window_extent() for text in places.texts]
    assert texts(places) == [str(k) for k in range(1, 10)]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    keys = [text.get_text() for text in places.get_legend().get_texts()]
    assert keys == ["node of top", "node of low"]


def test_an_explanation_without_nodes_or_without_others_is_drawn_too():
    figure = drawn(explanation(n=0, others=(NAN, NAN)), mirrored=True)
    _, drops, _, together, _ = figure.axes
    assert texts(drops) == ["no node was found\nthat it rests on"]
    assert texts(together) == ["as it is: 10.0", "without these 0 nodes: 4.0 (70.0%)"]
    assert "mirror image" in figure.texts[0].get_text()
