"""From a map of the network input to the photograph: as a map of its pixels, or as boxes.

`resample` is what brings a map to another grid: bilinear between the cells' centres, the values at
the edge held beyond it.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from explgraph.errors import UsageError
from explgraph.images import Box, Frame
from explgraph.network import wide_dtype

THRESHOLD = 0.15  # of the map's maximum; Selvaraju et al. 2017, section 4.1 (localisation)

AnyMap = ArrayLike | torch.Tensor
Maps = TypeVar("Maps", NDArray[np.float32], torch.Tensor)


def boxes_of(
    map: AnyMap,
    *,
    threshold: float = THRESHOLD,
    frame: Frame | None = None,
    mirrored: bool = False,
) -> list[Box]:
    """The boxes around the connected components above ``threshold``, that of most pixels first.

    Pixels that touch at an edge or a corner are connected. A map without a positive value has no
    boxes.

    Args:
        map: (height, width) in the network input.
        threshold: share of the map's maximum from which on a pixel counts, above 0, at most 1.
        frame: the way to the photograph. With it the boxes are in pixels of the photograph, and
            the padding of a letterbox is left out; without it in pixels of the network input.
        mirrored: whether the network saw the photograph mirrored left to right; the boxes are then
            given as the photograph has them.

    Returns:
        (x, y, width, height) of each.

    Raises:
        UsageError: an impossible threshold, or a map that does not fit the frame.

    >>> boxes_of([[0, 9, 9, 0, 1], [0, 9, 9, 0, 5]])
    [(1.0, 0.0, 2.0, 2.0), (4.0, 1.0, 1.0, 1.0)]
    """
    if not 0 < threshold <= 1:
        raise UsageError(
            f"threshold must be a share of the maximum, above 0 and at most 1, got {threshold}"
        )
    values = checked_map(map, frame)
    if mirrored:
        values = values[:, ::-1]
    left, top, width, height = frame.content if frame else (0, 0, values.shape[1], values.shape[0])
    values = values[top : top + height, left : left + width]
    # After the padding is cut off, for the map's maximum may lie there.
    peak = values.max()
    if peak <= 0:
        return []
    # A corner is enough: thin diagonals, such as legs, stay one object.
    labels, n_components = ndimage.label(values >= threshold * peak, structure=np.ones((3, 3)))
    counts = np.bincount(labels.ravel(), minlength=n_components + 1)[1:]
    found = ndimage.find_objects(labels)
    # Stable: of equal components the upper left one comes first, on every machine.
    boxes = [_box(found[k], left, top) for k in np.argsort(-counts, kind="stable")]
    return [_to_image(box, frame) for box in boxes] if frame else boxes


def map_to_image(
    map: AnyMap, frame: Frame, image_size: tuple[int, int], *, mirrored: bool = False
) -> Float[np.ndarray, "height width"]:
    """The map in the frame of the photograph; zero outside of the box.

    A pixel takes the value at its centre, bilinear between the centres of the map's pixels, or an
    average where the photograph is coarser than the map. The padding of a letterbox is left out
    before that, so that it does not bleed in.

    Args:
        map: (height, width) in the network input.
        frame: the way to the photograph.
        image_size: (width, height) of the photograph, pixels.
        mirrored: whether the network saw the photograph mirrored left to right.

    Raises:
        UsageError: the map does not fit the frame.

    >>> map_to_image([[1.0, 3.0]], Frame((1, 0, 2, 1), height=1, width=2), (4, 1))
    array([[0., 1., 3., 0.]], dtype=float32)
    """
    values = checked_map(map, frame)
    if mirrored:
        values = values[:, ::-1]
    left, top, width, height = frame.content
    x, y, box_width, box_height = frame.box
    cols, rows = _pixels(x, box_width, image_size[0]), _pixels(y, box_height, image_size[1])
    # Centres at index + 0.5 on both sides, see `explgraph.images.Frame`.
    across = (cols + 0.5 - x) * (width / box_width) - 0.5
    down = (rows + 0.5 - y) * (height / box_height) - 0.5
    result = np.zeros((image_size[1], image_size[0]), np.float32)
    if len(rows) and len(cols):
        # Without the padding: the interpolation would mix it in at the border.
        shown = values[top : top + height, left : left + width]
        spread = (height / box_height, width / box_width)
        inside = slice(rows[0], rows[-1] + 1), slice(cols[0], cols[-1] + 1)
        result[inside] = resample(shown, down, across, spread=spread)
    return result


def resample(
    maps: Maps, rows: ArrayLike, cols: ArrayLike, *, spread: tuple[float, float] = (1.0, 1.0)
) -> Maps:
    """The values (..., len(rows), len(cols)) of ``maps`` at all pairs of the given coordinates.

    The axes are weighted apart, so this is two matrix products, on the device of ``maps``.

    Args:
        maps: (..., height, width).
        rows: coordinates in cells; cell ``i``'s centre is at ``i``.
        cols: as ``rows``.
        spread: (row, column) distance of neighbouring coordinates, cells. Above 1 the filter is
            widened by it, so that nothing between two coordinates is passed over.

    >>> resample(np.float32([[0, 1], [2, 3]]), [0.5, 9], [0])
    array([[1.],
           [2.]], dtype=float32)
    """
    down = _weights(rows, maps.shape[-2], spread[0])
    across = _weights(cols, maps.shape[-1], spread[1]).T
    if isinstance(maps, torch.Tensor):
        # The small matrices go to the device of the maps, and no map leaves it.
        wide = wide_dtype(maps.dtype)
        matrices = [torch.from_numpy(np.ascontiguousarray(one)) for one in (down, across)]
        left, right = (one.to(maps.device, wide) for one in matrices)
        return left @ maps.to(wide) @ right
    left, right = (one.astype(np.float32) for one in (down, across))
    return np.ascontiguousarray(left @ maps.astype(np.float32, copy=False) @ right)


def checked_map(map: AnyMap, frame: Frame | None) -> Float[np.ndarray, "height width"]:
    """One image's map as an array.

    Raises:
        UsageError: it is not finite, not two-dimensional, or does not fit the frame.
    """
    array = map.detach().cpu() if isinstance(map, torch.Tensor) else map
    values = np.asarray(array, dtype=np.float32)
    expected = (frame.height, frame.width) if frame else None
    if values.ndim != 2 or values.size == 0 or expected not in (None, values.shape):
        raise UsageError(
            f"map must have the shape {expected or '(height, width)'}, got {values.shape}; "
            "give one image's map"
        )
    if not np.isfinite(values).all():
        raise UsageError("map must be finite, got NaN or infinity; check the network's weights")
    return values


def _weights(
    coordinates: ArrayLike, cells: int, spread: float
) -> Float[np.ndarray, "coordinate cell"]:
    """A triangle about each coordinate, as wide as ``spread`` asks; rows of sum 1."""
    # Clipped: beyond the outermost cells the map keeps their values.
    centre = np.clip(np.asarray(coordinates, dtype=np.float64), 0, cells - 1)
    # A triangle as wide as the step between two coordinates: nothing is stepped over.
    distance = np.abs(centre[:, None] - np.arange(cells)) / max(spread, 1.0)
    weights = np.maximum(1 - distance, 0)
    scaled: NDArray[np.float64] = weights / weights.sum(1, keepdims=True)
    return scaled


def _pixels(start: float, extent: float, limit: int) -> NDArray[np.int64]:
    """The indices of the pixels whose centres are in the interval."""
    first, last = int(np.ceil(start - 0.5)), int(np.ceil(start + extent - 0.5))
    return np.arange(max(first, 0), min(last, limit))


def _box(found: tuple[slice, slice], left: int, top: int) -> Box:
    rows, cols = found
    width, height = cols.stop - cols.start, rows.stop - rows.start
    return float(cols.start + left), float(rows.start + top), float(width), float(height)


def _to_image(box: Box, frame: Frame) -> Box:
    x, y, width, height = box
    # Through the frame, where the half-pixel rule is written down.
    corners = np.array([[y, x], [y + height, x + width]]) / (frame.height, frame.width)
    (x0, y0), (x1, y1) = frame.to_image(corners).tolist()
    return x0, y0, x1 - x0, y1 - y0
