"""An explanation as a picture: where the nodes are, what each is worth, the network's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from explgraph.figures.canvas import (
    FAINT,
    OBJECT_INK,
    TEXT,
    Pixels,
    check_image,
    draw_box,
    draw_shares,
    named,
    new_figure,
    show_image,
    surroundings,
)
from explgraph.figures.markers import draw_markers
from explgraph.figures.patches import cut_patch
from explgraph.palette import PALETTE, colour_each

if TYPE_CHECKING:
    from explgraph.attribution import Explanation, NodeEvidence, NodeView

_PATCH = 70 / 224  # side of a patch, share of the network input
# Inches: the photograph at most, a row of the list, and the columns beside the photograph.
_WIDEST, _ROW = 4.8, 0.4
_LIST, _BARS, _NAMES, _CLASSES = 0.66, 1.9, 1.75, 2.9
_GAP, _HEAD, _FOOT = 0.35, 0.75, 0.45
_SHARES = 0.4  # the bar below all: how much is explained


def explain_figure(image: Pixels, explanation: Explanation, view: NodeView) -> Figure:
    """The image with its nodes numbered by rank, their patches and drops, and the answer.

    To the left the places, in the middle what the score loses without each node, to the right the
    network's first classes, and the score without all these nodes beside that without others.

    Args:
        image: (height, width, 3), RGB, the whole photograph.
        explanation: what to show.
        view: how the network was shown the photograph.

    >>> from explgraph.attribution import explain
    >>> from explgraph.images import load_image
    >>> from explgraph.queries import node_views
    >>> (view,) = node_views(workspace, network, sorted(pictures.glob("*"))[:1])
    >>> found = {"nodes": view.nodes, "places": view.places, "scores": view.scores}
    >>> why = explain(network, view.pixels[None], view.graph, n_tested=4, n_shown=2, **found)
    >>> figure = explain_figure(load_image(view.obj), why, view)
    >>> figure.texts[0].get_text()[:8]
    'Why fox?'
    """
    image = check_image(image)
    nodes = explanation.nodes
    colours = colour_each(layer.name for layer in view.graph.layers)
    inputs = np.array([(one.row, one.col) for one in nodes]).reshape(-1, 2)
    # The photograph is shown as it is, so what was found in its mirror image is turned back.
    points = view.frame.to_image(inputs, mirrored=view.mirrored)
    region = view.frame.region
    side = max(8, round(_PATCH * (region[2] * region[3]) ** 0.5))
    patches = [cut_patch(image, x, y, side) for x, y in points]
    body = max(len(nodes) * _ROW, 3.4)
    box = None if view.obj.box is None else view.frame.box
    from_left, from_top, right, bottom = surroundings(box, image.shape)
    scale = min(_WIDEST / (right - from_left), body / (bottom - from_top))
    wide, high = (right - from_left) * scale, (bottom - from_top) * scale
    width = wide + _GAP + _LIST + _BARS + _NAMES + _GAP + _CLASSES
    foot = _FOOT + (_SHARES if view.explained else 0)
    height = _HEAD + body + foot
    figure = new_figure(width, height)

    def add(left: float, low: float, across: float, up: float) -> Axes:
        return figure.add_axes((left / width, low / height, across / width, up / height))

    places = add(0, foot + body - high, wide, high)
    show_image(places, image)
    places.set(xlim=(from_left, right), ylim=(bottom, from_top))
    if box is not None:
        draw_box(places, box, OBJECT_INK)
    draw_markers(places, points, [colours[one.layer] for one in nodes])
    _add_layers(places, colours)
    left = wide + _GAP
    shown = add(left + _LIST, foot + body - len(nodes) * _ROW, _BARS, max(len(nodes), 1) * _ROW)
    _draw_drops(shown, explanation, patches, colours)
    left = width - _CLASSES
    _draw_classes(add(left, foot + 0.5 * body, _CLASSES, 0.5 * body), explanation)
    _draw_together(add(left, foot, _CLASSES, 0.36 * body), explanation)
    if view.explained:
        draw_shares(add(0, 0.05, wide, 0.8 * _SHARES), view.explained, of="activation: ")
    mirrored = "   (the network was shown the mirror image)" if view.mirrored else ""
    title = f"Why {explanation.name}?{mirrored}"
    top = 1 - 0.1 / height
    figure.text(0, top, title, fontsize=13, color=TEXT, va="top", parse_math=False)
    return figure


def _add_layers(axes: Axes, colours: dict[str, str]) -> None:
    keys = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=f"node of {layer}")
        for layer, colour in colours.items()
    ]
    legend = axes.legend(handles=keys, fontsize=8, frameon=False, ncols=2, labelcolor=TEXT)
    legend.set(loc="upper left", bbox_to_anchor=(-0.01, -0.01))
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_drops(
    axes: Axes, explanation: Explanation, patches: list[Pixels], colours: dict[str, str]
) -> None:
    nodes = explanation.nodes
    _set_bare(axes, f"What the score {explanation.score:.1f} loses\nwithout this node alone")
    if not nodes:
        axes.text(0, 0.5, "no node was found\nthat it rests on", fontsize=8, color=TEXT)
        return
    drops = np.array([one.drop for one in nodes])
    axes.barh(range(len(nodes)), drops, color=[colours[one.layer] for one in nodes], height=0.6)
    axes.set_ylim(len(nodes) - 0.5, -0.5)
    # As long as the bars; what is written beside them lies outside.
    axes.set_xlim(min(drops.min(), 0), max(drops.max(), 1e-9))
    axes.xaxis.set_major_locator(MaxNLocator(3))
    _write_nodes(axes, nodes)
    for k, patch in enumerate(patches):
        side = 0.9 * _ROW / _BARS
        place = (-(_ROW + 0.08) / _BARS, 1 - (k + 0.95) / len(nodes), side, 0.9 / len(nodes))
        show_image(axes.inset_axes(place), patch)


def _write_nodes(axes: Axes, nodes: tuple[NodeEvidence, ...]) -> None:
    """The rank, left of the patch; the drop behind the bar; the id to the right of all."""
    beside = axes.get_yaxis_transform()  # x in shares of the axes, y in ranks
    for k, one in enumerate(nodes):
        said = f"{one.node}  {one.part}" if one.part else one.node
        said = named(one.node, one.name) if one.name else said
        said += "" if one.found else "  not found"
        rank = axes.text(-_LIST / _BARS, k, str(k + 1), transform=beside, fontsize=8)
        drop = axes.text(max(one.drop, 0), k, f" {one.drop:.2f}", fontsize=8)
        name = axes.text(1 + 0.42 / _BARS, k, said, transform=beside, fontsize=7.5)
        for text in (rank, drop, name):
            text.set(va="center_baseline", color=TEXT, parse_math=False)
        name.set_color(FAINT)


def _draw_classes(axes: Axes, explanation: Explanation) -> None:
    shares = [share for _, _, share in explanation.classes]
    inks = [PALETTE[1] if i == explanation.index else FAINT for i, _, _ in explanation.classes]
    said = [f"{name}  {_percent(share)}" for _, name, share in explanation.classes]
    _set_bare(axes, "The network's first choices")
    _draw_named(axes, shares, said, inks)
    axes.set_xlim(0, 1)


def _draw_together(axes: Axes, explanation: Explanation) -> None:
    """The score as it is, without the shown nodes, and without as many others."""
    n = len(explanation.nodes)
    scores, said, inks = [explanation.score], [f"as it is: {explanation.score:.1f}"], [PALETTE[1]]
    for what, ink, (score, share) in (
        (f"without these {n} nodes", "black", explanation.without),
        (f"without {n} others, drawn at random", FAINT, explanation.without_random),
    ):
        if not np.isnan(score):
            scores.append(score)
            said.append(f"{what}: {score:.1f} ({_percent(share)})")
            inks.append(ink)
    _set_bare(axes, f"The score of {explanation.name}")
    _draw_named(axes, scores, said, inks)
    axes.set_xlim(min(*scores, 0), max(*scores, 1e-9))


def _draw_named(axes: Axes, values: list[float], said: list[str], inks: list[str]) -> None:
    """Thin bars, what each is above it."""
    axes.barh(range(len(values)), values, color=inks, height=0.22)
    for k, text in enumerate(said):
        above = axes.text(0, k - 0.16, text, fontsize=8, color=TEXT, va="bottom")
        above.set_parse_math(False)
    axes.set_ylim(len(values) - 0.8, -0.7)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])


def _percent(share: float) -> str:
    """A share of which neither nothing nor all is said where it is not so."""
    if 0 < share < 0.0005:
        return "<0.1%"
    return ">99.9%" if 0.9995 <= share < 1 else f"{share:.1%}"


def _set_bare(axes: Axes, title: str) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(labelsize=8, colors=TEXT, length=2)
    axes.set_title(title, fontsize=9, color=TEXT, loc="left", parse_math=False)
