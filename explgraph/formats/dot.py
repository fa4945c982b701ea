"""Graphviz's DOT with pinned places: ``dot -Tsvg FILE`` draws the sheets as they lie."""

from __future__ import annotations

from collections.abc import Iterator

from explgraph.formats.columns import node_values
from explgraph.formats.layout import lay_out
from explgraph.graph import EDGE_COLUMNS, ExplanatoryGraph

POINTS = 72  # per inch; Graphviz takes positions in points but sizes in inches


def dot_lines(graph: ExplanatoryGraph, attributes: str) -> Iterator[str]:
    """Yield the file, line by line; the graph's attributes (JSON) are its comment.

    Every value is quoted: ids hold ':' and '.', and DOT's bare numbers have no exponent.
    """
    yield "digraph explgraph {\n"
    # nop2 leaves the nodes where they are; inputscale says the same unit to neato and fdp.
    yield f"graph [layout=nop2, inputscale={POINTS}, splines=line, outputorder=edgesfirst, "
    yield f"comment={quoted(attributes)}];\n"
    yield "node [shape=circle, style=filled, fixedsize=true, penwidth=0, "
    yield 'label="", tooltip="\\N"];\n'
    # Nearly transparent: thousands of edges would hide the nodes.
    yield 'edge [color="#00000030", arrowsize=0.3];\n'
    yield from _nodes(graph)
    yield from _edges(graph)
    yield "}\n"


def quoted(text: str) -> str:
    r"""The text as a DOT string.

    >>> print(quoted('conv"1\\2:0:1'))
    "conv\"1\\2:0:1"
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _nodes(graph: ExplanatoryGraph) -> Iterator[str]:
    dots = lay_out(graph)
    for node, dot in dots.items():
        at = node_values(graph, node)
        values = ", ".join(f"{key}={quoted(str(value))}" for key, value in at.items())
        if at.get("name"):  # seen where the mouse rests; others show their id there
            values += f", tooltip={quoted(graph.title(node))}"
        # The ! pins the node, for whoever draws the file with neato or fdp instead.
        place = f'pos="{dot.x},{dot.y}!", width="{dot.size / POINTS:.4f}"'
        yield f'{quoted(node)} [{values}, {place}, fillcolor="{dot.colour}"];\n'


def _edges(graph: ExplanatoryGraph) -> Iterator[str]:
    name = {node: quoted(node) for node in graph}
    for upper, lower, at in graph.edges(data=True):
        values = ", ".join(f'{key}="{at[key]}"' for key in EDGE_COLUMNS if key in at)
        yield f"{name[upper]} -> {name[lower]} [{values}];\n"
