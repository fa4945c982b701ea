"""Peaks of one layer as dense arrays: what mining and locating read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explgraph.graph import Layer

COLUMNS = 8  # strips of a profile (measured: docs/mining-notes.md)


@dataclass(frozen=True)
class LayerPeaks:
    """The strongest peaks of one layer's maps over a set of objects, in each facing looked at.

    Facing 0 is the object as photographed, facing 1 (if present) its mirror image.

    Args:
        layer: which layer, and how its cells lie in the network input.
        value: F(x) of every peak; 0 = no peak there.
        row: its place, fraction of the network input's height.
        col: its place, fraction of the width; for facing 1 in the mirror image's frame.
        profile: mean of F over each of COLUMNS equal strips of columns, or None where only the
            peaks are known; it tells the facing (see `explgraph.mining.facing`).

    >>> upper = peaks["features.14"]
    >>> upper.n_facings, upper.n_channels, upper.n_images
    (2, 96, 48)
    >>> upper.facing(torch.zeros(48, dtype=torch.bool)).value.shape
    torch.Size([1, 96, 4, 48])
    """

    layer: Layer
    value: Float[Tensor, "facing channel peak image"]
    row: Float[Tensor, "facing channel peak image"]
    col: Float[Tensor, "facing channel peak image"]
    profile: Float[Tensor, "facing channel column image"] | None = None

    def __post_init__(self) -> None:
        """Check the shapes; raises ValueError."""
        shapes = [tuple(t.shape) for t in (self.value, self.row, self.col)]
        if len(shapes[0]) != 4 or len(set(shapes)) > 1:
            axes = "(facing, channel, peak, image)"
            raise ValueError(f"value, row and col must share one shape {axes}, got {shapes}")
        facings, channels, _, images = shapes[0]
        expected = (facings, channels, COLUMNS, images)
        if self.profile is not None and self.profile.shape != expected:
            raise ValueError(f"profile must be {expected}, got {tuple(self.profile.shape)}")

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

    def facing(self, mirrored: Bool[Tensor, " image"]) -> LayerPeaks:
        """Each image's peaks in its resolved facing: one facing, that of the mirror image or not.

        Args:
            mirrored: whether an image is understood through its mirror image.
        """
        if self.n_facings == 1:
            return self
        return self._each(lambda t: torch.where(mirrored, t[1], t[0])[None])

    def with_flipped_maps(self) -> LayerPeaks:
        """Two facings of peaks that have one: flipped maps stand in for the mirror image's maps.

        A filter answers the mirrored pattern differently, so this is an approximation; it costs no
        second forward pass (measured: docs/mining-notes.md).
        """
        profile = self.profile
        if profile is not None:
            profile = torch.cat([profile, profile.flip(2)])
        value, row = (torch.cat([t, t]) for t in (self.value, self.row))
        # Fractions of the input, under the half-pixel rule: see `explgraph.images.frame`.
        col = torch.cat([self.col, 1 - self.col])
        return LayerPeaks(self.layer, value, row, col, profile)

    def images(self, some: slice | Tensor) -> LayerPeaks:
        """The peaks of some of the images."""
        return self._each(lambda t: t[..., some])

    def to(self, device: torch.device | str) -> LayerPeaks:
        """The same peaks on another device."""
        return self._each(lambda t: t.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> LayerPeaks:
        value, row, col = (change(t) for t in (self.value, self.row, self.col))
        profile = None if self.profile is None else change(self.profile)
        return LayerPeaks(self.layer, value, row, col, profile)
