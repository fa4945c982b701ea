"""Images with the places of nodes on them.

Points are (x, y), pixels of the image, the first pixel's centre at 0.5 (see
`explgraph.images.frame`): an image is drawn from 0 to its width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import Pixels, add_legend, check_image, show_grid
from explgraph.palette import colour_each


@dataclass(frozen=True, eq=False)
class NodePanel:
    """An image and its nodes.

    Args:
        image: (height, width, 3), RGB.
        places: (node, 2), (x, y); NaN for a node that is not on the image.
        scores: (node,), finite.
        names: What decides the colour of each node: its layer, or the node itself.

    Raises:
        UsageError: The sequences do not fit each other.
    """

    image: Pixels
    places: ArrayLike
    scores: ArrayLike
    names: Sequence[str]

    def __post_init__(self) -> None:
        check_image(self.image)
        shape, score = np.shape(self.places), np.asarray(self.scores, float)
        n = len(self.names)
        if score.shape != (n,) or (n and shape != (n, 2)):
            raise UsageError(
                f"an image's nodes must be given as {n} places and {n} scores, one for each of the "
                f"{n} names, got shapes {shape} and {score.shape}"
            )
        if not np.isfinite(score).all():
            raise UsageError("scores must be finite; leave out the nodes that have none")


def node_figure(
    panels: Sequence[NodePanel],
    *,
    names: Sequence[str] = (),
    title: str = "",
    columns: int = 4,
    cell: float = 2.2,
) -> Figure:
    """A figure of images in a grid, with their nodes as dots whose area is the score.

    Args:
        panels: At least one.
        names: In the order of the legend and the palette; by default as they are met.
        title: Stands above all.
        columns: Images per row.
        cell: Width of each image, inches.

    Raises:
        UsageError: There is no panel.

    >>> image = np.full((40, 60, 3), 128, np.uint8)
    >>> figure = node_figure([NodePanel(image, [(10.5, 20.0)], [0.8], ["conv4"])])
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['conv4']
    """
    if not panels:
        raise UsageError("a figure of nodes needs at least one image, got none")
    met = dict.fromkeys(name for panel in panels for name in panel.names)
    colours = colour_each(dict.fromkeys([*names, *met]))
    scores = [np.asarray(panel.scores, dtype=np.float64) for panel in panels]
    every = np.concatenate(scores)
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)
    images = [panel.image for panel in panels]
    figure, grid = show_grid(images, columns=columns, cell=cell, title=title, titled=False)

    def area(score: NDArray[np.float64]) -> NDArray[np.float64]:
        share = (score - low) / (high - low) if low < high else np.full(score.shape, 0.2)
        return (15 + 105 * share) * cell / 2.2  # points squared

    for axes, panel, score in zip(grid, panels, scores, strict=True):
        points = np.asarray(panel.places, dtype=np.float64).reshape(-1, 2)
        _draw_dots(axes, points, area(score), [colours[name] for name in panel.names])
    keys = [_key(name, colour, 7) for name, colour in colours.items()]
    if low < high:
        ends = np.array([low, high])
        sizes = zip(ends, area(ends), strict=True)
        keys += [_key(f"score {end:.3g}", "#AAAAAA", sqrt(size)) for end, size in sizes]
    if keys:
        add_legend(figure, keys)
    return figure


def _key(label: str, colour: str, size: float) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=size, label=label)


def _draw_dots(
    axes: Axes, points: NDArray[np.float64], areas: NDArray[np.float64], colours: list[str]
) -> None:
    order = np.argsort(-areas, kind="stable")  # small ones on top of large ones
    x, y = points[order].T
    inks = [colours[i] for i in order]
    axes.scatter(x, y, areas[order], c=inks, edgecolors="white", linewidths=0.8, zorder=5)
