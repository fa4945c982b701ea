"""Parents: which nodes of the layer above fire together with a node and keep a displacement to it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explgraph.mining.place import Places

BORDER = 0.1  # upper nodes whose mean place is this near to the border are no candidates [published code]


@dataclass(frozen=True)
class Parents:
    """The parents chosen for each node of a layer.

    Args:
        index: (node, parent) int64, numbers of nodes of the layer above.
        std: spread of the displacement over images, (node, parent), fractions.
        weight: the parent's share in the prediction, (node, parent); a node's weights sum to its gain alpha, 0..1.
    """

    index: Tensor
    std: Tensor
    weight: Tensor


@dataclass(frozen=True)
class UpperNodes:
    """The candidates of the layer above: where they were found relative to their mean places.

    Args:
        index: their numbers among all nodes of that layer, (candidate,).
        d_row: p_V'(I) - mu_V', (candidate, image), fractions; d_col: likewise.
    """

    index: Tensor
    d_row: Tensor
    d_col: Tensor


def candidates(
    places: Places, row: Tensor, col: Tensor, alive: Tensor, *, n_candidates: int
) -> UpperNodes:
    """Return the upper nodes with the largest total presence over images that do not rest near the border.

    The published code takes the 600 nodes with the largest total score. Presence (0..1 per image) instead of the raw score keeps
    a few loud channels from filling the list.
    """
    inside = (row > BORDER) & (row < 1 - BORDER) & (col > BORDER) & (col < 1 - BORDER) & alive
    if not inside.any():
        inside = alive
    rank = torch.where(inside, places.presence.double().sum(1), -1.0)
    index = rank.topk(min(n_candidates, int(inside.sum())))[1].sort()[0]
    return UpperNodes(
        index, places.row[index] - row[index, None], places.col[index] - col[index, None]
    )


def choose_parents(
    places: Places, row: Tensor, col: Tensor, upper: UpperNodes, *, n_parents: int
) -> Parents:
    """Return for each node the upper nodes whose displacement agrees best with its own over images.

    With e = p_V(I) - mu_V, d = p_V'(I) - mu_V' and image weights omega proportional to the node's presence, the mismatch
    sum_I omega |e - d|^2 = |e|^2 + |d|^2 - 2 e.d is one matrix product over (image, axis) for all pairs. The parents' variances are
    mismatch / 2. The weights are the shares, which sum to 1; `weigh_by_gain` scales them.
    """
    presence = places.presence
    omega = presence / presence.sum(1, keepdim=True).clamp_min(1e-9)
    e_row, e_col = places.row - row[:, None], places.col - col[:, None]
    own = (omega * (e_row.square() + e_col.square())).sum(1)
    cross = (omega * e_row) @ upper.d_row.T + (omega * e_col) @ upper.d_col.T
    mismatch = own[:, None] + omega @ (upper.d_row.square() + upper.d_col.square()).T - 2 * cross
    smallest, chosen = mismatch.topk(min(n_parents, len(upper.index)), dim=1, largest=False)
    std = (smallest / 2).clamp_min(1e-8).sqrt()
    return Parents(upper.index[chosen], std, _shares(std))


def weigh_by_gain(
    parents: Parents, presence: Tensor, own: tuple[Tensor, Tensor], above: tuple[Tensor, Tensor]
) -> Parents:
    """Return the parents with their shares scaled by the least-squares gain alpha in 0..1 that predicts ``own`` from them.

    Parents that know nothing about the node predict no movement.

    Args:
        parents: of the lower layer's nodes.
        presence: of the lower layer's nodes, (node, image).
        own: what is to be predicted, rows and columns, (node, image).
        above: what the upper nodes pass on, rows and columns, (upper node, image).
    """
    share = _shares(parents.std)
    p_row, p_col = predicted_shift(Parents(parents.index, parents.std, share), *above)
    known = (presence * (own[0] * p_row + own[1] * p_col)).sum(1)
    gain = known / (presence * (p_row.square() + p_col.square())).sum(1).clamp_min(1e-12)
    return Parents(parents.index, parents.std, share * gain.clamp(0, 1)[:, None])


def predicted_shift(parents: Parents, d_row: Tensor, d_col: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the parents predict for each node and image: sum over parents of weight (p_V'(I) - mu_V'), (node, image).

    Args:
        parents: of the lower layer's nodes.
        d_row: displacement of every node of the upper layer, (upper node, image); d_col: likewise.
    """
    used, local = parents.index.unique(
        return_inverse=True
    )  # a few hundred of the upper nodes: a small dense matrix
    weights = parents.weight.new_zeros(len(parents.index), len(used)).scatter_add_(
        1, local, parents.weight
    )
    return weights @ d_row[used], weights @ d_col[used]


def _shares(std: Tensor) -> Tensor:
    """Return 1 / variance, normalised over parents: the product of M Gaussians to the power 1/M (Zhang et al. 2018, eq. 4)."""
    precision = std**-2
    return precision / precision.sum(1, keepdim=True)
