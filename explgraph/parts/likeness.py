"""How alike two objects are, as far as a part is concerned: the kernel of the residuals, and the choice of templates.

    k(I, k) = base + exp(-|z_I - z_k|^2 / 2) + exp(-(1 - cos(a_I, a_k)) / contrast)

z is the pose of the whole object (`NodeTraits.pose`), a the appearance about the part: the relative scores of the nodes that vote,
times the root of their weights. Objects of a like pose lean the part the same way, objects of a like appearance show the same part.
"""

from __future__ import annotations

import numpy as np

from explgraph.parts.and_or import Array, PartConfig, SemanticPart
from explgraph.parts.nodes import NodeTraits, SeenNodes


def likeness(part: SemanticPart, seen: SeenNodes, traits: NodeTraits) -> Array:
    """Return k(I, k), (object, template)."""
    shown = appearance(seen.relative[:, part.nodes], part.weight)
    return kernel(
        (traits.pose(seen), shown),
        (part.pose, appearance(part.presence, part.weight)),
        contrast=part.contrast,
        config=part.config,
    )


def kernel(
    one: tuple[Array, Array], other: tuple[Array, Array], *, contrast: float, config: PartConfig
) -> Array:
    """Return k between objects, each given as (pose (n, q), appearance (n, vote) of unit length)."""
    pose = np.square(one[0][:, None] - other[0]).sum(-1)
    kernel: Array = config.base + np.exp(-pose / 2) + np.exp(-(1 - one[1] @ other[1].T) / contrast)
    return kernel


def appearance(relative: Array, weight: Array) -> Array:
    """Return unit vectors (object, vote) of the nodes' relative scores, weighted by the root of their mean weight."""
    vector = relative * np.sqrt(weight.mean(0))
    unit: Array = vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-12)
    return unit
