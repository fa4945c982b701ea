"""A node at a place."""

from builders.networks import HEIGHT, WIDTH

from explgraph.attribution import PlacedNode
from explgraph.graph import ExplanatoryGraph, Layer


def placed(place):
    """A node at the maps of layer 2, and the graph it is in."""
    graph = ExplanatoryGraph()
    graph.graph["layers"] = (Layer("2", 7, 9, 12, (2.0, 2.0), (0.5, 0.5), (7.0, 7.0)),)
    rest = {
        "weight": 1.0,
        "none": 0.1,
        "support": 5.0,
        "score": 0.5,
        "communality": 0.5,
        "kind": "part",
    }
    node = graph.add_pattern(layer="2", channel=3, index=0, row=0.5, col=0.5, std=0.1, **rest)
    return PlacedNode.of(graph, node, place, input_size=(HEIGHT, WIDTH))
