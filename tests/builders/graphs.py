"""A small graph with objects and places, to be stored."""

import random
from itertools import pairwise

import numpy as np

from explgraph.graph import EDGE_COLUMNS, LOADINGS, NODE_ATTRIBUTES, ExplanatoryGraph, Layer
from explgraph_storage import ImageRecord, ObjectRecord, TopPlaces

IMAGES = (ImageRecord(7, "herd/één koe.jpg", 640, 480), ImageRecord(3, "calf.jpg", 200, 300))


OBJECTS = (
    ObjectRecord(
        900_100_259_690, 7, (10.5, 20.25, 300.0, 200.0), {"head": (12.5, 30.1)}, label="cow"
    ),
    ObjectRecord(5, 7, (0.0, 0.0, 640.0, 480.0)),
    ObjectRecord(6, 3, (1.0, 2.0, 100.0, 200.0), mirrored=True),
)


EXAMPLES = {
    float: lambda rng: rng.choice([0.1 + 0.2, 1e-300, -1 / 3, 5e-324, 1.0, rng.gauss(0, 1)]),
    str: lambda rng: "part",
}


def make_layer(name, channels):
    values = {
        "name": name,
        "channels": channels,
        "height": 5,
        "width": 7,
        "stride": (16.0, 15.9),
        "first": (0.5, 1 / 3),
    }
    values["size"] = (99.0, 101.0)
    return Layer(**values)


def make_graph(seed=0, nodes=12, parents=3, layers=("top", "features.10", "b:c")):
    """A graph of awkward floats whose nodes and edges are added in no particular order."""
    rng = random.Random(seed)
    graph = ExplanatoryGraph(layers=tuple(make_layer(name, 4) for name in layers), n_images=90)
    graph.graph |= {
        "config": {"seed": seed, "tau": 0.1, "layers": list(layers), "mirror": None},
        "note": "größer als α",
    }
    names = {layer: [] for layer in layers}
    for layer in rng.sample(layers, len(layers)):
        for number in rng.sample(range(nodes), nodes):
            own = {"layer": layer, "channel": number % 4, "index": number // 4}
            names[layer].append(
                graph.add_pattern(
                    **{
                        key: own.get(key) or fill(kind, rng, key)
                        for key, kind in NODE_ATTRIBUTES.items()
                    }
                )
            )
    pairs = [
        (u, v)
        for above, below in pairwise(layers)
        for v in names[below]
        for u in rng.sample(names[above], parents)
    ]
    for upper, lower in rng.sample(pairs, len(pairs)):
        graph.add_edge(
            upper, lower, **{key: fill(kind, rng, key) for key, kind in EDGE_COLUMNS.items()}
        )
    return graph.check()


def without_co_firing(graph):
    """The graph as one that was mined before edges had it."""
    for _, _, edge in graph.edges(data=True):
        del edge["co_firing"]
    return graph.check()


def fill(kind, rng, key):
    return 0 if kind is int else EXAMPLES[kind](rng) if kind in EXAMPLES else kind()


def make_places(graph, objects=OBJECTS):
    n = graph.number_of_nodes()
    node = np.tile(np.arange(n), 2)
    ids = np.array([objects[i % len(objects)].id for i in range(2 * n)])
    x, y = np.linspace(0.1, 639.9, 2 * n), np.linspace(0.2, 479.8, 2 * n)
    return TopPlaces(node, ids, x, y, np.linspace(9, -9, 2 * n))


def assert_same(graph, other):
    """Equal in nodes, edges, every order, every attribute and its type."""
    assert type(other) is ExplanatoryGraph
    assert list(graph.nodes(data=True)) == list(other.nodes(data=True))
    assert list(graph.edges(data=True)) == list(other.edges(data=True))
    assert [list(graph.pred[node]) for node in graph] == [list(other.pred[node]) for node in other]
    assert [list(graph.parents(node)) for node in graph] == [
        list(other.parents(node)) for node in other
    ]
    assert graph.graph == other.graph
    other.check()


def sway(graph, seed=0, size=6):
    """Give every other node loadings of awkward floats, among them none at all."""
    rng = random.Random(seed)
    for name in list(graph)[::2]:
        graph.nodes[name][LOADINGS] = tuple(
            EXAMPLES[float](rng) for _ in range(rng.choice([0, 2, size]))
        )
    return graph.check()
