"""The store on a graph of VGG-16's size: saving, loading, and reading one node."""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.timing import seconds
from explgraph.graph import (
    EDGE_ATTRIBUTES,
    NODE_ATTRIBUTES,
    ExplanatoryGraph,
    Layer,
    node_name,
)
from explgraph_storage import ImageRecord, ObjectRecord, Store, TopPlaces

LAYERS = 4
CHANNELS = 512
CANDIDATES = 600  # upper nodes that parents are chosen from, as in the published method
N_OBJECTS = 1000
CPU = torch.device("cpu")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--nodes", type=int, default=61_440, help="over 4 layers of 512 channels")


def run(args: argparse.Namespace) -> dict[str, float]:
    return measure(args.nodes)


def text(figures: dict[str, float]) -> str:
    return "\n".join(f"{name:<24}{value:>12,}" for name, value in figures.items())


def measure(
    nodes: int, *, parents: int = 17, top: int = 20, reads: int = 200, seed: int = 0
) -> dict[str, float]:
    """How long a graph of random values takes to be saved, replaced, loaded and read.

    Args:
        nodes: number of nodes, spread evenly over 4 layers of 512 channels.
        parents: parents of each node below the top layer. With 17 of them, 61,440 nodes have
            783,360 edges, a little more than the published VGG-16 graph.
        top: places stored per node.
        reads: how many random nodes are read one by one.
        seed: of the random values.
    """
    rng = np.random.default_rng(seed)
    graph = build_graph(nodes, parents, rng)
    places, objects = build_places(nodes, top, rng)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "graph.db"
        with Store.open(file, mode="create") as store:
            store.write_source([ImageRecord(1, "photograph.jpg", 640, 480)], objects)
            save_s = seconds(lambda: store.save_graph(graph), CPU)
            replace_s = seconds(lambda: store.save_graph(graph, top_places=places), CPU)
        megabytes = file.stat().st_size / 1e6
        with Store.open(file) as store:
            load_s = seconds(store.load_graph, CPU)
            names = rng.choice(list(graph), size=min(reads, nodes)).tolist()
            read_s = [seconds(lambda name=name: store.read_node(name), CPU) for name in names]
    return {
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
        "top_places": len(places.node),
        "save_s": round(save_s, 2),
        "replace_with_places_s": round(replace_s, 2),
        "load_s": round(load_s, 2),
        "read_node_ms_median": round(1e3 * statistics.median(read_s), 2),
        "read_node_ms_worst": round(1e3 * max(read_s), 2),
        "file_mb": round(megabytes, 1),
    }


def build_graph(nodes: int, parents: int, rng: np.random.Generator) -> ExplanatoryGraph:
    """A graph of random values; every node below the top layer has ``parents`` parents."""
    names = [f"features.{28 - 2 * i}" for i in range(LAYERS)]
    stride, first, field = (16.0, 16.0), (0.5, 0.5), (196.0, 196.0)
    layers = tuple(Layer(name, CHANNELS, 14, 16, stride, first, field) for name in names)
    graph = ExplanatoryGraph(layers=layers, n_images=N_OBJECTS, config={"seed": 0})
    above: list[str] = []
    for layer in layers:
        below = [add_node(graph, layer, number, rng) for number in range(nodes // LAYERS)]
        n_candidates = min(CANDIDATES, len(above))
        candidates = rng.choice(above, size=n_candidates, replace=False).tolist() if above else []
        for name in below:
            for upper in rng.permutation(n_candidates)[:parents].tolist():
                graph.add_edge(candidates[upper], name, **random_values(EDGE_ATTRIBUTES, rng))
        above = below
    return graph


def add_node(graph: ExplanatoryGraph, layer: Layer, number: int, rng: np.random.Generator) -> str:
    index, channel = divmod(number, CHANNELS)
    name = node_name(layer.name, channel, index)
    values = random_values(NODE_ATTRIBUTES, rng)
    values |= {"layer": layer.name, "channel": channel, "index": index, "kind": "part"}
    values["loadings"] = tuple(rng.standard_normal(32).tolist())
    graph.add_node(name, **values)
    return name


def build_places(
    nodes: int, top: int, rng: np.random.Generator
) -> tuple[TopPlaces, list[ObjectRecord]]:
    """``top`` random places for each node, and the objects that they are on."""
    objects = [ObjectRecord(k, 1, (0.0, 0.0, 640.0, 480.0)) for k in range(1, N_OBJECTS + 1)]
    nodes = nodes // LAYERS * LAYERS
    node = np.repeat(np.arange(nodes), top)
    x, y, score = rng.random((3, nodes * top)) * 480
    on = rng.integers(1, N_OBJECTS + 1, nodes * top)
    return TopPlaces(node, on, x, y, score), objects


def random_values(schema: dict[str, type], rng: np.random.Generator) -> dict[str, object]:
    names = [name for name, kind in schema.items() if kind is float]
    return dict(zip(names, rng.random(len(names)).tolist(), strict=True))
