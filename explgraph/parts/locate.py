"""Where a part is: its nodes vote, its templates correct, and the answer says how sure it is."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from explgraph.parts.and_or import FoundPart, SemanticPart
from explgraph.parts.likeness import likeness
from explgraph.parts.nodes import NodeTraits, SeenNodes

# Expected error = ERROR_AT_NONE exp(-SURER score), fractions of the diagonal (measured:
# docs/benchmarks.md).
ERROR_AT_NONE, SURER = 0.45, 5.0
# Score below which a part counts as not visible: 12% of hidden legs, 4% of visible parts (ibid.).
HIDDEN = 0.18

Alike = Float[np.ndarray, "object template"]


def locate_part(part: SemanticPart, seen: SeenNodes, traits: NodeTraits) -> FoundPart:
    """Where the part is on every object.

    p(I) = votes (`cast_votes`) + sum over templates of k(I, k) correction_k, and the column drawn
    to the middle as far as the facing is unsure

    Args:
        part: from `explgraph.parts.fit_part`.
        seen: the nodes on the objects, known or new.
        traits: the nodes of the graph that the part was fitted on.

    >>> locate_part(head, known.seen, known.traits).place.shape
    (48, 2)
    """
    alike = likeness(part, seen, traits)
    place = cast_votes(part, seen, alike) + alike @ part.correction
    # The mean over both facings, of which one may be wrong: then nothing is known of left and
    # right, and the middle of the box errs least (measured: docs/benchmarks/parts.md).
    place[:, 1] = 0.5 + seen.trust * (place[:, 1] - 0.5)
    score = confidence(part, seen, alike)
    return FoundPart(
        # The corrections extrapolate, but a part lies in its object's box.
        place=np.clip(place, 0, 1),
        score=score,
        expected_error=ERROR_AT_NONE * np.exp(-SURER * score),
        template=alike.argmax(1),
        visible=score >= HIDDEN,
    )


def cast_votes(part: SemanticPart, seen: SeenNodes, alike: Alike) -> Float[np.ndarray, "object 2"]:
    """The mean of the votes.

        sum over templates k, nodes V of k(I, k) w_kV s_V(I)^2 (p_V(I) + displaced d_kV)
        / sum of k(I, k) w_kV s_V(I)^2

    s_V(I) is the relative score: templates that are alike and nodes that are sure count more.

    Args:
        part: the part; its corrections are not used.
        seen: the nodes on the objects.
        alike: from `likeness`.
    """
    sureness = np.square(seen.relative[:, part.nodes])
    # Summed over the templates first, as two matrix products: the array object x template x node x
    # 2 is never made.
    votes = (alike @ part.weight) * sureness
    shift = (part.weight[..., None] * part.displacement).reshape(part.n_templates, -1)
    shifts = (alike @ shift).reshape(*votes.shape, 2) * sureness[..., None]
    places = (votes[..., None] * seen.place[:, part.nodes]).sum(1)
    summed = places + part.config.displaced * shifts.sum(1)
    # If no node was found at all, this is 0 and not NaN; the score is 0 too, and nothing visible.
    place: Float[np.ndarray, "object 2"] = summed / np.maximum(votes.sum(1)[:, None], 1e-300)
    return place


def confidence(part: SemanticPart, seen: SeenNodes, alike: Alike) -> Float[np.ndarray, " object"]:
    """The score of the answer, 0..1: sqrt(evidence x likeness).

    Evidence is the weighted mean score of the part's nodes. Likeness is that to the template most
    alike, over that of an object with itself. The expected error falls as 1 / score: fitted
    freely, leaving out one category at a time, the exponents of evidence and likeness were -0.53
    and -0.62 (docs/benchmarks.md).
    """
    # Scores and not relative ones: on an object that the graph hardly explains all are low.
    evidence = seen.score[:, part.nodes] @ part.weight.mean(0)
    score: Float[np.ndarray, " object"] = np.sqrt(evidence * alike.max(1) / part.config.alike)
    return score
