"""How good are nodes as part detectors: location instability, landmark error and facing against annotated landmarks.

All figures are in fractions of the diagonal of the object's box stretched to a square, the frame of the published protocol (box ->
224 x 224, errors divided by 224 sqrt 2). Landmarks score a graph; they never steer mining.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV

Array = NDArray[np.float64]
DIAGONAL = 2**0.5
N_STRONGEST, N_BEST = 167, 20  # nodes and images of the published location instability
N_BEST_LATER = 100  # images of the variant of later papers
N_FEATURES, N_SPLITS = 100, 10  # nodes that the regression reads; random splits into halves
CLEARLY_SIDEWAYS = 0.1  # distance of the first two landmarks in x, box widths


@dataclass(frozen=True)
class LayerScore:
    """Figures of one layer; see the functions of this module."""

    nodes: int
    instability: float
    instability_100: float
    landmark_error: float
    constant_error: float

    @property
    def landmark_ratio(self) -> float:
        """landmark_error / constant_error: 1 = the nodes say nothing; the lower the better."""
        return self.landmark_error / self.constant_error

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "landmark_ratio": self.landmark_ratio}


def landmarks_in_boxes(
    landmarks: Sequence[dict[str, tuple[float, float]]], boxes: Array, names: Sequence[str]
) -> Array:
    """Return landmarks as (x, y) fractions of their boxes, (object, landmark, 2), NaN where not annotated.

    Args:
        landmarks: per object name -> (x, y), pixels.
        boxes: (object, 4) x, y, width, height, pixels.
        names: the landmarks wanted, in order.
    """
    marks = np.array(
        [[m.get(name, (np.nan, np.nan)) for name in names] for m in landmarks], float
    ).reshape(len(boxes), -1, 2)
    return (marks - boxes[:, None, :2]) / boxes[:, None, 2:]


def instability(place: Array, score: Array, marks: Array, *, later: bool = False) -> float:
    """Return the location instability (Zhang et al. 2018, section 4): lower is better, 0 for a perfect detector.

    Per node the standard deviation, over its 20 best objects, of the distance to each landmark; mean over landmarks and over the 167
    nodes with the best mean score. A node that never moves scores well too: read it together with `landmark_errors`.

    Args:
        later: the variant of the authors' later papers: for each landmark the node's 100 best objects among those that show it.
        place: (object, node, 2), (x, y) fractions of the box.
        score: (object, node).
        marks: (object, landmark, 2), NaN where not annotated.
    """
    best = np.sort(score, 0)[::-1][:N_BEST].mean(0)
    spreads = []
    for node in np.argsort(-best)[:N_STRONGEST]:
        ranked = np.argsort(-score[:, node])
        distance = np.linalg.norm(place[ranked, node, None] - marks[ranked], axis=-1)
        counted = [
            d[~np.isnan(d)][:N_BEST_LATER] if later else d[:N_BEST][~np.isnan(d[:N_BEST])]
            for d in distance.T
        ]
        of_node = [d.std(ddof=1) for d in counted if len(d) > 2]
        if of_node:
            spreads.append(np.mean(of_node))
    return float(np.mean(spreads) / DIAGONAL) if spreads else float("nan")


def landmark_errors(
    place: Array,
    score: Array,
    marks: Array,
    mirrored: NDArray[np.bool_],
    images: NDArray[np.int64],
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the landmark error of the nodes and that of a constant predictor.

    Ridge regression from the places of the 100 strongest nodes to each landmark, in the resolved facing; half of the objects to
    fit (the regulariser chosen inside that half), half to test, ten splits grouped by image. The constant predictor knows the
    mean place over the fitting half, in the images as photographed: it has no facing to resolve.

    Args:
        place: (object, node, 2), (x, y) fractions of the box; score: (object, node); marks: (object, landmark, 2).
        mirrored: (object,) facing; images: (object,) which objects share a photograph.
        seed: of the splits.
    """
    rng = np.random.default_rng(seed)
    place, turned = _turned(place, mirrored), _turned(marks, mirrored)
    finite = np.where(np.isfinite(score), score, 0)
    errors, constants = [], []
    for _ in range(N_SPLITS):
        shuffled = rng.permutation(np.unique(images))
        fitting = np.isin(images, shuffled[: len(shuffled) // 2])
        nodes = np.argsort(-finite[fitting].mean(0))[:N_FEATURES]
        features = place[:, nodes].reshape(len(place), -1)
        centre = np.nanmean(features[fitting], 0)
        features = np.where(np.isnan(features), centre, features) - centre
        for mark, plain in zip(np.moveaxis(turned, 1, 0), np.moveaxis(marks, 1, 0), strict=True):
            seen = ~np.isnan(mark[:, 0])
            fit, test = seen & fitting, seen & ~fitting
            if min(fit.sum(), test.sum()) < 5:
                continue
            model = RidgeCV(np.logspace(-3, 3, 13)).fit(features[fit], mark[fit])
            errors.append(np.linalg.norm(model.predict(features[test]) - mark[test], axis=1).mean())
            constants.append(np.linalg.norm(plain[fit].mean(0) - plain[test], axis=1).mean())
    if not errors:
        return float("nan"), float("nan")
    return float(np.mean(errors) / DIAGONAL), float(np.mean(constants) / DIAGONAL)


def facing_accuracy(marks: Array, mirrored: NDArray[np.bool_]) -> float | None:
    """Return the share of clearly sideways objects that the flags split correctly into left- and right-facing.

    0.5 is chance; None where fewer than two landmarks or five clear objects exist. Which of the two facings is called mirrored is
    arbitrary, so the better of the two readings counts.
    """
    if marks.shape[1] < 2:
        return None
    gap = marks[:, 0, 0] - marks[:, 1, 0]
    clear = np.abs(gap) > CLEARLY_SIDEWAYS
    if clear.sum() < 5:
        return None
    agree = float(((gap[clear] > 0) == mirrored[clear]).mean())
    return max(agree, 1 - agree)


def score_layer(
    place: Array, score: Array, marks: Array, mirrored: NDArray[np.bool_], images: NDArray[np.int64]
) -> LayerScore:
    """Return all figures of one layer; arguments as in `landmark_errors`."""
    error, constant = landmark_errors(place, score, marks, mirrored, images)
    first, later = instability(place, score, marks), instability(place, score, marks, later=True)
    return LayerScore(place.shape[1], first, later, error, constant)


def _turned(place: Array, mirrored: NDArray[np.bool_]) -> Array:
    """Return (object, ..., 2) places with x reflected where the object was understood through its mirror image."""
    turned = place.copy()
    turned[mirrored, ..., 0] = 1 - turned[mirrored, ..., 0]
    return turned
