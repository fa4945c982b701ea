"""Purity: do the best patches of a node show one part? Judged by landmarks, or by people.

Zhang et al. (AAAI 2018, section 4) had people say which of a node's best patches show the same
part. `score_purity` asks the landmarks instead, `score_answers` reads what raters said of a blinded
sheet (`explgraph.queries.write_raters`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from jaxtyping import Int

from explgraph.errors import UsageError
from explgraph.evaluation.landmarks import (
    N_BEST,
    Facing,
    Landmarks,
    Places,
    Scores,
)

N_SHUFFLES = 20  # deals of the patches that chance is the mean of

Answers = Mapping[str, Mapping[str, frozenset[int]]]  # rater -> row of the sheet -> patches


@dataclass(frozen=True)
class PurityScore:
    """Shares of the best patches on one part, means over nodes (or over raw filters).

    Args:
        objects: those on which every landmark is marked.
        nodes: how many there are; all are judged. The strongest alone mostly lie on one part (the
            heads of lions), and would be pure however their patches were mixed (measured).
        purity: share of a node's 20 best patches whose nearest landmark is the same.
        chance: the same of the same patches, dealt out among the nodes at random.

    >>> round(PurityScore(90, 500, 0.9, 0.6).beyond_chance, 2)
    0.75
    """

    objects: int
    nodes: int
    purity: float
    chance: float

    @property
    def beyond_chance(self) -> float:
        """How much of the way from chance to 1: what compares data with few and many landmarks."""
        left = 1 - self.chance  # nothing where all data has one landmark
        return (self.purity - self.chance) / left if left else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "beyond_chance": self.beyond_chance}


def score_purity(place: Places, score: Scores, marks: Landmarks, *, seed: int = 0) -> PurityScore:
    """How pure the nodes' best patches are, by the landmark nearest to each.

    Args:
        place: of the nodes.
        score: of the nodes.
        marks: of the objects; those with a landmark missing are left out, for it may be nearest.
        seed: of what chance deals out.

    >>> rng = np.random.default_rng(0)
    >>> head, tail = rng.random((2, 30, 1, 2))
    >>> marks, score = np.concatenate([head, tail + 2], 1), rng.random((30, 2))
    >>> found = score_purity(marks + 0.1, score, marks)
    >>> found.purity, round(found.chance, 1)
    (1.0, 0.6)
    """
    whole = ~np.isnan(marks).any((1, 2))
    if not whole.any() or not place.shape[1]:
        return PurityScore(0, place.shape[1], math.nan, math.nan)
    nearest = _nearest(place[whole], score[whole], marks[whole])
    rng = np.random.default_rng(seed)
    deal = lambda: rng.permuted(nearest.ravel()).reshape(nearest.shape)
    chance = float(np.mean([_purity(deal()) for _ in range(N_SHUFFLES)]))
    return PurityScore(int(whole.sum()), place.shape[1], _purity(nearest), chance)


def at_rest(place: Places, mirrored: Facing) -> Places:
    """The control: every node at its mean place in the resolved facing, on every object.

    Such points know the facing and nothing else of an object. With few landmarks they are nearly as
    pure as the nodes (measured).

    >>> place = np.array([[[0.2, 0.5]], [[0.9, 0.5]]])
    >>> at_rest(place, np.array([False, True])).round(2).tolist()
    [[[0.15, 0.5]], [[0.85, 0.5]]]
    """
    turn = lambda points: np.where(mirrored[:, None, None] & [True, False], 1 - points, points)
    resting: Places = turn(np.broadcast_to(turn(place).mean(0), place.shape))
    return resting


def _nearest(place: Places, score: Scores, marks: Landmarks) -> Int[np.ndarray, "patch node"]:
    """The landmark nearest to each node on each of its best objects."""
    # Without a score an object is none of the best.
    finite = np.where(np.isfinite(score), score, -np.inf)
    best = np.argsort(-finite, axis=0, kind="stable")[:N_BEST]
    at = np.take_along_axis(place, best[..., None], 0)
    distance = [np.linalg.norm(at - marks[best, k], axis=-1) for k in range(marks.shape[1])]
    nearest: Int[np.ndarray, "patch node"] = np.argmin(distance, 0)
    return nearest


def _purity(nearest: Int[np.ndarray, "patch node"]) -> float:
    """The share of the most common landmark, mean over the nodes."""
    shares = [(nearest == k).mean(0) for k in range(int(nearest.max()) + 1)]
    return float(np.max(shares, 0).mean())


@dataclass(frozen=True)
class RatedPurity:
    """What raters said of the patches of one kind: of nodes, or of raw filters.

    Args:
        rows: of the sheet, answered by at least one rater.
        purity: share of a row's patches that show the same part, mean over rows.
        standard_error: of that mean, over rows.
    """

    rows: int
    purity: float
    standard_error: float


@dataclass(frozen=True)
class RatersScore:
    """What raters said of a blinded sheet.

    Args:
        raters: how many.
        kinds: of "nodes" and of "raw filters".
        difference: nodes less raw filters.
        standard_error: of the difference.
        agreement: share of the patches of which two raters say the same, mean over pairs; NaN of a
            single one.
        kappa: the same less what chance agrees on, over 1 less that (Fleiss 1971, over pairs).
    """

    raters: int
    kinds: dict[str, RatedPurity]
    difference: float
    standard_error: float
    agreement: float
    kappa: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def score_answers(
    kind_of: Mapping[str, str], patches: Mapping[str, int], answers: Answers
) -> RatersScore:
    """What the raters' answers come to, by kind.

    Args:
        kind_of: row of the sheet -> what it shows.
        patches: row -> how many.
        answers: of each rater, the rows answered -> the patches said to show the same part.

    Raises:
        UsageError: nobody answered anything, or a row or patch is not on the sheet.

    >>> kind_of, patches = {"1": "nodes", "2": "raw filters"}, {"1": 4, "2": 4}
    >>> said = {"ann": {"1": frozenset({0, 1, 2, 3}), "2": frozenset({0})}}
    >>> found = score_answers(kind_of, patches, said)
    >>> found.kinds["nodes"].purity, found.difference
    (1.0, 0.75)
    """
    shares: dict[str, list[float]] = defaultdict(list)
    for rater, rows in answers.items():
        for row, same in rows.items():
            if row not in kind_of or not same <= set(range(patches[row])):
                raise UsageError(f"{rater}: row {row!r} with these patches is not on the sheet")
            # One patch is alike to itself: a row in which no two are alike has a group of one.
            shares[row].append(max(len(same), 1) / patches[row])
    if not shares:
        raise UsageError("no row is answered; a rater clicks on patches, or on 'no two alike'")
    kinds = {}
    for kind in dict.fromkeys(kind_of.values()):
        means = [float(np.mean(said)) for row, said in shares.items() if kind_of[row] == kind]
        kinds[kind] = RatedPurity(len(means), *_mean_and_error(means))
    first, *others = kinds.values()
    other = others[0] if others else RatedPurity(0, math.nan, math.nan)
    error = math.hypot(first.standard_error, other.standard_error)
    agreement = _agreement(patches, answers)
    return RatersScore(len(answers), kinds, first.purity - other.purity, error, *agreement)


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    if not values:
        return math.nan, math.nan
    error = np.std(values, ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return float(np.mean(values)), float(error)


def _agreement(patches: Mapping[str, int], answers: Answers) -> tuple[float, float]:
    """The share of patches that two raters judge alike, and kappa."""
    agreed, said = [], []
    for one, other in combinations(answers.values(), 2):
        for row in one.keys() & other.keys():
            pair = np.array(
                [[k in rows[row] for k in range(patches[row])] for rows in (one, other)]
            )
            agreed += (pair[0] == pair[1]).tolist()
            said += pair.ravel().tolist()
    if not agreed:
        return math.nan, math.nan
    # As often as "the same" is said at all, two answers would agree by themselves.
    share = float(np.mean(said))
    by_chance = share**2 + (1 - share) ** 2
    agreement = float(np.mean(agreed))
    return agreement, (agreement - by_chance) / (1 - by_chance) if by_chance < 1 else math.nan
