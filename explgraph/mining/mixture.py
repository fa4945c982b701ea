"""The mixture of part patterns that shares out the peaks of one channel: EM as free functions on arrays.

Each channel d is a mixture of N Gaussians (its nodes) and V_none, a uniform density over the input that takes what no node
explains. A peak x counts F(x) times (Zhang et al. 2018, eq. 3-4):

    log P(X) = sum over x of F(x) log( sum over V of w_V N(p_x; m_V(I), sigma_V^2) + w_none )

m_V(I) = mu_V + shift_V(I), where the shift is what the node's parents predict for image I (0 in the top layer, whose one virtual
parent V_dummy never moves). Given the shifts every step is exact EM, so the likelihood never falls.

All channels are fitted at once; arrays have the axes (channel, node, peak, image), the image innermost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

LOG_ZERO = -50.0
CHUNK_ELEMENTS = (
    1 << 21
)  # responsibilities held at a time; larger leaves the cache, smaller pays for calls (measured)


@dataclass(frozen=True)
class ChannelPeaks:
    """The peaks of all channels of a layer in the resolved facing.

    Args:
        value: F, (channel, peak, image), 0 = no peak.
        row: (channel, peak, image), fractions of the input; col: likewise.
    """

    value: Tensor
    row: Tensor
    col: Tensor

    def channels(self, part: slice) -> ChannelPeaks:
        """Return the same for some of the channels."""
        return ChannelPeaks(self.value[part], self.row[part], self.col[part])


@dataclass(frozen=True)
class Mixture:
    """Parameters of the mixtures of a layer's channels.

    Args:
        row: mean places mu_V, (channel, node), fractions of the input; col: likewise.
        std: sigma_V, (channel, node), fractions.
        log_weight: log P(V), (channel, node); -inf for a node that was dropped.
        log_none: log P(V_none), (channel,).
        shift_row: what the parents predict, (channel, node, image), or None in the top layer; shift_col: likewise.
    """

    row: Tensor
    col: Tensor
    std: Tensor
    log_weight: Tensor
    log_none: Tensor
    shift_row: Tensor | None = None
    shift_col: Tensor | None = None

    @property
    def alive(self) -> Tensor:
        """Which nodes were not dropped, (channel, node) bool."""
        return torch.isfinite(self.log_weight)

    def channels(self, part: slice) -> Mixture:
        """Return the same for some of the channels."""
        cut = lambda shift: None if shift is None else shift[part]
        return Mixture(
            self.row[part],
            self.col[part],
            self.std[part],
            self.log_weight[part],
            self.log_none[part],
            cut(self.shift_row),
            cut(self.shift_col),
        )

    def centres(self) -> tuple[Tensor, Tensor]:
        """Return m_V(I), (channel, node, image or 1), rows and columns."""
        if self.shift_row is None or self.shift_col is None:
            return self.row[..., None], self.col[..., None]
        return self.row[..., None] + self.shift_row, self.col[..., None] + self.shift_col


@dataclass(frozen=True)
class Statistics:
    """Sufficient statistics of one E-step, float64: sums over peaks and images of F(x) r_V(x) times ...

    Args:
        count: 1, (channel, node).
        d_row: p_x - m_V(I), (channel, node); d_col: likewise.
        square: |p_x - m_V(I)|^2, (channel, node).
        none: 1 for V_none, (channel,).
        log_likelihood: sum of F log P, (channel,).
        total: sum of F, (channel,).
    """

    count: Tensor
    d_row: Tensor
    d_col: Tensor
    square: Tensor
    none: Tensor
    log_likelihood: Tensor
    total: Tensor


def chunks(n_channels: int, elements_per_channel: int) -> Iterator[slice]:
    """Yield slices of channels that keep the working arrays near CHUNK_ELEMENTS."""
    step = max(1, CHUNK_ELEMENTS // max(elements_per_channel, 1))
    for start in range(0, n_channels, step):
        yield slice(start, min(start + step, n_channels))


def initial_mixture(
    peaks: ChannelPeaks, *, n_nodes: int, std: float, generator: torch.Generator, grid: int = 16
) -> Mixture:
    """Return a start for EM: means at the strongest modes of each channel's smoothed density of peaks.

    The density is the F-weighted histogram of places on a ``grid`` x ``grid`` raster, smoothed by a Gaussian of width ``std``. Modes are
    taken greedily; each takes the density around it away, so that the next one lies elsewhere. The start needs no random restarts;
    the generator moves the means by a tenth of ``std``, so that a seed means something and its influence can be measured.
    """
    n_channels = len(peaks.value)
    axis = (torch.arange(grid, device=peaks.row.device) + 0.5) / grid
    density = torch.zeros(n_channels, grid * grid, device=peaks.row.device)
    for part in chunks(n_channels, 2 * grid * peaks.value[0].numel()):
        near = peaks.channels(part)
        window = lambda place: torch.exp(
            -0.5 * ((place.flatten(1)[:, None] - axis[:, None]) / std) ** 2
        )
        density[part] = torch.bmm(
            window(near.row) * near.value.flatten(1)[:, None], window(near.col).transpose(1, 2)
        ).flatten(1)
    cells = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    means = []
    for _ in range(n_nodes):
        mode = cells[density.argmax(1)]
        means.append(mode)
        distance = (cells[None] - mode[:, None]).square().sum(-1)
        density = density * (1 - torch.exp(-0.5 * distance / (1.5 * std) ** 2))
    place = torch.stack(means, 1)
    jitter = 0.1 * std * torch.randn(place.shape, generator=generator)
    place = place + jitter.to(place)
    weight = math.log(1 / (n_nodes + 1))  # P(V) = 1 / (N + 1), as published
    full = lambda x: torch.full(place.shape[:2], x, device=place.device)
    none = torch.full((n_channels,), weight, device=place.device)
    return Mixture(
        place[..., 0].contiguous(), place[..., 1].contiguous(), full(std), full(weight), none
    )


def log_densities(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return log(w_V N(p_x; m_V(I), sigma_V^2)) and the offsets p_x - m_V(I): three arrays (channel, node, peak, image)."""
    centre_row, centre_col = mixture.centres()
    d_row = peaks.row[:, None] - centre_row[:, :, None]
    d_col = peaks.col[:, None] - centre_col[:, :, None]
    constant = mixture.log_weight.clamp_min(LOG_ZERO) - torch.log(2 * math.pi * mixture.std**2)
    precision = -0.5 / mixture.std**2
    log_density = d_row.square().addcmul_(d_col, d_col)
    log_density = log_density.mul_(precision[..., None, None]).add_(constant[..., None, None])
    # Below e^-50 nothing is left beside w_none, but denormal numbers would slow the CPU down tenfold (measured).
    return log_density.clamp_min_(LOG_ZERO), d_row, d_col


def densities(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    """Return w_V N(p_x; m_V(I), sigma_V^2), 0 for dropped nodes, (channel, node, peak, image); w_none, (channel, 1, 1); and P(p_x), the
    sum of both, (channel, peak, image)."""
    density = log_densities(peaks, mixture)[0].exp_().mul_(mixture.alive[..., None, None])
    none = mixture.log_none[:, None, None].exp()
    return density, none, density.sum(1).add_(none)


def e_step(peaks: ChannelPeaks, mixture: Mixture) -> Statistics:
    """Return the sufficient statistics under the responsibilities r_V(x) = w_V N(p_x) / (sum of all + w_none)."""
    slices = chunks(len(peaks.value), mixture.row.shape[1] * peaks.value[0].numel())
    parts = [_e_step(peaks.channels(part), mixture.channels(part)) for part in slices]
    return Statistics(*(torch.cat(t) for t in zip(*parts, strict=True)))


def _e_step(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, ...]:
    log_density, d_row, d_col = log_densities(peaks, mixture)
    log_none = mixture.log_none[:, None, None]
    # No log-sum-exp: with sigma >= half a cell a density is below 1e6 and w_none keeps the sum above 0.
    density = log_density.exp_().mul_(mixture.alive[..., None, None])
    total = density.sum(1).add_(log_none.exp())
    resp = density.mul_((peaks.value / total)[:, None])
    reduce = lambda t: t.sum((-2, -1)).double()
    square = d_row.square().addcmul_(d_col, d_col).mul_(resp)
    count, moment_row, moment_col = reduce(resp), reduce(d_row.mul_(resp)), reduce(d_col.mul_(resp))
    none = reduce(peaks.value / total * log_none.exp())
    return (
        count,
        moment_row,
        moment_col,
        reduce(square),
        none,
        reduce(peaks.value * total.log_()),
        reduce(peaks.value),
    )


def m_step(statistics: Statistics, mixture: Mixture, *, std_min: float, std_max: float) -> Mixture:
    """Return the parameters that maximise the expected log-likelihood under lower and upper bounds of sigma.

    mu_V += sum F r (p_x - m_V) / sum F r; sigma_V^2 = sum F r |p_x - m_V|^2 / (2 sum F r) about the new mean. The bounded
    maximum is the clipped one, because the expected likelihood is unimodal in sigma.
    """
    count = statistics.count.clamp_min(1e-12)
    move_row, move_col = statistics.d_row / count, statistics.d_col / count
    variance = (statistics.square / count - move_row.square() - move_col.square()) / 2
    total = (statistics.count.sum(1) + statistics.none).clamp_min(1e-12)
    kind = mixture.row.dtype
    known = statistics.count > 1e-9
    return replace(
        mixture,
        row=torch.where(known, mixture.row + move_row.to(kind), mixture.row),
        col=torch.where(known, mixture.col + move_col.to(kind), mixture.col),
        std=torch.where(known, variance.clamp(std_min**2, std_max**2).sqrt().to(kind), mixture.std),
        log_weight=torch.where(
            mixture.alive,
            (statistics.count / total[:, None]).clamp_min(1e-12).log().to(kind),
            mixture.log_weight,
        ),
        log_none=(statistics.none / total).clamp(1e-3, 1).log().to(kind),
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
    """Return the mixture after EM, the mean log-likelihood per activation entity before each round, and whether it converged.

    Converged: the last round gained less than ``tol`` nats per activation entity.
    """
    history: list[float] = []
    for _ in range(n_rounds):
        statistics = e_step(peaks, mixture)
        history.append(
            float(statistics.log_likelihood.sum() / statistics.total.sum().clamp_min(1e-12))
        )
        mixture = m_step(statistics, mixture, std_min=std_min, std_max=std_max)
        if len(history) > 1 and history[-1] - history[-2] < tol:
            return mixture, history, True
    return mixture, history, False
