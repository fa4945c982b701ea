"""The mixture of nodes that shares out the peaks of one channel: EM as free functions on arrays.

Each channel d is a mixture of N Gaussians (its nodes) and V_none, a uniform density over the input
that takes what no node explains. A peak x counts F(x) times (Zhang et al. 2018, eq. 3-4):

    log P(X) = sum over x of F(x) log( sum over V of w_V N(p_x; m_V(I), sigma_V^2) + w_none )

m_V(I) = mu_V + shift_V(I): where the pose and the node's parents expect it in image I. Given the
shifts every step is exact EM, so the likelihood never falls.

All channels are fitted at once; the image is the innermost axis.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Float64, Int
from torch import Tensor

from explgraph.peaks import LayerPeaks

Peaks = Float[Tensor, "channel peak image"]
NodePeaks = Float[Tensor, "channel node peak image"]
Nodes = Float[Tensor, "channel node"]
Which = slice | Int[Tensor, " _"]  # of the channels

LOG_ZERO = -50.0  # e^-50 stands for 0; far below it float32 has only slow, denormal numbers
# Responsibilities held at a time: more leave the cache, fewer pay for calls (measured).
CHUNK_ELEMENTS = 1 << 21


@dataclass(frozen=True)
class ChannelPeaks:
    """The peaks of all channels of a layer in the resolved facing.

    Args:
        value: F, 0 = no peak.
        row: place, fraction of the input's height.
        col: fraction of its width.

    >>> ChannelPeaks.resolved(peaks["features.14"], torch.zeros(48, dtype=torch.bool)).value.shape
    torch.Size([96, 4, 48])
    """

    value: Peaks
    row: Peaks
    col: Peaks

    @classmethod
    def resolved(cls, peaks: LayerPeaks, mirrored: Bool[Tensor, " image"]) -> ChannelPeaks:
        """The peaks of each image in its resolved facing."""
        one = peaks.facing(mirrored)
        return cls(*(t[0].contiguous() for t in (one.value, one.row, one.col)))

    def channels(self, part: Which) -> ChannelPeaks:
        """The same for some of the channels."""
        return ChannelPeaks(self.value[part], self.row[part], self.col[part])


@dataclass(frozen=True)
class Mixture:
    """Parameters of the mixtures of a layer's channels.

    Args:
        mean: mean places mu_V, (row, column), fractions of the input.
        std: sigma_V, fractions.
        log_weight: log P(V); -inf for a node that was dropped.
        log_none: log P(V_none).
        shift: what pose and parents predict; None = 0.
        openness: variance per axis that the prediction leaves open; None = 0.

    >>> log_weight = torch.tensor([[0.75, 0.0]]).log()
    >>> mean, std, log_none = torch.zeros(1, 2, 2), torch.ones(1, 2), torch.tensor([0.25]).log()
    >>> Mixture(mean, std, log_weight, log_none).alive
    tensor([[ True, False]])
    """

    mean: Float[Tensor, "channel node 2"]
    std: Nodes
    log_weight: Nodes
    log_none: Float[Tensor, " channel"]
    shift: Float[Tensor, "channel node 2 image"] | None = None
    openness: Float[Tensor, "channel node image"] | None = None

    @property
    def alive(self) -> Bool[Tensor, "channel node"]:
        """Which nodes were not dropped."""
        return torch.isfinite(self.log_weight)

    @property
    def weight(self) -> Nodes:
        """P(V), 0 for a dropped node."""
        return self.log_weight.exp()

    def channels(self, part: Which) -> Mixture:
        """The same for some of the channels."""
        moved = (None if x is None else x[part] for x in (self.shift, self.openness))
        weights = self.log_weight[part], self.log_none[part]
        return Mixture(self.mean[part], self.std[part], *weights, *moved)

    def centres(self) -> Float[Tensor, "channel node 2 #image"]:
        """The expected places m_V(I)."""
        mean = self.mean[..., None]
        return mean if self.shift is None else mean + self.shift

    def variance(self) -> Float[Tensor, "channel node #image"]:
        """Of a peak's place about m_V(I), per axis: sigma_V^2 and what is left open."""
        variance = self.std[..., None] ** 2
        return variance if self.openness is None else variance + self.openness

    def shifted(
        self,
        shift: Float[Tensor, "all_nodes 2 image"],
        openness: Float[Tensor, "all_nodes image"] | None = None,
    ) -> Mixture:
        """The mixture with its nodes expected at mu_V + shift; all_nodes = channel * node."""
        shape = self.std.shape
        opened = None if openness is None else openness.unflatten(0, shape)
        return replace(self, shift=shift.unflatten(0, shape), openness=opened)


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of one E-step: sums over peaks and images of F(x) r_V(x) times ...

    Args:
        count: 1.
        moment: p_x - m_V(I).
        square: |p_x - m_V(I)|^2.
        none: 1, for V_none.
        log_likelihood: sum of F log P.
        total: sum of F.
    """

    count: Float64[Tensor, "channel node"]
    moment: Float64[Tensor, "channel node 2"]
    square: Float64[Tensor, "channel node"]
    none: Float64[Tensor, " channel"]
    log_likelihood: Float64[Tensor, " channel"]
    total: Float64[Tensor, " channel"]


def chunks(n: int, elements: int) -> Iterator[slice]:
    """Slices of ``n`` rows of ``elements`` each that keep arrays near CHUNK_ELEMENTS.

    >>> list(chunks(5, CHUNK_ELEMENTS // 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, CHUNK_ELEMENTS // max(elements, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def by_channel(
    step: Callable[[ChannelPeaks, Mixture], tuple[Tensor, ...]],
    peaks: ChannelPeaks,
    mixture: Mixture,
) -> tuple[Tensor, ...]:
    """The tensors of ``step(peaks, mixture)``, made for a few channels at a time."""
    elements = mixture.std.shape[1] * peaks.value[0].numel()
    parts = chunks(len(peaks.value), elements)
    found = [step(peaks.channels(part), mixture.channels(part)) for part in parts]
    return tuple(torch.cat(t) for t in zip(*found, strict=True))


def initial_mixture(
    peaks: ChannelPeaks, *, n_nodes: int, std: float, generator: torch.Generator, grid: int = 16
) -> Mixture:
    """A start for EM: means at the strongest modes of each channel's smoothed density of peaks.

    Modes are taken greedily. Each takes the density around it away, so that the next one lies
    elsewhere. The start needs no random restarts. The generator moves the means by a tenth of
    ``std``, so that the influence of a seed can be measured.
    """
    axis = (torch.arange(grid, device=peaks.row.device) + 0.5) / grid
    density = _smoothed_density(peaks, axis, std)
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    modes = []
    for _ in range(n_nodes):
        mode = cells[density.argmax(1)]
        modes.append(mode)
        distance = (cells[None] - mode[:, None]).square().sum(-1)
        taken = torch.exp(-0.5 * distance / (1.5 * std) ** 2)
        density = density * (1 - taken)
    mean = torch.stack(modes, 1)
    # Drawn on the CPU, so that a seed gives the same start on every device.
    jitter = 0.1 * std * torch.randn(mean.shape, generator=generator)
    mean = mean + jitter.to(mean)
    weight = math.log(1 / (n_nodes + 1))  # P(V) = 1 / (N + 1), as published
    of_node = mean.new_ones(mean.shape[:2])
    return Mixture(mean, std * of_node, weight * of_node, weight * of_node[:, 0])


def _smoothed_density(
    peaks: ChannelPeaks, axis: Float[Tensor, " grid"], std: float
) -> Float[Tensor, "channel cells"]:
    """The F-weighted density of peaks on a raster, smoothed by a Gaussian of width ``std``."""

    def window(place: Tensor) -> Tensor:
        offset = place.flatten(1)[:, None] - axis[:, None]
        return torch.exp(-0.5 * (offset / std) ** 2)

    # The Gaussian is a product of one over rows and one over columns: one matrix product.
    found = []
    for part in chunks(len(peaks.value), 2 * len(axis) * peaks.value[0].numel()):
        near = peaks.channels(part)
        rows = window(near.row) * near.value.flatten(1)[:, None]
        found.append(torch.bmm(rows, window(near.col).transpose(1, 2)).flatten(1))
    return torch.cat(found)


def offsets(peaks: ChannelPeaks, mixture: Mixture) -> tuple[NodePeaks, NodePeaks]:
    """The offsets p_x - m_V(I) of all peaks from all nodes of their channel, rows and columns."""
    row, col = mixture.centres()[:, :, None].unbind(3)
    return peaks.row[:, None] - row, peaks.col[:, None] - col


def densities(
    d_row: NodePeaks, d_col: NodePeaks, mixture: Mixture
) -> tuple[NodePeaks, Float[Tensor, "channel 1 1"], Peaks]:
    """The densities w_V N(p_x; m_V(I), sigma_V^2), w_none, and their sum P(p_x)."""
    variance = mixture.variance()[:, :, None]
    normaliser = torch.log(2 * math.pi * variance)
    constant = mixture.log_weight.clamp_min(LOG_ZERO)[..., None, None] - normaliser
    # In place: these arrays are the largest of all.
    log_density = d_row.square().addcmul_(d_col, d_col)
    log_density = log_density.mul_(-0.5 / variance)
    log_density = log_density.add_(constant)
    # Nothing of that is left beside w_none, and denormal numbers are ten times slower.
    density = log_density.clamp_min_(LOG_ZERO).exp_().mul_(mixture.alive[..., None, None])
    none = mixture.log_none[:, None, None].exp()
    # No log-sum-exp: as sigma >= half a cell a density is below 1e6, and w_none > 0.
    return density, none, density.sum(1).add_(none)


def e_step(peaks: ChannelPeaks, mixture: Mixture) -> Statistics:
    """The statistics under the responsibilities r_V(x) = w_V N(p_x) / (sum of all + w_none)."""
    return Statistics(*by_channel(_e_step, peaks, mixture))


def _e_step(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, ...]:
    # float64: the sums hardly depend on the order of the images then.
    reduce = lambda t: t.sum((-2, -1)).double()
    d_row, d_col = offsets(peaks, mixture)
    density, none, total = densities(d_row, d_col, mixture)
    resp = density.mul_((peaks.value / total)[:, None])
    # The order matters: the products that follow overwrite the offsets.
    square = reduce(d_row.square().addcmul_(d_col, d_col).mul_(resp))
    count = reduce(resp)
    moment = torch.stack([reduce(d_row.mul_(resp)), reduce(d_col.mul_(resp))], -1)
    of_none = reduce(peaks.value / total * none)
    log_likelihood = reduce(peaks.value * total.log_())
    return count, moment, square, of_none, log_likelihood, reduce(peaks.value)


def m_step(found: Statistics, mixture: Mixture, *, std_min: float, std_max: float) -> Mixture:
    """The parameters that maximise the expected log-likelihood within the bounds of sigma.

    mu_V += sum F r (p_x - m_V) / sum F r; sigma_V^2 = sum F r |p_x - m_V|^2 / (2 sum F r) about
    the new mean. The bounded maximum is the clipped one, because the expected likelihood is
    unimodal in sigma.
    """
    count = found.count.clamp_min(1e-12)
    move = found.moment / count[..., None]
    row, col = move.square().unbind(-1)
    variance = (found.square / count - row - col) / 2
    std = variance.clamp(std_min**2, std_max**2).sqrt()
    total = (found.count.sum(1) + found.none).clamp_min(1e-12)
    log_weight = (found.count / total[:, None]).clamp_min(1e-12).log()
    # V_none never dies out: without it `densities` would have to guard against P(x) = 0.
    log_none = (found.none / total).clamp(1e-3, 1).log()
    # A node that takes no peak has no mean; it keeps its place until it is pruned.
    kind, known = mixture.mean.dtype, found.count > 1e-9
    return replace(
        mixture,
        mean=torch.where(known[..., None], mixture.mean + move.to(kind), mixture.mean),
        std=torch.where(known, std.to(kind), mixture.std),
        log_weight=torch.where(mixture.alive, log_weight.to(kind), mixture.log_weight),
        log_none=log_none.to(kind),
    )


def fit_mixture(
    peaks: ChannelPeaks,
    mixture: Mixture,
    *,
    n_rounds: int,
    tol: float,
    std_min: float,
    std_max: float,
) -> tuple[Mixture, list[float], bool]:
    """The mixture after EM, the mean log-likelihoods before each round, and whether it converged.

    Log-likelihoods are in nats per activation entity. Converged: the last round gained less
    than ``tol``.
    """
    history: list[float] = []
    for _ in range(n_rounds):
        found = e_step(peaks, mixture)
        entities = found.total.sum().clamp_min(1e-12)
        history.append(float(found.log_likelihood.sum() / entities))
        mixture = m_step(found, mixture, std_min=std_min, std_max=std_max)
        if len(history) > 1 and history[-1] - history[-2] < tol:
            return mixture, history, True
    return mixture, history, False
