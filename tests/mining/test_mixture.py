import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from explgraph.mining import mixture as module
from explgraph.mining.mixture import (
    ChannelPeaks,
    Mixture,
    e_step,
    fit_mixture,
    initial_mixture,
    m_step,
)
from explgraph.mining.place import MISSING, observe, place_nodes

CHANNELS, NODES, PEAKS, IMAGES = 3, 4, 3, 11
OPEN = {"std_min": 1e-6, "std_max": 1e6}


def random_peaks(seed, *, channels=CHANNELS, peaks=PEAKS, images=IMAGES):
    g = torch.Generator().manual_seed(seed)
    shape = (channels, peaks, images)
    value = (
        torch.randn(shape, generator=g).add(0.7).clamp_min(0)
    )  # a quarter of the peaks is missing
    return ChannelPeaks(value, torch.rand(shape, generator=g), torch.rand(shape, generator=g))


def random_mixture(
    seed, *, shifts=False, dropped=(), channels=CHANNELS, nodes=NODES, images=IMAGES
):
    g = torch.Generator().manual_seed(1000 + seed)
    weight = torch.rand(channels, nodes + 1, generator=g) + 0.1
    log = (weight / weight.sum(1, keepdim=True)).log()
    log_weight = log[:, :nodes].clone()
    for channel, node in dropped:
        log_weight[channel, node] = -torch.inf
    shift = None
    if shifts:
        shift = 0.1 * torch.randn(2, channels, nodes, images, generator=g).movedim(0, 2)
    mean = torch.rand(2, channels, nodes, generator=g).movedim(0, 2)
    std = 0.05 + 0.1 * torch.rand(channels, nodes, generator=g)
    return Mixture(mean, std, log_weight, log[:, nodes], shift)


def in_loops(peaks, mixture):
    """Each peak in float64: channel, peak, image, F, offsets and log(w N) by node, w_none.

    Offsets are (row, col).
    """
    value, row, col = (t.double().numpy() for t in (peaks.value, peaks.row, peaks.col))
    for c, p, i in np.ndindex(value.shape):
        offsets, logs = [], []
        for v in range(mixture.mean.shape[1]):
            centre = mixture.mean[c, v].double().numpy().copy()
            if mixture.shift is not None:
                centre += mixture.shift[c, v, :, i].double().numpy()
            d = np.array([row[c, p, i], col[c, p, i]]) - centre
            variance = float(mixture.std[c, v]) ** 2
            offsets.append(d)
            logs.append(
                float(mixture.log_weight[c, v])
                - (d @ d) / 2 / variance
                - math.log(2 * math.pi * variance)
            )
        yield (
            c,
            p,
            i,
            value[c, p, i],
            np.array(offsets),
            np.array(logs),
            math.exp(float(mixture.log_none[c])),
        )


def slow_statistics(peaks, mixture):
    channels, nodes = mixture.std.shape
    count, square = (np.zeros((channels, nodes)) for _ in range(2))
    moment = np.zeros((channels, nodes, 2))
    none, likelihood, total = (np.zeros(channels) for _ in range(3))
    for c, _, _, f, offset, log, w_none in in_loops(peaks, mixture):
        density = np.exp(log)
        resp = density / (density.sum() + w_none)
        count[c] += f * resp
        moment[c] += f * resp[:, None] * offset
        square[c] += f * resp * (offset**2).sum(1)
        none[c] += f * w_none / (density.sum() + w_none)
        likelihood[c] += f * math.log(density.sum() + w_none)
        total[c] += f
    return count, moment, square, none, likelihood, total


def expected_log_likelihood(peaks, resp_under, mixture):
    """Per channel the sum of F r_V(x) log(w_V N(p_x)) + F r_none log w_none.

    r is from one mixture, the densities from another.
    """
    out = np.zeros(len(peaks.value))
    pairs = zip(in_loops(peaks, resp_under), in_loops(peaks, mixture), strict=True)
    for (c, _, _, f, _, log, w_none), (_, _, _, _, _, new, new_none) in pairs:
        resp = np.exp(log) / (np.exp(log).sum() + w_none)
        out[c] += f * (resp @ new + (1 - resp.sum()) * math.log(new_none))
    return out


CASES = {
    "plain": {},
    "shifts": {"shifts": True},
    "dropped": {"dropped": [(0, 1), (2, 0), (2, 3)]},
    "both": {"shifts": True, "dropped": [(1, 2)]},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_e_step_is_that_of_a_loop_over_peaks_and_nodes(case):
    peaks, mixture = random_peaks(1), random_mixture(1, **case)
    got = e_step(peaks, mixture)
    for name, expected in zip(
        got.__dataclass_fields__, slow_statistics(peaks, mixture), strict=True
    ):
        tensor = getattr(got, name)
        assert tensor.dtype == torch.float64
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_responsibilities_share_out_every_peak(case):
    peaks = random_peaks(2)
    statistics = e_step(peaks, random_mixture(2, **case))
    np.testing.assert_allclose(
        statistics.count.sum(1) + statistics.none, peaks.value.sum((1, 2)), rtol=1e-5
    )


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_places_are_posterior_means_over_peaks_and_the_missing_one(case):
    peaks, mixture = random_peaks(4), random_mixture(4, **case)
    got = place_nodes(peaks, mixture)
    total, place = np.zeros((CHANNELS, NODES, IMAGES)), np.zeros((CHANNELS, NODES, IMAGES, 2))
    for c, p, i, f, offset, _, _ in in_loops(peaks, mixture):
        evidence = f * np.exp(-(offset**2).sum(1) / 2 / mixture.std[c].double().numpy() ** 2)
        total[c, :, i] += evidence
        place[c, :, i] += evidence[:, None] * offset
        # After the last peak of a map: the node is where it is expected, drawn to its evidence.
        if p == PEAKS - 1:
            at = np.array([float(peaks.row[c, p, i]), float(peaks.col[c, p, i])])
            place[c, :, i] = at - offset + place[c, :, i] / (total[c, :, i] + MISSING)[:, None]
    flat = lambda t: t.reshape(CHANNELS * NODES, IMAGES)
    np.testing.assert_allclose(got.evidence.numpy(), flat(total), rtol=1e-4, atol=1e-5)
    expected = np.moveaxis(place.reshape(CHANNELS * NODES, IMAGES, 2), 2, 1)
    np.testing.assert_allclose(got.place.numpy(), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        got.presence, flat(total) / (flat(total) + MISSING), rtol=1e-4, atol=1e-5
    )
    assert ((got.presence >= 0) & (got.presence < 1)).all()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_peaks_alone_see_a_node_at_their_weighted_mean_place(case):
    """Relative to mu_V, wherever the node was expected.

    A node without evidence counts nothing, a dropped one neither.
    """
    peaks, mixture = random_peaks(3), random_mixture(3, **case)
    got = observe(place_nodes(peaks, mixture), mixture)
    total, moment = np.zeros((CHANNELS, NODES, IMAGES)), np.zeros((CHANNELS, NODES, IMAGES, 2))
    for c, p, i, f, offset, _, _ in in_loops(peaks, mixture):
        evidence = f * np.exp(-(offset**2).sum(1) / 2 / mixture.std[c].double().numpy() ** 2)
        total[c, :, i] += evidence
        moment[c, :, i] += evidence[:, None] * [
            float(peaks.row[c, p, i]),
            float(peaks.col[c, p, i]),
        ]
    mean = mixture.mean.double().numpy()
    seen = total > 1e-3
    expected = (
        moment[seen] / total[seen][:, None] - np.broadcast_to(mean[:, :, None], moment.shape)[seen]
    )
    at = got.displacement.unflatten(0, (CHANNELS, NODES)).movedim(2, -1).numpy()
    np.testing.assert_allclose(at[seen], expected, rtol=1e-3, atol=1e-4)
    presence = total / (total + MISSING) * mixture.alive[..., None].numpy()
    np.testing.assert_allclose(
        got.presence.unflatten(0, (CHANNELS, NODES)), presence, rtol=1e-3, atol=1e-5
    )
    assert torch.isfinite(got.displacement).all()


def test_a_node_without_evidence_stays_where_it_is_expected():
    peaks, mixture = random_peaks(5), random_mixture(5, shifts=True)
    silent = replace(peaks, value=torch.zeros_like(peaks.value))
    places = place_nodes(silent, mixture)
    assert torch.equal(places.place, mixture.centres().flatten(0, 1))
    assert places.evidence.eq(0).all()


PERTURBATIONS = {
    "row": lambda m, e: replace(m, mean=m.mean + 0.01 * e * torch.tensor([1.0, 0.0])),
    "col": lambda m, e: replace(m, mean=m.mean + 0.01 * e * torch.tensor([0.0, 1.0])),
    "std": lambda m, e: replace(m, std=m.std * (1 + 0.05 * e)),
    "a weight": lambda m, e: reweighted(m, 0, 1 + 0.1 * e),
    "the weight of none": lambda m, e: reweighted(m, None, 1 + 0.1 * e),
}


def reweighted(mixture, node, factor):
    """Return the mixture with one weight changed by a factor, then all scaled to sum to 1 again."""
    weight = torch.cat([mixture.log_weight.exp(), mixture.log_none.exp()[:, None]], 1)
    weight[:, -1 if node is None else node] *= factor
    log = (weight / weight.sum(1, keepdim=True)).log()
    return replace(mixture, log_weight=log[:, :-1], log_none=log[:, -1])


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("change", PERTURBATIONS.values(), ids=PERTURBATIONS)
@pytest.mark.parametrize("shifts", [False, True])
def test_the_m_step_maximises_the_expected_likelihood(change, sign, shifts):
    peaks, before = random_peaks(6), random_mixture(6, shifts=shifts)
    after = m_step(e_step(peaks, before), before, **OPEN)
    at_maximum = expected_log_likelihood(peaks, before, after)
    assert (at_maximum > expected_log_likelihood(peaks, before, before)).all()
    assert (at_maximum > expected_log_likelihood(peaks, before, change(after, sign))).all()


def test_the_weights_of_a_channel_sum_to_one_without_its_dropped_nodes():
    before = random_mixture(7, dropped=[(0, 1), (2, 0)])
    after = m_step(e_step(random_peaks(7), before), before, **OPEN)
    assert torch.equal(after.alive, before.alive)
    np.testing.assert_allclose(after.log_weight.exp().sum(1) + after.log_none.exp(), 1, rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_the_likelihood_never_falls(seed):
    case = list(CASES.values())[seed % 4]
    peaks, start = random_peaks(seed, images=60), random_mixture(seed, images=60, **case)
    _, history, _ = fit_mixture(peaks, start, n_rounds=40, tol=-1.0, std_min=0.03, std_max=0.2)
    assert len(history) == 40
    assert np.diff(history).min() > -1e-6
    assert history[-1] > history[0]


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_does_not_fall_without_noise_either(seed):
    """Where nothing is left for V_none its weight rests on its lower bound."""
    g = torch.Generator().manual_seed(seed)
    at = 0.5 + 0.05 * torch.randn(2, CHANNELS, PEAKS, 50, generator=g)
    peaks = ChannelPeaks(torch.ones(CHANNELS, PEAKS, 50), at[0], at[1])
    mixture, history, _ = fit_mixture(
        peaks, random_mixture(seed), n_rounds=40, tol=-1.0, std_min=0.03, std_max=0.2
    )
    assert np.diff(history).min() > -1e-5
    assert mixture.log_none.exp().min() < 0.01


@pytest.mark.parametrize("seed", range(4))
def test_widths_stay_within_their_bounds(seed):
    peaks, mixture = random_peaks(seed), random_mixture(seed)
    mixture, _, _ = fit_mixture(peaks, mixture, n_rounds=15, tol=-1.0, std_min=0.07, std_max=0.11)
    assert mixture.std.min() >= 0.07 - 1e-6
    assert mixture.std.max() <= 0.11 + 1e-6


def test_em_stops_when_a_round_gains_less_than_tol():
    peaks, start = random_peaks(8, images=60), random_mixture(8)
    _, history, converged = fit_mixture(
        peaks, start, n_rounds=500, tol=1e-3, std_min=0.03, std_max=0.2
    )
    assert converged
    assert len(history) < 500
    assert history[-1] - history[-2] < 1e-3 <= np.diff(history)[:-1].min()
    _, history, converged = fit_mixture(
        peaks, start, n_rounds=2, tol=1e-9, std_min=0.03, std_max=0.2
    )
    assert (len(history), converged) == (2, False)


def test_a_silent_channel_keeps_its_nodes_and_stays_finite():
    peaks, start = random_peaks(9), random_mixture(9)
    peaks.value[1] = 0
    mixture, history, _ = fit_mixture(peaks, start, n_rounds=5, tol=-1.0, std_min=0.03, std_max=0.2)
    assert np.isfinite(history).all()
    assert torch.equal(mixture.mean[1], start.mean[1])
    assert torch.equal(mixture.std[1], start.std[1])
    assert all(
        torch.isfinite(t).all()
        for t in (mixture.mean, mixture.std, mixture.log_weight, mixture.log_none)
    )


@pytest.mark.parametrize("elements", [1, 300, 1 << 21])
def test_the_size_of_chunks_does_not_change_the_result(monkeypatch, elements):
    peaks = random_peaks(10, channels=7)
    start = lambda: initial_mixture(
        peaks, n_nodes=3, std=0.08, generator=torch.Generator().manual_seed(0)
    )
    fit = lambda: fit_mixture(peaks, start(), n_rounds=6, tol=-1.0, std_min=0.03, std_max=0.2)
    expected, history, _ = fit()
    places = place_nodes(peaks, expected)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    got, got_history, _ = fit()
    np.testing.assert_allclose(got_history, history, rtol=1e-5)
    for name in ("mean", "std", "log_weight", "log_none"):
        np.testing.assert_allclose(
            getattr(got, name), getattr(expected, name), rtol=1e-4, atol=1e-5
        )
    np.testing.assert_allclose(place_nodes(peaks, expected).place, places.place, rtol=1e-5)
    np.testing.assert_allclose(place_nodes(peaks, expected).evidence, places.evidence, rtol=1e-5)


def test_a_start_lies_at_the_modes_of_the_peaks_and_its_seed_moves_it_little():
    g = torch.Generator().manual_seed(11)
    centres = torch.tensor([[0.2, 0.3], [0.7, 0.25], [0.55, 0.8]])
    at = centres[torch.arange(3)[:, None].expand(3, 80)] + 0.02 * torch.randn(3, 80, 2, generator=g)
    peaks = ChannelPeaks(torch.ones(1, 3, 80), at[None, ..., 0], at[None, ..., 1])
    start = lambda seed: initial_mixture(
        peaks, n_nodes=3, std=0.06, generator=torch.Generator().manual_seed(seed)
    )
    one, again, other = start(0), start(0), start(1)
    for mixture in (one, other):
        distance = torch.cdist(centres, mixture.mean[0])
        assert distance.min(1)[0].max() < 0.06
        assert sorted(distance.argmin(1).tolist()) == [0, 1, 2]
    assert torch.equal(one.mean, again.mean)
    assert not torch.equal(one.mean, other.mean)
    np.testing.assert_allclose(one.log_weight.exp().sum(1) + one.log_none.exp(), 1, rtol=1e-6)


def test_known_gaussians_are_found_again_among_noise():
    g = torch.Generator().manual_seed(12)
    mean, std, n = torch.tensor([[0.25, 0.3], [0.7, 0.6]]), torch.tensor([0.03, 0.06]), 600
    signal = mean[:, None] + std[:, None, None] * torch.randn(2, n, 2, generator=g)
    at = torch.cat([signal, torch.rand(2, n, 2, generator=g)])
    peaks = ChannelPeaks(torch.ones(1, 4, n), at[None, ..., 0], at[None, ..., 1])
    start = initial_mixture(peaks, n_nodes=2, std=0.08, generator=g)
    mixture, _, _ = fit_mixture(peaks, start, n_rounds=100, tol=1e-7, std_min=0.01, std_max=0.2)
    order = mixture.mean[0, :, 0].argsort()
    np.testing.assert_allclose(mixture.mean[0, order], mean, atol=0.01)
    np.testing.assert_allclose(mixture.std[0][order], std, rtol=0.15)
    np.testing.assert_allclose(mixture.log_weight[0].exp(), 0.25, atol=0.03)
    np.testing.assert_allclose(mixture.log_none.exp(), 0.5, atol=0.05)
