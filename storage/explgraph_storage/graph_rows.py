"""A graph as rows and rows as a graph: free functions on plain tuples, no database in sight."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import GraphError, StoreError
from explgraph.graph import (
    CO_FIRING,
    EDGE_ATTRIBUTES,
    LAYER_ATTRIBUTES,
    LOADINGS,
    NODE_ATTRIBUTES,
    ExplanatoryGraph,
    Layer,
)
from explgraph_storage.checks import (
    attribute_fault,
    check_edges,
    check_ids,
    check_nodes,
    damaged,
    floats_of,
    is_plain,
)
from explgraph_storage.records import TopPlaces

Rows = Iterator[tuple[Any, ...]]
NODE_COLUMNS = ("id", "name", *NODE_ATTRIBUTES, LOADINGS)
EDGE_COLUMNS = ("id", "upper_id", "lower_id", *EDGE_ATTRIBUTES, CO_FIRING)
PLACE_COLUMNS = ("node_id", "rank", "object_id", "x", "y", "score")
_PAIRS = ("stride", "first", "size")  # (row, column) of a Layer, with a column for each


def node_rows(graph: ExplanatoryGraph) -> Rows:
    """Yield one tuple of NODE_COLUMNS per node, in the graph's order."""
    pick = itemgetter(*NODE_ATTRIBUTES)
    for number, (name, attributes) in enumerate(graph.nodes(data=True), start=1):
        loadings = attributes.get(LOADINGS)
        # Binary and of one byte order: 32 numbers a node to the bit, 8 bytes each for JSON's 20.
        blob = None if loadings is None else struct.pack(f"<{len(loadings)}d", *loadings)
        yield number, name, *pick(attributes), blob


def node_attributes(values: Sequence[Any]) -> dict[str, Any]:
    """The attributes of a node from its columns behind id and name.

    >>> node_attributes(["conv", *range(10), "part", bytes(16)])["loadings"]
    (0.0, 0.0)
    """
    *plain, blob = values
    attributes = dict(zip(NODE_ATTRIBUTES, plain, strict=True))
    if blob is not None:
        attributes[LOADINGS] = struct.unpack(f"<{len(blob) // 8}d", blob)
    return attributes


def edge_rows(graph: ExplanatoryGraph) -> Rows:
    """Yield one tuple of EDGE_COLUMNS per edge, in the order of `filling_order`."""
    # Ids count in the graph's order, so a plain ORDER BY id brings the nodes back in it.
    number_of = {name: number for number, name in enumerate(graph, start=1)}
    pick = itemgetter(*EDGE_ATTRIBUTES)
    for number, (upper, lower, attributes) in enumerate(filling_order(graph), start=1):
        ends = number_of[upper], number_of[lower]
        yield number, *ends, *pick(attributes), attributes.get(CO_FIRING)


def edge_attributes(values: Sequence[Any]) -> dict[str, float]:
    """The attributes of an edge from its columns behind id and ends; co-firing may be missing.

    >>> edge_attributes([0.1, 0.2, 0.05, 0.5, None])
    {'d_row': 0.1, 'd_col': 0.2, 'std': 0.05, 'weight': 0.5}
    """
    attributes: dict[str, float] = dict(zip((*EDGE_ATTRIBUTES, CO_FIRING), values, strict=False))
    if attributes.get(CO_FIRING) is None:
        attributes.pop(CO_FIRING, None)
    return attributes


def filling_order(graph: ExplanatoryGraph) -> Iterator[tuple[str, str, dict[str, float]]]:
    """Yield the edges so that adding them in turn keeps every node's parents and children in order.

    ``graph.edges`` keeps the order of the children only; sums over parents would then round
    differently after loading. An edge's turn comes when it is next for both of its ends; where it
    is not next for its upper node, the lower node that is goes first.

    Raises:
        GraphError: no such order exists.
    """
    edges = dict(graph.adjacency())
    # Each list is walked once, so this is linear in the edges (VGG-16: 783,360).
    children = {node: iter(below) for node, below in edges.items()}
    parents = {node: iter(above) for node, above in graph.reverse(copy=False).adjacency()}
    next_child = {node: next(below, None) for node, below in children.items()}
    next_parent = {node: next(above, None) for node, above in parents.items()}
    for start in graph:
        waiting = [start]
        while waiting:
            lower = waiting[-1]
            upper = next_parent[lower]
            if upper is None:
                waiting.pop()
            elif next_child[upper] == lower:
                yield upper, lower, edges[upper][lower]
                next_child[upper] = next(children[upper], None)
                next_parent[lower] = next(parents[lower], None)
                if len(waiting) > 1:
                    waiting.pop()
            # More are waiting than there are nodes: one waits for itself.
            elif len(waiting) > len(graph):
                raise GraphError(
                    "the graph's successors and predecessors contradict each other; "
                    "build it with add_edge"
                )
            else:
                waiting.append(next_child[upper])


def fill_graph(
    layers: tuple[Layer, ...],
    attributes: Mapping[str, Any],
    nodes: Sequence[Any],
    edges: Iterable[Sequence[Any]],
) -> ExplanatoryGraph:
    """The graph of rows that `node_rows` and `edge_rows` gave; edges in batches.

    Raises:
        StoreError: the rows are not those of a graph.
    """
    graph = ExplanatoryGraph()
    graph.graph |= {"layers": layers, **attributes}
    depth = check_nodes(nodes, NODE_COLUMNS, layers)
    check_ids("nodes", (row[0] for row in nodes), 1)
    graph.add_nodes_from((row[1], node_attributes(row[2:])) for row in nodes)
    # Each edge's dict goes below its upper and above its lower end: what ``add_edges_from`` does,
    # in two thirds of its time.
    # Ids count from 1, so position 0 stays empty.
    names = ["", *graph]
    below = [{}, *(edges_of for _, edges_of in graph.adjacency())]
    above = [{}, *(edges_of for _, edges_of in graph.reverse(copy=False).adjacency())]
    n_edges = 0
    for batch in edges:
        check_edges(batch, EDGE_COLUMNS[: len(batch[0])], depth, n_edges + 1)
        n_edges += len(batch)
        for _, upper, lower, *values in batch:
            edge = edge_attributes(values)
            below[upper][names[lower]] = above[lower][names[upper]] = edge
    if (kept := sum(map(len, below))) != n_edges:
        raise damaged("edges", f"{n_edges} edges between different pairs of nodes", kept)
    return graph


def layer_row(layer: Layer, position: int, unit_std: NDArray[np.float32] | None) -> dict[str, Any]:
    """The columns of one layer and of its units' deviations, if they are known.

    >>> layer = Layer("conv", 8, 4, 6, (8.0, 8.0), (4.0, 4.0), (11.0, 11.0))
    >>> layer_of(layer_row(layer, 0, None)) == layer
    True

    Raises:
        StoreError: the deviations are neither (channels, height, width) nor (channels, 1, 1).
    """
    # `fallback` is of the first schema; geometry is always measured, so it is always false.
    row: dict[str, Any] = {"position": position, "fallback": False}
    for name in LAYER_ATTRIBUTES:
        value = getattr(layer, name)
        if name in _PAIRS:
            row[f"{name}_row"], row[f"{name}_col"] = value
        else:
            row[name] = value
    if unit_std is None:
        return row | {"unit_std": None, "unit_std_shape": None}
    expected = ((layer.channels, layer.height, layer.width), (layer.channels, 1, 1))
    if unit_std.shape not in expected:
        raise StoreError(
            f"unit_std of layer {layer.name}: expected shape {expected[0]} or {expected[1]}, "
            f"got {unit_std.shape}"
        )
    if not np.isfinite(unit_std).all():
        raise StoreError(f"unit_std of layer {layer.name}: expected finite deviations, got others")
    # The byte order is said, so that the file can move to any machine.
    blob = np.ascontiguousarray(unit_std, dtype="<f4").tobytes()
    return row | {"unit_std": blob, "unit_std_shape": list(unit_std.shape)}


def layer_of(row: Mapping[str, Any]) -> Layer:
    """The layer of the columns that `layer_row` gave."""
    values: dict[str, Any] = {name: row[name] for name in LAYER_ATTRIBUTES if name not in _PAIRS}
    values |= {name: (row[f"{name}_row"], row[f"{name}_col"]) for name in _PAIRS}
    return Layer(**values)


def deviations_of(layer: Layer, blob: bytes, shape: Any) -> NDArray[np.float32]:
    """The deviations of the columns that `layer_row` gave.

    Raises:
        StoreError: they are not of the layer's shape, or not finite.
    """
    values = floats_of(blob, f"layers.unit_std of {layer.name}", "<f4")
    expected = ([layer.channels, layer.height, layer.width], [layer.channels, 1, 1])
    if shape not in expected or values.size != math.prod(shape):
        raise damaged(f"layers.unit_std_shape of {layer.name}", f"one of {expected}", shape)
    # `astype` copies: an array over a blob would be read-only.
    return values.reshape(shape).astype(np.float32)


def graph_attributes(graph: ExplanatoryGraph) -> dict[str, Any]:
    """``graph.graph`` without its layers, and without the names, which have their own table.

    Raises:
        GraphError: there are no layers, two have one name, or a value would not come back from
            JSON as it was.
    """
    names = [layer.name for layer in graph.layers]
    if not names or len(set(names)) < len(names):
        raise GraphError(f"graph.graph['layers'] must hold layers of different names, got {names}")
    attributes = {
        key: value for key, value in graph.graph.items() if key not in ("layers", "names")
    }
    for key, value in attributes.items():
        if expected := attribute_fault(str(key), value, graph.layers):
            raise GraphError(f"graph.graph[{key!r}]: expected {expected}, got {value!r:.200}")
        # Said at saving: a tuple that comes back as a list is found out much later, and elsewhere.
        if not isinstance(key, str) or not (_survives_json(value) and is_plain(value)):
            raise GraphError(
                f"graph.graph[{key!r}] must hold JSON values only (no tuples, no keys but "
                f"strings, no NaN), got {value!r:.200}"
            )
    return attributes


def _survives_json(value: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except (TypeError, ValueError, RecursionError):
        return False


def place_rows(places: TopPlaces, n_nodes: int) -> Rows:
    """Yield one tuple of PLACE_COLUMNS per place, sorted by node, ranks in the given order.

    Raises:
        StoreError: a node's position is outside the graph, or a place is not finite.
    """
    node = np.asarray(places.node)
    if node.size and not 0 <= node.min() <= node.max() < n_nodes:
        raise StoreError(
            f"top places: expected node positions 0..{n_nodes - 1}, got {node.min()}..{node.max()}"
        )
    # Stable, for within a node the given order is the rank.
    order = np.argsort(node, kind="stable")
    node = node[order]
    # Less the first position of the same node: 1, 2, ... for each, without a loop over nodes.
    rank = np.arange(node.size) - np.searchsorted(node, node) + 1
    columns = [node + 1, rank, np.asarray(places.object)[order]]
    for name in ("x", "y", "score"):
        column = np.asarray(getattr(places, name), dtype=np.float64)[order]
        if not np.isfinite(column).all():
            raise StoreError(
                f"top places: {name} must be finite; leave out the places that were not found"
            )
        columns.append(column)
    # Python's own numbers: sqlite3 stores NumPy's as blobs.
    return zip(*(column.tolist() for column in columns), strict=True)
