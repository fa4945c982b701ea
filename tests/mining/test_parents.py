from dataclasses import dataclass

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.parents import (
    BORDER,
    Parents,
    UpperNodes,
    candidates,
    choose_parents,
    predicted_shift,
    weigh_by_gain,
)
from explgraph.mining.place import Places
from explgraph.mining.prune import DUPLICATE, evidence, overlap, prune

UPPER, LOWER, IMAGES = 7, 5, 20


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def places_of(n_nodes, *, seed=0, n_images=IMAGES):
    evidence = (rand(n_nodes, n_images, seed=seed) - 0.3).clamp_min(0) * 4
    return Places(
        rand(n_nodes, n_images, seed=seed + 1), rand(n_nodes, n_images, seed=seed + 2), evidence
    )


def lower_nodes(seed=0):
    """Return places of lower nodes and their means."""
    places = places_of(LOWER, seed=seed)
    return places, places.row.mean(1), places.col.mean(1)


def upper_nodes(places, row, col):
    """Return candidates numbered 3, 6, 9, ...: some move like the lower nodes, some on their own."""
    d_row, d_col = (
        0.3 * rand(UPPER, IMAGES, seed=10) - 0.15,
        0.3 * rand(UPPER, IMAGES, seed=11) - 0.15,
    )
    d_row[:3] = 0.5 * d_row[:3] + 0.8 * (places.row - row[:, None])[:3]
    d_col[:3] = 0.5 * d_col[:3] + 0.8 * (places.col - col[:, None])[:3]
    return UpperNodes(3 * torch.arange(1, UPPER + 1), d_row, d_col)


def choose_and_weigh(places, row, col, upper, *, n_parents):
    """Return the parents chosen for the nodes, weighed by what they predict of the nodes' displacements."""
    above = torch.zeros(2, int(upper.index.max()) + 1, IMAGES)
    above[0, upper.index], above[1, upper.index] = upper.d_row, upper.d_col
    own = (places.row - row[:, None], places.col - col[:, None])
    return weigh_by_gain(
        choose_parents(places, row, col, upper, n_parents=n_parents),
        places.presence,
        own,
        tuple(above),
    )


def slow_parents(places, row, col, upper, n_parents):
    """Return parents' numbers, spreads and weights, node by node, candidate by candidate, image by image."""
    out = []
    for v in range(len(row)):
        presence = [float(s) / (float(s) + 0.3) for s in places.evidence[v]]
        omega = [p / sum(presence) for p in presence]
        e = [
            np.array([float(places.row[v, i] - row[v]), float(places.col[v, i] - col[v])])
            for i in range(IMAGES)
        ]
        d = [
            [np.array([float(upper.d_row[k, i]), float(upper.d_col[k, i])]) for i in range(IMAGES)]
            for k in range(UPPER)
        ]
        mismatch = [
            sum(w * ((x - y) ** 2).sum() for w, x, y in zip(omega, e, d[k], strict=True))
            for k in range(UPPER)
        ]
        chosen = sorted(range(UPPER), key=mismatch.__getitem__)[:n_parents]
        variance = [mismatch[k] / 2 for k in chosen]
        share = [(1 / s) / sum(1 / t for t in variance) for s in variance]
        predicted = [
            sum(a * d[k][i] for a, k in zip(share, chosen, strict=True)) for i in range(IMAGES)
        ]
        gain = sum(w * (x @ p) for w, x, p in zip(omega, e, predicted, strict=True))
        gain /= sum(w * (p @ p) for w, p in zip(omega, predicted, strict=True))
        gain = min(max(gain, 0), 1)
        out.append(
            (
                [int(upper.index[k]) for k in chosen],
                [s**0.5 for s in variance],
                [gain * a for a in share],
            )
        )
    return out


@pytest.mark.parametrize("n_parents", [1, 3, UPPER, 20])
def test_parents_are_those_of_a_loop_over_nodes_candidates_and_images(n_parents):
    places, row, col = lower_nodes()
    upper = upper_nodes(places, row, col)
    got = choose_and_weigh(places, row, col, upper, n_parents=n_parents)
    assert got.index.shape == got.std.shape == got.weight.shape == (LOWER, min(n_parents, UPPER))
    for v, (index, std, weight) in enumerate(slow_parents(places, row, col, upper, n_parents)):
        assert got.index[v].tolist() == index
        np.testing.assert_allclose(got.std[v], std, rtol=1e-3)
        np.testing.assert_allclose(got.weight[v], weight, rtol=1e-3, atol=1e-6)


def test_the_weights_of_a_node_sum_to_its_gain_between_zero_and_one():
    places, row, col = lower_nodes(seed=5)
    parents = choose_and_weigh(places, row, col, upper_nodes(places, row, col), n_parents=4)
    assert (parents.weight >= 0).all()
    assert (parents.weight.sum(1) <= 1 + 1e-6).all()


def test_a_node_that_moves_as_an_upper_node_follows_it_wholly():
    places, row, col = lower_nodes()
    d_row, d_col = places.row - row[:, None], places.col - col[:, None]
    upper = UpperNodes(torch.arange(LOWER), d_row, d_col)
    parents = choose_and_weigh(places, row, col, upper, n_parents=1)
    assert parents.index.flatten().tolist() == list(range(LOWER))
    np.testing.assert_allclose(parents.weight, 1, atol=1e-4)
    shift_row, shift_col = predicted_shift(parents, d_row, d_col)
    np.testing.assert_allclose(shift_row, d_row, atol=1e-4)
    np.testing.assert_allclose(shift_col, d_col, atol=1e-4)


def test_upper_nodes_that_move_the_other_way_predict_no_movement():
    places, row, col = lower_nodes()
    against = UpperNodes(
        torch.zeros(1, dtype=torch.int64),
        (row[:, None] - places.row)[:1],
        (col[:, None] - places.col)[:1],
    )
    assert choose_and_weigh(places, row, col, against, n_parents=3).weight[0].tolist() == [0.0]


def test_images_in_which_a_node_is_missing_have_no_say():
    places, row, col = lower_nodes()
    upper = upper_nodes(places, row, col)
    places.evidence[:, :6] = 0
    changed = UpperNodes(upper.index, upper.d_row.clone(), upper.d_col.clone())
    changed.d_row[:, :6], changed.d_col[:, 3] = 0.4, -0.4
    one, other = (choose_and_weigh(places, row, col, u, n_parents=3) for u in (upper, changed))
    assert torch.equal(one.index, other.index)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-4, atol=1e-6)


def test_the_prediction_is_that_of_a_loop_over_parents_and_images():
    index = torch.tensor(
        [[8, 1, 8], [0, 1, 2], [5, 5, 5], [3, 0, 7]]
    )  # a number may come twice, as in padding
    parents = Parents(index, rand(4, 3, seed=1), rand(4, 3, seed=2))
    d_row, d_col = rand(9, IMAGES, seed=3), rand(9, IMAGES, seed=4)
    shift = predicted_shift(parents, d_row, d_col)
    for got, d in zip(shift, (d_row, d_col), strict=True):
        expected = np.zeros((4, IMAGES))
        for v, k, i in np.ndindex(4, 3, IMAGES):
            expected[v, i] += float(parents.weight[v, k]) * float(d[index[v, k], i])
        np.testing.assert_allclose(got, expected, rtol=1e-5)


def slow_gain(parents, presence, own, above):
    """Return the weights node by node: shares proportional to 1 / variance, times a gain found by sklearn's least squares."""
    out = []
    for v in range(len(parents.index)):
        inverse = [1 / float(s) ** 2 for s in parents.std[v]]
        share = [x / sum(inverse) for x in inverse]
        predicted = np.zeros((IMAGES, 2))
        for k, a in zip(parents.index[v].tolist(), share, strict=True):
            predicted += a * np.stack([above[0][k].numpy(), above[1][k].numpy()], 1)
        target = np.stack([own[0][v].numpy(), own[1][v].numpy()], 1)
        fit = LinearRegression(fit_intercept=False)
        fit.fit(
            predicted.reshape(-1, 1),
            target.ravel(),
            sample_weight=np.repeat(presence[v].numpy(), 2),
        )
        out.append([min(max(float(fit.coef_[0]), 0), 1) * a for a in share])
    return out


def test_parents_are_weighed_by_the_gain_of_a_regression_on_what_they_pass_on():
    index = torch.tensor([[8, 1, 4], [0, 1, 2], [5, 6, 3], [3, 0, 7]])
    parents = Parents(index, 0.05 + rand(4, 3, seed=1), rand(4, 3, seed=2))
    above = rand(9, IMAGES, seed=3) - 0.5, rand(9, IMAGES, seed=4) - 0.5
    follow = lambda d, seed: (
        torch.stack([0.4 * d[1], 3 * d[1], -d[5], 0 * d[3]]) + 0.1 * rand(4, IMAGES, seed=seed)
    )
    own, presence = (follow(above[0], 5), follow(above[1], 6)), rand(4, IMAGES, seed=7)
    got = weigh_by_gain(parents, presence, own, above)
    assert torch.equal(got.index, parents.index)
    assert torch.equal(got.std, parents.std)
    expected = slow_gain(parents, presence, own, above)
    np.testing.assert_allclose(got.weight, expected, rtol=1e-3, atol=1e-6)
    gain = got.weight.sum(1)
    assert 0 < gain[0] < 1  # follows in part
    assert gain[1] == pytest.approx(
        1
    )  # moves more than its parents: no more than they do is predicted
    assert gain[2] == 0  # moves the other way


def test_weighing_by_gain_takes_no_heed_of_the_weights_before():
    index, std = torch.tensor([[0, 1], [1, 2]]), 0.1 + rand(2, 2)
    own, above, presence = (
        (rand(2, IMAGES, seed=1), rand(2, IMAGES, seed=2)),
        (rand(3, IMAGES), rand(3, IMAGES)),
        rand(2, IMAGES),
    )
    weights = (
        weigh_by_gain(Parents(index, std, w), presence, own, above).weight
        for w in (rand(2, 2), torch.zeros(2, 2))
    )
    assert torch.equal(*weights)


def test_a_node_that_was_never_seen_follows_nobody():
    parents = Parents(torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 2), torch.ones(2, 2))
    own = above = rand(2, IMAGES, seed=1), rand(2, IMAGES, seed=2)
    presence = rand(2, IMAGES)
    presence[1] = 0
    weight = weigh_by_gain(parents, presence, own, above).weight
    assert weight[0].sum() > 0
    assert weight[1].eq(0).all()


def test_without_candidates_nothing_is_predicted():
    places, row, col = lower_nodes()
    none = UpperNodes(
        torch.zeros(0, dtype=torch.int64), torch.zeros(0, IMAGES), torch.zeros(0, IMAGES)
    )
    parents = choose_parents(places, row, col, none, n_parents=3)
    assert parents.index.shape == (LOWER, 0)
    shift_row, shift_col = predicted_shift(parents, torch.zeros(0, IMAGES), torch.zeros(0, IMAGES))
    assert shift_row.shape == shift_col.shape == (LOWER, IMAGES)
    assert shift_row.eq(0).all()


def test_candidates_are_the_surest_nodes_off_the_border():
    places = places_of(8, seed=6)
    row, col = torch.full((8,), 0.5), torch.linspace(0.3, 0.7, 8)
    row[2], col[4] = BORDER / 2, 1 - BORDER / 2
    alive = torch.ones(8, dtype=torch.bool)
    alive[5] = False
    found = candidates(places, row, col, alive, n_candidates=3)
    presence = (places.evidence / (places.evidence + 0.3)).sum(1)
    expected = sorted(sorted({0, 1, 3, 6, 7}, key=lambda v: -float(presence[v]))[:3])
    assert found.index.tolist() == expected
    np.testing.assert_allclose(found.d_row, places.row[expected] - row[expected, None])
    np.testing.assert_allclose(found.d_col, places.col[expected] - col[expected, None])
    assert len(candidates(places, row, col, alive, n_candidates=600).index) == 5


def test_where_all_nodes_lie_at_the_border_they_are_candidates_all_the_same():
    places, at = places_of(4), torch.full((4,), 0.05)
    alive = torch.tensor([True, False, True, True])
    assert candidates(places, at, at, alive, n_candidates=9).index.tolist() == [0, 2, 3]
    assert (
        len(candidates(places, at, at, torch.zeros(4, dtype=torch.bool), n_candidates=9).index) == 0
    )


# Pruning.


@dataclass(frozen=True)
class Config:
    min_support: float = 3.0
    min_evidence: float = 0.0


def mixture_of(nodes, none=0.1):
    """Return a mixture of one channel from (row, col, std, weight)."""
    row, col, std, weight = torch.tensor(nodes).T[:, None]
    return Mixture(row, col, std, weight.log(), torch.tensor([none]).log())


def peaks_at(*places, n_images=10):
    """Return peaks of one channel, F = 3, at the same places in every image."""
    at = torch.tensor(places)[None, :, :, None].expand(1, -1, -1, n_images)
    return ChannelPeaks(torch.full((1, len(places), n_images), 3.0), at[:, :, 0], at[:, :, 1])


def test_the_overlap_of_two_nodes_is_their_bhattacharyya_coefficient():
    nodes = [(0.3, 0.3, 0.1, 0.3), (0.4, 0.35, 0.06, 0.3), (0.7, 0.3, 0.2, 0.3)]
    got = overlap(mixture_of(nodes))[0]
    axis = np.linspace(-1.5, 2.5, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    density = [
        np.exp(-((grid - n[:2]) ** 2).sum(-1) / 2 / n[2] ** 2) / (2 * np.pi * n[2] ** 2)
        for n in nodes
    ]
    for i, j in np.ndindex(3, 3):
        integral = np.sqrt(density[i] * density[j]).sum() * (axis[1] - axis[0]) ** 2
        assert float(got[i, j]) == pytest.approx(integral, abs=1e-4)


@pytest.mark.parametrize("heavier", [0, 1])
def test_of_two_duplicates_the_heavier_stays(heavier):
    weights = [0.2, 0.2]
    weights[heavier] = 0.4
    mixture = mixture_of(
        [(0.5, 0.5, 0.1, weights[0]), (0.51, 0.5, 0.1, weights[1]), (0.5, 0.9, 0.1, 0.2)]
    )
    kept = prune(peaks_at((0.5, 0.5), (0.5, 0.9)), mixture, Config())
    assert kept.alive[0].tolist() == [heavier == 0, heavier == 1, True]
    assert torch.equal(kept.log_weight[kept.alive], mixture.log_weight[kept.alive])


def test_of_equal_duplicates_the_first_stays():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.3)] * 3)
    assert prune(peaks_at((0.5, 0.5)), mixture, Config()).alive[0].tolist() == [True, False, False]


def test_nodes_of_one_place_but_different_width_are_no_duplicates():
    mixture = mixture_of([(0.5, 0.5, 0.05, 0.3), (0.5, 0.5, 0.12, 0.3)])
    assert float(overlap(mixture)[0, 0, 1]) < DUPLICATE
    assert prune(peaks_at((0.5, 0.5)), mixture, Config()).alive.all()


def test_a_node_that_explains_nothing_is_dropped_and_does_not_cost_its_double_its_place():
    mixture = mixture_of([(0.1, 0.9, 0.05, 0.5), (0.5, 0.5, 0.1, 0.2)])
    assert prune(peaks_at((0.5, 0.5)), mixture, Config()).alive[0].tolist() == [False, True]
    assert prune(peaks_at((0.5, 0.5)), mixture, Config(min_support=10)).alive[0].tolist() == [
        False,
        False,
    ]


def test_support_counts_images_not_peaks():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.5)])
    peaks = peaks_at((0.5, 0.5), n_images=4)
    assert prune(peaks, mixture, Config(min_support=3.0)).alive.all()
    assert not prune(peaks, mixture, Config(min_support=4.0)).alive.any()


def test_what_was_dropped_stays_dropped():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.0), (0.5, 0.5, 0.1, 0.2)])
    assert prune(peaks_at((0.5, 0.5)), mixture, Config()).alive[0].tolist() == [False, True]


def slow_evidence(peaks, mixture):
    """Return the gain of each node of the only channel in ln(peaks), peak by peak: with the node, or with its weight given to none."""
    weight, none = mixture.log_weight[0].double().exp(), float(mixture.log_none[0].exp())
    points = [
        (float(f), float(row), float(col))
        for f, row, col in zip(
            peaks.value.flatten(), peaks.row.flatten(), peaks.col.flatten(), strict=True
        )
        if f > 0
    ]
    mean = sum(f for f, _, _ in points) / len(points)
    gains = np.zeros(len(weight))
    for f, row, col in points:
        density = []
        for v in range(len(weight)):
            square = (row - float(mixture.row[0, v])) ** 2 + (col - float(mixture.col[0, v])) ** 2
            variance = float(mixture.std[0, v]) ** 2
            density.append(
                float(weight[v]) * np.exp(-square / 2 / variance) / (2 * np.pi * variance)
            )
        whole = sum(density) + none
        gains += [
            f / mean * np.log(whole / (whole - d + float(w)))
            for d, w in zip(density, weight, strict=True)
        ]
    return gains / np.log(len(points))


def test_the_evidence_for_a_node_is_what_the_likelihood_loses_without_it():
    peaks = ChannelPeaks(
        (rand(1, 3, 40, seed=1) * 4 - 1).clamp_min(0),
        0.3 + 0.4 * rand(1, 3, 40, seed=2),
        rand(1, 3, 40, seed=3),
    )
    mixture = mixture_of(
        [(0.5, 0.5, 0.1, 0.3), (0.4, 0.2, 0.06, 0.2), (0.9, 0.9, 0.05, 0.2), (0.5, 0.5, 0.1, 0.0)],
        none=0.3,
    )
    got = evidence(peaks, mixture)[0]
    np.testing.assert_allclose(got, slow_evidence(peaks, mixture), rtol=1e-3, atol=1e-4)
    assert got[2] < 0 < got[0]  # where no peak is, the node only takes weight away
    assert got[3] == pytest.approx(0, abs=1e-6)


def test_a_node_that_says_no_more_than_chance_is_dropped():
    peaks = ChannelPeaks(torch.ones(1, 2, 60), rand(1, 2, 60, seed=4), rand(1, 2, 60, seed=5))
    peaks.row[:, 0], peaks.col[:, 0] = 0.3 + 0.05 * rand(60, seed=6), 0.3 + 0.05 * rand(60, seed=7)
    mixture = mixture_of([(0.325, 0.325, 0.04, 0.4), (0.7, 0.7, 0.15, 0.1)], none=0.5)
    known, chance = evidence(peaks, mixture)[0].tolist()
    assert chance < 4 < known
    assert prune(peaks, mixture, Config(min_evidence=4.0)).alive[0].tolist() == [True, False]
    assert prune(peaks, mixture, Config(min_evidence=chance - 1)).alive[0].tolist() == [True, True]
