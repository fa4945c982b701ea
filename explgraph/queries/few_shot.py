"""Scoring semantic parts on fixed splits: a few annotated objects to fit, others to search."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from explgraph.errors import SourceError, UsageError
from explgraph.evaluation.landmarks import DIAGONAL, landmarks_in_boxes
from explgraph.images import ImageObject, read_source
from explgraph.parts import KnownObjects, Mark, check_marks, locate_part
from explgraph.queries.parts import fit_marks
from explgraph.workspace import Workspace

Array = NDArray[np.float64]


@dataclass(frozen=True)
class FewShotScore:
    """Figures of all splits with one number of annotations; errors in diagonals of the box stretched to a square.

    Args:
        shots: annotations per split; splits: how many; objects: answers scored.
        error: mean over the objects of a split, then over the splits; constant: of predicting the annotations' mean place.
        best_half: error of the half of the answers of highest score, over the error of all.
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
        """Return plain values for JSON."""
        return {**asdict(self), "ratio": self.ratio}


@dataclass(frozen=True)
class Split:
    """Which part, which objects may be used to fit it, and which are searched."""

    number: int
    part: str
    fit: tuple[int, ...]
    test: tuple[int, ...]


def evaluate_few_shot(
    workspace: Workspace, dataset: str | Path, splits: str | Path, out: Path
) -> list[FewShotScore]:
    """Fit and locate every split, write the predictions, and return the figures by number of annotations.

    Of the landmarks of a split only those of its ``fit`` objects are used to fit; nothing is stored in the workspace.

    Args:
        workspace: mined from ``dataset``.
        dataset: COCO file with the landmarks.
        splits: JSON, data set's stem -> list of {"split", "part", "fit", "test"} (ids of annotations), or that list alone.
        out: Parquet file of the predictions: split, annotation_id, x, y, score, expected_error.

    Raises:
        SourceError: the splits or the data set cannot be read.
        UsageError: a split names objects or landmarks that are not there.
    """
    if out.suffix != ".parquet" or not out.parent.is_dir():
        raise UsageError(f"predictions go to a .parquet file in an existing folder, got {out}")
    known = workspace.known_objects()
    objects = {o.annotation_id: o for o in read_source(dataset).objects}
    chosen = read_splits(splits, Path(dataset).stem)
    rows, scores = [], []
    for split in chosen:
        points, score, expected = _locate_split(split, objects, known)
        rows += [
            {
                "split": split.number,
                "annotation_id": i,
                "x": x,
                "y": y,
                "score": s,
                "expected_error": e,
            }
            for i, (x, y), s, e in zip(
                split.test, points.tolist(), score.tolist(), expected.tolist(), strict=True
            )
        ]
        scores.append(_score_split(split, objects, points, score))
    temporary = out.with_name(out.name + ".tmp")
    pq.write_table(pa.Table.from_pylist(rows), temporary)
    os.replace(temporary, out)
    return _summarise(chosen, scores)


def read_splits(path: str | Path, name: str) -> list[Split]:
    """Return the splits of a data set.

    Raises:
        SourceError: no such file, no splits for this data set, or entries that are no splits.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        entries = content[name] if isinstance(content, dict) else content
        return [
            Split(
                int(e["split"]),
                str(e["part"]),
                tuple(map(int, e["fit"])),
                tuple(map(int, e["test"])),
            )
            for e in entries
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"{path} holds no splits for {name}: expected JSON, {{name: [{{split, part, fit, test}}, ...]}} ({error!r})"
        ) from error


def _locate_split(
    split: Split, objects: dict[int, ImageObject], known: KnownObjects
) -> tuple[Array, Array, Array]:
    marks = check_marks(
        split.part, [Mark(i, *_landmark(objects, i, split)) for i in split.fit], known
    )
    positions = [known.require(i) for i in split.test]
    part = fit_marks(split.part, marks, known)
    found = locate_part(part, known.seen.objects(positions), known.traits)
    mirrored = known.seen.mirrored
    points = [
        known.frames[p].to_image(at, mirrored=mirrored[p])
        for p, at in zip(positions, found.place, strict=True)
    ]
    return np.array(points), found.score, found.expected_error


def _landmark(objects: dict[int, ImageObject], number: int, split: Split) -> tuple[float, float]:
    if number not in objects or split.part not in objects[number].landmarks:
        raise UsageError(
            f"split {split.number}: object {number} has no landmark {split.part!r} in the data set; give its own splits"
        )
    return objects[number].landmarks[split.part]


def _score_split(
    split: Split, objects: dict[int, ImageObject], points: Array, score: Array
) -> tuple[float, float, float]:
    """Return error, that of the constant predictor, and error of the surer half."""
    names = [split.part]
    truth = _in_boxes(
        split.test, [{split.part: _landmark(objects, i, split)} for i in split.test], objects, names
    )
    found = _in_boxes(
        split.test, [{split.part: (x, y)} for x, y in points.tolist()], objects, names
    )
    usual = _in_boxes(
        split.fit, [{split.part: _landmark(objects, i, split)} for i in split.fit], objects, names
    ).mean(0)
    error = np.linalg.norm(found - truth, axis=1) / DIAGONAL
    surer = error[np.argsort(-score, kind="stable")[: max(len(error) // 2, 1)]]
    return (
        float(error.mean()),
        float(np.linalg.norm(usual - truth, axis=1).mean() / DIAGONAL),
        float(surer.mean()),
    )


def _in_boxes(
    numbers: Sequence[int],
    marks: Sequence[dict[str, tuple[float, float]]],
    objects: dict[int, ImageObject],
    names: Sequence[str],
) -> Array:
    """Return one point per object, (object, 2), as (x, y) fractions of its box."""
    boxes = [objects[i].box for i in numbers]
    if None in boxes:
        number = numbers[boxes.index(None)]
        raise UsageError(f"object {number} has no box; few-shot splits need a COCO file with boxes")
    return landmarks_in_boxes(marks, np.array(boxes, np.float64), names)[:, 0]


def _summarise(
    splits: Sequence[Split], scores: Sequence[tuple[float, float, float]]
) -> list[FewShotScore]:
    figures = []
    for shots in sorted({len(split.fit) for split in splits}):
        mine = [
            (split, score)
            for split, score in zip(splits, scores, strict=True)
            if len(split.fit) == shots
        ]
        error, constant, _ = np.mean([score for _, score in mine], 0)
        best_half = float(np.mean([surer / max(all_, 1e-12) for _, (all_, _, surer) in mine]))
        searched = sum(len(split.test) for split, _ in mine)
        figures.append(
            FewShotScore(shots, len(mine), searched, float(error), float(constant), best_half)
        )
    return figures
