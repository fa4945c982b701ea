import math

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression

from explgraph.mining.agreement import Behaviour, compare, learn_yardstick, standardised
from explgraph.mining.parents import (
    HUB,
    NO_PARENT,
    Parents,
    choose_parents,
    predicted_shift,
    weigh_by_gain,
)

UPPER, LOWER, IMAGES = 30, 40, 120


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def behave(n_nodes, *, group=None, seed=0):
    """Nodes that fire and move alone; or half of it with the others of their group."""
    firing, moved = randn(n_nodes, IMAGES, seed=seed), randn(n_nodes, 2, IMAGES, seed=seed + 1)
    if group is not None:
        firing = firing + 2 * randn(10, IMAGES, seed=90)[group]
        moved = moved + 2 * randn(10, 2, IMAGES, seed=91)[group]
    mean, presence = (
        0.4 + 0.2 * rand(n_nodes, 2, seed=seed + 2),
        rand(n_nodes, IMAGES, seed=seed + 3),
    )
    return Behaviour(mean, presence, 0.05 * moved, standardised(firing), standardised(moved))


GROUP = {"upper": torch.arange(UPPER) % 10, "lower": torch.arange(LOWER) % 10}


@pytest.fixture(scope="module")
def grouped():
    """Lower and upper nodes of ten groups that fire and move together."""
    lower = behave(LOWER, group=GROUP["lower"], seed=10)
    return lower, behave(UPPER, group=GROUP["upper"], seed=20)


def test_parents_are_the_nodes_that_agree_and_their_number_follows(grouped):
    parents = choose_parents(*grouped, n_parents=15)
    same = GROUP["upper"][parents.index] == GROUP["lower"][:, None]
    assert (same & parents.known).sum(1).tolist() == [3] * LOWER  # all three of the group
    assert (~same & parents.known).sum() <= 0.1 * 3 * LOWER  # measured: 6


def test_at_most_so_many_parents_are_chosen_the_best_first(grouped):
    best = choose_parents(*grouped, n_parents=2)
    assert best.index.shape == (LOWER, 2)
    agreement = learn_yardstick(*grouped).agreement(compare(*grouped))
    assert torch.equal(best.index[best.known], agreement.topk(2)[1][best.known])
    assert best.known.double().mean() > 0.9


def test_nodes_that_have_nothing_in_common_have_no_parents():
    parents = choose_parents(behave(200, seed=40), behave(150, seed=50), n_parents=15)
    assert not parents.known.any()
    assert parents.weight.eq(0).all()
    assert predicted_shift(parents, rand(150, 2, IMAGES)).eq(0).all()


def test_no_upper_node_has_many_more_children_than_others_could_have():
    upper = behave(UPPER, seed=20)
    # All lower nodes do what the first upper node does.
    lower = behave(LOWER, seed=10)
    firing, moved = (
        lower.firing + 3 * upper.firing[:1],
        lower.displacement + 3 * upper.displacement[:1],
    )
    same = Behaviour(lower.mean, lower.presence, moved, standardised(firing), standardised(moved))
    parents = choose_parents(same, upper, n_parents=5)
    children = parents.index[parents.known].bincount(minlength=UPPER)
    assert children[0] == math.ceil(HUB * 5 * LOWER / UPPER) < LOWER
    agreement = learn_yardstick(same, upper).agreement(compare(same, upper))[:, 0]
    kept = (parents.index.eq(0) & parents.known).any(1)
    assert agreement[kept].min() >= agreement[~kept].max()


def test_an_edge_keeps_its_spread_and_co_firing(grouped):
    parents, pairs = choose_parents(*grouped, n_parents=4), compare(*grouped)
    known = parents.known
    for values, each in ((parents.std, pairs.spread), (parents.co_firing, pairs.co_firing)):
        np.testing.assert_allclose(values[known], each.gather(1, parents.index)[known], rtol=1e-4)
    assert parents.std[~known].eq(NO_PARENT).all()
    assert parents.co_firing[~known].eq(0).all()
    np.testing.assert_allclose(parents.weight.sum(1), known.any(1).double(), rtol=1e-4)


def test_parents_of_some_nodes_are_those_of_a_layer_with_dropped_ones(grouped):
    few = choose_parents(*grouped, n_parents=3)
    own, above = 2 * torch.arange(LOWER) + 1, 100 + torch.arange(UPPER)
    parents = few.renumbered(own, above, 2 * LOWER + 5)
    assert parents.index.shape == (2 * LOWER + 5, 3)
    assert torch.equal(parents.index[own][few.known], few.index[few.known] + 100)
    assert torch.equal(parents.std[own], few.std)
    assert parents.known.sum() == few.known.sum()


def test_without_upper_nodes_there_are_no_parents():
    nobody = behave(0)
    parents = choose_parents(behave(LOWER), nobody, n_parents=3).renumbered(
        torch.arange(LOWER), torch.arange(0), LOWER
    )
    assert parents.index.shape == (LOWER, 0)
    shift = predicted_shift(parents, nobody.displacement)
    assert shift.shape == (LOWER, 2, IMAGES)
    assert shift.eq(0).all()
    assert choose_parents(nobody, behave(LOWER), n_parents=3).index.shape == (0, 0)


def parents_of(index, std, weight):
    return Parents(index, std, weight, torch.zeros_like(weight))


def test_the_prediction_is_that_of_a_loop_over_parents_and_images():
    index = torch.tensor(
        [[8, 1, 8], [0, 1, 2], [5, 5, 5], [3, 0, 7]]
    )  # a number may come twice, as in padding
    parents = parents_of(index, rand(4, 3, seed=1), rand(4, 3, seed=2))
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
    parents = parents_of(index, 0.05 + rand(4, 3, seed=1), rand(4, 3, seed=2))
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
        weigh_by_gain(parents_of(index, std, w), presence, own, above).weight
        for w in (rand(2, 2), torch.zeros(2, 2))
    )
    assert torch.equal(*weights)


def test_a_node_that_was_never_seen_follows_nobody():
    parents = parents_of(torch.tensor([[0, 1], [1, 0]]), torch.ones(2, 2), torch.ones(2, 2))
    own = above = rand(2, 2, IMAGES, seed=1)
    presence = rand(2, IMAGES)
    presence[1] = 0
    weight = weigh_by_gain(parents, presence, own, above).weight
    assert weight[0].sum() > 0
    assert weight[1].eq(0).all()


def test_a_node_without_parents_is_not_moved_and_moves_no_other():
    index, std = torch.tensor([[0, 1], [0, 0], [1, 0]]), torch.full((3, 2), 0.1)
    std[1], std[2, 1] = NO_PARENT, NO_PARENT
    own, above = rand(3, 2, IMAGES, seed=1), rand(2, 2, IMAGES)
    parents = weigh_by_gain(parents_of(index, std, rand(3, 2)), rand(3, IMAGES), own, above)
    assert parents.weight[1].tolist() == [0, 0]
    assert parents.weight[2, 1] == 0
    assert parents.weight[2, 0] > 0
    assert predicted_shift(parents, above)[1].eq(0).all()
    alone = weigh_by_gain(
        parents_of(index[2:], std[2:], rand(1, 2)), rand(3, IMAGES)[2:], own[2:], above
    )
    np.testing.assert_allclose(alone.weight, parents.weight[2:], rtol=1e-5)
