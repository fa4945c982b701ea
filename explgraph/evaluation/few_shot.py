"""How well a part is found from a few annotations: fixed splits, and errors on them.

Of a split's landmarks only those of its ``fit`` objects may be used; the ``test`` objects are
searched. Errors are in diagonals of the box stretched to a square, as in `landmarks`.
"""

from __future__ import annotations

import json
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
Places = Float[Array, "test 2"]


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
        """error / constant."""
        return self.error / self.constant

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "ratio": self.ratio}


def read_splits(path: str | Path, name: str) -> list[Split]:
    """The splits of a data set.

    Args:
        path: JSON, data set's stem -> list of {"split", "part", "fit", "test"}, or that list alone.
        name: stem of the data set.

    Raises:
        SourceError: no such file, no splits for this data set, or entries that are not splits.

    >>> from explgraph.files import write_json
    >>> entry = {"split": 0, "part": "head", "fit": [1], "test": [2, 3]}
    >>> read_splits(write_json({"zebra": [entry]}, out / "splits.json"), "zebra")
    [Split(number=0, part='head', fit=(1,), test=(2, 3))]
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        entries = content[name] if isinstance(content, dict) else content
        if not entries:
            raise ValueError("the list is empty")
        ids = lambda entry, key: tuple(map(int, entry[key]))
        return [
            Split(int(e["split"]), str(e["part"]), ids(e, "fit"), ids(e, "test")) for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path} holds no splits for {name}: expected JSON, "
            f"{{name: [{{split, part, fit, test}}, ...]}} ({error!r})"
        ) from error


def score_split(
    found: Places, truth: Places, usual: Float[Array, " 2"], score: Float[Array, " test"]
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
