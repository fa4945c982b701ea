"""Parents: which nodes of the layer above fire with a node and keep a displacement to it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explgraph.mining.agreement import Behaviour, compare, learn_yardstick
from explgraph.mining.mixture import chunks

# Children of an upper node at most, over the number that each would have if all hung evenly.
HUB = 1.5
NO_PARENT = math.inf  # std where a node has fewer parents than others; the weight is 0


@dataclass(frozen=True)
class Parents:
    """The parents chosen for each node of a layer; none is an answer.

    Args:
        index: numbers of nodes of the layer above.
        std: of the displacement over images, fractions; NO_PARENT fills up a row.
        weight: share in the prediction; a node's weights sum to its gain alpha, 0..1.
        co_firing: correlation of how strongly both fire.

    >>> values = torch.tensor([[0.1]]), torch.tensor([[0.5]]), torch.tensor([[0.3]])
    >>> half = Parents(torch.tensor([[0]]), *values)
    >>> predicted_shift(half, above=torch.ones(1, 2, 1)).flatten().tolist()
    [0.5, 0.5]
    """

    index: Int[Tensor, "node parent"]
    std: Float[Tensor, "node parent"]
    weight: Float[Tensor, "node parent"]
    co_firing: Float[Tensor, "node parent"]

    @property
    def known(self) -> Bool[Tensor, "node parent"]:
        """Where there is a parent."""
        return torch.isfinite(self.std)

    def renumbered(
        self, own: Int[Tensor, " node"], above: Int[Tensor, " upper"], n_nodes: int
    ) -> Parents:
        """The parents of nodes that are the numbers ``own`` of ``n_nodes``, likewise above."""
        spread = lambda values, empty: values.new_full(
            (n_nodes, values.shape[1]), empty
        ).index_copy(0, own, values)
        index = torch.where(self.known, above[self.index], 0) if len(above) else self.index
        rest = spread(self.weight, 0.0), spread(self.co_firing, 0.0)
        return Parents(spread(index, 0), spread(self.std, NO_PARENT), *rest)


def choose_parents(lower: Behaviour, upper: Behaviour, *, n_parents: int, seed: int = 0) -> Parents:
    """The upper nodes that agree with each lower node by more than chance, at most ``n_parents``.

    An upper node keeps the children that agree with it best: HUB times as many as each would have
    if all lower nodes had ``n_parents``. Weights are the shares, which sum to 1; `weigh_by_gain`
    scales them.

    Args:
        lower: what the nodes of the layer do.
        upper: what those of the layer above do.
        n_parents: M [paper].
        seed: of the order of images that stands for chance.
    """
    n_lower, n_upper = len(lower.mean), len(upper.mean)
    if not n_lower or not n_upper:
        nothing = lower.mean.new_zeros(n_lower, 0)
        return Parents(nothing.long(), nothing, nothing, nothing)
    yardstick = learn_yardstick(lower, upper, seed=seed)
    found = []
    for part in chunks(n_lower, 4 * n_upper):
        pairs = compare(lower.nodes(part), upper)
        agreement, index = yardstick.agreement(pairs).topk(min(n_parents, n_upper), dim=1)
        rows = agreement, index, pairs.spread.gather(1, index), pairs.co_firing.gather(1, index)
        found.append(rows)
    agreement, index, std, co_firing = (torch.cat(rows) for rows in zip(*found, strict=True))
    n_children = math.ceil(HUB * n_parents * n_lower / n_upper)
    known = (agreement >= yardstick.least) & (_rank(index, agreement) < n_children)
    std = torch.where(known, std, NO_PARENT)
    return Parents(index * known, std, _shares(std), co_firing * known)


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
    # Some hundred of the upper nodes are parents: a small dense matrix.
    used, local = parents.index.unique(return_inverse=True)
    weights = parents.weight.new_zeros(len(parents.index), len(used))
    weights.scatter_add_(1, local, parents.weight)
    return torch.stack([weights @ above[used, axis] for axis in (0, 1)], 1)


def _shares(std: Float[Tensor, "node parent"]) -> Float[Tensor, "node parent"]:
    """1 / variance over its sum: M Gaussians to the power 1/M (Zhang et al. 2018, eq. 4)."""
    precision = std**-2
    return precision / precision.sum(1, keepdim=True).clamp_min(1e-9)


def _rank(
    index: Int[Tensor, "node parent"], agreement: Float[Tensor, "node parent"]
) -> Int[Tensor, "node parent"]:
    """The rank of each pair among those of the same upper node, 0 = the best."""
    best_first = agreement.flatten().argsort(descending=True, stable=True)
    of_upper, order = index.flatten()[best_first].sort(stable=True)
    first = torch.searchsorted(of_upper, of_upper)
    rank = torch.empty_like(first)
    rank[best_first[order]] = torch.arange(len(first), device=first.device) - first
    return rank.reshape(index.shape)
