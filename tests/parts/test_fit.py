from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders.planted_parts import HEAD, NODES, OBJECTS, fitted, mean_error, planted

from explgraph.errors import UsageError
from explgraph.parts import SeenNodes, fit_part, locate_part
from explgraph.parts.fit import agreement


@pytest.mark.parametrize("seed", range(3))
def test_one_annotation_finds_the_part_everywhere_and_more_find_it_better(seed):
    world = planted(seed)
    constant = np.linalg.norm(world.head - world.head.mean(0), axis=1).mean()
    errors = [mean_error(world, fitted(world, range(n))) for n in (1, 3, 10, 40)]
    assert errors[0] < 0.8 * constant
    assert errors[1] < errors[0] * 1.05
    assert errors[3] < errors[2] < errors[1]
    assert errors[3] < 0.2 * constant


def test_nodes_that_move_on_their_own_have_little_to_say():
    world = planted()
    place = world.seen.place.copy()
    near = np.argsort(np.linalg.norm(world.traits.mean - HEAD, axis=1))[:6]
    lonely = near[::2]
    place[:, lonely] = HEAD + np.random.default_rng(1).normal(0, 0.08, (OBJECTS, len(lonely), 2))
    seen = SeenNodes(place, world.seen.score, world.seen.mirrored)
    agreed = agreement(seen, near, np.ones(len(near)))
    assert agreed[::2].max() < agreed[1::2].min()
    assert ((agreed > 0) & (agreed <= 1)).all()


def test_texture_has_no_vote():
    world = planted()
    strength = np.where(np.arange(NODES) % 2, 0.5, 0.0)
    part = fitted(
        SimpleNamespace(**{**vars(world), "traits": replace(world.traits, strength=strength)}), [0]
    )
    assert part.weight[:, part.nodes % 2 == 0].sum() == 0


def test_a_graph_without_pose_has_parts_too():
    world = planted()
    flat = replace(world.traits, loadings=np.zeros((NODES, 2, 0)))
    part = fit_part("head", world.seen, flat, np.array([0, 1]), world.head[:2])
    assert np.isfinite(locate_part(part, world.seen, flat).place).all()


@pytest.mark.parametrize(
    "wrong", [np.zeros((0, 2)), np.array([[1.2, 0.5]]), np.array([[np.nan, 0.5]])], ids=str
)
def test_annotations_that_are_none_or_outside_are_refused(wrong):
    world = planted()
    with pytest.raises(UsageError, match=r"head"):
        fit_part("head", world.seen, world.traits, np.arange(len(wrong)), wrong)


def test_a_template_whose_facing_is_a_guess_says_less():
    world = planted()
    sure = fitted(world, [3, 8, 20])
    sureness = np.ones(len(world.seen))
    sureness[8] = 0.55
    world.seen = replace(world.seen, sureness=sureness)
    part = fitted(world, [3, 8, 20])
    np.testing.assert_allclose(sure.weight.sum(1), 1)
    np.testing.assert_allclose(part.weight.sum(1), 3 * np.array([1, 0.1, 1]) / 2.1)
    assert np.linalg.norm(part.correction[1]) < np.linalg.norm(sure.correction[1])
    np.testing.assert_array_equal(fitted(world, [8]).weight.sum(1).round(9), [1])
