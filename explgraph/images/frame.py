"""From fractions of the network input to pixels of the photograph and back: the half-pixel rule.

Coordinates are continuous. Pixel ``i`` covers the interval ``[i, i + 1]``, so the first pixel's
centre is at 0.5 and an image ``width`` pixels wide reaches from 0 to ``width``. Under this rule
cropping is a shift, resizing a factor and mirroring ``1 - column``; no half pixel is ever added or
taken away, and whoever asks for a centre writes ``index + 0.5``.

Places are (row, column), fractions 0..1 of the network input. Points are (x, y), pixels of the
image, x right, y down.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError

Box = tuple[float, float, float, float]
Boxes = Box | Sequence[Box]
"""One box (x, y, width, height) in pixels of the photograph, or several."""
Fit = Literal["stretch", "letterbox"]
FITS: tuple[str, ...] = get_args(Fit)
MIN_SIDE = 1.0  # pixels of a box that must lie inside the image, each way


@dataclass(frozen=True)
class Frame:
    """How one box of an image fills the network input.

    Args:
        box: (x, y, width, height) of the part of the image that is shown, pixels.
        height: rows of the network input, pixels.
        width: columns of the network input, pixels.
        fit: "stretch" fills the input with the box, as Zhang et al. (AAAI 2018) do; "letterbox"
            keeps the box's aspect, centres it and leaves the rest to padding.

    Raises:
        UsageError: an unknown ``fit``, or an input or a box without pixels.
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
                "the network input must have at least 1 x 1 pixels, "
                f"got {self.height} x {self.width}"
            )
        # Said this way round, NaN is refused too; so in `clip_box`.
        if not (self.box[2] > 0 and self.box[3] > 0):
            raise UsageError(
                f"a box needs a positive width and height, got (x, y, width, height) = {self.box}"
            )

    @property
    def content(self) -> tuple[int, int, int, int]:
        """(left, top, width, height) of the input's pixels that show the box.

        >>> Frame((0, 0, 100, 50), height=224, width=224, fit="letterbox").content
        (0, 56, 224, 112)
        """
        if self.fit == "stretch":
            return 0, 0, self.width, self.height
        _, _, box_width, box_height = self.box
        # Whole pixels, for pixels are what is written; at least one, also of a very thin box.
        scale = min(self.width / box_width, self.height / box_height)
        width = min(max(round(box_width * scale), 1), self.width)
        height = min(max(round(box_height * scale), 1), self.height)
        return (self.width - width) // 2, (self.height - height) // 2, width, height

    @property
    def region(self) -> Box:
        """(x, y, width, height) of the image's pixels that the whole input covers, with padding.

        It follows from the whole pixels of `content`, so letterboxing rounds the picture's aspect
        but never a place.
        """
        left, top, width, height = self.content
        x, y, box_width, box_height = self.box
        x_scale, y_scale = box_width / width, box_height / height
        return x - left * x_scale, y - top * y_scale, self.width * x_scale, self.height * y_scale

    def to_image(self, places: ArrayLike, *, mirrored: ArrayLike = False) -> NDArray[np.float64]:
        """The points (..., 2) of the image that are at ``places`` in the network input.

        ``x = region.x + column * region.width``, ``y = region.y + row * region.height``.

        Args:
            places: (..., 2), (row, column), fractions of the network input.
            mirrored: whether a place was found in the input mirrored left to right; one flag, or
                one per place.

        >>> frame = Frame((10, 20, 100, 50), height=224, width=224)
        >>> frame.to_image([[0.5, 0.25], [0.5, 0.25]], mirrored=[False, True]).tolist()
        [[35.0, 45.0], [85.0, 45.0]]
        """
        # In double precision, whatever the places are, so that there and back is the identity.
        row, column = np.moveaxis(mirror(places, mirrored), -1, 0)
        x, y, width, height = self.region
        return np.stack([x + column * width, y + row * height], axis=-1)

    def to_input(self, points: ArrayLike, *, mirrored: ArrayLike = False) -> NDArray[np.float64]:
        """The places (..., 2) in the network input that show ``points``: inverse of `to_image`.

        Points outside of the shown region give fractions below 0 or above 1.

        Args:
            points: (..., 2), (x, y), pixels of the image.
            mirrored: whether the place is asked in the input mirrored left to right; one flag, or
                one per point.

        >>> Frame((10, 20, 100, 50), height=224, width=224).to_input([35, 45]).tolist()
        [0.5, 0.25]
        """
        column, row = np.moveaxis(_pairs(points), -1, 0)
        x, y, width, height = self.region
        return mirror(np.stack([(row - y) / height, (column - x) / width], axis=-1), mirrored)


def mirror(places: ArrayLike, mirrored: ArrayLike = True) -> NDArray[np.float64]:
    """``places`` (..., 2) with ``1 - column`` where ``mirrored`` (one flag, or one per place).

    >>> mirror([[0.5, 0.25], [0.5, 0.25]], [True, False]).tolist()
    [[0.5, 0.75], [0.5, 0.25]]
    """
    row, column = np.moveaxis(_pairs(places), -1, 0)
    turned = np.where(np.asarray(mirrored, dtype=bool), 1.0 - column, column)
    return np.stack([row, turned], axis=-1)


def clip_box(box: Box, width: int, height: int) -> Box | None:
    """The part of a box inside an image, None if it is thinner than MIN_SIDE.

    Args:
        box: (x, y, width, height), pixels.
        width: of the image, pixels.
        height: of the image, pixels.

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
        message = f"coordinates must be pairs, an array of shape (..., 2), got shape {array.shape}"
        raise UsageError(message)
    return array
