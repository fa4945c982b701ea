"""Semantic parts on sampled objects: nodes and a part that sway with a planted pose, so that the truth is exact."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders.graphs import make_graph

from explgraph.errors import GraphError, UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.parts import (
    NodeTraits,
    PartConfig,
    SeenNodes,
    fit_part,
    fit_star,
    locate_jointly,
    locate_part,
    node_traits,
    suggest,
    turn,
)
from explgraph.parts.fit import agreement
from explgraph.parts.joint import vote_variance
from explgraph.parts.likeness import likeness
from explgraph.parts.locate import cast_votes

OBJECTS, NODES, Q = 120, 90, 3
HEAD, LEG = np.array([0.3, 0.7]), np.array([0.8, 0.3])


def planted(seed=0, *, noise=0.01):
    """Objects whose nodes sway with a pose, those about the head much, and a head and a leg that sway with their neighbours."""
    rng = np.random.default_rng(seed)
    mean = rng.uniform(0.05, 0.95, (NODES, 2))
    sway_at = lambda at: 0.06 * np.stack([np.cos(2 * at @ w + b) for w, b in waves], -1)
    waves = [(rng.normal(size=(2, 2)), rng.uniform(0, 6, 2)) for _ in range(Q)]
    pose = rng.normal(size=(OBJECTS, Q))
    move = lambda at: at + np.einsum("...aq,iq->i...a", sway_at(at), pose)
    score = rng.uniform(0.2, 0.6, (OBJECTS, NODES)) * rng.uniform(0.5, 1, (OBJECTS, 1))
    place = move(mean) + noise * rng.normal(size=(OBJECTS, NODES, 2))
    mirrored = rng.random(OBJECTS) < 0.5
    traits = NodeTraits(
        tuple(f"top:{i}:0" for i in range(NODES)),
        mean,
        np.full(NODES, 0.05),
        np.full(NODES, 0.5),
        sway_at(mean),
    )
    return SimpleNamespace(
        seen=SeenNodes(place, score, mirrored),
        traits=traits,
        pose=pose,
        head=move(HEAD),
        leg=move(LEG),
    )


def fitted(world, annotated, truth="head", **config):
    annotated = np.asarray(annotated)
    return fit_part(
        truth,
        world.seen,
        world.traits,
        annotated,
        getattr(world, truth)[annotated],
        config=PartConfig(**config),
    )


def mean_error(world, part, truth="head"):
    return np.linalg.norm(
        locate_part(part, world.seen, world.traits).place - getattr(world, truth), axis=1
    ).mean()


@pytest.mark.parametrize("seed", range(3))
def test_one_annotation_finds_the_part_everywhere_and_more_find_it_better(seed):
    world = planted(seed)
    constant = np.linalg.norm(world.head - world.head.mean(0), axis=1).mean()
    errors = [mean_error(world, fitted(world, range(n))) for n in (1, 3, 10, 40)]
    assert errors[0] < 0.8 * constant
    assert errors[1] < errors[0] * 1.05
    assert errors[3] < errors[2] < errors[1]
    assert errors[3] < 0.2 * constant


def test_votes_are_those_of_a_slow_loop():
    world = planted()
    part = fitted(world, [4, 9, 30])
    alike = likeness(part, world.seen, world.traits)
    got = cast_votes(part, world.seen, alike)
    for i in (0, 4, 77):
        total, weight = np.zeros(2), 0.0
        for k in range(3):
            for v, node in enumerate(part.nodes):
                relative = world.seen.score[i, node] / world.seen.score[i].mean()
                w = alike[i, k] * part.weight[k, v] * relative**2
                total += w * (
                    world.seen.place[i, node] + part.config.displaced * part.displacement[k, v]
                )
                weight += w
        np.testing.assert_allclose(got[i], total / weight, rtol=0, atol=1e-12)


def test_likeness_is_that_of_the_formula():
    world = planted()
    part = fitted(world, [4, 9])
    pose, got = world.traits.pose(world.seen), likeness(part, world.seen, world.traits)
    root = np.sqrt(part.weight.mean(0))
    for i, k in ((0, 0), (50, 1), (9, 1)):
        a, b = (world.seen.relative[j, part.nodes] * root for j in (i, [4, 9][k]))
        cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        z = np.square(pose[i] - pose[[4, 9][k]]).sum()
        assert got[i, k] == pytest.approx(
            part.config.base + np.exp(-z / 2) + np.exp(-(1 - cosine) / part.contrast), abs=1e-12
        )
    assert got[9, 1] == pytest.approx(part.config.alike)


def test_pose_coordinates_are_a_turned_pose_of_unit_spread():
    world = planted(noise=1e-4)
    pose = world.traits.pose(world.seen)
    apart = np.square(pose[:, None] - pose).sum(-1)
    assert apart.mean() / 2 == pytest.approx(1, rel=0.25)
    predicted = np.linalg.lstsq(np.c_[pose, np.ones(OBJECTS)], world.pose, rcond=None)[0]
    np.testing.assert_allclose(np.c_[pose, np.ones(OBJECTS)] @ predicted, world.pose, atol=0.02)


def test_the_part_of_an_annotated_object_is_near_its_annotation():
    world = planted()
    part = fitted(world, [7])
    found = locate_part(part, world.seen, world.traits)
    assert np.linalg.norm(found.place[7] - world.head[7]) < 0.02
    assert found.template.max() == 0
    assert found.score.argmax() == 7 or found.score[7] > np.quantile(found.score, 0.8)


def test_the_order_of_objects_and_annotations_does_not_matter():
    world = planted()
    part, other = fitted(world, [3, 8, 20]), fitted(world, [20, 3, 8])
    a, b = (locate_part(p, world.seen, world.traits) for p in (part, other))
    np.testing.assert_allclose(a.place, b.place, atol=1e-12)
    few = locate_part(part, world.seen.objects([50, 2]), world.traits)
    np.testing.assert_allclose(few.place, a.place[[50, 2]], atol=1e-12)
    np.testing.assert_allclose(few.score, a.score[[50, 2]], atol=1e-12)


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


def test_an_object_that_shows_nothing_of_the_part_is_called_not_visible():
    world = planted()
    part = fitted(world, [0, 1, 2])
    score = world.seen.score.copy()
    score[60, part.nodes] = 1e-4
    found = locate_part(part, SeenNodes(world.seen.place, score, world.seen.mirrored), world.traits)
    assert not found.visible[60]
    assert found.expected_error[60] > np.delete(found.expected_error, 60).max()
    assert np.delete(found.visible, 60).mean() > 0.9


def test_joint_parts_hang_on_the_surest_which_stays():
    world = planted()
    parts = [fitted(world, [0, 1, 2]), fitted(world, [0, 1, 2], "leg")]
    star = fit_star(parts, world.seen, world.traits)
    alone = [locate_part(part, world.seen, world.traits) for part in parts]
    joint = locate_jointly(star, world.seen, world.traits)
    root, other = star.root, 1 - star.root
    assert alone[root].score.mean() > alone[other].score.mean()
    np.testing.assert_array_equal(joint[root].place, alone[root].place)
    assert list(star.rays) == [other]


def test_a_part_whose_votes_contradict_each_other_is_drawn_to_its_displacement():
    world = planted()
    parts = [fitted(world, range(5)), fitted(world, range(5), "leg")]
    star = fit_star(parts, world.seen, world.traits)
    other = 1 - star.root
    place = world.seen.place.copy()
    place[80, parts[other].nodes] += np.random.default_rng(0).normal(
        0.05, 0.2, (len(parts[other].nodes), 2)
    )
    torn = SeenNodes(place, world.seen.score, world.seen.mirrored)
    usual, doubt = (
        vote_variance(parts[other], seen, world.traits)[80] for seen in (world.seen, torn)
    )
    assert doubt > 10 * usual
    truth = (world.head, world.leg)[other][80]
    alone = locate_part(parts[other], torn, world.traits).place[80]
    joint = locate_jointly(star, torn, world.traits)[other].place[80]
    assert not np.allclose(alone, joint)
    assert np.isfinite(joint).all()
    assert np.linalg.norm(joint - truth) < np.linalg.norm(alone - truth) + 0.05


def test_the_gain_of_a_suggestion_is_what_annotating_it_takes_off_the_variance():
    world = planted()
    part = fitted(world, [5])
    (best,) = suggest(part, world.seen, world.traits, np.array([5]), 1)
    assert best.object != 5
    every = fit_part("all", world.seen, world.traits, np.arange(OBJECTS), world.head)
    everyone = replace(
        part,
        pose=every.pose,
        presence=world.seen.relative[:, part.nodes],
        weight=np.repeat(part.weight, OBJECTS, 0),
    )
    kernel = likeness(everyone, world.seen, world.traits)

    def variance(known):
        inverse = np.linalg.inv(
            kernel[np.ix_(known, known)] + part.config.noise * np.eye(len(known))
        )
        return np.trace(kernel - kernel[:, known] @ inverse @ kernel[known])

    assert best.gain == pytest.approx(1 - variance([5, best.object]) / variance([5]), rel=1e-6)
    assert 0 < best.variance <= 1


def test_suggestions_beat_random_annotations():
    suggested, random = [], []
    for seed in range(10):
        world, rng = planted(seed), np.random.default_rng(seed)
        start = [int(rng.integers(OBJECTS))]
        chosen = [
            s.object
            for s in suggest(fitted(world, start), world.seen, world.traits, np.array(start), 3)
        ]
        assert len({*start, *chosen}) == 4
        suggested.append(mean_error(world, fitted(world, start + chosen)))
        drawn = [rng.choice(OBJECTS, 3, replace=False).tolist() for _ in range(5)]
        random.append(np.mean([mean_error(world, fitted(world, start + few)) for few in drawn]))
    assert np.mean(suggested) < np.mean(random)


def test_turning_twice_is_no_turn():
    place, mirrored = np.random.default_rng(0).random((6, 4, 2)), np.arange(6) % 2 == 1
    np.testing.assert_allclose(turn(turn(place, mirrored), mirrored), place)


def test_traits_are_in_the_order_of_the_graph_and_an_empty_one_is_refused():
    graph = make_graph(0)
    traits = node_traits(graph)
    assert traits.names == tuple(n for layer in graph.layers for n in graph.nodes_of(layer.name))
    assert traits.loadings.shape == (len(traits.names), 2, 0)
    with pytest.raises(GraphError, match="no nodes"):
        node_traits(ExplanatoryGraph())


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


def test_more_suggestions_than_objects_are_refused():
    world = planted()
    with pytest.raises(UsageError, match="119 objects left"):
        suggest(fitted(world, [0]), world.seen, world.traits, np.array([0]), OBJECTS)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expected place"):
        SeenNodes(np.zeros((3, 4, 2)), np.zeros((3, 5)), np.zeros(3, bool))
