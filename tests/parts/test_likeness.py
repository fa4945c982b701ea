import numpy as np
import pytest
from builders.planted_parts import fitted, planted

from explgraph.parts.likeness import likeness


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
