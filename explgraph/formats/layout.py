"""Where a drawing puts the nodes: a sheet for each layer, one above the other, the top on top."""

from __future__ import annotations

from typing import NamedTuple

from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.palette import colour_each

WIDTH = 1000.0  # of a sheet; Gephi's units and Graphviz's points
GAP = 0.25  # between two sheets, in heights of a sheet
SIZES = (4.0, 20.0)  # diameters of the lowest and the highest score


class Dot(NamedTuple):
    """How a node is drawn: centre (x to the right, y upwards), diameter, and ``#rrggbb``."""

    x: float
    y: float
    size: float
    colour: str

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Red, green and blue, 0..255."""
        red, green, blue = bytes.fromhex(self.colour[1:])
        return red, green, blue


def lay_out(graph: ExplanatoryGraph) -> dict[str, Dot]:
    """The dot of every node: on its layer's sheet, in its layer's colour, larger with its score.

    Column 0..1 is x = 0..WIDTH. Row 0..1 runs down the sheet, whose height keeps the proportions of
    the network input.
    """
    height = WIDTH * _proportion(graph.layers)
    names = [layer.name for layer in graph.layers]
    # Layers come top first, and y grows upwards.
    foot = {name: i * height * (1 + GAP) for i, name in enumerate(reversed(names))}
    colours = colour_each(names)
    scores = [score for _, score in graph.nodes(data="score")]
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    dots = {}
    for node, at in graph.nodes(data=True):
        # Where all scores are equal, all dots are small.
        share = (at["score"] - low) / (high - low or 1.0)
        dots[node] = Dot(
            # To a thousandth of a unit: finer digits are seen nowhere and make the file longer.
            x=round(WIDTH * at["col"], 3),
            y=round(foot[at["layer"]] + height * (1 - at["row"]), 3),
            size=round(SIZES[0] + (SIZES[1] - SIZES[0]) * share, 3),
            colour=colours[at["layer"]],
        )
    return dots


def _proportion(layers: tuple[Layer, ...]) -> float:
    """Height / width of the network input, as far as the layers' cells tell it."""
    # The graph does not keep the input's size. A layer without padding ends short of the border, so
    # the largest says most.
    height = max((layer.height * layer.stride[0] for layer in layers), default=0)
    width = max((layer.width * layer.stride[1] for layer in layers), default=0)
    return height / width if height > 0 and width > 0 else 1.0
