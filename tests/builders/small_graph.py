"""A graph of one layer."""

from builders.placed import placed

from explgraph.graph import ExplanatoryGraph


def graph():
    found = ExplanatoryGraph()
    found.graph["layers"] = (placed((0.5, 0.5)).layer_geometry,)
    rest = {
        "weight": 1.0,
        "none": 0.1,
        "support": 5.0,
        "score": 0.5,
        "communality": 0.5,
        "kind": "part",
    }
    found.add_pattern(layer="2", channel=3, index=0, row=0.5, col=0.5, std=0.1, **rest)
    return found
