"""Dropping nodes that explain nothing, no more than chance, or the same as a heavier one."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture, Nodes, by_channel, densities, offsets
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


def evidence(peaks: ChannelPeaks, mixture: Mixture) -> Nodes:
    """What each node adds to the log-likelihood of its channel's n peaks, in units of ln n.

    Without the node its weight would go to V_none:

        gain = sum_x c_x log(P(x) / (P(x) - w_V N(x) + w_V)),   c_x = F(x) / mean F

    The Bayesian information criterion asks for 2 ln n for a node's four parameters. Besides, its
    place was chosen among many, and the pose was fitted to it: on peaks at random places one
    channel in a hundred keeps a node of 6 ln n (measured: docs/mining-notes.md).
    """
    return by_channel(_evidence, peaks, mixture)[0]


def _evidence(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor]:
    d_row, d_col = offsets(peaks, mixture)
    density, _, total = densities(d_row, d_col, mixture)
    total = total[:, None]
    without = (total - density).add_(mixture.weight[..., None, None])
    # Peaks count F / mean F times, so that all together count n: the unit of F must not matter.
    n_peaks = (peaks.value > 0).sum((1, 2))
    scale = n_peaks / peaks.value.sum((1, 2)).clamp_min(1e-9)
    counts = peaks.value * scale[:, None, None]
    each = (total / without).log_().mul_(counts[:, None])
    gain = each.double().sum((2, 3))
    log_n = n_peaks.clamp_min(2).double().log()
    return (gain / log_n[:, None],)


def prune(
    peaks: ChannelPeaks, mixture: Mixture, *, min_support: float, min_evidence: float
) -> Mixture:
    """The mixture with the weight of dropped nodes at 0; the heavier of two duplicates stays.

    Args:
        peaks: of the layer.
        mixture: with the nodes where they are expected.
        min_support: effective number of images in which a node must be found.
        min_evidence: see `evidence`.
    """
    presence = place_nodes(peaks, mixture).presence.double()
    support = presence.sum(1).reshape(mixture.std.shape)
    known = (support >= min_support) & (evidence(peaks, mixture) >= min_evidence)
    alive = mixture.alive & known
    rank = torch.where(alive, mixture.log_weight, -torch.inf)
    own, other = rank[:, :, None], rank[:, None]
    # Of two of equal weight the first one stays, else both would go.
    order = torch.arange(rank.shape[1], device=rank.device)
    heavier = other > own
    earlier = (other == own) & (order[None, :] < order[:, None])
    doubled = (overlap(mixture) > DUPLICATE) & (heavier | earlier) & alive[:, None]
    kept = alive & ~doubled.any(2)
    return replace(mixture, log_weight=torch.where(kept, mixture.log_weight, -torch.inf))
