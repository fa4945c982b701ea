"""How alike two objects are as far as a part is concerned: the kernel of the residuals.

    k(I, k) = base + exp(-|z_I - z_k|^2 / 2) + exp(-(1 - cos(a_I, a_k)) / contrast)

z is the pose of the whole object (`NodeTraits.pose`), a the appearance about the part: the
relative scores of the nodes that vote, times the root of their weights. On objects of a like pose
the part leans the same way; objects of a like appearance show the same part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from explgraph.parts.and_or import SemanticPart
from explgraph.parts.nodes import NodeTraits, SeenNodes


@dataclass(frozen=True)
class Look:
    """The pose of some objects, and their appearance as unit vectors."""

    pose: Float[np.ndarray, "object pose"]
    appearance: Float[np.ndarray, "object vote"]


def look_of(part: SemanticPart, seen: SeenNodes, traits: NodeTraits) -> Look:
    """The look of objects about a part."""
    relative = seen.relative[:, part.nodes]
    return Look(traits.pose(seen), appearance(relative, part.weight))


def template_look(part: SemanticPart) -> Look:
    """The look of a part's templates."""
    # From what the part stores: the annotated photographs need not be at hand.
    return Look(part.pose, appearance(part.presence, part.weight))


def likeness(
    part: SemanticPart, seen: SeenNodes, traits: NodeTraits
) -> Float[np.ndarray, "object template"]:
    """The kernel k(I, k) between objects and templates."""
    return kernel(part, look_of(part, seen, traits), template_look(part))


def kernel(part: SemanticPart, one: Look, other: Look) -> Float[np.ndarray, "_one _other"]:
    """The kernel k between two sets of objects."""
    pose = np.square(one.pose[:, None] - other.pose).sum(-1)
    unlike = 1 - one.appearance @ other.appearance.T
    # A sum and not a product: either is enough. An animal in another pose may look alike about the
    # part, and the base keeps every template's vote.
    similar: Float[np.ndarray, "_one _other"] = (
        part.config.base + np.exp(-pose / 2) + np.exp(-unlike / part.contrast)
    )
    return similar


def appearance(
    relative: Float[np.ndarray, "object vote"], weight: Float[np.ndarray, "template vote"]
) -> Float[np.ndarray, "object vote"]:
    """Unit vectors of the nodes' relative scores, times the root of their mean weight."""
    # Of the root: a cosine multiplies two of them, so a node counts with its weight.
    vector = relative * np.sqrt(weight.mean(0))
    unit: Float[np.ndarray, "object vote"] = vector / np.maximum(
        np.linalg.norm(vector, axis=1, keepdims=True), 1e-12
    )
    return unit
