"""Dropping nodes that explain nothing, or the same as a heavier one."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.place import place_nodes

DUPLICATE = 0.95  # Bhattacharyya coefficient from which two nodes of a channel are one


def overlap(mixture: Mixture) -> Float[Tensor, "channel node node"]:
    """The Bhattacharyya coefficient of each pair of a channel's nodes, 1 = the same Gaussian.

    BC = 2 s t / (s^2 + t^2) exp(-|mu - nu|^2 / (4 (s^2 + t^2))), isotropic Gaussians in the plane.
    """
    row, col = (mixture.mean[:, :, None] - mixture.mean[:, None]).square().unbind(-1)
    s, t = mixture.std[:, :, None], mixture.std[:, None]
    total = s.square() + t.square()
    near = torch.exp(-(row + col) / (4 * total))
    return 2 * s * t / total * near


def prune(peaks: ChannelPeaks, mixture: Mixture, *, min_support: float) -> Mixture:
    """The mixture with the weight of dropped nodes at 0; the heavier of two duplicates stays.

    Args:
        peaks: of the layer.
        mixture: with the nodes where they are expected.
        min_support: effective number of images in which a node must be found.
    """
    presence = place_nodes(peaks, mixture).presence.double()
    support = presence.sum(1).reshape(mixture.std.shape)
    alive = mixture.alive & (support >= min_support)
    rank = torch.where(alive, mixture.log_weight, -torch.inf)
    own, other = rank[:, :, None], rank[:, None]
    # Of two of equal weight the first one stays, else both would go.
    order = torch.arange(rank.shape[1], device=rank.device)
    heavier = other > own
    earlier = (other == own) & (order[None, :] < order[:, None])
    doubled = (overlap(mixture) > DUPLICATE) & (heavier | earlier) & alive[:, None]
    kept = alive & ~doubled.any(2)
    return replace(mixture, log_weight=torch.where(kept, mixture.log_weight, -torch.inf))
