"""Peaks of one layer as dense arrays: what mining and inference read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from explgraph.graph import Layer

COLUMNS = 8  # strips of a profile (measured: docs/mining-notes.md)


@dataclass(frozen=True)
class LayerPeaks:
    """The strongest peaks of one layer's maps, over a set of objects, in each facing that was looked at.

    Args:
        layer: which layer, and how its cells lie in the network input.
        value: F(x) of every peak, (facing, channel, peak, image), float32, 0 = no peak there; facing 0 is the object as
            photographed, facing 1 (if present) its mirror image.
        row: place of every peak, same shape, fraction of the network input's height; for facing 1 in the mirror image's frame.
        col: fraction of its width.
        profile: mean of F over each of COLUMNS equal strips of columns, (facing, channel, COLUMNS, image), or None where only the
            peaks are known; it tells the facing (see `explgraph.mining.facing`).
    """

    layer: Layer
    value: Tensor
    row: Tensor
    col: Tensor
    profile: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the shapes; raises ValueError."""
        if self.value.ndim != 4 or not self.value.shape == self.row.shape == self.col.shape:
            shapes = [tuple(t.shape) for t in (self.value, self.row, self.col)]
            raise ValueError(
                f"value, row and col must share one shape (facing, channel, peak, image), got {shapes}"
            )
        facings, channels, _, images = self.value.shape
        if self.profile is not None and tuple(self.profile.shape) != (
            facings,
            channels,
            COLUMNS,
            images,
        ):
            raise ValueError(
                f"profile must be {(facings, channels, COLUMNS, images)}, got {tuple(self.profile.shape)}"
            )

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
        return self._each(lambda t: torch.where(mirrored, t[1], t[0])[None])

    def with_flipped_maps(self) -> LayerPeaks:
        """Return two facings of peaks that have one: the flipped maps stand in for the maps of the mirror image.

        A filter answers the mirrored pattern differently, so this is an approximation; it costs no second forward pass
        (measured: docs/mining-notes.md).
        """
        double = lambda t, flipped: torch.cat([t, flipped])
        profile = None if self.profile is None else double(self.profile, self.profile.flip(2))
        value, row, col = (
            double(self.value, self.value),
            double(self.row, self.row),
            double(self.col, 1 - self.col),
        )
        return LayerPeaks(self.layer, value, row, col, profile)

    def images(self, part: slice | Tensor) -> LayerPeaks:
        """Return the peaks of some of the images."""
        return self._each(lambda t: t[..., part])

    def to(self, device: torch.device | str) -> LayerPeaks:
        """Return the same peaks on another device."""
        return self._each(lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> LayerPeaks:
        value, row, col = (change(t) for t in (self.value, self.row, self.col))
        return LayerPeaks(
            self.layer, value, row, col, None if self.profile is None else change(self.profile)
        )
