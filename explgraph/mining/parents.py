"""Parents: which nodes of the layer above fire with a node and keep a displacement to it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from explgraph.mining.mixture import Mixture
from explgraph.mining.pose import Displaced

BORDER = 0.1  # upper nodes with a mean place this near to the border are no candidates [code]


@dataclass(frozen=True)
class Parents:
    """The parents chosen for each node of a layer.

    Args:
        index: numbers of nodes of the layer above.
        std: of the displacement over images, fractions.
        weight: share in the prediction; a node's weights sum to its gain alpha, 0..1.

    >>> half = Parents(torch.tensor([[0]]), torch.tensor([[0.1]]), torch.tensor([[0.5]]))
    >>> predicted_shift(half, above=torch.ones(1, 2, 1)).flatten().tolist()
    [0.5, 0.5]
    """

    index: Int[Tensor, "node parent"]
    std: Float[Tensor, "node parent"]
    weight: Float[Tensor, "node parent"]


def candidates(
    upper: Displaced, mixture: Mixture, *, n_candidates: int
) -> Int[Tensor, " candidate"]:
    """The upper nodes with the largest total presence that do not rest near the border.

    The published code takes the 600 nodes with the largest total score. Presence (0..1 per
    image) instead of the raw score keeps a few loud channels from filling the list.

    Args:
        upper: where the nodes of the upper layer are.
        mixture: of the upper layer.
        n_candidates: how many at most.
    """
    mean, alive = mixture.mean.flatten(0, 1), mixture.alive.flatten()
    inside = ((mean > BORDER) & (mean < 1 - BORDER)).all(1) & alive
    # Better such parents than none.
    if not inside.any():
        inside = alive
    rank = torch.where(inside, upper.presence.double().sum(1), -1.0)
    return rank.topk(min(n_candidates, int(inside.sum())))[1].sort()[0]


def choose_parents(
    lower: Displaced,
    upper: Displaced,
    candidates: Int[Tensor, " candidate"],
    *,
    n_parents: int,
) -> Parents:
    """The candidates whose displacement agrees best over images with each lower node's own.

    With e = p_V(I) - mu_V, d = p_V'(I) - mu_V' and image weights omega in proportion to the
    node's presence, the mismatch sum_I omega |e - d|^2 = |e|^2 + |d|^2 - 2 e.d is one matrix
    product for all pairs. The variance of a parent is mismatch / 2. The weights are the shares,
    which sum to 1; `weigh_by_gain` scales them.
    """
    omega = lower.presence / lower.presence.sum(1, keepdim=True).clamp_min(1e-9)
    e_row, e_col = lower.displacement.unbind(1)
    d_row, d_col = (upper.displacement[candidates, axis] for axis in (0, 1))
    own = (omega * (e_row.square() + e_col.square())).sum(1)
    other = omega @ (d_row.square() + d_col.square()).T
    cross = (omega * e_row) @ d_row.T + (omega * e_col) @ d_col.T
    mismatch = own[:, None] + other - 2 * cross
    n_parents = min(n_parents, len(candidates))
    smallest, chosen = mismatch.topk(n_parents, dim=1, largest=False)
    # Rounding may leave the difference of large numbers below 0.
    std = (smallest / 2).clamp_min(1e-8).sqrt()
    return Parents(candidates[chosen], std, _shares(std))


def weigh_by_gain(
    parents: Parents,
    presence: Float[Tensor, "node image"],
    own: Float[Tensor, "node 2 image"],
    above: Float[Tensor, "upper_node 2 image"],
) -> Parents:
    """The parents, their shares scaled by the least-squares gain alpha in 0..1.

    Parents that know nothing about the node predict no movement.

    Args:
        parents: of the nodes.
        presence: of the nodes.
        own: what is to be predicted.
        above: what the upper nodes pass on.
    """
    parents = replace(parents, weight=_shares(parents.std))
    row, col = predicted_shift(parents, above).unbind(1)
    along = own[:, 0] * row + own[:, 1] * col
    power = row.square() + col.square()
    known = (presence * along).sum(1)
    gain = known / (presence * power).sum(1).clamp_min(1e-12)
    # The paper fixes the gain to 1, which moves nodes whose parents know nothing about them.
    return replace(parents, weight=parents.weight * gain.clamp(0, 1)[:, None])


def predicted_shift(
    parents: Parents, above: Float[Tensor, "upper_node 2 image"]
) -> Float[Tensor, "node 2 image"]:
    """What the parents predict: the sum over parents of weight * what they pass on."""
    # A few hundred of the upper nodes are parents: a small dense matrix.
    used, local = parents.index.unique(return_inverse=True)
    weights = parents.weight.new_zeros(len(parents.index), len(used))
    weights.scatter_add_(1, local, parents.weight)
    return torch.stack([weights @ above[used, axis] for axis in (0, 1)], 1)


def _shares(std: Float[Tensor, "node parent"]) -> Float[Tensor, "node parent"]:
    """1 / variance over its sum: M Gaussians to the power 1/M (Zhang et al. 2018, eq. 4)."""
    precision = std**-2
    return precision / precision.sum(1, keepdim=True)
