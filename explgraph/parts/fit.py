"""From one to a few annotations to the And-Or graph of a part: which nodes vote, and how far they are from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import UsageError
from explgraph.parts.and_or import Array, PartConfig, SemanticPart
from explgraph.parts.likeness import appearance, likeness
from explgraph.parts.locate import cast_votes
from explgraph.parts.nodes import NodeTraits, SeenNodes

DEFAULT = PartConfig()


def fit_part(
    name: str,
    seen: SeenNodes,
    traits: NodeTraits,
    annotated: NDArray[np.int64],
    places: Array,
    *,
    config: PartConfig = DEFAULT,
) -> SemanticPart:
    """Return the And-Or graph of a part.

    Nodes near the annotations vote (`weigh_nodes`); the more of them agree over all objects, annotated or not, the more
    they say (`agreement`). What the votes miss in the annotated objects is passed on to alike objects, by the Gaussian process whose
    covariance is the likeness: correction = (k + noise)^-1 (annotated - voted).

    Args:
        name: of the part.
        seen: the nodes on all known objects; their places are all that is used of the unlabelled ones.
        traits: the graph's nodes.
        annotated: (template,) which objects of ``seen`` are annotated.
        places: (template, 2) where, (row, column), fractions of the network input, resolved facing.
        config: settings.

    Raises:
        UsageError: no annotation, or one outside of the object's box.
    """
    if not len(annotated):
        raise UsageError(f"part {name!r} has no annotation; give at least one")
    if not (np.isfinite(places).all() and (places >= 0).all() and (places <= 1).all()):
        raise UsageError(
            f"annotations of {name!r} must lie in the box of their object, fractions 0 to 1, got {places.tolist()}"
        )
    template = seen.objects(annotated)
    displacement = places[:, None] - template.place
    weight = weigh_nodes(displacement, template.score, traits, config=config)
    nodes = np.argsort(-weight.sum(0), kind="stable")[: config.candidates]
    weight = weight[:, nodes] * agreement(seen, nodes, weight[:, nodes].sum(0)) ** config.agreement
    best = np.argsort(-weight.sum(0), kind="stable")[: config.nodes]
    nodes, weight = nodes[best], weight[:, best]
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)
    part = SemanticPart(
        name=name,
        nodes=nodes,
        weight=weight,
        displacement=displacement[:, nodes],
        presence=template.relative[:, nodes],
        pose=traits.pose(template),
        correction=np.zeros_like(places),
        contrast=_contrast(seen, template, nodes, weight),
        config=config,
    )
    return replace(part, correction=_correction(part, template, traits, places))


def weigh_nodes(
    displacement: Array, score: Array, traits: NodeTraits, *, config: PartConfig
) -> Array:
    """Return the weight of every node in every template before agreement is looked at, (template, node).

    exp(-|d|^2 / 2 reach^2) S sigma: near the annotation, seen in the annotated object, and with a wide deformation range, for a
    node that may move farther follows the part farther. Texture has no say.
    """
    near = np.exp(-np.square(displacement).sum(-1) / (2 * config.reach**2))
    weight: Array = near * score * np.where(traits.strength > 0, traits.std, 0)
    return weight


def agreement(seen: SeenNodes, nodes: NDArray[np.int64], weight: Array) -> Array:
    """Return how well each node keeps its displacement to its neighbours over all objects, (vote,), 0..1.

    1 / (1 + r), r = what is left of the node's movement when the mean movement of all these nodes is taken away, over its movement:
    a node that moves with the others agrees, one that moves on its own does not, and one that rests where others move does not.

    Args:
        seen: all known objects.
        nodes: positions of the nodes, (vote,).
        weight: of each in the mean movement, (vote,).
    """
    relative = seen.relative[:, nodes]
    movement = seen.place[:, nodes] - seen.place[:, nodes].mean(0)
    share = relative**2 * weight
    common = np.einsum("iv,iva->ia", share, movement) / np.maximum(share.sum(1)[:, None], 1e-300)
    rest = (np.square(movement - common[:, None]).sum(-1) * relative).sum(0)
    total = (np.square(movement).sum(-1) * relative).sum(0)
    agreed: Array = (total + 1e-12) / (total + rest + 1e-12)
    return agreed


def _contrast(
    seen: SeenNodes, template: SeenNodes, nodes: NDArray[np.int64], weight: Array
) -> float:
    shown = [appearance(one.relative[:, nodes], weight) for one in (seen, template)]
    return max(float(np.median(1 - shown[0] @ shown[1].T)), 1e-3)


def _correction(
    part: SemanticPart, template: SeenNodes, traits: NodeTraits, places: Array
) -> Array:
    alike = likeness(part, template, traits)
    missed = places - cast_votes(part, template, alike)
    known = alike + part.config.noise * np.eye(len(alike))
    return np.asarray(np.linalg.solve(known, missed), np.float64)
