"""What the nodes are worth on images that they were not fitted to.

A node fits the noise that it was fitted to, and a pose of many dimensions fits the noise of many
nodes. So nothing is judged here on what it was learned from:

* The nodes of one half of the channels get the pose that those of the *other* half find.
* Loadings, means, deviations and weights are fitted anew without a fold of the images, and what
  each node adds to the likelihood is measured on that fold.

On peaks at random places a node then adds nothing, whatever the number of channels, images and
peaks (measured: docs/mining-notes.md). What a network prefers by itself, such as its padded
border, is told from parts by images of chance, in which nothing keeps a place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from explgraph.mining.mixture import (
    ChannelPeaks,
    Mixture,
    Nodes,
    Which,
    by_channel,
    densities,
    e_step,
    fit_mixture,
    offsets,
)
from explgraph.mining.place import LayerModel, observe, place_layers, place_nodes
from explgraph.mining.pose import Poses, leading_axes, regress, standardised, sway

FOLDS = 2  # of images, to judge nodes
FOLDS_OF_POSE = 4  # to choose q: with half of the images a pose of many axes is not learned
EM_ROUNDS = 3  # of a fit without a fold; it starts from the fit to all images
AXES = (0, 1, 2, 4, 6, 8, 12, 16)  # q that are tried
REGRESSIONS = 2  # of places on the pose, each with places looked for by the one before
ENOUGH = 128  # channels of all layers together, to choose q and to measure the widening
WIDENING_ROUNDS = 4  # of EM in the widening alone
LEAST = 2.0  # ln n that the Bayesian information criterion asks for a node's four parameters
CHANCE_ERRORS = 5.0  # standard errors by which a node must be better than on images of chance
SPARE = 0.05  # of the best gain: one axis too many costs that, one too few costs places


class Fitted(NamedTuple):
    """A layer whose nodes are judged.

    Args:
        near: its peaks.
        model: fitted to them; parents are left aside.
        bounds: of sigma.
        chance: its peaks in images of chance, if there are some.
    """

    near: ChannelPeaks
    model: LayerModel
    bounds: tuple[float, float]
    chance: ChannelPeaks | None = None

    def channels(self, which: Which) -> Fitted:
        """The same for some of the channels."""
        mixture = self.model.mixture
        loadings = self.model.loadings.unflatten(0, mixture.std.shape)[which].flatten(0, 1)
        model = LayerModel(mixture.channels(which), loadings, None)
        chance = None if self.chance is None else self.chance.channels(which)
        return Fitted(self.near.channels(which), model, self.bounds, chance)


@dataclass(frozen=True)
class Evidence:
    """What each node of a layer adds to the log-likelihood of its channel's n peaks, in ln n.

    Args:
        gain: on images that it was not fitted to; -inf for a dropped node.
        chance: on as many images of chance; 0 where there are none.
        error: standard error of ``chance``.
    """

    gain: Nodes
    chance: Nodes
    error: Nodes

    def known(self, *, sure: float, false_share: float) -> Bool[Tensor, "channel node"]:
        """Which nodes are more than chance.

        By itself a node is where it gains ``sure`` more than chance may. Others are by their
        number: what exceeds chance by t falls short of it by t as often, if it is chance itself.
        So the nodes below -t tell how many of those above t are false (Barber and Candes 2015).
        They are kept from the lowest t at which these are ``false_share`` of them at most.

        >>> gain = torch.tensor([[-1.0, 0.5, 2.0, 3.0]])
        >>> none = torch.zeros(1, 4)
        >>> Evidence(gain, none, none).known(sure=6.0, false_share=0.5)
        tensor([[False, False,  True,  True]])
        """
        may = (self.chance + CHANCE_ERRORS * self.error).clamp_min(0)
        beyond = self.gain - self.chance
        judged = beyond[self.gain.isfinite()]
        rising, falling = judged.sort()[0], (-judged).sort()[0]
        limits = rising[rising >= LEAST]
        n_above = len(rising) - torch.searchsorted(rising, limits)
        n_below = len(falling) - torch.searchsorted(falling, limits)
        good = limits[1 + n_below <= false_share * n_above]
        by_number = beyond >= min([torch.inf, *good[:1].tolist()])
        known: Bool[Tensor, "channel node"] = self.gain - may >= sure
        return known.logical_or(by_number & (self.gain >= LEAST))


@dataclass(frozen=True)
class HeldOut:
    """How well the nodes do on images that they were not fitted to.

    Args:
        evidence: of the nodes of each layer.
        widening: per layer the variance of the peaks about their nodes, over what the fit says.
    """

    evidence: list[Evidence]
    widening: list[float]


class _Fold(NamedTuple):
    """Images that were left out of a fit: their peaks, and the nodes where it expects them."""

    near: ChannelPeaks
    mixture: Mixture


def choose_dimensions(layers: Sequence[Fitted]) -> Poses:
    """The leading axes of the layers' pose, as many as help to predict places; 0 is an answer.

    Returns:
        The poses of the images; one axis of zeros where none helps.
    """
    step = _step(layers)
    numbers = [torch.arange(len(one.near.value)) for one in layers]
    # Pairs of channels: one for each half.
    pairs = zip(layers, numbers, strict=True)
    some = [one.channels(number[number // 2 % step == 0]) for one, number in pairs]
    tried = [q for q in AXES if q <= layers[0].model.loadings.shape[2]]
    gained = dict.fromkeys(tried, 0.0)
    for own, others, pose in _halves(some):
        for q in tried:
            axes = _leading(others, pose, q)
            folds = [fold for one in own for fold in _cross_fit(one, axes, FOLDS_OF_POSE)]
            gained[q] += sum(float(gains(*fold).sum()) for fold in folds)
    pose = place_layers([one.near for one in layers], [one.model for one in layers]).pose
    best = max(gained.values())
    enough = [q for q in tried if gained[q] >= (1 - SPARE) * best]
    # With none at best no axis helps, nor does one that hardly costs anything.
    q = 0 if best <= 0 or gained[0] == best else max(enough)
    return _leading(layers, pose, q)


def hold_out(layers: Sequence[Fitted]) -> HeldOut:
    """What the nodes of the layers are worth on images that they were not fitted to."""
    # Of gain, chance and error.
    evidence = [torch.zeros(3, *one.model.mixture.std.shape).double() for one in layers]
    spread, step = [[0.0, 0.0] for _ in layers], _step(layers)
    for half, (own, _, pose) in enumerate(_halves(layers)):
        axes = standardised(pose)
        for one, found, squares in zip(own, evidence, spread, strict=True):
            folds = _cross_fit(one, axes, FOLDS)
            found[:, half::2] = torch.stack(_evidence(one, folds)).cpu()
            for fold in folds:
                for k, added in enumerate(_spread(fold, step)):
                    squares[k] += added
    for one, found in zip(layers, evidence, strict=True):
        found[0][~one.model.mixture.alive.cpu()] = -torch.inf
    widening = [max(1.0, square / max(n, 1e-9)) for square, n in spread]
    return HeldOut([Evidence(*found) for found in evidence], widening)


def gains(peaks: ChannelPeaks, mixture: Mixture) -> Float64[Tensor, "channel node image"]:
    """What each node adds to the log-likelihood of the peaks in each image.

    Without the node its weight would go to V_none:

        gain = sum_x c_x log(P(x) / (P(x) - w_V N(x) + w_V)),   c_x = F(x) / mean F
    """
    return by_channel(_gains, peaks, mixture)[0]


def _gains(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor]:
    d_row, d_col = offsets(peaks, mixture)
    density, _, total = densities(d_row, d_col, mixture)
    total = total[:, None]
    without = (total - density).add_(mixture.weight[..., None, None])
    # Peaks count F / mean F times, so that all together count n: the unit of F must not matter.
    scale = _n_peaks(peaks) / peaks.value.sum((1, 2)).clamp_min(1e-9)
    counts = peaks.value * scale[:, None, None]
    return ((total / without).log_().mul_(counts[:, None]).sum(2).double(),)


def _n_peaks(peaks: ChannelPeaks) -> Int[Tensor, " channel"]:
    return (peaks.value > 0).sum((1, 2))


def _evidence(one: Fitted, folds: Sequence[_Fold]) -> tuple[Nodes, Nodes, Nodes]:
    """What the nodes gain on all folds, on images of chance, and its error: see `Evidence`."""
    log_n = _n_peaks(one.near).clamp_min(2).double().log()[:, None]
    gain = sum((gains(*fold).sum(2) for fold in folds), torch.zeros_like(log_n)) / log_n
    if one.chance is None:
        return gain, torch.zeros_like(gain), torch.zeros_like(gain)
    where = [gains(one.chance, replace(fold.mixture, shift=None)) for fold in folds]
    each = torch.stack(where).mean(0)
    n_chance = each.shape[2]
    # As if there were as many of them as images.
    scale = one.near.value.shape[2] / n_chance / log_n
    return gain, each.sum(2) * scale, n_chance**0.5 * each.std(2) * scale


def _spread(fold: _Fold, step: int) -> tuple[float, float]:
    """The squared offsets per axis in deviations of their nodes, and their number, both by F.

    By EM in one number for all nodes, the widening, so that peaks beyond a window that is too
    narrow count as they should.
    """
    some = slice(None, None, step)
    near, mixture = fold.near.channels(some), fold.mixture.channels(some)
    widening, square, n = 1.0, 0.0, 0.0
    for _ in range(WIDENING_ROUNDS):
        found = e_step(near, replace(mixture, std=mixture.std * widening**0.5))
        each = found.square / 2 / mixture.std.double().square()
        square, n = float((each * mixture.alive).sum()), float(found.count.sum())
        widening = max(1.0, square / max(n, 1e-9))
    return square, n


def _cross_fit(one: Fitted, pose: Poses, n_folds: int) -> list[_Fold]:
    """The folds, each with the nodes as fitted to the other folds with this pose."""
    n_images = one.near.value.shape[2]
    number = torch.randperm(n_images, generator=torch.Generator().manual_seed(0)) % n_folds
    return [_fit_without(one, pose, number.to(pose.device) == k) for k in range(n_folds)]


def _fit_without(one: Fitted, pose: Poses, left_out: Bool[Tensor, " image"]) -> _Fold:
    near, seen = _images(one.near, ~left_out), pose[:, ~left_out]
    mixture, loadings = one.model.mixture, one.model.loadings
    if loadings.shape[2] != len(pose):
        loadings = loadings.new_zeros(*loadings.shape[:2], len(pose))
    alive = mixture.alive.flatten()
    for _ in range(REGRESSIONS):
        expected = mixture.shifted(sway(loadings, seen))
        displaced = observe(place_nodes(near, expected), expected)
        loadings, mean, _ = regress(displaced, seen)
        loadings = loadings * alive[:, None, None]
        moved = (mean * alive[:, None]).reshape(mixture.mean.shape)
        mixture = replace(mixture, mean=mixture.mean + moved)
    std_min, std_max = one.bounds
    fitted, _, _ = fit_mixture(
        near,
        mixture.shifted(sway(loadings, seen)),
        n_rounds=EM_ROUNDS,
        tol=0.0,
        std_min=std_min,
        std_max=std_max,
    )
    expected = replace(fitted, shift=None).shifted(sway(loadings, pose[:, left_out]))
    return _Fold(_images(one.near, left_out), expected)


def _halves(layers: Sequence[Fitted]) -> Iterator[tuple[list[Fitted], list[Fitted], Poses]]:
    """Every second channel, the other channels, and the pose that the others find; both ways."""
    numbers = [torch.arange(len(one.near.value)) for one in layers]
    pairs = list(zip(layers, numbers, strict=True))
    even, odd = ([one.channels(number[k::2]) for one, number in pairs] for k in (0, 1))
    for own, others in ((even, odd), (odd, even)):
        found = place_layers([one.near for one in others], [one.model for one in others])
        yield own, others, found.pose


def _leading(layers: Sequence[Fitted], pose: Poses, q: int) -> Float[Tensor, "axis image"]:
    noise = torch.cat([one.model.mixture.std.flatten().square() for one in layers])
    return leading_axes(torch.cat([one.model.loadings for one in layers]), noise, pose, q)


def _step(layers: Sequence[Fitted]) -> int:
    return max(1, sum(len(one.near.value) for one in layers) // ENOUGH)


def _images(peaks: ChannelPeaks, which: Bool[Tensor, " image"]) -> ChannelPeaks:
    return ChannelPeaks(*(x[..., which] for x in (peaks.value, peaks.row, peaks.col)))
