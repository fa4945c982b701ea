import itertools

import numpy as np
import pytest
from builders.pictures import photograph

from explgraph.errors import GraphError, UsageError
from explgraph.figures import graph_figure
from explgraph.graph import ExplanatoryGraph, Layer

LAYERS = ("top", "middle", "bottom")


def three_layers():
    """Four nodes in each layer, far apart; the later a parent, the heavier its edges."""
    layers = (Layer(name, 4, 4, 5, (8.0, 8.0), (4.0, 4.0), (20.0, 20.0)) for name in LAYERS)
    graph = ExplanatoryGraph(layers=tuple(layers))
    rest = {"weight": 0.1, "none": 0.1, "support": 5.0, "communality": 0.5, "kind": "part"}
    for layer in LAYERS:
        for i in range(4):
            place = {"row": 0.25 * i, "col": 0.2 * i, "std": 0.1}
            graph.add_pattern(layer=layer, channel=i, index=0, score=0.2 * i, **place, **rest)
    for upper, lower in itertools.pairwise(LAYERS):
        for i in range(4):
            for k in range(3):
                edge = {"d_row": 0.0, "d_col": 0.0, "std": 0.1, "weight": 0.1 + 0.1 * k}
                graph.add_edge(f"{upper}:{k}:0", f"{lower}:{i}:0", **edge)
    return graph.check()


def n_edges(figure):
    (lines,) = (c for c in figure.axes[0].collections if hasattr(c, "get_segments"))
    return len(lines.get_segments())


def labels(figure):
    return {text.get_text() for text in figure.axes[0].texts}


def test_a_node_is_drawn_with_its_heaviest_parents_up_to_the_top_and_its_children():
    graph = three_layers()
    figure = graph_figure(graph, node="bottom:1:0")
    assert n_edges(figure) == 2 + 2 * 2
    assert "bottom:1:0" in labels(figure)
    assert n_edges(graph_figure(graph, node="middle:1:0", image=photograph())) == 2 + 2


def test_without_a_node_the_best_ones_of_the_bottom_layer_are_drawn():
    figure = graph_figure(three_layers())
    assert {"0:0", "1:0", "2:0", "3:0"} < labels(figure)
    assert n_edges(figure) == 4 * 2 + 2 * 2


def test_nodes_that_lie_on_each_other_are_not_all_labelled():
    graph = three_layers()
    for i in range(4):
        graph.nodes[f"bottom:{i}:0"].update(row=0.5, col=0.5)
    assert labels(graph_figure(graph)) == {"3:0", *(f"{name}\n4 nodes" for name in LAYERS)}


def test_a_node_lies_above_its_place_on_the_image():
    graph = three_layers()
    figure = graph_figure(graph, node="bottom:2:0", image=photograph())
    ring, *dots = (c for c in figure.axes[0].collections if hasattr(c, "get_offsets"))
    (below,) = ring.get_offsets()
    steps = np.concatenate([one.get_offsets() for one in dots]) - below
    straight = steps[np.abs(steps[:, 0]) < 1e-9, 1]
    assert straight.min() == pytest.approx(0.74)


def test_a_graph_without_edges_or_without_nodes_is_drawn():
    graph = three_layers()
    graph.remove_edges_from(list(graph.edges))
    figure = graph_figure(graph)
    assert n_edges(figure) == 0
    figure.canvas.draw()
    graph.remove_nodes_from(list(graph))
    graph_figure(graph, image=photograph()).canvas.draw()


def test_a_graph_that_cannot_be_drawn_is_refused():
    with pytest.raises(GraphError, match="'top:9:9' is no"):
        graph_figure(three_layers(), node="top:9:9")
    with pytest.raises(UsageError, match="without layers"):
        graph_figure(ExplanatoryGraph())
