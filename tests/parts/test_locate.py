from dataclasses import replace

import numpy as np
from builders.planted_parts import fitted, planted

from explgraph.parts import SeenNodes, locate_part
from explgraph.parts.likeness import likeness
from explgraph.parts.locate import cast_votes


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


def test_an_object_that_shows_nothing_of_the_part_is_called_not_visible():
    world = planted()
    part = fitted(world, [0, 1, 2])
    score = world.seen.score.copy()
    score[60, part.nodes] = 1e-4
    found = locate_part(part, SeenNodes(world.seen.place, score, world.seen.mirrored), world.traits)
    assert not found.visible[60]
    assert found.expected_error[60] > np.delete(found.expected_error, 60).max()
    assert np.delete(found.visible, 60).mean() > 0.9


def test_an_answer_is_drawn_to_the_middle_as_far_as_the_facing_is_unsure():
    world = planted()
    part = fitted(world, [7])
    sureness = np.full(len(world.seen), np.nan)
    sureness[[1, 2, 3]] = 0.5, 0.8, 1
    sure = locate_part(part, world.seen, world.traits)
    unsure = locate_part(part, replace(world.seen, sureness=sureness), world.traits)
    np.testing.assert_array_equal(unsure.place[:, 0], sure.place[:, 0])
    off = (unsure.place[:, 1] - 0.5) / (sure.place[:, 1] - 0.5)
    np.testing.assert_allclose(off, np.where(np.isnan(sureness), 1, sureness), atol=1e-9)
    np.testing.assert_array_equal(unsure.score, sure.score)
