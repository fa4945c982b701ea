"""From a map in the network input to the photograph: as a map of its pixels, or as boxes around what stands out."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from explgraph.attribution.resample import resample
from explgraph.errors import UsageError
from explgraph.images import Box, Frame

THRESHOLD = 0.15  # of the map's maximum; Selvaraju et al. 2017, section 4.1 (localisation)


def boxes_of(
    map: ArrayLike | torch.Tensor,
    *,
    threshold: float = THRESHOLD,
    frame: Frame | None = None,
    mirrored: bool = False,
) -> list[Box]:
    """Return the boxes (x, y, width, height) of the connected components above ``threshold``, that of most pixels first.

    Pixels that touch at an edge or a corner are connected. A map without a positive value has no boxes.

    Args:
        map: (height, width) in the network input.
        threshold: share of the map's maximum from which on a pixel counts, above 0, at most 1.
        frame: the way to the image. With it the boxes are in pixels of the image and the padding of a letterbox is left out;
            without it they are in pixels of the network input.
        mirrored: whether the network saw the image mirrored left to right; boxes are then given as the image has them.

    Raises:
        UsageError: an impossible threshold, or a map that does not fit the frame.

    >>> boxes_of([[0, 9, 9, 0, 1], [0, 9, 9, 0, 5]])
    [(1.0, 0.0, 2.0, 2.0), (4.0, 1.0, 1.0, 1.0)]
    """
    if not 0 < threshold <= 1:
        raise UsageError(
            f"threshold must be a share of the maximum, above 0 and at most 1, got {threshold}"
        )
    values = _checked_map(map, frame)
    if mirrored:
        values = values[:, ::-1]
    left, top, width, height = frame.content if frame else (0, 0, values.shape[1], values.shape[0])
    values = values[top : top + height, left : left + width]
    peak = values.max()
    if peak <= 0:
        return []
    labels, n_components = ndimage.label(values >= threshold * peak, structure=np.ones((3, 3)))
    counts = np.bincount(labels.ravel(), minlength=n_components + 1)[1:]
    found = ndimage.find_objects(labels)
    boxes = [_box(found[i], left, top) for i in np.argsort(-counts, kind="stable")]
    return [_to_image(box, frame) for box in boxes] if frame else boxes


def map_to_image(
    map: ArrayLike | torch.Tensor,
    frame: Frame,
    image_size: tuple[int, int],
    *,
    mirrored: bool = False,
) -> NDArray[np.float32]:
    """Return the map in the frame of the original image, (image height, image width), float32; zero outside of the box.

    A pixel takes the value at its centre, bilinear between the centres of the map's pixels (averaged where the image is coarser
    than the map). A letterbox's padding is left out before that, so that it does not bleed in.

    Args:
        map: (height, width) in the network input.
        frame: the way to the image.
        image_size: (width, height) of the image, pixels.
        mirrored: whether the network saw the image mirrored left to right.

    Raises:
        UsageError: the map does not fit the frame.
    """
    values = _checked_map(map, frame)
    if mirrored:
        values = values[:, ::-1]
    left, top, width, height = frame.content
    x, y, box_width, box_height = frame.box
    columns, rows = _pixels(x, box_width, image_size[0]), _pixels(y, box_height, image_size[1])
    # Centres at index + 0.5 on both sides, see explgraph.images.frame.
    across = (columns + 0.5 - x) * (width / box_width) - 0.5
    down = (rows + 0.5 - y) * (height / box_height) - 0.5
    shown = values[top : top + height, left : left + width]
    result = np.zeros((image_size[1], image_size[0]), np.float32)
    if len(rows) and len(columns):
        part = resample(shown, down, across, spread=(height / box_height, width / box_width))
        result[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = part
    return result


def _pixels(start: float, extent: float, limit: int) -> NDArray[np.int64]:
    """Return the indices of the pixels whose centres are in the interval."""
    return np.arange(
        max(int(np.ceil(start - 0.5)), 0), min(int(np.ceil(start + extent - 0.5)), limit)
    )


def _checked_map(map: ArrayLike | torch.Tensor, frame: Frame | None) -> NDArray[np.float32]:
    values = np.asarray(
        map.detach().cpu() if isinstance(map, torch.Tensor) else map, dtype=np.float32
    )
    expected = (frame.height, frame.width) if frame else None
    if values.ndim != 2 or values.size == 0 or expected not in (None, values.shape):
        raise UsageError(
            f"map must have the shape {expected or '(height, width)'}, got {values.shape}; give one image's map"
        )
    if not np.isfinite(values).all():
        raise UsageError("map must be finite, got NaN or infinity; check the network's weights")
    return values


def _box(found: tuple[slice, slice], left: int, top: int) -> Box:
    rows, columns = found
    width, height = columns.stop - columns.start, rows.stop - rows.start
    return float(columns.start + left), float(rows.start + top), float(width), float(height)


def _to_image(box: Box, frame: Frame) -> Box:
    x, y, width, height = box
    corners = np.array([[y, x], [y + height, x + width]]) / (frame.height, frame.width)
    (x0, y0), (x1, y1) = frame.to_image(corners).tolist()
    return x0, y0, x1 - x0, y1 - y0
