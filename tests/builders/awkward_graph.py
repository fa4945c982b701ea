"""A graph of awkward names and numbers, to be written to files."""

import itertools

from explgraph.graph import ExplanatoryGraph, Layer

NAMES = ('été.28"<&>\\', "特徴.21", "plain.14")


def make_graph(names=NAMES, nodes_each=4, *, edges=True):
    """A graph with numbers that need all their digits; input 96 x 128 pixels (height x width)."""
    channels = max(8, (nodes_each + 1) // 2)  # two nodes each
    layers = tuple(
        Layer(name, channels, 6 * 2**i, 8 * 2**i, (16 / 2**i, 16 / 2**i), (8.0, 8.0), (60.0, 60.0))
        for i, name in enumerate(names)
    )
    graph = ExplanatoryGraph(
        layers=layers, n_images=23, config={"seed": 3, "source": 'zèbre\'s "best"', "none": None}
    )
    for i, name in enumerate(names):
        for k in range(nodes_each):
            z = 1 / (3 + i + 7 * k)
            graph.add_pattern(
                **{
                    "layer": name,
                    "channel": k // 2,
                    "index": k % 2,
                    "row": z,
                    "col": 1 - z / 3,
                    "std": z * 1e-7,
                    "weight": z,
                },
                **{
                    "none": 0.1,
                    "support": 20 * z,
                    "score": 5 * z,
                    "communality": z,
                    "kind": "texture" if k == 3 else "part",
                },
            )
    above = [list(graph.nodes_of(name)) for name in names]
    for uppers, lowers in itertools.pairwise(above) if edges else ():
        for k, lower in enumerate(lowers):
            for upper in uppers[: k % 3]:
                at = {"d_row": -1 / (3 + k), "d_col": k / 7, "std": 1e-9 / 3, "weight": 1 / 3}
                graph.add_edge(upper, lower, **at, co_firing=-1 / 7)
    return graph.check()
