"""How well pairs of nodes of two layers agree: in firing, in moving, in keeping a displacement.

Three statistics of a lower node V and an upper node V', each a matrix product for all pairs:

    C  correlation over images of how strongly they fire, relative to the object's mean node
    R  correlation of the movement that the pose leaves of each
    D  spread of the displacement p_V - p_V' where both are present

They come in different units and with different noise. What pairs at the same distance do is the
yardstick: C and R count in deviations of chance, the less the more of their variance among such
pairs is chance; D counts in deviations of such pairs. The sum is Stouffer's combination of the
three. Measured: docs/mining-notes.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CLASSES = 28  # of distances up to the diagonal: each is a twentieth of the input wide
PAIRS = 500  # in a class, in the mean: with fewer pairs there are fewer classes
SAMPLE = 128  # lower nodes whose pairs make the yardstick; 256 change nothing (measured)
# Two nodes that never move keep any displacement. More than this, in deviations, is no agreement.
FARTHEST = 3.0
# Edges that chance alone may bring, share of all. At 0.01 the edges are surer, at 0.05 more nodes
# have one (docs/mining-notes.md).
WRONG = 0.02

Each = Float[Tensor, "lower upper"]


@dataclass(frozen=True)
class Behaviour:
    """What the nodes of a layer do in the images.

    Args:
        mean: mean places mu_V, fractions.
        presence: 0..1.
        displacement: place minus mu_V.
        firing: strength of the evidence over the object's mean, mean 0 and variance 1 for a node.
        residual: movement beyond the pose, without the pull of what was expected; likewise.
    """

    mean: Float[Tensor, "node 2"]
    presence: Float[Tensor, "node image"]
    displacement: Float[Tensor, "node 2 image"]
    firing: Float[Tensor, "node image"]
    residual: Float[Tensor, "node 2 image"]

    def nodes(self, which: Int[Tensor, " some"] | slice) -> Behaviour:
        """That of some of the nodes."""
        return Behaviour(*(values[which] for values in vars(self).values()))

    def images(self, order: Int[Tensor, " image"]) -> Behaviour:
        """The same in another order of the images."""
        mean, *others = vars(self).values()
        return Behaviour(mean, *(values[..., order] for values in others))


def standardised(values: Float[Tensor, "node *axis image"]) -> Float[Tensor, "node *axis image"]:
    """The values of each node, every axis less its mean over images, all together of variance 1."""
    centred = values - values.mean(-1, keepdim=True)
    variance = centred.square().flatten(1).mean(1)
    scale = variance.sqrt().clamp_min(1e-9)
    return centred / scale.reshape(-1, *[1] * (values.ndim - 1))


@dataclass(frozen=True)
class Pairs:
    """What all pairs of two layers' nodes do together.

    Args:
        distance: of their mean places, fractions.
        co_firing: C.
        residual: R.
        spread: D, the deviation per axis of the displacement, fractions.
    """

    distance: Each
    co_firing: Each
    residual: Each
    spread: Each


def compare(lower: Behaviour, upper: Behaviour) -> Pairs:
    """The three statistics of all pairs.

    With e = p_V - mu_V, d = p_V' - mu_V' and the weights w_V w_V' of an image, the presences,

        2 D^2 = sum w_V w_V' |e - d|^2 / sum w_V w_V'

    and w_V w_V' |e - d|^2 = (w_V |e|^2) w_V' + w_V (w_V' |d|^2) - 2 (w_V e) . (w_V' d).
    """
    n_images = lower.presence.shape[1]
    co_firing = lower.firing @ upper.firing.T / n_images
    residual = lower.residual.flatten(1) @ upper.residual.flatten(1).T / (2 * n_images)
    e, d = (one.presence[:, None] * one.displacement for one in (lower, upper))
    e_square, d_square = (e * lower.displacement).sum(1), (d * upper.displacement).sum(1)
    left = torch.cat([e_square, lower.presence, -2 * e.flatten(1)], 1)
    right = torch.cat([upper.presence, d_square, d.flatten(1)], 1)
    both = (lower.presence @ upper.presence.T).clamp_min_(1e-6)
    # Rounding may leave the difference of large numbers below 0.
    spread = (left @ right.T).div_(2 * both).clamp_min_(1e-8).sqrt_()
    return Pairs(torch.cdist(lower.mean, upper.mean), co_firing, residual, spread)


@dataclass(frozen=True)
class Yardstick:
    """What pairs at a distance are like, by class of distances.

    Args:
        co_firing: what a correlation of 1 counts.
        residual: likewise.
        log_spread: mean of log D.
        deviation: of log D.
        least: agreement from which edges are more than chance.
    """

    co_firing: Float[Tensor, " bin"]
    residual: Float[Tensor, " bin"]
    log_spread: Float[Tensor, " bin"]
    deviation: Float[Tensor, " bin"]
    least: float = math.inf

    def agreement(self, pairs: Pairs) -> Each:
        """How well the pairs agree: the three statistics in deviations, added up."""
        at = class_of(pairs.distance, len(self.deviation))
        kept = (self.log_spread[at] - pairs.spread.log()) / self.deviation[at]
        fired = self.co_firing[at] * pairs.co_firing
        return fired + self.residual[at] * pairs.residual + kept.clamp_(-FARTHEST, FARTHEST)


def class_of(distance: Each, n_classes: int) -> Int[Tensor, "lower upper"]:
    """The class of each distance; places outside the input are in the last one."""
    return (distance * (n_classes / math.sqrt(2))).long().clamp_max_(n_classes - 1)


def learn_yardstick(lower: Behaviour, upper: Behaviour, *, seed: int = 0) -> Yardstick:
    """The yardstick of two layers.

    Chance gives C the variance 1/n over n images, and R that of two axes, 1/2n. Where the pairs at
    a distance vary by v, the share 1 - chance/v of it is signal; its root is the weight of the
    statistic. So both count near the node, and neither where the parts of a pair have nothing in
    common. The least agreement is the one above which at most WRONG as many pairs come from images
    in another order.
    """
    n_images = lower.presence.shape[1]
    step = math.ceil(len(lower.mean) / SAMPLE)
    some = lower.nodes(slice(None, None, step))
    pairs = compare(some, upper)
    n_classes = max(1, min(CLASSES, pairs.spread.numel() // PAIRS))
    at = class_of(pairs.distance, n_classes)
    count = at.flatten().bincount(minlength=n_classes).clamp_min(1)
    mean = lambda each: at.flatten().bincount(each.flatten(), minlength=n_classes) / count
    log_spread = pairs.spread.log()
    usual = mean(log_spread)
    deviation = mean((log_spread - usual[at]).square()).sqrt().clamp_min(1e-6)
    weights = []
    for each, noise in ((pairs.co_firing, 1 / n_images), (pairs.residual, 0.5 / n_images)):
        # Two standard errors more than chance: few pairs must not seem to have something in common.
        at_most = noise * (1 + 2 * (2 / count).sqrt())
        signal = 1 - at_most / mean(each.square()).clamp_min(1e-12)
        weights.append((signal.clamp_min(0) / noise).sqrt())
    yardstick = Yardstick(weights[0], weights[1], usual, deviation)
    order = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))
    chance = compare(some.images(order.to(at.device)), upper)
    both = (yardstick.agreement(one).flatten() for one in (pairs, chance))
    # An edge agrees better than the usual pair; the others would only be sorted.
    least = least_sure(*(values[values > 0] for values in both))
    return Yardstick(weights[0], weights[1], usual, deviation, least)


def least_sure(real: Float[Tensor, " pair"], chance: Float[Tensor, " other"]) -> float:
    """The least value that at most WRONG times as many of ``chance`` reach as of ``real``.

    >>> least_sure(torch.arange(1000.0), torch.full((30,), 500.0))
    501.0
    """
    values = real.sort(descending=True)[0]
    by_chance = len(chance) - torch.searchsorted(chance.sort()[0], values)
    rank = torch.arange(1, len(values) + 1, device=values.device)
    sure = (by_chance <= WRONG * rank).nonzero()
    return float(values[sure[-1, 0]]) if len(sure) else math.inf
