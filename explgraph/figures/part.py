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
from explgraph.figures.canvas import TEXT, Pixels, add_legend, check_image, halo, show_grid
from explgraph.palette import colour_each

MARKED, FOUND = "#e6007e", "#ffe600"  # crosses: someone marked the part there, the nodes found it
_CELL = 2.4  # inches


@dataclass(frozen=True, eq=False)
class PartPanel:
    """One object of the picture; points are (x, y), pixels of ``image``.

    Args:
        image: the object's box, (height, width, 3), RGB.
        nodes: (vote, 2), where the nodes are.
        votes: (vote, 2), where the part is by the displacement of each node.
        weight: (vote,), 0..1.
        layers: (vote,), the layer of each node.
        part: (2,), where the part is.
        annotated: whether someone marked it there.
        title: stands above the object.
    """

    image: Pixels
    nodes: NDArray[np.float64]
    votes: NDArray[np.float64]
    weight: NDArray[np.float64]
    layers: Sequence[str]
    part: NDArray[np.float64]
    annotated: bool
    title: str


def part_figure(panels: Sequence[PartPanel], *, title: str, layers: Sequence[str]) -> Figure:
    """A figure of objects: dots are nodes, their lines lead to their votes, the cross is the part.

    Args:
        panels: at least one.
        title: stands above all.
        layers: in the order of the palette.

    Raises:
        UsageError: there is no panel.

    >>> one, grey = np.array([[20.0, 10.0]]), np.full((40, 60, 3), 128, np.uint8)
    >>> panel = PartPanel(grey, one, one + 5, np.ones(1), ["conv4"], one[0], True, "object 1")
    >>> figure = part_figure([panel], title="head", layers=["conv4"])
    >>> figure.get_suptitle(), figure.axes[0].get_title()
    ('head', 'object 1')
    """
    if not panels:
        raise UsageError("a picture of a part needs at least one object, got none")
    images = [check_image(panel.image) for panel in panels]
    figure, grid = show_grid(images, columns=4, cell=_CELL, title=title, titled=True)
    colours = colour_each(layers)
    for axes, panel in zip(grid, panels, strict=True):
        _draw_votes(axes, panel, colours)
        axes.set_title(panel.title, fontsize=8, color=TEXT, pad=3, parse_math=False)
    keys = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=f"node of {layer}")
        for layer, colour in colours.items()
    ]
    vote = Line2D([], [], color="white", label="its vote for the place of the part")
    vote.set(path_effects=halo("black", 2.2))
    keys.append(vote)
    for label, colour in (("the part, marked", MARKED), ("the part, found", FOUND)):
        cross = Line2D([], [], color=colour, marker="+", linestyle="", label=label)
        cross.set(markersize=11, markeredgewidth=2.5)
        keys.append(cross)
    add_legend(figure, keys)
    return figure


def _draw_votes(axes: Axes, panel: PartPanel, colours: dict[str, str]) -> None:
    lines = list(np.stack([panel.nodes, panel.votes], 1))
    drawn = LineCollection(lines, colors="white", linewidths=1.2, zorder=3)
    drawn.set(path_effects=halo("black", 2.2))  # read on white stripes too
    axes.add_collection(drawn)
    x, y = panel.nodes.T
    inks = [colours[layer] for layer in panel.layers]
    area = 8 + 40 * panel.weight
    axes.scatter(x, y, area, c=inks, edgecolors="white", linewidths=0.6, zorder=4)
    x, y = panel.part
    # A black cross below the coloured one gives it an edge.
    for ink, size, width in (
        ("black", 190, 4.5),
        (MARKED if panel.annotated else FOUND, 150, 2.5),
    ):
        axes.scatter(x, y, size, c=ink, marker="+", linewidths=width, zorder=5)
