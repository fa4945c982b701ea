"""Facing, the largest single source of variance, resolved without labels.

Every object comes with the peaks of its image (facing 0) and of its mirror image (facing 1); the latent z_I says which of the two
shows the object in the common facing. A closed form starts it, then the nodes vote (`vote`), each time after they were refitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture, image_log_likelihood
from explgraph.peaks.peaks import LayerPeaks

GRID, BANDWIDTH = (
    5,
    0.25,
)  # raster and width (fraction of the input) of the antisymmetric features; measured, docs/mining-notes.md
N_ITERATIONS = 30
ROUNDING = 1e-5  # relative difference of two float32 sums that is none


def initial_facing(layers: Sequence[LayerPeaks]) -> Tensor:
    """Return which images to mirror so that all face the same way, (image,) bool; all False without mirror images.

    D_I = a_I - b_I, the difference between the smoothed maps of an image and of its mirror image, is antisymmetric under mirroring.
    The sign of the leading eigenvector of the Gram matrix of D_I / |D_I| splits the images by facing. Features that separate the two
    groups reliably then get a larger say: each image is assigned by sum_j (m_j / v_j) D_Ij with mean m_j and mean square v_j of the
    signed features over the *other* images, until nothing changes (leaving the image itself out, which would otherwise vote for
    what it is). Measured: docs/mining-notes.md.
    """
    n_images = layers[0].n_images
    device = layers[0].value.device
    if layers[0].n_facings == 1:
        return torch.zeros(n_images, dtype=torch.bool, device=device)
    difference = torch.cat([_antisymmetric(layer) for layer in layers], 1)
    gram = (difference @ difference.T).double()
    sign = torch.where(torch.linalg.eigh(gram)[1][:, -1] < 0, -1.0, 1.0).float()
    for _ in range(N_ITERATIONS):
        signed = sign[:, None] * difference
        others = (signed.sum(0) - signed) / (n_images - 1)
        weight = others / (difference.square().mean(0) + 1e-6)
        new = torch.where((weight * difference).sum(1) < 0, -1.0, 1.0)
        if torch.equal(new, sign):
            break
        sign = new
    return mostly_unmirrored(sign < 0)


def mostly_unmirrored(mirrored: Tensor) -> Tensor:
    """Return the flags or their complement, which says the same: that with fewer mirrored images (the first image's, in a tie)."""
    twice = 2 * int(mirrored.sum())
    turn = twice > len(mirrored) or (twice == len(mirrored) and bool(mirrored[0]))
    return ~mirrored if turn else mirrored


def vote(layers: Sequence[LayerPeaks], mixtures: Sequence[Mixture]) -> Tensor:
    """Return log P(X_I | as photographed) and log P(X_I | mirrored), (facing, image), float64, summed over channels and layers."""
    total = torch.zeros(layers[0].n_facings, layers[0].n_images, dtype=torch.float64, device=layers[0].value.device)
    for peaks, mixture in zip(layers, mixtures, strict=True):
        for facing in range(peaks.n_facings):
            channels = ChannelPeaks(peaks.value[facing], peaks.row[facing], peaks.col[facing])
            total[facing] += image_log_likelihood(channels, mixture).sum(0)
    return total


def decide(votes: Tensor) -> Tensor:
    """Return the facing of each image, (image,) bool; where both hypotheses explain it alike the flag stays "not mirrored"."""
    if len(votes) == 1:
        return torch.zeros(votes.shape[1], dtype=torch.bool, device=votes.device)
    return votes[1] - votes[0] > 1e-6 * votes.abs().sum(0)


def _antisymmetric(layer: LayerPeaks) -> Tensor:
    """Return D_I of one layer, (image, channel * GRID^2) float32, channels at unit scale, images at unit length."""
    smooth = _smoothed(layer)
    difference = smooth[0] - smooth[1]  # channel, image, cell
    # Rounding is no difference: scaled up it would split images that are their own mirror images.
    difference = difference.masked_fill_(difference.abs() < ROUNDING * (smooth[0] + smooth[1]), 0.0)
    scale = difference.square().mean((1, 2), keepdim=True).sqrt()
    flat = (difference / (scale + 1e-6)).transpose(0, 1).flatten(1)
    length: Tensor = flat.norm(dim=1, keepdim=True)
    return flat / length.clamp_min(1e-9)


def _smoothed(layer: LayerPeaks) -> Tensor:
    """Return the peaks of a layer smoothed on a coarse raster, (facing, channel, image, GRID^2)."""
    axis = ((torch.arange(GRID) + 0.5) / GRID).tolist()
    window = lambda place, at: torch.exp((place - at).square().mul_(-0.5 / BANDWIDTH**2))
    out = []
    for value, row, col in zip(layer.value, layer.row, layer.col, strict=True):
        by_row = [window(row, at).mul_(value) for at in axis]
        by_col = [window(col, at) for at in axis]
        out.append(torch.stack([(r * c).sum(1) for r in by_row for c in by_col], -1))
    return torch.stack(out)
