"""Dropping nodes that explain nothing, or no more than chance would, or the same as a heavier one of their channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture, chunks, densities
from explgraph.mining.place import place_nodes

DUPLICATE = 0.95  # Bhattacharyya coefficient from which two nodes of a channel are one


class PruningConfig(Protocol):
    """What pruning needs of the mining settings."""

    @property
    def min_support(self) -> float:
        """Effective number of images in which a node must be found."""

    @property
    def min_evidence(self) -> float:
        """Gain in log-likelihood that a node must bring, in ln(peaks of its channel)."""


def overlap(mixture: Mixture) -> Tensor:
    """Return the Bhattacharyya coefficient of each pair of a channel's nodes, (channel, node, node), 1 = the same Gaussian.

    BC = 2 s t / (s^2 + t^2) exp(-|mu - nu|^2 / (4 (s^2 + t^2))) for isotropic Gaussians in the plane.
    """
    d = (mixture.row[:, :, None] - mixture.row[:, None]).square() + (
        mixture.col[:, :, None] - mixture.col[:, None]
    ).square()
    s, t = mixture.std[:, :, None], mixture.std[:, None]
    total = s.square() + t.square()
    return 2 * s * t / total * torch.exp(-d / (4 * total))


def evidence(peaks: ChannelPeaks, mixture: Mixture) -> Tensor:
    """Return what each node adds to the log-likelihood of its channel's peaks, in units of ln n, (channel, node).

    Without the node its weight would go to V_none: gain = sum_x c_x log(P(x) / (P(x) - w_V N(x) + w_V)), n peaks of which each counts
    c_x = F(x) / mean F. The Bayesian information criterion asks for 2 ln n for a node's four parameters; besides, its place was chosen
    among many, and the pose was fitted to it. On peaks at random places one channel in a hundred keeps a node of 6 ln n (measured:
    docs/mining-notes.md).
    """
    parts = []
    for part in chunks(len(peaks.value), mixture.row.shape[1] * peaks.value[0].numel()):
        near, local = peaks.channels(part), mixture.channels(part)
        density, _, total = densities(near, local)
        total = total[:, None]
        without = (total - density).add_(local.log_weight.exp()[..., None, None])
        n_peaks = (near.value > 0).sum((1, 2))
        counts = near.value * (n_peaks / near.value.sum((1, 2)).clamp_min(1e-9))[:, None, None]
        gain = (total / without).log_().mul_(counts[:, None]).double().sum((2, 3))
        parts.append(gain / n_peaks.clamp_min(2).double().log()[:, None])
    return torch.cat(parts)


def prune(peaks: ChannelPeaks, mixture: Mixture, config: PruningConfig) -> Mixture:
    """Return the mixture with the weight of dropped nodes at 0; the heavier of two duplicates stays."""
    support = place_nodes(peaks, mixture).presence.double().sum(1).reshape(mixture.row.shape)
    alive = (
        mixture.alive
        & (support >= config.min_support)
        & (evidence(peaks, mixture) >= config.min_evidence)
    )
    rank = torch.where(alive, mixture.log_weight, -torch.inf)
    order = torch.arange(rank.shape[1], device=rank.device)
    ahead = (rank[:, None] > rank[:, :, None]) | (
        (rank[:, None] == rank[:, :, None]) & (order[None, :] < order[:, None])
    )
    doubled = ((overlap(mixture) > DUPLICATE) & ahead & alive[:, None]).any(2)
    return replace(
        mixture, log_weight=torch.where(alive & ~doubled, mixture.log_weight, -torch.inf)
    )
