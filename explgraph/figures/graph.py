"""The graph as a stack of sheets, one for each layer, its nodes at their mean places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import Polygon
from matplotlib.transforms import Affine2D
from numpy.typing import NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import TEXT, Pixels, check_image, halo, new_figure
from explgraph.graph import ExplanatoryGraph
from explgraph.palette import colour_each

N_NODES = 5  # of the bottom layer that are shown where no node is asked for
N_PARENTS = 2  # followed at each step
_APART = 0.2  # of the nodes shown, shares of the input: their labels do not hide each other
# A sheet is the unit square of the input seen obliquely: its lower edge 1 wide, its depth drawn
# up and to the right; sheets are one step apart.
_SHEAR, _DEPTH, _STEP = 0.35, 0.45, 0.74
_ABOVE = 1000  # drawing order of what no sheet may hide

Edge = tuple[str, str]
Places = dict[str, tuple[float, float]]


def graph_figure(
    graph: ExplanatoryGraph, *, node: str | None = None, image: Pixels | None = None
) -> Figure:
    """A figure of the graph: each layer a sheet, the top layer above, nodes at their mean places.

    Shown large are ``node`` with its heaviest parents up to the top layer and its heaviest
    children; or, without ``node``, the best nodes of the bottom layer with their heaviest parents.
    The area of a node is its score, the width of an edge its weight.

    Args:
        graph: With at least one layer.
        node: Id of the node to show.
        image: (height, width, 3), RGB, what the network is shown of an object in the common
            facing; a sheet of its own below the bottom layer.

    Raises:
        GraphError: The node is not in the graph.
        UsageError: The graph has no layer.
    """
    if not graph.layers:
        raise UsageError("a graph without layers cannot be drawn; mine one first")
    if node is not None:
        graph.node(node)
    labelled = _best_nodes(graph) if node is None else [node]
    edges = _edges_to_top(graph, labelled)
    if node is not None:
        edges += [(node, child) for child in graph.children(node)[:N_PARENTS]]
    shown = {*labelled, *(name for edge in edges for name in edge)}
    n_layers = len(graph.layers)
    figure = new_figure(5.6, 0.6 + 1.75 * (n_layers + (image is not None)))
    axes = figure.subplots()
    if image is not None:
        _draw_image(axes, check_image(image), _place_nodes(graph, labelled, 0))
    places: Places = {}
    colours = colour_each(layer.name for layer in graph.layers)
    for i, (layer, colour) in enumerate(colours.items()):
        level = n_layers - i  # the image lies at 0
        names = list(graph.nodes_of(layer))
        _draw_sheet(axes, level, f"{layer}\n{len(names):,} nodes")
        places |= _place_nodes(graph, names, level)
        others = [places[name] for name in names if name not in shown]
        _draw_dots(axes, others, 2.0, colour="#B0B0B0", order=10 * level + 1)
        large = [name for name in names if name in shown]
        areas = [14 + 40 * min(max(graph.nodes[name]["score"], 0), 1) for name in large]
        dots = _draw_dots(axes, [places[name] for name in large], areas, colour=colour)
        dots.set(edgecolor="white", linewidth=0.7)
    _draw_edges(axes, graph, edges, places)
    for name in labelled:
        label = name.removeprefix(f"{graph.nodes[name]['layer']}:") if node is None else name
        text = axes.annotate(label, places[name], (7, -3), textcoords="offset points", fontsize=7)
        text.set(path_effects=halo("white", 2.5), zorder=_ABOVE + 1, parse_math=False)
    bottom = (0 if image is not None else 1) * _STEP
    axes.set(xlim=(-0.62, 1 + _SHEAR + 0.02), aspect="equal")
    axes.set_ylim(bottom - 0.03, n_layers * _STEP + _DEPTH + 0.03)
    axes.set_axis_off()
    return figure


def _best_nodes(graph: ExplanatoryGraph) -> list[str]:
    """The nodes of the bottom layer with the highest scores that lie apart from each other."""
    names = list(graph.nodes_of(graph.layers[-1].name))
    chosen: list[str] = []
    places: list[NDArray[np.float64]] = []
    for name in sorted(names, key=lambda name: -graph.nodes[name]["score"]):
        place = np.array([graph.nodes[name]["row"], graph.nodes[name]["col"]])
        if all(np.linalg.norm(place - other) >= _APART for other in places):
            chosen.append(name)
            places.append(place)
    return chosen[:N_NODES]


def _edges_to_top(graph: ExplanatoryGraph, nodes: Sequence[str]) -> list[Edge]:
    """The edges to the heaviest parents of nodes, to the heaviest parents of those, and so on."""
    edges: dict[Edge, None] = {}
    while nodes:
        found = [(parent, name) for name in nodes for parent in graph.parents(name)[:N_PARENTS]]
        edges |= dict.fromkeys(found)
        nodes = list(dict.fromkeys(parent for parent, _ in found))
    return list(edges)


def _oblique(
    rows: NDArray[np.float64], cols: NDArray[np.float64], level: int
) -> NDArray[np.float64]:
    """Where fractions of the input lie in the drawing, (n, 2); row 0 is at the back of a sheet."""
    back = 1 - rows
    return np.stack([cols + _SHEAR * back, level * _STEP + _DEPTH * back], 1)


def _place_nodes(graph: ExplanatoryGraph, names: list[str], level: int) -> Places:
    rows = np.array([graph.nodes[name]["row"] for name in names])
    cols = np.array([graph.nodes[name]["col"] for name in names])
    return {name: (x, y) for name, (x, y) in zip(names, _oblique(rows, cols, level), strict=True)}


def _draw_sheet(axes: Axes, level: int, label: str) -> None:
    corners = _oblique(np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0]), level)
    sheet = Polygon(corners, facecolor="#F4F4F4", edgecolor="#BBBBBB", alpha=0.85)
    sheet.set(linewidth=0.8, zorder=10 * level)
    axes.add_patch(sheet)
    _draw_label(axes, level, label)


def _draw_label(axes: Axes, level: int, label: str) -> None:
    text = axes.text(-0.04, level * _STEP + 0.02, label, fontsize=9, color=TEXT)
    text.set(ha="right", va="bottom", linespacing=1.3, parse_math=False)


def _draw_image(axes: Axes, image: Pixels, places: Places) -> None:
    height, width = image.shape[:2]
    # Rows count downwards from the back edge: (column, row) in fractions, then sheared.
    place = Affine2D.from_values(1 / width, 0, -_SHEAR / height, -_DEPTH / height, _SHEAR, _DEPTH)
    drawn = axes.imshow(image, extent=(0, width, height, 0), interpolation="bilinear")
    drawn.set_transform(place + axes.transData)
    _draw_label(axes, 0, "an input")
    rings = _draw_dots(axes, list(places.values()), 30, colour="none")
    rings.set(edgecolor="white", linewidth=1.6)


def _draw_dots(
    axes: Axes,
    places: list[tuple[float, float]],
    area: float | list[float],
    *,
    colour: str,
    order: int = _ABOVE,
) -> PathCollection:
    x, y = np.array(places).reshape(-1, 2).T
    return axes.scatter(x, y, area, facecolors=colour, linewidths=0, zorder=order)


def _draw_edges(axes: Axes, graph: ExplanatoryGraph, edges: list[Edge], places: Places) -> None:
    weights = np.array([graph.edges[edge]["weight"] for edge in edges])
    widths = 0.4 + 1.6 * weights / weights.max(initial=1e-12)
    lines = [[places[upper], places[lower]] for upper, lower in edges]
    drawn = LineCollection(lines, colors="#333333", alpha=0.5, linewidths=widths)
    drawn.set_zorder(_ABOVE - 1)
    axes.add_collection(drawn)
