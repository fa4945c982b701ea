"""Objects whose nodes and parts sway with a planted pose, so that the truth is exact."""

from types import SimpleNamespace

import numpy as np

from explgraph.parts import NodeTraits, PartConfig, SeenNodes, fit_part, locate_part

OBJECTS, NODES, Q = 120, 90, 3
HEAD, LEG = np.array([0.3, 0.7]), np.array([0.8, 0.3])


def planted(seed=0, *, noise=0.01):
    """Objects whose nodes sway with a pose, and a head and a leg that sway with neighbours.

    The nodes about the head sway much.
    """
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
