"""From one to a few annotations to the And-Or graph of a part: which nodes vote, how far off."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float, Int

from explgraph.errors import UsageError
from explgraph.parts.and_or import PartConfig, SemanticPart
from explgraph.parts.likeness import appearance, likeness
from explgraph.parts.locate import cast_votes
from explgraph.parts.nodes import NodeTraits, SeenNodes

DEFAULT = PartConfig()


def fit_part(
    name: str,
    seen: SeenNodes,
    traits: NodeTraits,
    annotated: Int[np.ndarray, " template"],
    places: Float[np.ndarray, "_ 2"],
    *,
    config: PartConfig = DEFAULT,
) -> SemanticPart:
    """The And-Or graph of a part.

    Nodes near the annotations vote (`weigh_nodes`). The better a node agrees with them over all
    objects, annotated or not, the more its vote counts (`agreement`). What the votes miss in the
    annotated objects is passed on to alike objects, by the Gaussian process whose covariance is
    the likeness: correction = (k + noise)^-1 (annotated - voted).

    Args:
        name: of the part.
        seen: the nodes on all known objects; of the unlabelled ones only places are used.
        traits: the graph's nodes.
        annotated: which objects of ``seen`` are annotated.
        places: where, (row, column), fractions of the network input, resolved facing.
        config: settings.

    Raises:
        UsageError: no annotation, or one outside of the object's box.

    >>> places = known.resolved([0, 1], [(205.7, 87.8), (208.0, 96.9)])
    >>> fit_part("head", known.seen, known.traits, np.array([0, 1]), places).weight.shape
    (2, 128)
    """
    if not len(annotated):
        raise UsageError(f"part {name!r} has no annotation; give at least one")
    if not ((places >= 0) & (places <= 1)).all():
        raise UsageError(
            f"annotations of {name!r} must lie in the box of their object, fractions 0 to 1,"
            f" got {places.tolist()}"
        )
    template = seen.objects(annotated)
    displacement = places[:, None] - template.place
    weight = weigh_nodes(displacement, template.score, traits, reach=config.reach)
    nodes = _strongest(weight, config.candidates)
    weight = weight[:, nodes] * agreement(seen, nodes, weight[:, nodes].sum(0)) ** config.agreement
    best = _strongest(weight, config.nodes)
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
    alike = likeness(part, template, traits)
    missed = places - cast_votes(part, template, alike)
    correction = np.linalg.solve(alike + config.noise * np.eye(len(alike)), missed)
    return replace(part, correction=correction)


def weigh_nodes(
    displacement: Float[np.ndarray, "template node 2"],
    score: Float[np.ndarray, "template node"],
    traits: NodeTraits,
    *,
    reach: float,
) -> Float[np.ndarray, "template node"]:
    """The weight of every node in every template, before agreement.

    exp(-|d|^2 / 2 reach^2) S sigma: near the annotation, found in the annotated object, and with a
    wide deformation range, for a node that may move farther follows the part farther. Texture does
    not vote.
    """
    near = np.exp(-np.square(displacement).sum(-1) / (2 * reach**2))
    weight: Float[np.ndarray, "template node"] = (
        near * score * np.where(traits.strength > 0, traits.std, 0)
    )
    return weight


def agreement(
    seen: SeenNodes, nodes: Int[np.ndarray, " vote"], weight: Float[np.ndarray, " vote"]
) -> Float[np.ndarray, " vote"]:
    """How well each node keeps its displacement to its neighbours over all objects, 0..1.

    1 / (1 + r), r = what is left of the node's movement when the mean movement of all these nodes
    is taken away, over its movement. A node that moves with the others agrees. One that moves on
    its own does not, and one that rests where others move does not.

    Args:
        seen: all known objects.
        nodes: positions of the nodes.
        weight: of each in the mean movement.
    """
    relative = seen.relative[:, nodes]
    movement = seen.place[:, nodes] - seen.place[:, nodes].mean(0)
    share = relative**2 * weight
    common = np.einsum("iv,iva->ia", share, movement) / np.maximum(share.sum(1)[:, None], 1e-300)
    rest = (np.square(movement - common[:, None]).sum(-1) * relative).sum(0)
    total = (np.square(movement).sum(-1) * relative).sum(0)
    agreeing: Float[np.ndarray, " vote"] = (total + 1e-12) / (total + rest + 1e-12)
    return agreeing


def _strongest(weight: Float[np.ndarray, "template node"], n: int) -> Int[np.ndarray, " vote"]:
    return np.argsort(-weight.sum(0), kind="stable")[:n]


def _contrast(
    seen: SeenNodes,
    template: SeenNodes,
    nodes: Int[np.ndarray, " vote"],
    weight: Float[np.ndarray, "template vote"],
) -> float:
    every, own = (appearance(one.relative[:, nodes], weight) for one in (seen, template))
    return max(float(np.median(1 - every @ own.T)), 1e-3)
