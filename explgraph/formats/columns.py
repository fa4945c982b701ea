"""What a file says of a node: its attributes, and its name where someone named any."""

from __future__ import annotations

from typing import Any

from explgraph.graph import NODE_ATTRIBUTES, ExplanatoryGraph


def node_columns(graph: ExplanatoryGraph) -> dict[str, type]:
    """The columns and their types; ``name`` only where there are names.

    >>> list(node_columns(ExplanatoryGraph()))[-2:]
    ['communality', 'kind']
    """
    return {**NODE_ATTRIBUTES, "name": str} if graph.names else NODE_ATTRIBUTES


def node_values(graph: ExplanatoryGraph, node: str) -> dict[str, Any]:
    """The values of the columns; a node without a name is called "".

    >>> first = next(iter(graph))
    >>> list(node_values(graph, first)) == list(node_columns(graph))
    True
    """
    at = graph.nodes[node]
    return {key: at.get(key, graph.called(node) or "") for key in node_columns(graph)}
