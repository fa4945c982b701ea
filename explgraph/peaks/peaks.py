"""Peaks of one layer as dense arrays: what mining and inference read."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explgraph.graph import GraphLayer


@dataclass(frozen=True)
class LayerPeaks:
    """The strongest peaks of one layer's maps, over a set of objects, in each facing that was looked at.

    Args:
        layer: which layer, and how its cells lie in the network input.
        value: F(x) of every peak, (facing, channel, peak, image), float32, 0 = no peak there; facing 0 is the object as
            photographed, facing 1 (if present) its mirror image.
        row: place of every peak, same shape, fraction of the network input's height; for facing 1 in the mirror image's frame.
        col: fraction of its width.
    """

    layer: GraphLayer
    value: Tensor
    row: Tensor
    col: Tensor

    def __post_init__(self) -> None:
        """Check the shapes; raises ValueError."""
        if self.value.ndim != 4 or not self.value.shape == self.row.shape == self.col.shape:
            shapes = [tuple(t.shape) for t in (self.value, self.row, self.col)]
            raise ValueError(f"value, row and col must share one shape (facing, channel, peak, image), got {shapes}")

    @property
    def n_facings(self) -> int:
        """1, or 2 where the mirror images were looked at as well."""
        return self.value.shape[0]

    @property
    def n_channels(self) -> int:
        """Channels of the layer."""
        return self.value.shape[1]

    @property
    def n_images(self) -> int:
        """Objects, the last axis."""
        return self.value.shape[3]

    def facing(self, mirrored: Tensor) -> LayerPeaks:
        """Return each image's peaks in its resolved facing: one facing, mirrored images replaced by their mirror images'.

        Args:
            mirrored: (image,) bool.
        """
        if self.n_facings == 1:
            return self
        value, row, col = (torch.where(mirrored, t[1], t[0])[None] for t in (self.value, self.row, self.col))
        return LayerPeaks(self.layer, value, row, col)

    def images(self, part: slice) -> LayerPeaks:
        """Return the peaks of some of the images."""
        return LayerPeaks(self.layer, self.value[..., part], self.row[..., part], self.col[..., part])

    def to(self, device: torch.device | str) -> LayerPeaks:
        """Return the same peaks on another device."""
        return LayerPeaks(self.layer, self.value.to(device), self.row.to(device), self.col.to(device))
