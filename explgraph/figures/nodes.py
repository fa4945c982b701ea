"""Images with the places of nodes on them.

Points are (x, y), pixels of the image, the first pixel's centre at 0.5 (see
`explgraph.images.frame`): an image is drawn from 0 to its width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    FAINT,
    OBJECT_BOX,
    OBJECT_INK,
    TEXT,
    Pixels,
    add_legend,
    check_image,
    draw_box,
    draw_shares,
    halo,
    named,
    new_figure,
    show_grid,
    show_image,
    surroundings,
)
from explgraph.figures.markers import draw_markers
from explgraph.graph import Shares, layer_of
from explgraph.palette import colour_each

if TYPE_CHECKING:
    from explgraph.images import Box

# Inches: the picture's longer side, between it and the table, the table, a row, above and below.
_PICTURE, _GAP, _TABLE, _ROW, _HEAD, _LEGEND = 5.0, 0.25, 2.1, 0.27, 0.4, 0.35
_SHARES = 0.4  # the bar below the table: how much is explained


@dataclass(frozen=True, eq=False)
class NodePanel:
    """An image and its nodes.

    Args:
        image: (height, width, 3), RGB.
        places: (node, 2), (x, y); NaN for a node that is not on the image.
        scores: (node,), finite.
        names: what decides the colour of each node: its layer, or the node itself.

    Raises:
        UsageError: the sequences do not fit each other.
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
    """A figure of images in a grid, with their nodes as dots whose area goes with the score.

    The area is proportional to the score: a dot of .44 is nearly as large as one of .46.

    Args:
        panels: at least one.
        names: in the order of the legend and the palette; by default as they are met.
        title: stands above all.
        columns: images per row.
        cell: width of each image, inches.

    Raises:
        UsageError: there is no panel.

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
    low, high = (float(every.min()), float(every.max())) if every.size else (1.0, 1.0)
    images = [panel.image for panel in panels]
    figure, grid = show_grid(images, columns=columns, cell=cell, title=title, titled=False)

    def area(score: NDArray[np.float64]) -> NDArray[np.float64]:
        return 6 + 34 * np.clip(score / max(high, 1e-12), 0, 1) * cell / 2.2  # points squared

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


def located_figure(
    image: Pixels,
    places: ArrayLike,
    scores: ArrayLike,
    nodes: Sequence[str],
    *,
    names: Sequence[str | None] = (),
    layers: Iterable[str] = (),
    box: Box | None = None,
    title: str = "",
    shares: Shares | None = None,
) -> Figure:
    """A figure of one object with its box, its nodes as numbers, and beside it who they are.

    Of a photograph that is much larger than the box the surroundings of the box are shown.

    Args:
        image: (height, width, 3), RGB, the whole photograph.
        places: (node, 2), (x, y), pixels of the image.
        scores: (node,).
        nodes: ids; their layers give the colours.
        names: what each is called, if anything; by default none is.
        layers: in the order of the palette; by default as they are met.
        box: (x, y, width, height) of the object, pixels; None if it is the whole image.
        title: stands above all.
        shares: how much of its activation the graph explains.

    >>> grey = np.full((40, 60, 3), 128, np.uint8)
    >>> figure = located_figure(grey, [(10.5, 20.0)], [0.8], ["conv4:7:0"], box=(4, 9, 30, 20))
    >>> [text.get_text() for text in figure.axes[1].texts]
    ['1', 'conv4:7:0', '0.80', 'score']
    """
    colours = colour_each(dict.fromkeys([*layers, *map(layer_of, nodes)]))
    # Scores in figures: areas of dots cannot tell .44 from .46 without making much of it.
    rows = [
        (named(node, name), f"{score:.2f}", colours[layer_of(node)])
        for node, name, score in zip(
            nodes, names or [None] * len(nodes), np.asarray(scores, np.float64), strict=True
        )
    ]
    keys = [_key(f"node of {layer}", colour, 7) for layer, colour in colours.items()]
    return _object_figure(image, places, rows, keys=keys, box=box, title=title, shares=shares)


def found_parts_figure(
    image: Pixels,
    places: ArrayLike,
    parts: Sequence[str],
    said: Sequence[str],
    *,
    box: Box | None = None,
    title: str = "",
) -> Figure:
    """A figure of one object like `located_figure`: its semantic parts, and what is said of each.

    Args:
        image: (height, width, 3), RGB, the whole photograph.
        places: (n, 2), (x, y), pixels of the image, of the first n parts; the others are not
            visible, and are named only.
        parts: names.
        said: of each part.
        box: (x, y, width, height) of the object, pixels; None if it is the whole image.
        title: stands above all.

    >>> grey = np.full((40, 60, 3), 128, np.uint8)
    >>> figure = found_parts_figure(grey, [(9, 9)], ["head", "tail"], ["0.61", "not visible"])
    >>> [text.get_text() for text in figure.axes[1].texts]
    ['1', 'head', '0.61', 'tail', 'not visible', 'score']
    """
    colours = colour_each(dict.fromkeys(parts))
    seen = len(np.asarray(places, np.float64).reshape(-1, 2))
    rows = [
        (part, words, colours[part] if k < seen else "")
        for k, (part, words) in enumerate(zip(parts, said, strict=True))
    ]
    return _object_figure(image, places, rows, keys=[], box=box, title=title)


def _object_figure(
    image: Pixels,
    places: ArrayLike,
    rows: Sequence[tuple[str, str, str]],
    *,
    keys: list[Line2D],
    box: Box | None,
    title: str,
    shares: Shares | None = None,
) -> Figure:
    """The object with numbers at the places, and a table: name, what is said, colour or none."""
    left, top, right, bottom = surroundings(box, check_image(image).shape)
    aspect = (bottom - top) / (right - left)
    wide = min(_PICTURE, _PICTURE / aspect)
    body = max(wide * aspect, _ROW * (len(rows) + 1) + (_SHARES if shares else 0))
    width, height = wide + _GAP + _TABLE, body + _HEAD + _LEGEND
    figure = new_figure(width, height)
    high = wide * aspect
    foot = height - _HEAD - high
    axes = figure.add_axes((0, foot / height, wide / width, high / height))
    show_image(axes, image)
    axes.set(xlim=(left, right), ylim=(bottom, top))
    if box is not None:
        draw_box(axes, box, OBJECT_INK)
        key = Line2D([], [], color=OBJECT_INK, label=OBJECT_BOX, path_effects=halo("black", 3))
        keys = [*keys, key]
    draw_markers(axes, places, [ink for _, _, ink in rows if ink])
    high = _ROW * (len(rows) + 1)
    foot = height - _HEAD - high
    start = (wide + _GAP) / width
    _write_table(figure.add_axes((start, foot / height, _TABLE / width, high / height)), rows)
    if shares:
        place = (start, (foot - _SHARES) / height, _TABLE / width, 0.8 * _SHARES / height)
        draw_shares(figure.add_axes(place), shares)
    if keys:
        add_legend(figure, keys)
    top_edge = 1 - 0.08 / height
    figure.text(0, top_edge, title, fontsize=11, color=TEXT, va="top", parse_math=False)
    return figure


def _write_table(axes: Axes, rows: Sequence[tuple[str, str, str]]) -> None:
    """A row for each node or part: its number, name, and what is said of it."""
    axes.set(xlim=(0, _TABLE), ylim=(len(rows) + 0.5, -0.5))
    axes.set_axis_off()
    for k, (name, said, ink) in enumerate(rows, 1):
        if ink:
            axes.plot(0.1, k, "o", color=ink, markersize=11)
            number = axes.text(0.1, k, str(k), fontsize=6.5, color="black", ha="center")
            number.set(va="center_baseline", path_effects=halo("white", 2))
        for x, words, side in ((0.28, name, "left"), (_TABLE, said, "right")):
            text = axes.text(x, k, words, fontsize=8.5, color=TEXT, ha=side)
            text.set(va="center_baseline", parse_math=False)
    axes.text(_TABLE, 0, "score", fontsize=8, color=FAINT, va="center_baseline", ha="right")


def _key(label: str, colour: str, size: float) -> Line2D:
    return Line2D([], [], color=colour, marker="o", linestyle="", markersize=size, label=label)


def _draw_dots(
    axes: Axes, points: NDArray[np.float64], areas: NDArray[np.float64], colours: list[str]
) -> None:
    order = np.argsort(-areas, kind="stable")  # small ones on top of large ones
    x, y = points[order].T
    inks = [colours[i] for i in order]
    axes.scatter(x, y, areas[order], c=inks, edgecolors="white", linewidths=0.8, zorder=5)
