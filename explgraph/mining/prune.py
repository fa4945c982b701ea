"""Dropping nodes that explain nothing, and nodes that say the same as a heavier one of their channel."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.places import place_nodes

DUPLICATE = 0.95  # Bhattacharyya coefficient from which two nodes of a channel are one


class PruningConfig(Protocol):
    """What pruning needs of the mining settings."""

    @property
    def min_support(self) -> float:
        """Effective number of images in which a node must be found."""


def overlap(mixture: Mixture) -> Tensor:
    """Return the Bhattacharyya coefficient of each pair of a channel's nodes, (channel, node, node), 1 = the same Gaussian.

    BC = 2 s t / (s^2 + t^2) exp(-|mu - nu|^2 / (4 (s^2 + t^2))) for isotropic Gaussians in the plane.
    """
    d = (mixture.row[:, :, None] - mixture.row[:, None]).square() + (mixture.col[:, :, None] - mixture.col[:, None]).square()
    s, t = mixture.std[:, :, None], mixture.std[:, None]
    total = s.square() + t.square()
    return 2 * s * t / total * torch.exp(-d / (4 * total))


def prune(peaks: ChannelPeaks, mixture: Mixture, config: PruningConfig) -> Mixture:
    """Return the mixture with the weight of dropped nodes at 0; the heavier of two duplicates stays."""
    support = place_nodes(peaks, mixture).presence.double().sum(1).reshape(mixture.row.shape)
    alive = mixture.alive & (support >= config.min_support)
    rank = torch.where(alive, mixture.log_weight, -torch.inf)
    order = torch.arange(rank.shape[1], device=rank.device)
    ahead = (rank[:, None] > rank[:, :, None]) | ((rank[:, None] == rank[:, :, None]) & (order[None, :] < order[:, None]))
    doubled = ((overlap(mixture) > DUPLICATE) & ahead & alive[:, None]).any(2)
    return replace(mixture, log_weight=torch.where(alive & ~doubled, mixture.log_weight, -torch.inf))
