"""The graph as a stack of sheets, one for each layer, its nodes at their mean places."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import GraphError, UsageError
from explgraph.figures.canvas import PALETTE, TEXT, Pixels, check_image, new_figure
from explgraph.graph import ExplanatoryGraph

# A sheet is the unit square of the input seen obliquely: its lower edge 1 wide, its depth drawn up and to the right.
_SHEAR, _DEPTH, _STEP = 0.35, 0.45, 0.74
_ABOVE = 1000  # drawing order of what no sheet may hide

Edge = tuple[str, str]


def graph_figure(
    graph: ExplanatoryGraph,
    *,
    node: str | None = None,
    n_nodes: int = 5,
    n_parents: int = 2,
    image: Pixels | None = None,
    title: str = "",
) -> Figure:
    """Return a figure of the graph: each layer a sheet, the top layer above, nodes at their mean places in the input.

    Coloured are ``node`` with its heaviest parents up to the top layer and its heaviest children below; or, without ``node``, the
    nodes of the bottom layer that have the highest score, with their heaviest parents up to the top. All others are grey. The
    area of a node is its score, the width of an edge its weight.

    Args:
        graph: with at least one layer.
        node: id of the node to show.
        n_nodes: how many nodes of the bottom layer to show where no node is asked for.
        n_parents: how many parents, and children of ``node``, to follow at each step.
        image: (height, width, 3), RGB, shown as a sheet of its own under the bottom layer: what an input looks like.
        title: stands above.

    Raises:
        GraphError: the node is not in the graph.
        UsageError: the graph has no layer.
    """
    if not graph.layers:
        raise UsageError("a graph without layers cannot be drawn; mine one first")
    if node is not None and node not in graph:
        raise GraphError(f"node {node!r} is not in the graph; 'explgraph show' lists its nodes")
    edges = list(_chosen_edges(graph, _chosen(graph, node, n_nodes), n_parents))
    if node is not None:
        edges += [(node, child) for child in graph.children(node)[:n_parents]]
    shown = {name for edge in edges for name in edge} | set(_chosen(graph, node, n_nodes))
    level = {
        layer.name: len(graph.layers) - i for i, layer in enumerate(graph.layers)
    }  # the image lies at 0
    figure = new_figure(5.6, 0.6 + 1.75 * (len(graph.layers) + (image is not None)))
    axes = figure.subplots()
    if image is not None:
        _draw_image(axes, check_image(image))
    for number, layer in enumerate(graph.layers):
        _draw_sheet(
            axes,
            level[layer.name],
            f"{layer.name}\n{sum(1 for _ in graph.nodes_of(layer.name)):,} nodes",
        )
        _draw_nodes(
            axes,
            graph,
            list(graph.nodes_of(layer.name)),
            level[layer.name],
            shown,
            PALETTE[number % len(PALETTE)],
        )
    _draw_edges(axes, graph, edges, level)
    if node is not None:
        _mark(axes, graph, node, level)
    bottom = 0 if image is not None else 1
    axes.set(
        xlim=(-0.62, 1 + _SHEAR + 0.02),
        ylim=(bottom * _STEP - 0.03, max(level.values()) * _STEP + _DEPTH + 0.03),
        aspect="equal",
    )
    axes.set_axis_off()
    axes.set_title(title, fontsize=11, color=TEXT, parse_math=False)
    return figure


def _chosen(graph: ExplanatoryGraph, node: str | None, n_nodes: int) -> list[str]:
    if node is not None:
        return [node]
    return sorted(
        graph.nodes_of(graph.layers[-1].name), key=lambda name: -graph.nodes[name]["score"]
    )[:n_nodes]


def _chosen_edges(graph: ExplanatoryGraph, nodes: list[str], n_parents: int) -> Iterator[Edge]:
    """Yield the edges to the heaviest parents of ``nodes``, to the heaviest parents of those, and so on, each once."""
    seen: set[str] = set()
    while nodes:
        seen.update(nodes)
        edges = [(parent, name) for name in nodes for parent in graph.parents(name)[:n_parents]]
        yield from edges
        nodes = [
            parent for parent in dict.fromkeys(parent for parent, _ in edges) if parent not in seen
        ]


def _oblique(
    rows: ArrayLike, cols: ArrayLike, level: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return where fractions of the input lie in the drawing; row 0 is at the back of the sheet."""
    back = 1 - np.asarray(rows, dtype=np.float64)
    return np.asarray(cols) + _SHEAR * back, level * _STEP + _DEPTH * back


def _draw_sheet(axes: Axes, level: int, label: str) -> None:
    x, y = _oblique([0, 0, 1, 1], [0, 1, 1, 0], level)
    axes.add_patch(
        Polygon(
            np.stack([x, y], 1),
            facecolor="#F4F4F4",
            edgecolor="#BBBBBB",
            linewidth=0.8,
            alpha=0.85,
            zorder=10 * level,
        )
    )
    axes.text(
        -0.04,
        level * _STEP + 0.02,
        label,
        fontsize=9,
        color=TEXT,
        ha="right",
        va="bottom",
        linespacing=1.3,
        parse_math=False,
    )


def _draw_image(axes: Axes, image: Pixels) -> None:
    height, width = image.shape[:2]
    # Rows count downwards from the back edge: (column, row) in fractions, then sheared.
    place = Affine2D.from_values(1 / width, 0, -_SHEAR / height, -_DEPTH / height, _SHEAR, _DEPTH)
    axes.imshow(
        image,
        extent=(0, width, height, 0),
        origin="upper",
        transform=place + axes.transData,
        interpolation="bilinear",
    )
    axes.text(-0.04, 0.02, "input", fontsize=9, color=TEXT, ha="right", va="bottom")


def _draw_nodes(
    axes: Axes, graph: ExplanatoryGraph, nodes: list[str], level: int, shown: set[str], colour: str
) -> None:
    if not nodes:
        return
    values = np.array(
        [[graph.nodes[name][key] for key in ("row", "col", "score")] for name in nodes]
    )
    chosen = np.array([name in shown for name in nodes])
    x, y = _oblique(values[:, 0], values[:, 1], level)
    top = max(values[:, 2].max(), 1e-12)
    axes.scatter(x[~chosen], y[~chosen], 2.0, c="#C4C4C4", linewidths=0, zorder=10 * level + 1)
    area = 14 + 40 * np.clip(values[chosen, 2] / top, 0, 1)
    axes.scatter(
        x[chosen], y[chosen], area, c=colour, edgecolors="white", linewidths=0.7, zorder=_ABOVE
    )


def _draw_edges(
    axes: Axes, graph: ExplanatoryGraph, edges: list[Edge], level: dict[str, int]
) -> None:
    """Draw each edge over the sheet of its child and under that of its parent, as if seen from above."""
    heaviest = max((graph.edges[edge]["weight"] for edge in edges), default=1.0) or 1.0
    for name, height in level.items():
        leading = [edge for edge in edges if graph.nodes[edge[1]]["layer"] == name]
        lines = [[_point(graph, end, level) for end in edge] for edge in leading]
        widths = [0.4 + 1.6 * graph.edges[edge]["weight"] / heaviest for edge in leading]
        axes.add_collection(
            LineCollection(
                lines, colors="#333333", alpha=0.5, linewidths=widths, zorder=10 * height + 13
            )
        )


def _point(graph: ExplanatoryGraph, node: str, level: dict[str, int]) -> tuple[float, float]:
    attributes = graph.nodes[node]
    x, y = _oblique(attributes["row"], attributes["col"], level[attributes["layer"]])
    return float(x), float(y)


def _mark(axes: Axes, graph: ExplanatoryGraph, node: str, level: dict[str, int]) -> None:
    x, y = _point(graph, node, level)
    axes.scatter(x, y, 110, facecolors="none", edgecolors=TEXT, linewidths=1.3, zorder=_ABOVE + 1)
    axes.annotate(
        node,
        (x, y),
        xytext=(10, -4),
        textcoords="offset points",
        fontsize=8,
        color=TEXT,
        zorder=1000,
        parse_math=False,
        bbox={
            "boxstyle": "round,pad=0.2",
            "facecolor": "white",
            "edgecolor": "none",
            "alpha": 0.85,
        },
    )
