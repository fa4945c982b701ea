"""Where a drawing puts the nodes: one sheet per layer, the sheets one above the other, the top layer on top."""

from __future__ import annotations

from typing import NamedTuple

from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.palette import colour_each

WIDTH = 1000.0  # of a sheet; Gephi's units and Graphviz's points
GAP = 0.25  # between two sheets, in heights of a sheet
SIZES = (4.0, 20.0)  # diameters of the lowest and the highest score


class Mark(NamedTuple):
    """How a node is drawn: centre (x to the right, y upwards), diameter, and colour as ``#rrggbb``."""

    x: float
    y: float
    size: float
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


def draw_marks(graph: ExplanatoryGraph) -> dict[str, Mark]:
    """Return the mark of every node: its place on its layer's sheet, its layer's colour, a size that grows with its score.

    Column 0..1 is x = 0..WIDTH; row 0..1 runs down the sheet, whose height keeps the proportions of the network input.
    """
    height = WIDTH * _proportion(graph.layers)
    names = [layer.name for layer in graph.layers]
    foot = {name: (len(names) - 1 - i) * height * (1 + GAP) for i, name in enumerate(names)}
    colour = colour_each(names)
    size = _sizes(graph)
    return {
        node: Mark(
            round(WIDTH * at["col"], 3),
            round(foot[at["layer"]] + height * (1 - at["row"]), 3),
            round(size[node], 3),
            colour[at["layer"]],
        )
        for node, at in graph.nodes(data=True)
    }


def _proportion(layers: tuple[Layer, ...]) -> float:
    """Return height / width of the network input, as far as the layers' cells tell it."""
    height = max((layer.height * layer.stride[0] for layer in layers), default=0)
    width = max((layer.width * layer.stride[1] for layer in layers), default=0)
    return height / width if height > 0 and width > 0 else 1.0


def _sizes(graph: ExplanatoryGraph) -> dict[str, float]:
    score = dict(graph.nodes(data="score"))
    low = min(score.values(), default=0.0)
    span = max(score.values(), default=0.0) - low or 1.0
    return {
        node: SIZES[0] + (SIZES[1] - SIZES[0]) * (value - low) / span
        for node, value in score.items()
    }
