"""Times the store on a graph of VGG-16's size: saving, loading, and reading one node.

python scripts/benchmark_store.py [--nodes N] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "storage")]

from explgraph.graph import (  # noqa: E402
    EDGE_ATTRIBUTES,
    NODE_ATTRIBUTES,
    ExplanatoryGraph,
    Layer,
    node_name,
)
from explgraph_storage import ImageRecord, ObjectRecord, Store, TopPlaces  # noqa: E402

LAYERS = 4
CHANNELS = 512
CANDIDATES = 600  # upper nodes that parents are chosen from, as in the published method


def benchmark_store(
    nodes: int = 61_440, *, parents: int = 17, top: int = 20, reads: int = 200, seed: int = 0
) -> dict[str, float]:
    """Return how long a graph of random values takes to be saved, saved again, loaded, and read node by node.

    Args:
        nodes: number of nodes, spread evenly over 4 layers of 512 channels.
        parents: parents of each node below the top layer; 17 give 783,360 edges, a little more than the published VGG-16 graph.
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
            save_s = _seconds(lambda: store.save_graph(graph))
            replace_s = _seconds(lambda: store.save_graph(graph, top_places=places))
        megabytes = file.stat().st_size / 1e6
        with Store.open(file) as store:
            load_s = _seconds(store.load_graph)
            names = rng.choice(list(graph), size=min(reads, nodes))
            read_ms = [
                1e3 * _seconds(lambda name=str(name): store.read_node(name)) for name in names
            ]  # type: ignore[misc]
    return {
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
        "top_places": len(places.node),
        "save_s": round(save_s, 2),
        "replace_with_places_s": round(replace_s, 2),
        "load_s": round(load_s, 2),
        "read_node_ms_median": round(statistics.median(read_ms), 2),
        "read_node_ms_worst": round(max(read_ms), 2),
        "file_mb": round(megabytes, 1),
    }


def build_graph(nodes: int, parents: int, rng: np.random.Generator) -> ExplanatoryGraph:
    """Return a graph of random values in which every node below the top layer has ``parents`` parents."""
    layers = [
        Layer(f"features.{28 - 2 * i}", CHANNELS, 14, 16, (16.0, 16.0), (0.5, 0.5), (196.0, 196.0))
        for i in range(LAYERS)
    ]
    graph = ExplanatoryGraph(layers=tuple(layers), n_images=1000, config={"seed": 0})
    above: list[str] = []
    for layer in layers:
        names = []
        for number in range(nodes // LAYERS):
            values = _attributes(NODE_ATTRIBUTES, rng)
            values |= {
                "layer": layer.name,
                "channel": number % CHANNELS,
                "index": number // CHANNELS,
                "kind": "part",
            }
            values["loadings"] = tuple(rng.standard_normal(32).tolist())
            names.append(node_name(layer.name, number % CHANNELS, number // CHANNELS))
            graph.add_node(names[-1], **values)
        candidates = (
            rng.choice(above, size=min(CANDIDATES, len(above)), replace=False).tolist()
            if above
            else []
        )
        for name in names:
            for upper in rng.permutation(len(candidates))[:parents].tolist():
                graph.add_edge(candidates[upper], name, **_attributes(EDGE_ATTRIBUTES, rng))
        above = names
    return graph


def build_places(
    nodes: int, top: int, rng: np.random.Generator
) -> tuple[TopPlaces, list[ObjectRecord]]:
    """Return ``top`` random places for each node, and the objects that they are on."""
    objects = [ObjectRecord(number, 1, (0.0, 0.0, 640.0, 480.0)) for number in range(1, 1001)]
    nodes = nodes // LAYERS * LAYERS
    x, y, score = rng.random((3, nodes * top)) * 480
    places = TopPlaces(
        np.repeat(np.arange(nodes), top),
        rng.integers(1, len(objects) + 1, nodes * top),
        x,
        y,
        score,
    )
    return places, objects


def _attributes(schema: dict[str, type], rng: np.random.Generator) -> dict[str, object]:
    names = [name for name, kind in schema.items() if kind is float]
    return dict(zip(names, rng.random(len(names)).tolist(), strict=True))


def _seconds(call: object) -> float:
    start = time.perf_counter()
    call()  # type: ignore[operator]
    return time.perf_counter() - start


def main(arguments: list[str] | None = None) -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=61_440)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args(arguments)
    figures = benchmark_store(options.nodes)
    if options.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name:<24}{value:>12,}" for name, value in figures.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
