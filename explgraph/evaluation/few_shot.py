"""How well a part is found from a few annotations: fixed splits, and errors on them.

Of a split's landmarks only those of its ``fit`` objects may be used; the ``test`` objects are
searched. Errors are in diagonals of the box stretched to a square, as in `landmarks`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from explgraph.errors import SourceError
from explgraph.evaluation.landmarks import DIAGONAL

Array = NDArray[np.float64]
Places = Float[np.ndarray, "test 2"]


@dataclass(frozen=True)
class Split:
    """Objects to fit one part, and objects to search.

    Args:
        number: of the split.
        part: the landmark's name.
        fit: annotation ids.
        test: annotation ids.
    """

    number: int
    part: str
    fit: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class SplitScore:
    """Mean errors on the test objects of one split.

    Args:
        error: of the answers.
        constant: of predicting the mean place of the annotations.
        surer: of the half of the answers with the highest scores.
    """

    error: float
    constant: float
    surer: float


@dataclass(frozen=True)
class FewShotScore:
    """Figures of all splits with one number of annotations.

    Args:
        shots: annotations per split.
        splits: how many.
        objects: answers scored.
        error: mean over the objects of a split, then over the splits.
        constant: likewise, of predicting the annotations' mean place.
        best_half: error of the half of the answers of highest score, over the error of all.

    >>> FewShotScore(1, 10, 200, error=0.05, constant=0.1, best_half=0.8).ratio
    0.5
    """

    shots: int
    splits: int
    objects: int
    error: float
    constant: float
    best_half: float

    @property
    def ratio(self) -> float:
        """error / constant; NaN where the constant does not err."""
        return self.error / self.constant if self.constant else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ratio": self.ratio}


def read_splits(path: str | Path, name: str) -> list[Split]:
    """The splits of a data set.

    Args:
        path: JSON, data set's stem -> list of {"split", "part", "fit", "test"}, or that list alone.
        name: stem of the data set.

    Raises:
        SourceError: no such file, no splits for this data set, or entries that are not splits: ids
            occur once, and those of ``test`` not in ``fit``.

    >>> from explgraph.files import write_json
    >>> entry = {"split": 0, "part": "head", "fit": [1], "test": [2, 3]}
    >>> read_splits(write_json({"zebra": [entry]}, out / "splits.json"), "zebra")
    [Split(number=0, part='head', fit=(1,), test=(2, 3))]
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        entries = content[name] if isinstance(content, dict) else content
        if not isinstance(entries, list) or not entries:
            raise ValueError("no list of splits, or an empty one")
        return [_split(entry) for entry in entries]
    # RecursionError: JSON that is nested a thousand deep.
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise SourceError(
            f"{path} holds no splits for {name}: expected JSON, "
            f"{{name: [{{split, part, fit, test}}, ...]}} ({error!r:.300})"
        ) from error


def _split(entry: Any) -> Split:
    """The split of an entry; ValueError if figures of it would mean something else."""
    if not isinstance(entry, dict):
        raise ValueError(f"expected an object for each split, got {entry!r}")
    number, part = entry["split"], entry["part"]
    if not _is_whole(number) or not isinstance(part, str):
        raise ValueError(f"expected a number as split and a name as part, got {number!r}, {part!r}")
    ids = []
    for key in ("fit", "test"):
        found = entry[key]
        good = isinstance(found, list) and found and all(map(_is_whole, found))
        if not good or len(set(found)) < len(found):
            raise ValueError(f"split {number}: expected different ids as {key}, got {found!r}")
        ids.append(tuple(found))
    if both := set(ids[0]) & set(ids[1]):
        # A part is found where it was marked: such a test says nothing.
        raise ValueError(f"split {number}: object {min(both)} is both in fit and in test")
    return Split(number, part, *ids)


def _is_whole(value: Any) -> bool:
    """Whether it is a whole number of 64 bits; in Python True is an int."""
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def score_split(
    found: Places, truth: Places, usual: Float[np.ndarray, " 2"], score: Float[np.ndarray, " test"]
) -> SplitScore:
    """The errors on one split; places are (x, y), fractions of the box.

    Args:
        found: the answers.
        truth: the landmarks.
        usual: mean place of the annotations.
        score: of the answers.

    >>> truth = np.array([[0.5, 0.5], [0.2, 0.2]])
    >>> one = score_split(truth + [[0, 0], [0, 0.2]], truth, truth[0], np.array([0.9, 0.1]))
    >>> round(one.error, 4), one.surer
    (0.0707, 0.0)
    """
    error = np.linalg.norm(found - truth, axis=1) / DIAGONAL
    constant = np.linalg.norm(usual - truth, axis=1).mean() / DIAGONAL
    # Should err less than all of them: it shows whether the score ranks answers.
    surer = np.argsort(-score, kind="stable")[: max(len(error) // 2, 1)]
    return SplitScore(float(error.mean()), float(constant), float(error[surer].mean()))


def summarise_splits(splits: Sequence[Split], scores: Sequence[SplitScore]) -> list[FewShotScore]:
    """The figures by number of annotations.

    >>> splits = [Split(0, "head", fit=(1,), test=(2, 3)), Split(1, "head", fit=(2,), test=(1, 3))]
    >>> [one] = summarise_splits(splits, [SplitScore(0.1, 0.2, 0.1), SplitScore(0.2, 0.4, 0.1)])
    >>> one.shots, one.objects, round(one.ratio, 2), round(one.best_half, 2)
    (1, 4, 0.5, 0.75)
    """
    figures = []
    pairs = list(zip(splits, scores, strict=True))
    for shots in sorted({len(split.fit) for split in splits}):
        alike = [(split, score) for split, score in pairs if len(split.fit) == shots]
        objects = sum(len(split.test) for split, _ in alike)
        # Splits count alike, however many objects they search.
        error, constant = np.mean([(score.error, score.constant) for _, score in alike], 0)
        halves = np.mean([score.surer / max(score.error, 1e-12) for _, score in alike])
        means = map(float, (error, constant, halves))
        figures.append(FewShotScore(shots, len(alike), objects, *means))
    return figures
