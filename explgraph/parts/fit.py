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
MIN_CERTAINTY = 0.01  # of a template's facing; keeps quotients finite
MIN_CONTRAST = 1e-3  # of a part; appearances that differ less are all alike


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
    Templates whose facing is unsure vote less, and their noise is larger.

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
    near = weigh_nodes(displacement, template.score, traits, reach=config.reach)
    nodes, weight = _choose(near, seen, config)
    # A mark on an object whose facing is a guess may lie on the wrong side: it says less.
    certain = np.maximum(2 * template.trust - 1, MIN_CERTAINTY)
    weight = _weigh_templates(weight, certain)
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
    # The correction is still zero, and what the votes miss is what it has to say.
    alike = likeness(part, template, traits)
    missed = places - cast_votes(part, template, alike)
    # With noise the templates keep a rest of their own miss: a mark is not exact either.
    noisy = alike + np.diag(config.noise / certain)
    correction = np.linalg.solve(noisy, missed)
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
    squared_distance = np.square(displacement).sum(-1)
    near = np.exp(-squared_distance / (2 * reach**2))
    # The deviation as a factor took the ratio at one mark from .565 to .555 (docs/benchmarks).
    # Texture has strength 0 and no vote: its deviation, at the bound, would give it the most.
    free = np.where(traits.strength > 0, traits.std, 0)
    weight: Float[np.ndarray, "template node"] = near * score * free
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
    place = seen.place[:, nodes]
    movement = place - place.mean(0)
    # Squared as in the votes: this is the movement of the mean vote but for the templates.
    share = relative**2 * weight
    total_share = np.maximum(share.sum(1)[:, None], 1e-300)
    common = np.einsum("iv,iva->ia", share, movement) / total_share
    own = np.square(movement - common[:, None]).sum(-1)
    rest = (own * relative).sum(0)
    total = (np.square(movement).sum(-1) * relative).sum(0)
    # Relative to the movement. A small variance of the displacement alone would reward nodes that
    # hardly move, at .01-.02 of the ratio (docs/benchmarks/parts.md).
    agreeing: Float[np.ndarray, " vote"] = (total + 1e-12) / (total + rest + 1e-12)
    return agreeing


def _choose(
    near: Float[np.ndarray, "template node"], seen: SeenNodes, config: PartConfig
) -> tuple[Int[np.ndarray, " vote"], Float[np.ndarray, "template vote"]]:
    """The nodes that vote, and what each has to say in every template."""
    # Agreement for the candidates only: its arrays are objects x nodes x 2, and of a graph's
    # thousands of nodes most lie too far from the mark to have any weight.
    nodes = _strongest(near, config.candidates)
    near = near[:, nodes]
    agreeing = agreement(seen, nodes, near.sum(0))
    weight = near * agreeing**config.agreement
    best = _strongest(weight, config.nodes)
    weight = weight[:, best]
    # A template with many nodes near its mark must not outvote one with few.
    weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)
    return nodes[best], weight


def _weigh_templates(
    weight: Float[np.ndarray, "template vote"], certain: Float[np.ndarray, " template"]
) -> Float[np.ndarray, "template vote"]:
    """The weights times what each template is worth, sums 1 in the mean of those that vote."""
    # Relative to one another: a single mark has all the say, whatever it is worth.
    total = weight.sum(1)
    worth = certain / max((certain * total).sum() / max((total > 0).sum(), 1), 1e-300)
    weighed: Float[np.ndarray, "template vote"] = weight * worth[:, None]
    return weighed


def _strongest(weight: Float[np.ndarray, "template node"], n: int) -> Int[np.ndarray, " vote"]:
    # Stable: equal weights, such as the zeros of texture, come in the graph's order everywhere.
    return np.argsort(-weight.sum(0), kind="stable")[:n]


def _contrast(
    seen: SeenNodes,
    template: SeenNodes,
    nodes: Int[np.ndarray, " vote"],
    weight: Float[np.ndarray, "template vote"],
) -> float:
    # Cosines of scores, all positive, lie close to 1, how close differs from part to part. With
    # the median as unit the usual object has a likeness in appearance of 1/e.
    every, own = (appearance(one.relative[:, nodes], weight) for one in (seen, template))
    return max(float(np.median(1 - every @ own.T)), MIN_CONTRAST)
