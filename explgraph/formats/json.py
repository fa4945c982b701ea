"""The two JSON formats: Cytoscape's (cyjs) and networkx's node-link; one line per node and per edge."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from explgraph.formats.sheets import draw_marks
from explgraph.graph import ExplanatoryGraph


def cytoscape_lines(graph: ExplanatoryGraph, attributes: str) -> Iterator[str]:
    """Yield the file as ``networkx.cytoscape_data`` lays it out, with the position, colour and size of every node.

    Cytoscape's y runs downwards, so the positions are those of the other formats with y negated.
    """
    yield f'{{"data": {attributes}, "directed": true, "multigraph": false, "elements": {{"nodes": ['
    yield from _rows(_cytoscape_nodes(graph))
    yield '], "edges": ['
    yield from _rows(
        {"data": {**at, "source": upper, "target": lower}}
        for upper, lower, at in graph.edges(data=True)
    )
    yield "]}}\n"


def node_link_lines(graph: ExplanatoryGraph, attributes: str) -> Iterator[str]:
    """Yield the file as ``networkx.node_link_data(graph, edges="edges")`` lays it out; the graph and nothing else."""
    yield f'{{"directed": true, "multigraph": false, "graph": {attributes}, "nodes": ['
    yield from _rows({**at, "id": node} for node, at in graph.nodes(data=True))
    yield '], "edges": ['
    yield from _rows(
        {**at, "source": upper, "target": lower} for upper, lower, at in graph.edges(data=True)
    )
    yield "]}\n"


def _cytoscape_nodes(graph: ExplanatoryGraph) -> Iterator[dict[str, Any]]:
    marks = draw_marks(graph)
    for node, at in graph.nodes(data=True):
        mark = marks[node]
        names = dict.fromkeys(("id", "value", "name"), node)
        yield {
            "data": {**at, **names, "color": mark.colour, "size": mark.size},
            "position": {"x": mark.x, "y": -mark.y},
        }


def _rows(values: Iterable[dict[str, Any]]) -> Iterator[str]:
    separator = "\n"
    for value in values:
        yield separator + json.dumps(value)
        separator = ",\n"
