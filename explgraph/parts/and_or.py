"""The And-Or graph of a semantic part, as data.

    semantic part (OR) -> templates (AND) -> nodes of the graph (OR over places) -> units

A template is one annotated object: its pose, its appearance, and the displacement of every chosen
node to the part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclass(frozen=True)
class PartConfig:
    """Settings of a semantic part, chosen on the six categories of docs/benchmarks.md.

    The figures there hardly depend on them.

    Args:
        reach: standard deviation of the window around the annotation within which nodes are
            considered, fraction of the input.
        candidates: nodes whose agreement is measured.
        nodes: nodes that vote.
        agreement: exponent of the agreement in a node's weight.
        displaced: share of the displacement measured in one photograph that is used; the rest is
            that photograph's noise.
        base: likeness of objects that have nothing in common; pose and appearance add up to 1 each.
        noise: variance of an annotation, relative to that of the residuals.

    >>> PartConfig(nodes=64).alike
    2.3
    """

    # Chosen for each category on the other five, reach, agreement, displaced, base and noise gave
    # 0.997 of the error of these: they are not fitted to a category (docs/benchmarks/parts.md).
    reach: float = 0.1
    candidates: int = 500
    nodes: int = 128
    agreement: float = 2.0
    # Counted wholly / by half / not at all the ratio at one mark was .566 / .559 / .556 (ibid.).
    displaced: float = 0.25
    base: float = 0.3
    noise: float = 0.3

    @property
    def alike(self) -> float:
        """The likeness of an object with itself."""
        return self.base + 2.0


@dataclass(frozen=True, eq=False)
class SemanticPart:
    """A fitted part; its templates have the axis template, the nodes that vote the axis vote.

    Args:
        name: what the user calls it.
        nodes: positions of the nodes in `NodeTraits.names`, unsorted.
        weight: of a node's vote in a template; rows sum to 1, the unsure ones to less.
        displacement: part minus node, (row, column), fractions, resolved facing.
        presence: relative score of the node in the template's object.
        pose: of the template's object.
        correction: what the template adds to the votes per unit of likeness, fractions.
        contrast: median over unlabelled objects of 1 - cosine of their appearance to a template.
        config: settings.
    """

    name: str
    nodes: Int[np.ndarray, " vote"]
    weight: Float[np.ndarray, "template vote"]
    displacement: Float[np.ndarray, "template vote 2"]
    presence: Float[np.ndarray, "template vote"]
    pose: Float[np.ndarray, "template pose"]
    correction: Float[np.ndarray, "template 2"]
    contrast: float
    config: PartConfig = PartConfig()

    @property
    def n_templates(self) -> int:
        """Number of annotated objects."""
        return len(self.weight)


@dataclass(frozen=True)
class FoundPart:
    """Where a part is on a set of objects.

    Args:
        place: (row, column), fractions of the network input, resolved facing.
        score: 0..1, `explgraph.parts.locate.confidence`.
        expected_error: fractions of the input's diagonal.
        template: the template that is most alike.
        visible: False where hardly any of the part's nodes was found.

    >>> from explgraph.parts import locate_part
    >>> found = locate_part(head, known.seen, known.traits)
    >>> found.place.shape, found.score.shape
    ((48, 2), (48,))
    """

    place: Float[np.ndarray, "object 2"]
    score: Float[np.ndarray, " object"]
    expected_error: Float[np.ndarray, " object"]
    template: Int[np.ndarray, " object"]
    visible: Bool[np.ndarray, " object"]
