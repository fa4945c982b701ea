import itertools

import pytest
from builders.pictures import photograph
from matplotlib.patches import Rectangle

from explgraph.errors import GraphError, UsageError
from explgraph.figures import choose_nodes, graph_figure
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
            graph.add_pattern(layer=layer, channel=i, index=0, score=0.5 + 0.1 * i, **place, **rest)
    for upper, lower in itertools.pairwise(LAYERS):
        for i in range(4):
            for k in range(3):
                edge = {"d_row": 0.0, "d_col": 0.0, "std": 0.1, "weight": 0.1 + 0.1 * k}
                graph.add_edge(f"{upper}:{k}:0", f"{lower}:{i}:0", **edge)
    return graph.check()


def drawn(graph, node=None, **options):
    figure = graph_figure(graph, choose_nodes(graph, node=node), node=node, **options)
    figure.canvas.draw()
    return figure.axes[0]


def edges(axes):
    gids = [patch.get_gid() for patch in axes.patches]
    return {tuple(gid.split(" -> ")) for gid in gids if gid}


def labels(axes):
    return [text.get_text() for text in axes.texts]


def boxes(axes):
    return [patch.get_window_extent() for patch in axes.patches if isinstance(patch, Rectangle)]


def test_a_node_comes_with_its_heaviest_parents_up_to_the_top_and_its_children():
    graph = three_layers()
    chosen = choose_nodes(graph, node="middle:1:0")
    assert list(chosen) == list(LAYERS)
    assert chosen["middle"] == ["middle:1:0"]
    assert chosen["top"] == ["top:2:0", "top:1:0", "top:0:0"]  # heaviest first
    assert set(chosen["bottom"]) == {f"bottom:{i}:0" for i in range(4)}
    axes = drawn(graph, "middle:1:0")
    assert len(edges(axes)) == 3 + 4
    assert "middle:1:0" in labels(axes)
    assert labels(axes)[-2].startswith("middle:1:0 and its heaviest relatives")


def test_without_a_node_the_top_layers_telling_nodes_and_those_below_them_are_drawn():
    graph = three_layers()
    chosen = choose_nodes(graph)
    assert chosen["top"] == ["top:2:0", "top:1:0", "top:0:0"]  # top:3:0 has no child
    axes = drawn(graph)
    assert {f"{layer}: {len(chosen[layer])} of 4 nodes" for layer in LAYERS} < set(labels(axes))
    assert labels(axes)[-2].startswith("12 nodes, 24 edges; shown are strong nodes of different")
    for lower in chosen["bottom"]:
        assert len([edge for edge in edges(axes) if edge[1] == lower]) == 2


def test_only_the_heaviest_edges_are_drawn_and_each_in_its_upper_nodes_colour():
    graph = three_layers()
    axes = drawn(graph)
    assert {upper for upper, lower in edges(axes) if lower == "bottom:1:0"} == {
        "middle:2:0",
        "middle:1:0",
    }
    lines = {patch.get_gid(): patch for patch in axes.patches if patch.get_gid()}
    heavy, light = lines["middle:2:0 -> bottom:1:0"], lines["middle:1:0 -> bottom:1:0"]
    assert heavy.get_linewidth() > light.get_linewidth()
    assert heavy.get_edgecolor() != light.get_edgecolor()


def test_patches_lie_at_their_nodes_places_and_never_on_each_other():
    graph = three_layers()
    for name in graph:
        graph.nodes[name].update(row=0.5, col=0.5)
    found = boxes(drawn(graph))
    assert len(found) == 3 + 4 + 4
    assert not any(a.overlaps(b) for i, a in enumerate(found) for b in found[:i])
    (one,) = boxes(drawn(apart(graph, "top:0:0", row=0.5, col=0.25)))
    canvas = one.x0 + one.width / 2
    assert canvas == pytest.approx(0.25 * 4.4 * 100, abs=2)


def apart(graph, name, **place):
    """A graph of the one node, elsewhere."""
    alone = ExplanatoryGraph(layers=graph.layers[:1])
    alone.add_pattern(**{**graph.nodes[name], **place})
    return alone


def test_the_mean_object_and_the_patches_are_shown_where_they_are_known():
    graph = three_layers()
    patches = {"top:2:0": photograph(9, 9)}
    axes = drawn(graph, patches=patches, image=photograph(40, 60))
    shapes = [picture.get_array().shape[:2] for picture in axes.images]
    assert shapes.count((40, 60)) == len(LAYERS)
    assert shapes.count((9, 9)) == 1
    assert len(shapes) == len(LAYERS) + len(boxes(axes))


def test_a_graph_without_edges_or_without_nodes_is_drawn():
    graph = three_layers()
    graph.remove_edges_from(list(graph.edges))
    axes = drawn(graph)
    assert edges(axes) == set()
    assert len(boxes(axes)) == 4  # the top layer's
    graph.remove_nodes_from(list(graph))
    assert boxes(drawn(graph, image=photograph())) == []


def test_a_graph_that_cannot_be_drawn_is_refused():
    with pytest.raises(GraphError, match="'top:9:9' is no"):
        choose_nodes(three_layers(), node="top:9:9")
    with pytest.raises(UsageError, match="without layers"):
        choose_nodes(ExplanatoryGraph())
