"""How good nodes are as part detectors: location instability, landmark error and facing.

All figures are in fractions of the diagonal of the object's box stretched to a square, the frame
of the published protocol (box -> 224 x 224, errors divided by 224 sqrt 2).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

Array = NDArray[np.float64]
Places = Float[np.ndarray, "object node 2"]  # (x, y), fractions of the box
Scores = Float[np.ndarray, "object node"]
Landmarks = Float[
    np.ndarray, "object landmark 2"
]  # (x, y), fractions of the box, NaN if not annotated
Facing = Bool[np.ndarray, " object"]
Photographs = Int[np.ndarray, " object"]  # objects with one number share a photograph

DIAGONAL = 2**0.5  # of a box stretched to a square of side 1
N_STRONGEST, N_BEST = 167, 20  # nodes and images of the published location instability
N_BEST_LATER = 100  # images of the variant of later papers
N_FEATURES, N_SPLITS = 100, 10  # nodes that the regression reads; random splits into halves
ALPHAS = np.logspace(-3, 3, 13)  # regularisers tried
CLEARLY_SIDEWAYS = 0.1  # distance of the first two landmarks in x, box widths


@dataclass(frozen=True)
class LayerScore:
    """Figures of one layer; see `instability` and `landmark_errors`.

    >>> LayerScore(90, 0.08, 0.09, landmark_error=0.05, constant_error=0.1).landmark_ratio
    0.5
    """

    nodes: int
    instability: float
    instability_100: float
    landmark_error: float
    constant_error: float

    @property
    def landmark_ratio(self) -> float:
        """landmark_error / constant_error: 1 = nodes tell nothing; the lower the better."""
        return self.landmark_error / self.constant_error if self.constant_error else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "landmark_ratio": self.landmark_ratio}


def landmarks_in_boxes(
    landmarks: Sequence[dict[str, tuple[float, float]]],
    boxes: Float[np.ndarray, "object 4"],
    names: Sequence[str],
) -> Landmarks:
    """Landmarks as fractions of their boxes.

    Args:
        landmarks: per object name -> (x, y), pixels.
        boxes: x, y, width, height, pixels.
        names: the landmarks wanted, in order.

    >>> landmarks_in_boxes([{"head": (15.0, 40.0)}], np.array([[10.0, 20, 10, 40]]), ["head"])
    array([[[0.5, 0.5]]])
    """
    missing = (np.nan, np.nan)
    pixels = np.array([[one.get(name, missing) for name in names] for one in landmarks], float)
    corners, sides = boxes[:, None, :2], boxes[:, None, 2:]
    found: Array = (pixels.reshape(len(boxes), -1, 2) - corners) / sides
    return found


def instability(place: Places, score: Scores, marks: Landmarks, *, later: bool = False) -> float:
    """The location instability (Zhang et al. 2018, section 4): 0 for a perfect detector.

    Per node the standard deviation, over its 20 best objects, of the distance to each landmark;
    mean over landmarks and over the 167 nodes with the best mean score. A node that never moves
    scores well too: read it together with `landmark_errors`.

    Args:
        place: of the nodes.
        score: of the nodes.
        marks: of the objects.
        later: the variant of the authors' later papers: for each landmark the node's 100 best
            objects among those that show it.

    >>> head = np.random.default_rng(0).random((30, 1, 2))
    >>> round(instability(head + 0.1, np.ones((30, 1)), head), 2)
    0.0
    """
    best = np.sort(score, 0)[::-1][:N_BEST].mean(0)
    spreads = []
    for node in np.argsort(-best)[:N_STRONGEST]:
        ranked = np.argsort(-score[:, node])
        offsets = place[ranked, node, None] - marks[ranked]
        distances = np.linalg.norm(offsets, axis=-1).T
        counted = [_counted(distance, later=later) for distance in distances]
        # The spread of one or two distances says nothing.
        of_node = [of_mark.std(ddof=1) for of_mark in counted if len(of_mark) > 2]
        if of_node:
            spreads.append(np.mean(of_node))
    return float(np.mean(spreads) / DIAGONAL) if spreads else float("nan")


def _counted(
    distance: Float[np.ndarray, " ranked"], *, later: bool
) -> Float[np.ndarray, " counted"]:
    """The distances of a node to one landmark that count, from those of objects ranked by score."""
    shown = ~np.isnan(distance)
    # The best objects come first, then those of them that show the landmark; or the other way.
    counted: Array = distance[shown][:N_BEST_LATER] if later else distance[:N_BEST][shown[:N_BEST]]
    return counted


def landmark_errors(
    place: Places,
    score: Scores,
    marks: Landmarks,
    mirrored: Facing,
    images: Photographs,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """The landmark error of the nodes and that of a constant predictor.

    Ridge regression from the places of the 100 strongest nodes to each landmark, in the resolved
    facing; half of the objects to fit (the regulariser chosen inside that half), half to test,
    ten splits grouped by image. The constant predictor knows the mean place over the fitting
    half, in the images as photographed: it has no facing to resolve.

    Args:
        place: of the nodes.
        score: of the nodes.
        marks: of the objects.
        mirrored: which objects face the other way.
        images: the photograph of each object.
        seed: of the splits.

    >>> head, ids = np.random.default_rng(0).random((30, 1, 2)), np.arange(30)
    >>> error, usual = landmark_errors(head + 0.1, np.ones((30, 1)), head, ids < 0, ids)
    >>> error < 0.1 * usual
    True
    """
    rng = np.random.default_rng(seed)
    place, turned = _turned(place, mirrored), _turned(marks, mirrored)
    # A score that is missing (NaN) ranks its node last.
    finite = np.where(np.isfinite(score), score, 0)
    errors, constants = [], []
    for _ in range(N_SPLITS):
        # By photograph: its objects look alike, and would be known from one half in the other.
        shuffled = rng.permutation(np.unique(images))
        fitting = np.isin(images, shuffled[: len(shuffled) // 2])
        # Chosen on the fitting half alone.
        nodes = np.argsort(-finite[fitting].mean(0))[:N_FEATURES]
        features = place[:, nodes].reshape(len(place), -1)
        centre = np.nanmean(features[fitting], 0)
        features = np.where(np.isnan(features), centre, features) - centre
        for k in range(marks.shape[1]):
            mark, plain = turned[:, k], marks[:, k]
            shown = ~np.isnan(mark[:, 0])
            fit, test = shown & fitting, shown & ~fitting
            if min(fit.sum(), test.sum()) < 5:
                continue
            rule = RidgeCV(ALPHAS).fit(features[fit], mark[fit])
            miss = rule.predict(features[test]) - mark[test]
            usual_miss = plain[fit].mean(0) - plain[test]
            errors.append(np.linalg.norm(miss, axis=1).mean())
            constants.append(np.linalg.norm(usual_miss, axis=1).mean())
    if not errors:
        return float("nan"), float("nan")
    return float(np.mean(errors) / DIAGONAL), float(np.mean(constants) / DIAGONAL)


def facing_accuracy(marks: Landmarks, mirrored: Facing) -> float | None:
    """The share of clearly sideways objects that the flags split correctly into left and right.

    0.5 is chance; None where fewer than two landmarks or five clear objects exist. Which of the
    two facings is called mirrored is arbitrary, so the better of the two readings counts.

    >>> left, right = [[0.1, 0.5], [0.9, 0.5]], [[0.9, 0.5], [0.1, 0.5]]
    >>> facing_accuracy(np.array([left] * 5 + [right] * 5), np.arange(10) < 6)
    0.9
    """
    if marks.shape[1] < 2:
        return None
    gap = marks[:, 0, 0] - marks[:, 1, 0]
    # Front views have no side. NaN, where a landmark is not annotated, is not clear either.
    clear = np.abs(gap) > CLEARLY_SIDEWAYS
    if clear.sum() < 5:
        return None
    agree = float(((gap[clear] > 0) == mirrored[clear]).mean())
    return max(agree, 1 - agree)


def score_layer(
    place: Places, score: Scores, marks: Landmarks, mirrored: Facing, images: Photographs
) -> LayerScore:
    """All figures of one layer; arguments as in `landmark_errors`.

    >>> head, ids = np.random.default_rng(0).random((30, 1, 2)), np.arange(30)
    >>> score = score_layer(head + 0.1, np.ones((30, 1)), head, ids < 0, ids)
    >>> score.nodes, score.landmark_ratio < 0.1
    (1, True)
    """
    error, constant = landmark_errors(place, score, marks, mirrored, images)
    first, later = instability(place, score, marks), instability(place, score, marks, later=True)
    return LayerScore(place.shape[1], first, later, error, constant)


def _turned(place: Array, mirrored: Facing) -> Array:
    """Places with x reflected where the object was understood through its mirror image."""
    turned = place.copy()
    turned[mirrored, ..., 0] = 1 - turned[mirrored, ..., 0]
    return turned
