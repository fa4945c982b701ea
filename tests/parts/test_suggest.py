from dataclasses import replace

import numpy as np
import pytest
from builders.planted_parts import OBJECTS, fitted, mean_error, planted

from explgraph.errors import UsageError
from explgraph.parts import fit_part, suggest
from explgraph.parts.likeness import likeness


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
        displacement=np.repeat(part.displacement, OBJECTS, 0),
        correction=np.repeat(part.correction, OBJECTS, 0),
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


def test_more_suggestions_than_objects_are_refused():
    world = planted()
    with pytest.raises(UsageError, match="119 objects left"):
        suggest(fitted(world, [0]), world.seen, world.traits, np.array([0]), OBJECTS)
