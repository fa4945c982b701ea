"""Patches of images, and sheets of them: what a node looks like."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from explgraph.errors import UsageError
from explgraph.figures.canvas import FAINT, TEXT, Pixels, check_image, new_figure, show_image

_OUTSIDE = 236  # grey level of what lies outside of an image
_CELL, _GAP = 0.9, 0.05  # inches: side of a patch, space between two
_HEAD, _FOOT = 0.28, 0.17  # inches: title of a row, captions


@dataclass(frozen=True, eq=False)
class PatchRow:
    """One row of a sheet.

    Args:
        title: stands above the row: which node it is, how strong.
        patches: (height, width, 3) each, RGB.
        captions: A few characters under each patch, such as its score.
    """

    title: str
    patches: Sequence[Pixels]
    captions: Sequence[str]


def cut_patch(image: Pixels, x: float, y: float, size: int = 70) -> Pixels:
    """The square patch (size, size, 3) of the image about a point, grey outside of the image.

    Args:
        image: (height, width, 3), RGB.
        x: pixels from the left, continuous.
        y: pixels from the top, continuous.
        size: side in pixels; 70 is that of the patches shown by Zhang et al. (AAAI 2018).

    Raises:
        UsageError: not an image, no pixel, or a place that is not finite.

    >>> cut_patch(np.zeros((20, 30, 3), np.uint8), 1.0, 10.0, 4)[0, :, 0].tolist()
    [236, 0, 0, 0]
    """
    image = check_image(image)
    if size < 1 or not (math.isfinite(x) and math.isfinite(y)):
        raise UsageError(
            f"a patch needs a finite place and at least 1 pixel, got ({x}, {y}) and size {size}"
        )
    left, top = math.floor(x - size / 2 + 0.5), math.floor(y - size / 2 + 0.5)
    patch: Pixels = np.full((size, size, 3), _OUTSIDE, np.uint8)
    rows = slice(max(top, 0), max(min(top + size, image.shape[0]), 0))
    cols = slice(max(left, 0), max(min(left + size, image.shape[1]), 0))
    inside = image[rows, cols]
    patch[rows.start - top :, cols.start - left :][: inside.shape[0], : inside.shape[1]] = inside
    return patch


def contact_sheet(rows: Sequence[PatchRow], *, title: str = "") -> Figure:
    """A figure with one row of patches for each node, its title above the row.

    Args:
        rows: at least one patch in all.
        title: stands above all.

    Raises:
        UsageError: there is no patch.

    >>> grey = np.full((70, 70, 3), 128, np.uint8)
    >>> len(contact_sheet([PatchRow("conv:3:0", [grey, grey], ["0.9", "0.7"])]).axes)
    2
    """
    n_columns = max((len(row.patches) for row in rows), default=0)
    if n_columns == 0:
        raise UsageError("a contact sheet needs at least one patch, got none")
    step = _HEAD + _CELL + _FOOT + _GAP
    top = 0.35 if title else 0.0
    width, height = max(n_columns * (_CELL + _GAP), 4.0), len(rows) * step + top
    figure = new_figure(width, height)
    figure.text(0, 1 - 0.05 / height, title, fontsize=10, color=TEXT, va="top", parse_math=False)
    for i, row in enumerate(rows):
        # Inches from the bottom; matplotlib takes shares of the figure.
        foot = height - top - i * step - _HEAD - _CELL
        above = (foot + _CELL + 0.07) / height
        figure.text(0, above, row.title, fontsize=9, color=TEXT, va="bottom", parse_math=False)
        for k, (patch, caption) in enumerate(zip(row.patches, row.captions, strict=True)):
            left = k * (_CELL + _GAP)
            place = (left / width, foot / height, _CELL / width, _CELL / height)
            axes = figure.add_axes(place)
            show_image(axes, check_image(patch))
            axes.set_title(caption, y=-0.03, fontsize=7, color=FAINT, va="top", pad=0)
    return figure
