"""The And-Or graph of a semantic part, as data.

    semantic part (OR)  ->  templates (AND)  ->  nodes of the explanatory graph (OR over places)  ->  units of the network

A template is one annotated object: its pose, its appearance, and the displacement of every chosen node to the part in it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PartConfig:
    """Settings of a semantic part. All were chosen on the six categories of docs/benchmarks.md; the figures hardly depend on them.

    Args:
        reach: standard deviation of the window around the annotation within which nodes are considered, fraction of the input.
        candidates: nodes whose agreement is measured; nodes: nodes that vote.
        agreement: exponent of the agreement in a node's weight.
        displaced: share of the displacement measured in one photograph that is believed; the rest is that photograph's noise.
        base: likeness of objects that have nothing in common; pose and appearance add up to 1 each.
        noise: variance of an annotation, relative to that of the residuals.
    """

    reach: float = 0.1
    candidates: int = 500
    nodes: int = 128
    agreement: float = 2.0
    displaced: float = 0.25
    base: float = 0.3
    noise: float = 0.3

    @property
    def alike(self) -> float:
        """The likeness of an object with itself."""
        return self.base + 2.0


@dataclass(frozen=True, eq=False)
class SemanticPart:
    """A fitted part; templates have the axis template, the chosen nodes the axis vote.

    Args:
        name: what the user calls it.
        nodes: positions of the chosen nodes in `NodeTraits.names`, (vote,), rising in no order.
        weight: (template, vote), each row sums to 1: how much a node has to say in this template.
        displacement: (template, vote, 2), part minus node, (row, column), fractions, resolved facing.
        presence: (template, vote), relative score of the node in the template's object.
        pose: (template, q), of the template's object.
        correction: (template, 2), what the template adds to the votes per unit of likeness, fractions.
        contrast: median over the unlabelled objects of 1 - cosine of their appearance to a template.
        config: settings.
    """

    name: str
    nodes: NDArray[np.int64]
    weight: Array
    displacement: Array
    presence: Array
    pose: Array
    correction: Array
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
        place: (object, 2), (row, column), fractions of the network input, resolved facing.
        score: (object,), 0..1, `explgraph.parts.locate.confidence`.
        expected_error: (object,), fractions of the input's diagonal.
        template: (object,), the template that is most alike.
        visible: (object,) bool; False where hardly any of the part's nodes was seen.
    """

    place: Array
    score: Array
    expected_error: Array
    template: NDArray[np.int64]
    visible: NDArray[np.bool_]
