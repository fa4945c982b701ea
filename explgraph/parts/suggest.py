"""Which image to annotate next: where the templates explain the part worst, among those from which much is learned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import UsageError
from explgraph.parts.and_or import Array, SemanticPart
from explgraph.parts.likeness import appearance, kernel, likeness
from explgraph.parts.nodes import NodeTraits, SeenNodes


@dataclass(frozen=True)
class Suggestion:
    """One image worth annotating.

    Args:
        object: which object.
        gain: share of the part's remaining variance, over all objects, that this annotation takes away if it comes after the
            ones suggested before it; 0..1.
        variance: of the part on this object before it is annotated, 1 = nothing is known, 0 = an annotated one.
    """

    object: int
    gain: float
    variance: float


def suggest(
    part: SemanticPart,
    seen: SeenNodes,
    traits: NodeTraits,
    annotated: NDArray[np.int64],
    n: int = 3,
) -> list[Suggestion]:
    """Return the next ``n`` objects worth annotating, best first.

    The residual of the votes is a Gaussian process whose covariance is the likeness. Annotating object J takes

        gain(J) = sum over objects I of c(I, J)^2 / (c(J, J) + noise)

    off the sum of the variances c(I, I), c the covariance given all annotations so far. Objects in which less of the part is seen than
    in the median one count in that proportion: annotating what no node sees teaches the nodes nothing (measured: docs/benchmarks.md).

    Args:
        part: fitted on the objects ``annotated`` of ``seen``.
        seen: all known objects; traits: the graph's nodes.
        annotated: (template,).
        n: how many.

    Raises:
        UsageError: fewer than ``n`` objects are left.
    """
    if n > len(seen) - len(set(annotated.tolist())):
        raise UsageError(
            f"there are {len(seen) - len(set(annotated.tolist()))} objects left to annotate, got a wish for {n}"
        )
    covariance = _posterior(part, seen, traits)
    noise, prior = part.config.noise, part.config.alike
    evidence = seen.score[:, part.nodes] @ part.weight.mean(0)
    clear = np.minimum(evidence / max(float(np.median(evidence)), 1e-12), 1)
    free = np.ones(len(seen), bool)
    free[annotated] = False
    chosen = []
    for _ in range(n):
        own = np.diag(covariance)
        gain = np.square(covariance).sum(0) / (own + noise)
        best = int(np.argmax(np.where(free, gain * clear, -1)))
        chosen.append(
            Suggestion(best, float(gain[best] / max(own.sum(), 1e-12)), float(own[best] / prior))
        )
        covariance = covariance - np.outer(covariance[:, best], covariance[best]) / (
            own[best] + noise
        )
        free[best] = False
    return chosen


def _posterior(part: SemanticPart, seen: SeenNodes, traits: NodeTraits) -> Array:
    """Return the covariance of the residuals of all objects, given those of the templates, (object, object)."""
    shown = (traits.pose(seen), appearance(seen.relative[:, part.nodes], part.weight))
    own = (part.pose, appearance(part.presence, part.weight))
    prior = kernel(shown, shown, contrast=part.contrast, config=part.config)
    known = kernel(
        own, own, contrast=part.contrast, config=part.config
    ) + part.config.noise * np.eye(part.n_templates)
    alike = likeness(part, seen, traits)
    posterior: Array = prior - alike @ np.linalg.solve(known, alike.T)
    return posterior
