"""Pictures of nodes and patches, and the names of all figures; none touches matplotlib's global state.

Every function returns a `matplotlib.figure.Figure`; `save_figure` writes it. Points are (x, y), pixels of the image, the first
pixel's centre at 0.5 (see `explgraph.images.frame`), so an image is drawn from 0 to its width and maps lie on it to the edge.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    FAINT,
    PALETTE,
    TEXT,
    Pixels,
    add_title,
    check_image,
    new_figure,
    packed,
    show_image,
)
from explgraph.figures.canvas import save_figure as save_figure
from explgraph.figures.graph import graph_figure as graph_figure
from explgraph.figures.heat_maps import Panel as Panel
from explgraph.figures.heat_maps import maps_figure as maps_figure
from explgraph.figures.heat_maps import overlay_figure as overlay_figure
from explgraph.figures.heat_maps import save_heat_map as save_heat_map

_EMPTY = 236  # grey level of what lies outside of an image


def node_figure(
    images: Sequence[Pixels],
    places: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    layers: Sequence[Sequence[str]],
    *,
    links: Sequence[ArrayLike] | None = None,
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int = 4,
    rings: bool = False,
    layer_order: Sequence[str] | None = None,
    cell: float = 2.2,
) -> Figure:
    """Return a figure of the images in a grid, with their nodes as dots: the colour is the layer, the area the score.

    Args:
        images: (height, width, 3) each, RGB; sizes may differ.
        places: (nodes, 2) for each image, (x, y) in its pixels; NaN for a node that is not on it.
        scores: (nodes,) for each image.
        layers: the layer of each node, for each image.
        links: (k, 2) for each image, numbers of a parent and its child among the image's nodes, drawn as lines.
        titles: stands above each image.
        title: stands above all.
        columns: images per row.
        rings: rings instead of dots, which leave the picture under them visible.
        layer_order: the layers in the order of the legend and the palette; by default sorted as they are met.
        cell: width and height of each image, inches.

    Raises:
        UsageError: the sequences do not fit each other.
    """
    n = len(images)
    _check_lengths(n, places=places, scores=scores, layers=layers, links=links, titles=titles)
    spots = [_checked_spots(i, places[i], scores[i], layers[i]) for i in range(n)]
    order = list(layer_order or dict.fromkeys(layer for names in layers for layer in names))
    colour = {layer: PALETTE[i % len(PALETTE)] for i, layer in enumerate(order)}
    if missing := {layer for names in layers for layer in names} - set(order):
        raise UsageError(
            f"layer_order must name every layer, {', '.join(sorted(missing))} is missing"
        )
    every = np.concatenate([score for _, score in spots])
    low, high = (float(every.min()), float(every.max())) if every.size else (0.0, 1.0)

    def area(score: NDArray[np.float64]) -> NDArray[np.float64]:  # points squared
        return (15 + 105 * (score - low) / max(high - low, 1e-12)) * (cell / 2.2)

    figure, grid = _grid(
        [check_image(image) for image in images],
        columns,
        cell,
        titled=titles is not None,
        title=title,
    )
    for i, axes in enumerate(grid):
        points, score = spots[i]
        if links is not None:
            _draw_links(axes, points, np.asarray(links[i], dtype=np.int64).reshape(-1, 2))
        _draw_spots(axes, points, area(score), [colour[layer] for layer in layers[i]], rings=rings)
        if titles:
            axes.set_title(titles[i], fontsize=8, color=TEXT, pad=3, parse_math=False)
    _add_legend(figure, colour, (low, high), area, rings=rings)
    return figure


def cut_patch(image: Pixels, x: float, y: float, size: int = 70) -> Pixels:
    """Return the square patch (size, size, 3) of the image about the point (x, y), grey where it reaches over the border.

    Args:
        image: (height, width, 3), RGB.
        x: pixels, continuous; y: as x.
        size: side in pixels; 70 is that of the patches shown by Zhang et al. (AAAI 2018).

    Raises:
        UsageError: no image, no pixel, or a place that is not finite.

    >>> cut_patch(np.zeros((20, 30, 3), np.uint8), 1.0, 10.0, 4)[0, :, 0].tolist()
    [236, 0, 0, 0]
    """
    image = check_image(image)
    if size < 1 or not (math.isfinite(x) and math.isfinite(y)):
        raise UsageError(
            f"a patch needs a finite place and at least 1 pixel, got ({x}, {y}) and size {size}"
        )
    left, top = math.floor(x - size / 2 + 0.5), math.floor(y - size / 2 + 0.5)
    patch: Pixels = np.full((size, size, 3), _EMPTY, np.uint8)
    rows = slice(max(top, 0), max(min(top + size, image.shape[0]), 0))
    cols = slice(max(left, 0), max(min(left + size, image.shape[1]), 0))
    seen = image[rows, cols]
    patch[rows.start - top :, cols.start - left :][: seen.shape[0], : seen.shape[1]] = seen
    return patch


def contact_sheet(
    patches: Sequence[Sequence[Pixels]],
    row_titles: Sequence[str],
    *,
    title: str = "",
    captions: Sequence[Sequence[str]] | None = None,
    cell: float = 0.9,
) -> Figure:
    """Return a figure with one row of patches for each node, its title above the row.

    Args:
        patches: for each node its best patches, (height, width, 3), RGB; rows may differ in length.
        row_titles: say which node it is, of which layer, how strong.
        title: stands above all.
        captions: a few characters under each patch, such as its score.
        cell: side of a patch, inches.

    Raises:
        UsageError: there is no patch, or the sequences do not fit each other.
    """
    _check_lengths(len(patches), row_titles=row_titles, captions=captions)
    for row, words in zip(patches, captions or (), strict=False):
        _check_lengths(len(row), captions=words)
    n_columns = max((len(row) for row in patches), default=0)
    if n_columns == 0:
        raise UsageError("a contact sheet needs at least one patch, got none")
    gap, head, foot, top = 0.05, 0.28, 0.17 if captions else 0.0, 0.3 if title else 0.0
    step = head + cell + foot + gap
    width, height = max(n_columns * (cell + gap), 4.0), len(patches) * step + top
    figure = new_figure(width, height)
    for i, row in enumerate(patches):
        above = height - top - i * step  # inches from the bottom, as all below
        figure.text(
            0,
            (above - head + 0.07) / height,
            row_titles[i],
            fontsize=9,
            color=TEXT,
            va="bottom",
            ha="left",
            parse_math=False,
        )
        for k, patch in enumerate(row):
            place = (
                k * (cell + gap) / width,
                (above - head - cell) / height,
                cell / width,
                cell / height,
            )
            axes = figure.add_axes(place)
            show_image(axes, check_image(patch))
            if captions:
                axes.text(
                    0.5,
                    -0.03,
                    captions[i][k],
                    transform=axes.transAxes,
                    fontsize=7,
                    color=FAINT,
                    ha="center",
                    va="top",
                )
    if title:
        figure.text(
            0,
            1 - 0.05 / height,
            title,
            fontsize=11,
            color=TEXT,
            va="top",
            ha="left",
            weight="bold",
            parse_math=False,
        )
    return figure


def _check_lengths(n: int, **sequences: Sequence[Any] | None) -> None:
    for name, values in sequences.items():
        if values is not None and len(values) != n:
            raise UsageError(f"{name} must have one entry for each of {n}, got {len(values)}")


def _checked_spots(
    number: int, places: ArrayLike, scores: ArrayLike, layers: Sequence[str]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    score = np.asarray(scores, dtype=np.float64).reshape(-1)
    points = np.asarray(places, dtype=np.float64).reshape(-1, 2)
    if not len(points) == len(score) == len(layers):
        raise UsageError(
            f"image {number} has {len(points)} places, {len(score)} scores and {len(layers)} layers; give one per node"
        )
    if not np.isfinite(score).all():
        raise UsageError(f"scores must be finite, image {number} has others; leave such nodes out")
    return points, score


def _grid(
    images: list[Pixels], columns: int, cell: float, *, titled: bool, title: str
) -> tuple[Figure, list[Axes]]:
    """Return a figure with the images in rows as high as their highest, and the axes of each."""
    if not images or columns < 1:
        raise UsageError(
            f"a grid needs at least one image and one column, got {len(images)} and {columns}"
        )
    columns = min(columns, len(images))
    aspects = [min(image.shape[0] / image.shape[1], 1.6) for image in images]
    heights = [max(aspects[i : i + columns]) * cell for i in range(0, len(images), columns)]
    extra = len(heights) * (0.19 if titled else 0.04) + (0.3 if title else 0.0) + 0.32
    figure = new_figure(columns * cell, sum(heights) + extra, layout=packed(0.02))
    table = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    axes = [figure.add_subplot(table[i // columns, i % columns]) for i in range(len(images))]
    for one, image in zip(axes, images, strict=True):
        show_image(one, image)
    add_title(figure, title)
    return figure, axes


def _draw_links(axes: Axes, points: NDArray[np.float64], links: NDArray[np.int64]) -> None:
    if links.size and not (links.min() >= 0 and links.max() < len(points)):
        raise UsageError(
            f"links must be numbers of the image's {len(points)} nodes, got {links.min()} to {links.max()}"
        )
    ends = points[links]
    lines = list(ends[np.isfinite(ends).all(axis=(1, 2))])
    axes.add_collection(LineCollection(lines, colors="black", linewidths=2.2, alpha=0.45, zorder=2))
    axes.add_collection(LineCollection(lines, colors="white", linewidths=1.0, alpha=0.9, zorder=3))


def _draw_spots(
    axes: Axes,
    points: NDArray[np.float64],
    areas: NDArray[np.float64],
    colours: list[str],
    *,
    rings: bool,
) -> None:
    order = np.argsort(-areas, kind="stable")  # small ones on top of large ones
    points, areas, colours = points[order], areas[order], [colours[i] for i in order]
    x, y = points[:, 0], points[:, 1]
    if rings:
        axes.scatter(x, y, areas, facecolors="none", edgecolors="white", linewidths=3.0, zorder=4)
        axes.scatter(x, y, areas, facecolors="none", edgecolors=colours, linewidths=1.6, zorder=5)
    else:
        axes.scatter(x, y, areas, c=colours, edgecolors="white", linewidths=0.8, zorder=5)


def _add_legend(
    figure: Figure,
    colour: dict[str, str],
    extremes: tuple[float, float],
    area: Callable[[Any], Any],
    *,
    rings: bool,
) -> None:
    shape: dict[str, Any] = {"marker": "o", "linestyle": ""} | (
        {"markerfacecolor": "none", "markeredgewidth": 1.6} if rings else {}
    )
    keys = [
        Line2D([], [], color=value, markersize=7, label=layer, **shape)
        for layer, value in colour.items()
    ]
    if extremes[0] < extremes[1]:
        keys += [
            Line2D(
                [],
                [],
                color="#AAAAAA",
                markersize=math.sqrt(area(score)),
                label=f"score {score:.3g}",
                **shape,
            )
            for score in extremes
        ]
    if keys:
        legend = figure.legend(
            handles=keys,
            loc="outside lower center",
            ncols=min(len(keys), 6),
            frameon=False,
            fontsize=8.5,
            handletextpad=0.3,
            columnspacing=1.6,
            labelcolor=TEXT,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
