"""Places of semantic parts as files: CSV, Parquet, COCO keypoints, Label Studio predictions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from explgraph.errors import UsageError

FORMATS = {
    "coco": (".json",),
    "csv": (".csv",),
    "parquet": (".parquet",),
    "label-studio": (),
}  # format -> suffixes that mean it
HIDDEN, SEEN = 1, 2  # COCO's visibility: labelled but not visible, and visible


@dataclass(frozen=True)
class PartPlace:
    """Where a part is on an object; the first ten are the columns of the tables.

    Args:
        annotation_id: of the object; image: its photograph, as the source names it; part: the part's name.
        x: pixels of the photograph, the first pixel's centre at 0.5; y: likewise.
        score: 0..1; expected_error: fractions of the box's diagonal.
        visible: False where hardly any node of the part was seen.
        template: the annotated object that it was found most alike to.
        mirrored: whether the object was understood through its mirror image.
        image_id: of the photograph; size: its (width, height); box: (x, y, width, height) of the object, pixels.
    """

    annotation_id: int
    image: str
    part: str
    x: float
    y: float
    score: float
    expected_error: float
    visible: bool
    template: int
    mirrored: bool
    image_id: int
    size: tuple[int, int]
    box: tuple[float, float, float, float]


COLUMNS = tuple(field.name for field in fields(PartPlace))[:10]
_TYPES = {int: pa.int64(), str: pa.string(), float: pa.float64(), bool: pa.bool_()}
SCHEMA = pa.schema(
    [
        (name, _TYPES[kind])
        for name, kind in zip(COLUMNS, (int, str, str, *[float] * 4, bool, int, bool), strict=True)
    ]
)


def part_format(path: Path, format: str | None = None) -> str:
    """Return the format to write, by name or by the suffix of the file.

    Raises:
        UsageError: neither says which, or there can be no file at ``path``.
    """
    chosen = format or next(
        (name for name, suffixes in FORMATS.items() if path.suffix.lower() in suffixes), None
    )
    if chosen not in FORMATS:
        raise UsageError(
            f"{path.name!r} must end in .json (COCO), .csv or .parquet, or say --format {', '.join(FORMATS)}"
        )
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(f"there can be no file {path}; name one in an existing folder with --out")
    return chosen


def write_parts(places: Sequence[PartPlace], path: Path, *, format: str | None = None) -> Path:
    """Write places of parts; the file gets its name when it is complete.

    Args:
        places: object by object.
        path: in an existing folder; an older file is replaced.
        format: of FORMATS; None goes by the suffix.

    Raises:
        UsageError: see `part_format`.
    """
    chosen = part_format(path, format)
    writers: dict[str, Callable[[Path], None]] = {
        "csv": lambda file: pa.csv.write_csv(part_table(places), file),
        "parquet": lambda file: pq.write_table(part_table(places), file),
        "coco": lambda file: _write_json(coco_keypoints(places), file),
        "label-studio": lambda file: _write_json(label_studio(places), file),
    }
    temporary = path.with_name(path.name + ".tmp")
    try:
        writers[chosen](temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def part_table(places: Sequence[PartPlace]) -> pa.Table:
    """Return the places as a table with the columns of SCHEMA."""
    return pa.table(
        {name: [getattr(place, name) for place in places] for name in COLUMNS}, schema=SCHEMA
    )


def coco_keypoints(places: Sequence[PartPlace]) -> dict[str, Any]:
    """Return a COCO data set: one annotation per object, its parts as keypoints in the order of their names.

    A part that is not visible has COCO's visibility 1. COCO has no field for each keypoint's score; they stand in ``part_scores``.
    """
    names = sorted({place.part for place in places})
    images = {
        place.image_id: {
            "id": place.image_id,
            "file_name": place.image,
            "width": place.size[0],
            "height": place.size[1],
        }
        for place in places
    }
    by_object: dict[int, dict[str, PartPlace]] = {}
    for place in places:
        by_object.setdefault(place.annotation_id, {})[place.part] = place
    return {
        "images": list(images.values()),
        "categories": [{"id": 1, "name": "object", "keypoints": names, "skeleton": []}],
        "annotations": [
            _coco_annotation(number, parts, names) for number, parts in by_object.items()
        ],
    }


def label_studio(places: Sequence[PartPlace]) -> list[dict[str, Any]]:
    """Return Label Studio tasks with pre-annotations: one task per photograph, keypoint labels in percent of its size.

    For a labelling interface with ``<Image name="image" value="$image"/>`` and ``<KeyPointLabels name="part" toName="image">``.
    """
    tasks: dict[str, list[dict[str, Any]]] = {}
    for place in places:
        width, height = place.size
        value = {
            "x": 100 * place.x / width,
            "y": 100 * place.y / height,
            "width": 0.8,
            "keypointlabels": [place.part],
        }
        entry = {
            "id": f"{place.annotation_id}-{place.part}",
            "type": "keypointlabels",
            "from_name": "part",
            "to_name": "image",
            "original_width": width,
            "original_height": height,
            "score": place.score,
            "value": value,
        }
        tasks.setdefault(place.image, []).append(entry)
    return [
        {
            "data": {"image": image},
            "predictions": [
                {
                    "model_version": "explgraph",
                    "score": min(e["score"] for e in found),
                    "result": found,
                }
            ],
        }
        for image, found in tasks.items()
    ]


def _coco_annotation(
    number: int, parts: dict[str, PartPlace], names: Sequence[str]
) -> dict[str, Any]:
    first = next(iter(parts.values()))
    keypoints: list[float] = []
    for name in names:
        place = parts.get(name)
        keypoints += (
            [0.0, 0.0, 0]
            if place is None
            else [place.x, place.y, SEEN if place.visible else HIDDEN]
        )
    scores = {name: place.score for name, place in parts.items()}
    return {
        "id": number,
        "image_id": first.image_id,
        "category_id": 1,
        "bbox": list(first.box),
        "area": first.box[2] * first.box[3],
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(parts),
        "score": min(scores.values()),
        "part_scores": scores,
    }


def _write_json(content: Any, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump(content, file)
