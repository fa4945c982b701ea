import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from explgraph.mining.mixture import Mixture
from explgraph.mining.parents import (
    BORDER,
    Parents,
    candidates,
    choose_parents,
    predicted_shift,
    weigh_by_gain,
)
from explgraph.mining.pose import Displaced

UPPER, LOWER, IMAGES = 7, 5, 20


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def displaced(n_nodes, *, seed=0):
    """Nodes that lie about their mean places; a third of them is missing in an image."""
    evidence = (rand(n_nodes, IMAGES, seed=seed) - 0.3).clamp_min(0) * 4
    place = rand(n_nodes, 2, IMAGES, seed=seed + 1)
    return Displaced(place - place.mean(2, keepdim=True), evidence / (evidence + 0.3))


def upper_nodes(lower):
    """Nodes of which 3, 6, 9, ... are candidates: some move like the lower nodes, some alone.

    Returns the nodes, and the candidates' numbers.
    """
    moved = 0.3 * rand(UPPER, 2, IMAGES, seed=10) - 0.15
    moved[:3] = 0.5 * moved[:3] + 0.8 * lower.displacement[:3]
    index = 3 * torch.arange(1, UPPER + 1)
    all_nodes = torch.zeros(int(index.max()) + 1, 2, IMAGES)
    all_nodes[index] = moved
    return Displaced(all_nodes, torch.ones(len(all_nodes), IMAGES)), index


def choose_and_weigh(lower, upper, index, *, n_parents):
    """The parents chosen for the nodes, weighed by what they predict of their displacements."""
    parents = choose_parents(lower, upper, index, n_parents=n_parents)
    return weigh_by_gain(parents, lower.presence, lower.displacement, upper.displacement)


def slow_parents(lower, upper, index, n_parents):
    """Parents' numbers, spreads and weights, by node, by candidate, by image."""
    out = []
    for presence, moved in zip(lower.presence.double().numpy(), lower.displacement, strict=True):
        omega = [float(p) / float(presence.sum()) for p in presence]
        e = moved.double().numpy().T
        d = [upper.displacement[k].double().numpy().T for k in index]
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
        weight = [gain * a for a in share]
        out.append(([int(index[k]) for k in chosen], [s**0.5 for s in variance], weight))
    return out


@pytest.mark.parametrize("n_parents", [1, 3, UPPER, 20])
def test_parents_are_those_of_a_loop_over_nodes_candidates_and_images(n_parents):
    lower = displaced(LOWER)
    upper, index = upper_nodes(lower)
    got = choose_and_weigh(lower, upper, index, n_parents=n_parents)
    assert got.index.shape == got.std.shape == got.weight.shape == (LOWER, min(n_parents, UPPER))
    for v, (numbers, std, weight) in enumerate(slow_parents(lower, upper, index, n_parents)):
        assert got.index[v].tolist() == numbers
        np.testing.assert_allclose(got.std[v], std, rtol=1e-3)
        np.testing.assert_allclose(got.weight[v], weight, rtol=1e-3, atol=1e-6)


def test_the_weights_of_a_node_sum_to_its_gain_between_zero_and_one():
    lower = displaced(LOWER, seed=5)
    parents = choose_and_weigh(lower, *upper_nodes(lower), n_parents=4)
    assert (parents.weight >= 0).all()
    assert (parents.weight.sum(1) <= 1 + 1e-6).all()


def test_a_node_that_moves_as_an_upper_node_follows_it_wholly():
    lower = displaced(LOWER)
    parents = choose_and_weigh(lower, lower, torch.arange(LOWER), n_parents=1)
    assert parents.index.flatten().tolist() == list(range(LOWER))
    np.testing.assert_allclose(parents.weight, 1, atol=1e-4)
    shift = predicted_shift(parents, lower.displacement)
    np.testing.assert_allclose(shift, lower.displacement, atol=1e-4)


def test_upper_nodes_that_move_the_other_way_predict_no_movement():
    lower = displaced(LOWER)
    against = Displaced(-lower.displacement[:1], lower.presence[:1])
    parents = choose_and_weigh(lower, against, torch.zeros(1, dtype=torch.int64), n_parents=3)
    assert parents.weight[0].tolist() == [0.0]


def test_images_in_which_a_node_is_missing_have_no_say():
    lower = displaced(LOWER)
    upper, index = upper_nodes(lower)
    lower.presence[:, :6] = 0
    changed = Displaced(upper.displacement.clone(), upper.presence)
    changed.displacement[index, 0, :6], changed.displacement[index, 1, 3] = 0.4, -0.4
    one, other = (choose_and_weigh(lower, u, index, n_parents=3) for u in (upper, changed))
    assert torch.equal(one.index, other.index)
    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-4, atol=1e-6)


def test_the_prediction_is_that_of_a_loop_over_parents_and_images():
    index = torch.tensor(
        [[8, 1, 8], [0, 1, 2], [5, 5, 5], [3, 0, 7]]
    )  # a number may come twice, as in padding
    parents = Parents(index, rand(4, 3, seed=1), rand(4, 3, seed=2))
    above = rand(9, 2, IMAGES, seed=3)
    expected = np.zeros((4, 2, IMAGES))
    for v, k, axis, i in np.ndindex(4, 3, 2, IMAGES):
        expected[v, axis, i] += float(parents.weight[v, k]) * float(above[index[v, k], axis, i])
    np.testing.assert_allclose(predicted_shift(parents, above), expected, rtol=1e-5)


def slow_gain(parents, presence, own, above):
    """The weights node by node: shares go as 1 / variance, times sklearn's least squares."""
    out = []
    for v in range(len(parents.index)):
        inverse = [1 / float(s) ** 2 for s in parents.std[v]]
        share = [x / sum(inverse) for x in inverse]
        predicted = np.zeros((IMAGES, 2))
        for k, a in zip(parents.index[v].tolist(), share, strict=True):
            predicted += a * above[k].numpy().T
        target = own[v].numpy().T
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
    above = rand(9, 2, IMAGES, seed=3) - 0.5
    follow = torch.stack([0.4 * above[1], 3 * above[1], -above[5], 0 * above[3]])
    own, presence = follow + 0.1 * rand(4, 2, IMAGES, seed=5), rand(4, IMAGES, seed=7)
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
    own, above = rand(2, 2, IMAGES, seed=1), rand(3, 2, IMAGES)
    presence = rand(2, IMAGES)
    weights = (
        weigh_by_gain(Parents(index, std, w), presence, own, above).weight
        for w in (rand(2, 2), torch.zeros(2, 2))
    )
    assert torch.equal(*weights)


def test_a_node_that_was_never_seen_follows_nobody():
    parents = Parents(torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 2), torch.ones(2, 2))
    own = above = rand(2, 2, IMAGES, seed=1)
    presence = rand(2, IMAGES)
    presence[1] = 0
    weight = weigh_by_gain(parents, presence, own, above).weight
    assert weight[0].sum() > 0
    assert weight[1].eq(0).all()


def test_without_candidates_nothing_is_predicted():
    lower, nothing = displaced(LOWER), Displaced(torch.zeros(0, 2, IMAGES), torch.zeros(0, IMAGES))
    parents = choose_parents(lower, nothing, torch.zeros(0, dtype=torch.int64), n_parents=3)
    assert parents.index.shape == (LOWER, 0)
    shift = predicted_shift(parents, nothing.displacement)
    assert shift.shape == (LOWER, 2, IMAGES)
    assert shift.eq(0).all()


def mixture_at(mean, alive):
    """A mixture of one channel with nodes at these places, some of them dropped."""
    log_weight = torch.where(torch.tensor(alive), 0.1, 0.0).log()
    return Mixture(mean[None], torch.full((1, len(mean)), 0.1), log_weight[None], torch.zeros(1))


def test_candidates_are_the_surest_nodes_off_the_border():
    upper = displaced(8, seed=6)
    mean = torch.stack([torch.full((8,), 0.5), torch.linspace(0.3, 0.7, 8)], 1)
    mean[2, 0], mean[4, 1] = BORDER / 2, 1 - BORDER / 2
    mixture = mixture_at(mean, [node != 5 for node in range(8)])
    found = candidates(upper, mixture, n_candidates=3)
    presence = upper.presence.sum(1)
    expected = sorted(sorted({0, 1, 3, 6, 7}, key=lambda v: -float(presence[v]))[:3])
    assert found.tolist() == expected
    assert len(candidates(upper, mixture, n_candidates=600)) == 5


def test_where_all_nodes_lie_at_the_border_they_are_candidates_all_the_same():
    upper, at = displaced(4), torch.full((4, 2), 0.05)
    mixture = mixture_at(at, [True, False, True, True])
    assert candidates(upper, mixture, n_candidates=9).tolist() == [0, 2, 3]
    assert len(candidates(upper, mixture_at(at, [False] * 4), n_candidates=9)) == 0
