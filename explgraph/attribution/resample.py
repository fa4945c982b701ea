"""Maps between grids of different pitch: bilinear between the cells' centres, edge values held."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Maps = TypeVar("Maps", NDArray[np.float32], torch.Tensor)


def resample(
    maps: Maps, rows: ArrayLike, cols: ArrayLike, *, spread: tuple[float, float] = (1.0, 1.0)
) -> Maps:
    """Return the values (..., len(rows), len(cols)) of ``maps`` at all pairs of the given coordinates, float32.

    Both axes are weighted apart, so this is two matrix products, on the device of ``maps``.

    Args:
        maps: (..., height, width).
        rows: coordinates in cells; cell ``i``'s centre is at ``i``.
        cols: as ``rows``.
        spread: (row, column) distance of neighbouring coordinates, cells; above 1 the filter is widened by it, so that nothing
            between two coordinates is passed over.
    """
    down = _weights(rows, maps.shape[-2], spread[0])
    across = _weights(cols, maps.shape[-1], spread[1]).T
    if isinstance(maps, torch.Tensor):
        on_device = [
            torch.from_numpy(np.ascontiguousarray(w)).to(maps.device) for w in (down, across)
        ]
        return on_device[0] @ maps.float() @ on_device[1]
    return np.ascontiguousarray(down @ maps.astype(np.float32, copy=False) @ across)


def _weights(coordinates: ArrayLike, cells: int, spread: float) -> NDArray[np.float32]:
    """Return (coordinates, cells): a triangle about each coordinate, as wide as ``spread`` asks, rows of sum 1."""
    centre = np.clip(np.asarray(coordinates, dtype=np.float64), 0, cells - 1)
    distance = np.abs(centre[:, None] - np.arange(cells)) / max(spread, 1.0)
    weights = np.maximum(1 - distance, 0)
    scaled: NDArray[np.float32] = (weights / weights.sum(1, keepdims=True)).astype(np.float32)
    return scaled
