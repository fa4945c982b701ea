import math

import numpy as np
import pytest
import torch

from explgraph.mining.agreement import (
    FARTHEST,
    WRONG,
    Behaviour,
    compare,
    learn_yardstick,
    least_sure,
    standardised,
)

IMAGES = 40


def behave(n_nodes, seed, n_images=IMAGES):
    g = torch.Generator().manual_seed(seed)
    firing, moved = (
        torch.randn(n_nodes, n_images, generator=g),
        torch.randn(n_nodes, 2, n_images, generator=g),
    )
    mean, presence = torch.rand(n_nodes, 2, generator=g), torch.rand(n_nodes, n_images, generator=g)
    return Behaviour(mean, presence, 0.1 * moved, standardised(firing), standardised(moved))


def test_the_statistics_are_those_of_a_loop_over_pairs_and_images():
    lower, upper = behave(5, 1), behave(4, 2)
    got = compare(lower, upper)
    for v, u in np.ndindex(5, 4):
        assert got.co_firing[v, u] == pytest.approx(
            np.corrcoef(lower.firing[v], upper.firing[u])[0, 1], abs=1e-5
        )
        each = [float(lower.residual[v, :, i] @ upper.residual[u, :, i]) for i in range(IMAGES)]
        assert got.residual[v, u] == pytest.approx(sum(each) / (2 * IMAGES), abs=1e-5)
        square, total = 0.0, 0.0
        for i in range(IMAGES):
            weight = float(lower.presence[v, i] * upper.presence[u, i])
            apart = lower.displacement[v, :, i] - upper.displacement[u, :, i]
            square, total = square + weight * float(apart @ apart), total + weight
        assert got.spread[v, u] == pytest.approx(math.sqrt(square / total / 2), rel=1e-4)
        assert got.distance[v, u] == pytest.approx(
            math.dist(lower.mean[v], upper.mean[u]), abs=1e-5
        )


def test_two_nodes_that_are_never_seen_together_have_a_spread_all_the_same():
    lower, upper = behave(2, 1), behave(2, 2)
    lower.presence[:, 20:] = 0
    upper.presence[:, :20] = 0
    assert torch.isfinite(compare(lower, upper).spread).all()


def test_standardised_values_have_mean_0_and_variance_1_over_images():
    values = standardised(
        3 + 2 * torch.randn(4, 2, 500, generator=torch.Generator().manual_seed(0))
    )
    np.testing.assert_allclose(values.mean(2), 0, atol=1e-5)
    np.testing.assert_allclose(values.square().mean((1, 2)), 1, rtol=1e-4)
    assert standardised(torch.ones(1, 7)).eq(0).all()


def test_what_is_chance_counts_nothing_and_what_is_not_counts_in_its_deviations():
    lower, upper = behave(120, 1, 200), behave(100, 2, 200)
    chance = learn_yardstick(lower, upper)
    assert chance.co_firing.median() == chance.residual.median() == 0
    common = torch.randn(200, generator=torch.Generator().manual_seed(3))
    firing = standardised(lower.firing + 4 * common), standardised(upper.firing + 4 * common)
    together = [
        Behaviour(b.mean, b.presence, b.displacement, f, b.residual)
        for b, f in zip((lower, upper), firing, strict=True)
    ]
    weight = learn_yardstick(*together).co_firing
    # Nearly all of the variance is common: in deviations of chance, 1 / sqrt(200), each.
    assert weight.max() == pytest.approx(math.sqrt(200), rel=0.02)


def test_how_well_a_displacement_is_kept_counts_so_far_and_no_farther():
    lower, upper = behave(60, 1), behave(50, 2)
    lower.displacement[0], upper.displacement[0] = 0, 0  # these never move
    yardstick = learn_yardstick(lower, upper)
    pairs = compare(lower, upper)
    assert yardstick.agreement(pairs).abs().max() <= FARTHEST + 1
    assert yardstick.agreement(pairs)[0, 0] >= FARTHEST - 1


def test_the_yardstick_is_learned_from_some_of_many_nodes():
    lower, upper = behave(400, 1), behave(50, 2)
    some = lower.nodes(slice(None, None, 4))
    one, other = learn_yardstick(lower, upper), learn_yardstick(some, upper)
    assert torch.equal(one.log_spread, other.log_spread)
    assert one.least == other.least


def test_the_least_agreement_lets_so_much_chance_pass():
    real = torch.cat([torch.full((1000,), 5.0), torch.zeros(9000)])
    for wrong, expected in ((0.5, 5.0), (2.0, math.inf)):
        chance = torch.cat([torch.full((round(wrong * WRONG * 1000),), 6.0), torch.zeros(9000)])
        assert least_sure(real, chance) == expected
    nothing = torch.zeros(0)
    assert least_sure(nothing, nothing) == math.inf
    assert least_sure(real, nothing) == 0
