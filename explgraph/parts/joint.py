"""Several parts together: a star whose root is the surest part.

The displacement of a part from the root sways with the pose. How is learned from all objects,
without labels. The root stays where its votes put it. Every other part is drawn to where root and
pose expect it, the farther the less its own votes agree with one another:

    p = y - s^2 / (s^2 + s_root^2 + t^2) (y - y_root - delta(z))

s^2 is the variance of the mean of a part's votes, t^2 how much the displacement varies at a given
pose. A part that knows its place better than its displacement from the root hardly moves
(measured: docs/benchmarks.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from explgraph.parts.and_or import FoundPart, SemanticPart
from explgraph.parts.likeness import likeness
from explgraph.parts.locate import locate_part
from explgraph.parts.nodes import NodeTraits, SeenNodes

RIDGE = 5.0  # objects' worth of the prior that the displacement does not sway
SHARED = 2.0  # nodes respond to the same peaks: so many of them count as one
# What was tried instead (docs/benchmarks/parts.md). Both parts drawn to their mean displacement:
# heads 11-13% worse. Both drawn to that of the pose: heads 2% worse. Hence a root that stays.


@dataclass(frozen=True, eq=False)
class Ray:
    """The displacement of a part from the root.

    Args:
        sway: displacement per unit of pose, and in the last row at pose 0, fractions.
        variance: t^2, of the displacement at a given pose, per axis.
    """

    sway: Float[np.ndarray, "design 2"]
    variance: float


@dataclass(frozen=True)
class Star:
    """Several parts and how they hang together; ``rays`` has all of them but the root."""

    parts: tuple[SemanticPart, ...]
    root: int
    rays: Mapping[int, Ray]


def fit_star(parts: Sequence[SemanticPart], seen: SeenNodes, traits: NodeTraits) -> Star:
    """How the parts hang together, learned from where each alone is on all known objects.

    >>> from explgraph.parts import Mark, fit_marks
    >>> tail = fit_marks("tail", [Mark(1, 46.8, 92.1)], known)
    >>> len(fit_star([head, tail], known.seen, known.traits).rays)
    1
    """
    found = [locate_part(part, seen, traits) for part in parts]
    root = int(np.argmax([one.score.mean() for one in found]))
    doubt = [vote_variance(part, seen, traits) for part in parts]
    design = _design(seen, traits)
    rays = {}
    for i in set(range(len(parts))) - {root}:
        displacement = found[i].place - found[root].place
        # A displacement is as sure as the less sure of its two ends.
        less_sure = np.minimum(found[i].score, found[root].score)
        weight = np.square(less_sure)
        # The mean weight is 1, so that RIDGE counts in objects.
        sway = _regress(design, displacement, weight / max(weight.mean(), 1e-12))
        unexplained = np.square(displacement - design @ sway).mean(1)
        # What the votes at both ends err is no play of the ray. It would be counted twice in the
        # gain below, and can exceed what is there: hence no less than 0.
        rest = unexplained - doubt[i] - doubt[root]
        rays[i] = Ray(sway, max(float(rest.mean()), 0.0))
    return Star(tuple(parts), root, rays)


def locate_jointly(star: Star, seen: SeenNodes, traits: NodeTraits) -> list[FoundPart]:
    """Where the parts are on every object, in their order.

    >>> from explgraph.parts import Mark, fit_marks
    >>> tail = fit_marks("tail", [Mark(1, 46.8, 92.1)], known)
    >>> star = fit_star([head, tail], known.seen, known.traits)
    >>> [found.place.shape for found in locate_jointly(star, known.seen, known.traits)]
    [(48, 2), (48, 2)]
    """
    found = [locate_part(part, seen, traits) for part in star.parts]
    doubt = [vote_variance(part, seen, traits) for part in star.parts]
    design, root = _design(seen, traits), found[star.root].place
    for i, ray in star.rays.items():
        alone, expected = found[i].place, design @ ray.sway
        off = alone - root - expected
        total = doubt[i] + doubt[star.root] + ray.variance
        # A Kalman gain: the share of the doubt that is the part's own.
        gain = doubt[i] / np.maximum(total, 1e-12)
        drawn = alone - gain[:, None] * off
        # Score and template stay those of the part alone: the root adds no evidence of it.
        found[i] = replace(found[i], place=np.clip(drawn, 0, 1))
    return found


def vote_variance(
    part: SemanticPart, seen: SeenNodes, traits: NodeTraits
) -> Float[np.ndarray, " object"]:
    """The variance s^2 per axis of the mean of the votes: how little the nodes move as one."""
    said = likeness(part, seen, traits) @ part.weight
    # Shares as in `cast_votes`, whose variance this is.
    share = said * np.square(seen.relative[:, part.nodes])
    share = share / np.maximum(share.sum(1, keepdims=True), 1e-300)
    # Movements and not the places voted for: a vote holds but a quarter of its displacement, so
    # nodes around the part that agree perfectly would still point to different places.
    movement = seen.place[:, part.nodes] - traits.mean[part.nodes]
    common = np.einsum("iv,iva->ia", share, movement)
    square = np.square(movement - common[:, None]).sum(-1)
    # Of a weighted mean of independent values: the sum of squared shares times squares. Halved,
    # for the squares are of both axes.
    spread = (np.square(share) * square).sum(1)
    variance: Float[np.ndarray, " object"] = SHARED * spread / 2
    return variance


def _design(seen: SeenNodes, traits: NodeTraits) -> Float[np.ndarray, "object design"]:
    return np.concatenate([traits.pose(seen), np.ones((len(seen), 1))], 1)


def _regress(
    design: Float[np.ndarray, "object design"],
    displacement: Float[np.ndarray, "object 2"],
    weight: Float[np.ndarray, " object"],
) -> Float[np.ndarray, "design 2"]:
    weighted = design * weight[:, None]
    # In units of each pose dimension's mean square, so that a change of its scale changes nothing.
    # The last column, the mean displacement, is free.
    ridge = np.diag(np.r_[RIDGE * np.square(design[:, :-1]).mean(0), 0.0])
    ridge += 1e-9 * np.eye(len(ridge))  # a dimension in which no object moves stays solvable
    normal = weighted.T @ design + ridge
    return np.linalg.solve(normal, weighted.T @ displacement)
