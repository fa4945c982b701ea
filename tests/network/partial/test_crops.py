"""Leaving out what cannot change is exact in every network."""

import numpy as np
import pytest
import torch
from builders.chains import NETWORKS, photographs, random_network
from builders.squares import squares_on

from explgraph.network.partial import IncrementalPass, trace_chain


def run_both_ways(network, plan, image, numbers, value):
    plan.see(image)
    hidden = image.repeat(len(numbers), 1, 1, 1)
    for one, number in zip(hidden, numbers, strict=True):
        top, left, bottom, right = plan.squares[number]
        one[:, top:bottom, left:right] = value
    return plan.run(numbers, value), network.model(hidden)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_out_makes_no_difference(name, seed):
    rng = np.random.default_rng([seed, len(name)])
    size = (64, 96) if name != "alexnet" else (96, 128)
    size = (size[0] + int(rng.integers(0, 9)), size[1] - int(rng.integers(0, 9)))
    network = random_network(name, size=size, seed=seed)
    squares = squares_on(size, rng.integers(1, 20, 2).tolist(), rng.integers(3, 20, 2).tolist())
    plan = IncrementalPass(network, trace_chain(network), size=size, squares=squares)
    assert plan.stages
    image = photographs(size=size, seed=seed)
    numbers = [0, len(squares) - 1, int(rng.integers(len(squares)))]
    found, expected = run_both_ways(network, plan, image, numbers, rng.normal())
    changed = (expected - network.model(image)).abs().amax()
    assert changed > 0
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9 * float(changed))


def test_all_squares_at_once_and_one_by_one_are_the_same():
    network, size = random_network("resnet18", size=(64, 96)), (64, 96)
    squares = squares_on(size, (11, 7), (30, 40))
    plan = IncrementalPass(network, trace_chain(network), size=size, squares=squares)
    numbers = list(range(len(squares)))
    found, expected = run_both_ways(network, plan, photographs(), numbers, 0.0)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(
        torch.cat([plan.run([k], 0.0) for k in numbers]), expected, rtol=1e-9
    )
    np.testing.assert_allclose(plan.run(numbers[::-1], 0.0), expected.flip(0), rtol=1e-9)


def test_the_plan_sees_one_image_after_another():
    network, size = random_network("squeezenet1_0"), (64, 96)
    plan = IncrementalPass(
        network, trace_chain(network), size=size, squares=squares_on(size, (9, 9), (16, 16))
    )
    for seed in (1, 2, 1):
        found, expected = run_both_ways(network, plan, photographs(seed=seed), [3, 0], 0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.parametrize("name", ["conv1", "layer1", "layer2.0"])
def test_from_a_layer_on_that_is_watched_whole_maps_are_computed(name):
    network, size = random_network("resnet18"), (64, 96)
    chain = trace_chain(network)
    squares = squares_on(size, (9, 9), (16, 16))
    before = chain.link(name)
    plan = IncrementalPass(network, chain, size=size, squares=squares, before=before)
    assert all(stage.stop.position < before.position for stage in plan.stages)
    if plan.stages:
        found, expected = run_both_ways(network, plan, photographs(), [1, 4], 0.5)
        np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_squares_that_hide_everything_are_computed_whole():
    network, size = random_network("resnet18"), (64, 96)
    assert not IncrementalPass(
        network, trace_chain(network), size=size, squares=[(0, 0, *size)]
    ).stages
    assert not IncrementalPass(network, trace_chain(network), size=size, squares=[]).stages
    assert not IncrementalPass(
        network, None, size=size, squares=squares_on(size, (9, 9), (16, 16))
    ).stages
