"""The picture of a semantic part: objects with the nodes that vote, their votes, and the part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    PALETTE,
    TEXT,
    Pixels,
    add_title,
    check_image,
    new_figure,
    packed,
    show_image,
)

COLUMNS = 4
CELL = 2.4  # inches
MARKED, FOUND = "annotated", "found"
Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class PartPanel:
    """One object of the picture; points are (x, y), pixels of ``image``.

    Args:
        image: the object's box, (height, width, 3), RGB.
        nodes: (vote, 2), where the nodes are; votes: (vote, 2), where they say that the part is.
        weight: (vote,), 0..1; layers: (vote,), the layer of each node.
        part: (2,), where the part is; annotated: whether someone marked it there.
        title: stands above the object.
    """

    image: Pixels
    nodes: Array
    votes: Array
    weight: Array
    layers: Sequence[str]
    part: Array
    annotated: bool
    title: str


def part_figure(panels: Sequence[PartPanel], *, title: str, layers: Sequence[str]) -> Figure:
    """Return a figure of the panels in a grid: dots are nodes, their lines lead to their votes, the cross is the part.

    Args:
        panels: at least one.
        title: stands above all.
        layers: in the order of the palette.

    Raises:
        UsageError: no panel.
    """
    if not panels:
        raise UsageError("a picture of a part needs at least one object, got none")
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    aspects = [min(panel.image.shape[0] / panel.image.shape[1], 1.0) for panel in panels]
    heights = [max(aspects[i : i + columns]) * CELL for i in range(0, len(panels), columns)]
    # Pictures lose a fifth of their cells' width to the gaps between them.
    figure = new_figure(columns * CELL, 0.8 * sum(heights) + 0.25 * rows + 0.7, layout=packed(0.03))
    table = figure.add_gridspec(rows, columns, height_ratios=heights)
    colour = {layer: PALETTE[i % len(PALETTE)] for i, layer in enumerate(layers)}
    for i, panel in enumerate(panels):
        _draw(figure.add_subplot(table[i // columns, i % columns]), panel, colour)
    add_title(figure, title)
    dots = [
        Line2D([], [], color=value, marker="o", linestyle="", label=layer)
        for layer, value in colour.items()
    ]
    crosses = [Line2D([], [], color=_ink(flag), marker="+", markersize=11, markeredgewidth=2.5, linestyle="", label=f"part, {name}")
               for flag, name in ((True, MARKED), (False, FOUND))]  # fmt: skip
    figure.legend(
        handles=[*dots, *crosses],
        loc="outside lower center",
        ncols=6,
        frameon=False,
        fontsize=8.5,
        labelcolor=TEXT,
    )
    return figure


def _ink(annotated: bool) -> str:
    return "#E6007E" if annotated else "#FFE600"


def _draw(axes: Axes, panel: PartPanel, colour: dict[str, str]) -> None:
    height, width = check_image(panel.image).shape[:2]
    show_image(axes, panel.image)
    axes.add_collection(
        LineCollection(
            list(np.stack([panel.nodes, panel.votes], 1)), colors="white", linewidths=1.2, zorder=3
        )
    )
    inks = [colour[layer] for layer in panel.layers]
    axes.scatter(
        panel.nodes[:, 0],
        panel.nodes[:, 1],
        8 + 40 * panel.weight,
        c=inks,
        edgecolors="white",
        linewidths=0.6,
        zorder=4,
    )
    for ink, size, line in (("black", 190, 4.5), (_ink(panel.annotated), 150, 2.5)):
        axes.scatter(
            panel.part[0], panel.part[1], size, c=ink, marker="+", linewidths=line, zorder=5
        )
    axes.set_xlim(0, width)  # votes may lead out of the box
    axes.set_ylim(height, 0)
    axes.set_title(panel.title, fontsize=8, color=TEXT, pad=3, parse_math=False)
