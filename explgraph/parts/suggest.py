"""Which image to annotate next: where the templates explain the part worst, and teach most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from explgraph.errors import UsageError
from explgraph.parts.and_or import SemanticPart
from explgraph.parts.likeness import kernel, look_of, template_look
from explgraph.parts.nodes import NodeTraits, SeenNodes


@dataclass(frozen=True)
class Suggestion:
    """One image worth annotating.

    Args:
        object: which object.
        gain: share of the part's remaining variance, over all objects, that this annotation takes
            away if it comes after the ones suggested before it; 0..1.
        variance: of the part on this object before it is annotated, 1 = nothing is known, 0 = an
            annotated one.
    """

    object: int
    gain: float
    variance: float


def suggest(
    part: SemanticPart,
    seen: SeenNodes,
    traits: NodeTraits,
    annotated: Int[np.ndarray, " template"],
    n: int = 3,
) -> list[Suggestion]:
    """The next ``n`` objects worth annotating, best first.

    The residual of the votes is a Gaussian process whose covariance is the likeness. Annotating
    object J takes

        gain(J) = sum over objects I of c(I, J)^2 / (c(J, J) + noise)

    off the sum of the variances c(I, I), c the covariance given all annotations so far. Objects on
    which less of the part is found than on the median one count in that proportion: annotating
    what no node responds to teaches nothing (measured: docs/benchmarks.md).

    Args:
        part: fitted on the objects ``annotated`` of ``seen``.
        seen: all known objects.
        traits: the graph's nodes.
        annotated: which objects.
        n: how many.

    Raises:
        UsageError: fewer than ``n`` objects are left.

    >>> len(suggest(head, known.seen, known.traits, np.array([0, 1, 2]), n=2))
    2
    """
    free = np.ones(len(seen), bool)
    free[annotated] = False
    if n > free.sum():
        raise UsageError(f"there are {free.sum()} objects left to annotate, got {n} to suggest")
    # Marks do not enter a Gaussian process's variance, so it is known before they are given.
    covariance = _posterior(part, seen, traits)
    noise, prior = part.config.noise, part.config.alike
    evidence = seen.score[:, part.nodes] @ part.weight.mean(0)
    clear = np.minimum(evidence / max(float(np.median(evidence)), 1e-12), 1)
    chosen = []
    for _ in range(n):
        own = np.diag(covariance)
        # The sum is over all objects, annotated ones too: there the variance is small already.
        gain = np.square(covariance).sum(0) / (own + noise)
        # By clear gain; the gain that is told is the plain one, as in the formula.
        best = int(np.argmax(np.where(free, gain * clear, -1)))
        share = float(gain[best] / max(own.sum(), 1e-12))
        chosen.append(Suggestion(best, share, float(own[best] / prior)))
        # As if it were annotated: else the second suggestion would be the first one's double.
        learnt = np.outer(covariance[:, best], covariance[best]) / (own[best] + noise)
        covariance = covariance - learnt
        free[best] = False
    return chosen


def _posterior(
    part: SemanticPart, seen: SeenNodes, traits: NodeTraits
) -> Float[np.ndarray, "object object"]:
    """The covariance of the residuals of all objects, given those of the templates."""
    every, own = look_of(part, seen, traits), template_look(part)
    known = kernel(part, own, own) + part.config.noise * np.eye(part.n_templates)
    alike = kernel(part, every, own)
    left: Float[np.ndarray, "object object"] = kernel(part, every, every) - alike @ np.linalg.solve(
        known, alike.T
    )
    return left
