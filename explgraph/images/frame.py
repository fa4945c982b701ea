"""From fractions of the network input to pixels of the photograph, and exactly back: the one place of the half-pixel rule.

Coordinates are continuous. Pixel ``i`` covers the interval ``[i, i + 1]``, so the first pixel's centre is at 0.5 and an
image ``width`` pixels wide reaches from 0 to ``width``. Under this rule cropping is a shift, resizing a factor and mirroring
``1 - column``; no half pixel is ever added or taken away, and whoever asks for a centre writes ``index + 0.5``.

Places are (row, column), fractions 0..1 of the network input; points are (x, y), pixels of the image, x right, y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError

Box = tuple[float, float, float, float]
Fit = Literal["stretch", "letterbox"]
FITS: tuple[str, ...] = get_args(Fit)
MIN_SIDE = 1.0  # pixels of a box that must lie inside the image, each way


@dataclass(frozen=True)
class Frame:
    """How one box of an image fills the network input.

    Args:
        box: (x, y, width, height) of the part of the image that is shown, pixels, inside the image.
        height: rows of the network input, pixels.
        width: columns of the network input, pixels.
        fit: "stretch" fills the input with the box, as Zhang et al. (AAAI 2018) do; "letterbox" keeps the box's aspect,
            centres it and leaves the rest to padding.

    Raises:
        UsageError: an unknown ``fit``, or an input without pixels.
    """

    box: Box
    height: int
    width: int
    fit: Fit = "stretch"

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise UsageError(f"fit must be one of {', '.join(FITS)}, got {self.fit!r}")
        if self.height < 1 or self.width < 1:
            raise UsageError(
                f"the network input must have at least 1 x 1 pixels, got {self.height} x {self.width}"
            )
        if not (self.box[2] > 0 and self.box[3] > 0):
            raise UsageError(
                f"a box needs a positive width and height, got (x, y, width, height) = {self.box}"
            )

    @property
    def content(self) -> tuple[int, int, int, int]:
        """(left, top, width, height) of the pixels of the network input that show the box; the others are padding."""
        if self.fit == "stretch":
            return 0, 0, self.width, self.height
        scale = min(self.width / self.box[2], self.height / self.box[3])
        width = min(max(round(self.box[2] * scale), 1), self.width)
        height = min(max(round(self.box[3] * scale), 1), self.height)
        return (self.width - width) // 2, (self.height - height) // 2, width, height

    @property
    def region(self) -> Box:
        """(x, y, width, height) in pixels of the image that the whole network input covers, padding included.

        It follows from the whole pixels of `content`, so letterboxing rounds the picture's aspect but never a place.
        """
        left, top, width, height = self.content
        x_scale, y_scale = self.box[2] / width, self.box[3] / height
        return (
            self.box[0] - left * x_scale,
            self.box[1] - top * y_scale,
            self.width * x_scale,
            self.height * y_scale,
        )

    def to_image(self, places: ArrayLike, *, mirrored: ArrayLike = False) -> NDArray[np.float64]:
        """Return the points (..., 2) of the image, (x, y) in pixels, that are at ``places`` in the network input.

        ``x = region.x + column * region.width``, ``y = region.y + row * region.height``.

        Args:
            places: (..., 2), (row, column), fractions of the network input.
            mirrored: whether a place was found in the input mirrored left to right; one flag, or one per place.

        >>> Frame((10, 20, 100, 50), height=224, width=224).to_image([0.5, 0.25]).tolist()
        [35.0, 45.0]
        >>> Frame((10, 20, 100, 50), height=224, width=224).to_image([0.5, 0.25], mirrored=True).tolist()
        [85.0, 45.0]
        """
        row, column = np.moveaxis(mirror(places, mirrored), -1, 0)
        x, y, width, height = self.region
        return np.stack([x + column * width, y + row * height], axis=-1)

    def to_input(self, points: ArrayLike, *, mirrored: ArrayLike = False) -> NDArray[np.float64]:
        """Return the places (..., 2) in the network input, (row, column) in fractions, that show ``points`` of the image.

        The inverse of `to_image`; points outside of the shown region give fractions below 0 or above 1.

        Args:
            points: (..., 2), (x, y), pixels of the image.
            mirrored: whether the place is asked in the input mirrored left to right; one flag, or one per point.
        """
        column, row = np.moveaxis(_pairs(points), -1, 0)
        x, y, width, height = self.region
        return mirror(np.stack([(row - y) / height, (column - x) / width], axis=-1), mirrored)


def mirror(places: ArrayLike, mirrored: ArrayLike = True) -> NDArray[np.float64]:
    """Return ``places`` (..., 2) with ``1 - column`` wherever ``mirrored`` (one flag, or one per place) is true."""
    row, column = np.moveaxis(_pairs(places), -1, 0)
    return np.stack(
        [row, np.where(np.asarray(mirrored, dtype=bool), 1.0 - column, column)], axis=-1
    )


def clip_box(box: Box, width: int, height: int) -> Box | None:
    """Return the part of ``box`` inside an image of ``width`` x ``height`` pixels, None if it is thinner than MIN_SIDE.

    >>> clip_box((-5, 10, 20, 30), 100, 35)
    (0.0, 10.0, 15.0, 25.0)
    """
    left, top = max(box[0], 0.0), max(box[1], 0.0)
    right, bottom = min(box[0] + box[2], float(width)), min(box[1] + box[3], float(height))
    if not (right - left >= MIN_SIDE and bottom - top >= MIN_SIDE):
        return None
    return float(left), float(top), float(right - left), float(bottom - top)


def _pairs(values: ArrayLike) -> NDArray[np.float64]:
    array: NDArray[Any] = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise UsageError(
            f"coordinates must be pairs, an array of shape (..., 2), got shape {array.shape}"
        )
    return array
