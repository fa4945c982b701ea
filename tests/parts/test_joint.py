import numpy as np
from builders.planted_parts import fitted, planted

from explgraph.parts import SeenNodes, fit_star, locate_jointly, locate_part
from explgraph.parts.joint import vote_variance


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
