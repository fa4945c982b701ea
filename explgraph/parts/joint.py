"""Several parts together: a star whose root is the surest part, and whose rays are the displacements of the others from it.

The displacement sways with the pose, which is learned from all objects without labels. The root stays where its votes see it; every
other part is drawn to where root and pose expect it, the farther the less its own votes agree with one another:

    p = y - s^2 / (s^2 + s_root^2 + t^2) (y - y_root - delta(z))

s^2 is the variance of the mean of a part's votes, t^2 how much the displacement varies at a given pose. A part that knows its place
better than its displacement from the root hardly moves (measured: docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from explgraph.parts.and_or import Array, FoundPart, SemanticPart
from explgraph.parts.likeness import likeness
from explgraph.parts.locate import locate_part
from explgraph.parts.nodes import NodeTraits, SeenNodes

RIDGE = 5.0  # objects' worth of the prior that the displacement does not sway
SHARED = 2.0  # nodes see one another's peaks: so many of them count as one witness


@dataclass(frozen=True, eq=False)
class Ray:
    """The displacement of a part from the root.

    Args:
        sway: (q + 1, 2), displacement per unit of pose, and in the last row at pose 0, fractions.
        variance: t^2, of the displacement at a given pose, per axis.
    """

    sway: Array
    variance: float


@dataclass(frozen=True)
class Star:
    """Several parts and how they hang together; the root is none of ``rays``."""

    parts: tuple[SemanticPart, ...]
    root: int
    rays: Mapping[int, Ray]


def fit_star(parts: Sequence[SemanticPart], seen: SeenNodes, traits: NodeTraits) -> Star:
    """Return how the parts hang together, learned from where each of them alone is on all known objects."""
    found = [locate_part(part, seen, traits) for part in parts]
    root = int(np.argmax([one.score.mean() for one in found]))
    doubt = [vote_variance(part, seen, traits) for part in parts]
    design = _design(seen, traits)
    rays = {}
    for i in set(range(len(parts))) - {root}:
        displacement = found[i].place - found[root].place
        weight = np.square(np.minimum(found[i].score, found[root].score))
        sway = _regress(design, displacement, weight / max(weight.mean(), 1e-12))
        rest = np.square(displacement - design @ sway).mean(1) - doubt[i] - doubt[root]
        rays[i] = Ray(sway, max(float(rest.mean()), 0.0))
    return Star(tuple(parts), root, rays)


def locate_jointly(star: Star, seen: SeenNodes, traits: NodeTraits) -> list[FoundPart]:
    """Return where the parts are on every object, in their order."""
    found = [locate_part(part, seen, traits) for part in star.parts]
    doubt = [vote_variance(part, seen, traits) for part in star.parts]
    design, root = _design(seen, traits), found[star.root].place
    for i, ray in star.rays.items():
        off = found[i].place - root - design @ ray.sway
        gain = doubt[i] / np.maximum(doubt[i] + doubt[star.root] + ray.variance, 1e-12)
        found[i] = replace(found[i], place=np.clip(found[i].place - gain[:, None] * off, 0, 1))
    return found


def vote_variance(part: SemanticPart, seen: SeenNodes, traits: NodeTraits) -> Array:
    """Return s^2, the variance per axis of the mean of the part's votes, (object,): how little its nodes move as one."""
    share = (likeness(part, seen, traits) @ part.weight) * np.square(seen.relative[:, part.nodes])
    share = share / np.maximum(share.sum(1, keepdims=True), 1e-300)
    usual = seen.place[:, part.nodes] - traits.mean[part.nodes]
    common = np.einsum("iv,iva->ia", share, usual)
    variance: Array = (
        SHARED * (np.square(share) * np.square(usual - common[:, None]).sum(-1)).sum(1) / 2
    )
    return variance


def _design(seen: SeenNodes, traits: NodeTraits) -> Array:
    return np.concatenate([traits.pose(seen), np.ones((len(seen), 1))], 1)


def _regress(design: Array, displacement: Array, weight: Array) -> Array:
    weighted = design * weight[:, None]
    ridge = np.diag(np.r_[RIDGE * np.square(design[:, :-1]).mean(0), 0.0]) + 1e-9 * np.eye(
        design.shape[1]
    )
    return np.asarray(
        np.linalg.solve(weighted.T @ design + ridge, weighted.T @ displacement), np.float64
    )
