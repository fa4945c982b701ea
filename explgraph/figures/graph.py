"""The graph as a row of panels, one for each layer: telling nodes at their places on the object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch, Rectangle
from matplotlib.path import Path
from numpy.typing import NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import FAINT, TEXT, Pixels, check_image, halo, named, new_figure
from explgraph.figures.markers import move_apart
from explgraph.graph import CO_FIRING, ExplanatoryGraph, layer_of, pick_apart, telling_nodes
from explgraph.palette import PALETTE

N_NODES = 7  # of a layer: as many as the palette has colours
N_RELATIVES = 5  # ... that show where one node is asked for
N_PARENTS = 2  # edges drawn from a node to the layer above, unless one node is asked for
# Inches: a panel, the side of a patch, between panels, above and below all.
_PANEL, _SIDE, _GAP, _HEAD, _FOOT = 4.4, 0.74, 0.8, 0.75, 0.5
_PALE = 0.55  # share of white in the mean object: patches and edges stand out
_EMPTY = 235  # grey level of a panel without the mean object, of a node without a patch

Edge = tuple[str, str]
Places = dict[str, NDArray[np.float64]]
Chosen = Mapping[str, Sequence[str]]


def choose_nodes(
    graph: ExplanatoryGraph, *, node: str | None = None, n: int = N_NODES
) -> dict[str, list[str]]:
    """The ids to draw of each layer, top layer first: telling nodes that edges join.

    It begins with `explgraph.graph.telling_nodes` of the top layer; each layer below shows telling
    nodes among the children of those above it. Or it begins with ``node``; the layers above and
    below then show its heaviest relatives, also of different filters at different places.

    Args:
        graph: with at least one layer.
        node: id to begin with.
        n: nodes of a layer at most.

    Raises:
        GraphError: the node is not in the graph.
        UsageError: the graph has no layer.

    >>> [len(names) for names in choose_nodes(graph, n=5).values()]
    [5, 5]
    """
    layers = [layer.name for layer in graph.layers]
    if not layers:
        raise UsageError("a graph without layers cannot be drawn; mine one first")
    if node is None:
        start = 0
        # A node without children would stand alone, so it is taken only if there is no other.
        top = list(graph.nodes_of(layers[0]))
        begun = telling_nodes(graph, n, among=[name for name in top if graph.out_degree(name)])
        begun = begun or telling_nodes(graph, n, among=top)
    else:
        n = min(n, N_RELATIVES)
        start, begun = layers.index(graph.node(node)["layer"]), [node]
    chosen = {layers[start]: begun}
    for i in range(start + 1, len(layers)):
        edges = graph.out_edges(chosen[layers[i - 1]], data="weight")
        weights = _heaviest((lower, weight) for _, lower, weight in edges)
        chosen[layers[i]] = _pick(graph, weights, n, by_score=node is None)
    for i in range(start - 1, -1, -1):
        edges = graph.in_edges(chosen[layers[i + 1]], data="weight")
        weights = _heaviest((upper, weight) for upper, _, weight in edges)
        chosen[layers[i]] = _pick(graph, weights, n, by_score=False)
    return {layer: chosen[layer] for layer in layers}


def _heaviest(found: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Node -> the weight of its heaviest edge."""
    weights: dict[str, float] = {}
    for name, weight in found:
        weights[name] = max(weight, weights.get(name, 0.0))
    return weights


def _pick(
    graph: ExplanatoryGraph, weights: Mapping[str, float], n: int, *, by_score: bool
) -> list[str]:
    if by_score:
        return telling_nodes(graph, n, among=weights)
    names = list(weights)
    at = [graph.nodes[name] for name in names]
    places, filters = [(one["row"], one["col"]) for one in at], [one["channel"] for one in at]
    return [names[k] for k in pick_apart(list(weights.values()), places, filters, n)]


def graph_figure(
    graph: ExplanatoryGraph,
    chosen: Chosen,
    *,
    node: str | None = None,
    patches: Mapping[str, Pixels] | None = None,
    image: Pixels | None = None,
) -> Figure:
    """A figure of the graph, its lowest layer to the left, the top layer to the right.

    Each chosen node is a patch at its mean place. Lines are the heaviest edges to the layer above,
    in the colour of the upper node, the heavier the thicker.

    Args:
        graph: holds the nodes.
        chosen: ids of each layer to draw, top layer first, from `choose_nodes`.
        node: id of the one that was asked for; it gets a thicker frame.
        patches: what nodes look like, by id; (height, width, 3), RGB, each.
        image: (height, width, 3), RGB, the mean of the objects in the common facing.

    >>> figure = graph_figure(graph, choose_nodes(graph, n=5))
    >>> [text.get_text().split(" of ")[0] for text in figure.axes[0].texts[:2]]
    ['features.11: 5', 'features.14: 5']
    """
    aspect = 1.0 if image is None else check_image(image).shape[0] / image.shape[1]
    size = np.array([_PANEL * min(1, 1 / aspect), _PANEL * min(1, aspect)])
    width = len(chosen) * (size[0] + _GAP) - _GAP
    height = _HEAD + size[1] + _FOOT
    figure = new_figure(width, height)
    # One canvas in inches, as edges lead from panel to panel.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    corners = {
        layer: np.array([k * (size[0] + _GAP), _HEAD])
        for k, layer in enumerate(reversed(list(chosen)))
    }
    places: Places = {}
    for layer, corner in corners.items():
        _draw_panel(axes, corner, size, image)
        total = sum(1 for _ in graph.nodes_of(layer))
        said = f"{layer}: {len(chosen[layer])} of {total:,} nodes"
        heading = axes.text(corner[0], corner[1] - 0.08, said, fontsize=10, color=TEXT)
        heading.set_parse_math(False)
        places |= _place_nodes(graph, chosen[layer], corner, size)
    edges = heaviest_edges(graph, chosen, N_PARENTS if node is None else None)
    inks = _colour_uppers(chosen, edges)
    _draw_edges(axes, graph, edges, places, inks)
    for name, place in places.items():
        frame = 4.0 if name == node else 2.2
        _draw_node(axes, place, (patches or {}).get(name), inks.get(name, TEXT), frame)
        # The layer stands above the panel.
        label = name if name == node else name.removeprefix(f"{layer_of(name)}:")
        called = graph.called(name)
        _draw_label(axes, place, named(name, called) if called else label)
    _write_around(axes, graph, node, edges, height=height)
    axes.set(xlim=(0, width), ylim=(height, 0))  # imshow set them to the last patch
    return figure


def heaviest_edges(graph: ExplanatoryGraph, chosen: Chosen, n: int | None = None) -> list[Edge]:
    """The edges (upper, lower) among chosen nodes: to each from its ``n`` heaviest parents there.

    >>> len(heaviest_edges(graph, choose_nodes(graph, n=5), 1))
    5
    """
    names = {name for names in chosen.values() for name in names}
    edges = []
    for lower in (name for names in chosen.values() for name in names):
        shown = [upper for upper in graph.parents(lower) if upper in names]
        edges += [(upper, lower) for upper in shown[:n]]
    return edges


def _draw_panel(
    axes: Axes, corner: NDArray[np.float64], size: NDArray[np.float64], image: Pixels | None
) -> None:
    (left, top), (right, bottom) = corner, corner + size
    shown = np.full((1, 1, 3), _EMPTY, np.uint8)
    if image is not None:
        shown = (_PALE * 255 + (1 - _PALE) * image).astype(np.uint8)
    axes.imshow(shown, extent=(left, right, bottom, top), aspect="auto", zorder=1)


def _place_nodes(
    graph: ExplanatoryGraph,
    names: Sequence[str],
    corner: NDArray[np.float64],
    size: NDArray[np.float64],
) -> Places:
    """The middle of each node's patch, inches: its mean place, or near it beside other patches."""
    mean = np.array([(graph.nodes[name]["col"], graph.nodes[name]["row"]) for name in names])
    apart = move_apart(mean.reshape(-1, 2) * size, 1.42 * _SIDE, size=size) + corner
    return dict(zip(names, apart, strict=True))


def _colour_uppers(chosen: Chosen, edges: Sequence[Edge]) -> dict[str, str]:
    """A colour for each node from which an edge leads down, told apart within its layer."""
    uppers = {upper for upper, _ in edges}
    return {
        name: PALETTE[k % len(PALETTE)]
        for names in chosen.values()
        for k, name in enumerate(names)
        if name in uppers
    }


def _draw_edges(
    axes: Axes, graph: ExplanatoryGraph, edges: list[Edge], places: Places, inks: dict[str, str]
) -> None:
    weights = [graph.edges[edge]["weight"] for edge in edges]
    heaviest = max(weights, default=0.0) or 1.0
    for k, ((upper, lower), weight) in enumerate(zip(edges, weights, strict=True)):
        # From the right side of the lower patch to the left side of the upper one, level at both
        # ends and over all patches: so it does not seem to end at one that it only passes.
        # A little higher or lower each, as nodes of alike heights would share one line. Shares of
        # the golden section differ between any few edges.
        shift = (0, (0.382 * k % 1 - 0.5) * _SIDE / 2)
        start, end = places[lower] + (_SIDE / 2, 0), places[upper] - (_SIDE / 2, 0)
        start, end = start + shift, end + shift
        bend = ((end[0] - start[0]) / 2, 0)
        curve = Path([start, start + bend, end - bend, end], [1, 4, 4, 4])
        line = PathPatch(curve, fill=False, edgecolor=inks[upper], zorder=7)
        width = 0.8 + 1.8 * weight / heaviest
        line.set(linewidth=width, path_effects=halo("white", width + 1.6))
        line.set_gid(f"{upper} -> {lower}")
        axes.add_patch(line)
        x, y = np.transpose([start, end])
        (ends,) = axes.plot(x, y, "o", color=inks[upper], markersize=4.5, zorder=8)
        ends.set(markeredgecolor="white", markeredgewidth=0.7)


def _draw_node(
    axes: Axes, place: NDArray[np.float64], patch: Pixels | None, ink: str, frame: float
) -> None:
    left, top = place - _SIDE / 2
    shown = np.full((1, 1, 3), _EMPTY, np.uint8) if patch is None else check_image(patch)
    extent = (left, left + _SIDE, top + _SIDE, top)
    axes.imshow(shown, extent=extent, aspect="auto", zorder=4, interpolation="antialiased")
    box = Rectangle((left, top), _SIDE, _SIDE, fill=False, edgecolor=ink, linewidth=frame)
    axes.add_patch(box).set_zorder(5)


def _draw_label(axes: Axes, place: NDArray[np.float64], label: str) -> None:
    text = axes.text(place[0], place[1] + _SIDE / 2 + 0.12, label, fontsize=7, color=TEXT)
    text.set(ha="center", va="center", zorder=9, path_effects=halo("white", 2.5))
    text.set_parse_math(False)


def _write_around(
    axes: Axes, graph: ExplanatoryGraph, node: str | None, edges: Sequence[Edge], *, height: float
) -> None:
    title = (
        f"{len(graph):,} nodes, {graph.number_of_edges():,} edges; shown are strong nodes of "
        "different filters at different places"
    )
    if node is not None:
        rest = "and its heaviest relatives of different filters at different places"
        title = f"{graph.title(node)} {rest}"
    known = [graph.edges[edge][CO_FIRING] for edge in edges if CO_FIRING in graph.edges[edge]]
    so_much = f" (correlation {np.mean(known):.2f} in the mean)" if known else ""
    caption = (
        "A picture is a node: the patch about it in its best photograph, at or near its mean "
        f"place on the mean of typical objects.\nA line joins two that fire together{so_much} and "
        "keep their displacement; the heavier the edge, the thicker. Its colour is that of the "
        "upper node."
    )
    head = axes.text(0, 0.1, title, fontsize=11, color=TEXT, va="top")
    foot = axes.text(0, height - _FOOT + 0.2, caption, fontsize=8, color=FAINT, va="top")
    for text in (head, foot):
        text.set_parse_math(False)
