"""Places of semantic parts as files: CSV, Parquet, COCO keypoints, Label Studio predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from explgraph.errors import UsageError
from explgraph.files import check_place, whole_file, write_json

Record = dict[str, Any]

# Format -> the suffixes that mean it.
PART_FORMATS = {"coco": (".json",), "csv": (".csv",), "parquet": (".parquet",), "label-studio": ()}
# Not 0: that is "not labelled", and readers leave such keypoints out.
HIDDEN, SEEN = 1, 2  # COCO's visibility: labelled but not visible, and visible


@dataclass(frozen=True)
class PartPlace:
    """Where a part is on an object; the first ten are the columns of the tables.

    Args:
        annotation_id: of the object.
        image: its photograph, as the source names it.
        part: the part's name.
        x: pixels of the photograph, the first pixel's centre at 0.5.
        y: as x.
        score: 0..1.
        expected_error: fractions of the box's diagonal.
        visible: False where hardly any node of the part was seen.
        template: the annotated object that it was found most alike to.
        mirrored: whether the object was understood through its mirror image.
        image_id: of the photograph.
        size: (width, height) of the photograph.
        box: (x, y, width, height) of the object, pixels.

    >>> size, box = (640, 480), (100.0, 50.0, 200.0, 150.0)
    >>> place = PartPlace(7, "a.jpg", "head", 120.5, 85, 0.9, 0.02, True, 3, False, 1, size, box)
    >>> place.to_dict()["score"]
    0.9
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

    def to_dict(self) -> dict[str, Any]:
        """The row of the tables, as plain values."""
        return {name: getattr(self, name) for name in SCHEMA.names}


SCHEMA = pa.schema(
    {
        "annotation_id": pa.int64(),
        "image": pa.string(),
        "part": pa.string(),
        "x": pa.float64(),
        "y": pa.float64(),
        "score": pa.float64(),
        "expected_error": pa.float64(),
        "visible": pa.bool_(),
        "template": pa.int64(),
        "mirrored": pa.bool_(),
    }
)


def part_format(path: Path, format: str | None = None) -> str:
    """The format to write, by name or by the suffix of the file.

    Raises:
        UsageError: neither says which, or there can be no file at ``path``.

    >>> part_format(out / "heads.json"), part_format(out / "heads.txt", "csv")
    ('coco', 'csv')
    """
    # Label Studio's files end in .json too, as COCO's do, so that format has to be named.
    suffix = path.suffix.lower()
    by_suffix = (name for name, suffixes in PART_FORMATS.items() if suffix in suffixes)
    chosen = format or next(by_suffix, None)
    if chosen not in PART_FORMATS:
        raise UsageError(
            f"{path.name!r} must end in .json (COCO), .csv or .parquet, or say --format "
            f"{', '.join(PART_FORMATS)}"
        )
    check_place(path)
    return chosen


def write_parts(places: Sequence[PartPlace], path: Path, *, format: str | None = None) -> Path:
    """The path of the written places of parts.

    Args:
        places: object by object.
        path: in an existing folder; an older file is replaced.
        format: of PART_FORMATS; None goes by the suffix.

    Raises:
        UsageError: see `part_format`.
        ExplgraphError: writing failed.

    >>> size, box = (640, 480), (100.0, 50.0, 200.0, 150.0)
    >>> place = PartPlace(7, "a.jpg", "head", 120.5, 85, 0.9, 0.02, True, 3, False, 1, size, box)
    >>> write_parts([place], out / "heads.csv").read_text().splitlines()[1]
    '7,"a.jpg","head",120.5,85,0.9,0.02,true,3,false'
    """
    chosen = part_format(path, format)
    if chosen == "coco":
        return write_json(coco_keypoints(places), path)
    if chosen == "label-studio":
        return write_json(label_studio(places), path)
    write = pa.csv.write_csv if chosen == "csv" else pq.write_table
    # Under another name until it is whole; `write_json` does the same.
    with whole_file(path) as temporary:
        write(part_table(places), temporary)
    return path


def part_table(places: Sequence[PartPlace]) -> pa.Table:
    """The places as a table with the columns of SCHEMA."""
    return pa.Table.from_pylist([place.to_dict() for place in places], schema=SCHEMA)


def coco_keypoints(places: Sequence[PartPlace]) -> Record:
    """A COCO data set: one annotation per object, its parts as keypoints in order of their names.

    A part that is not visible has COCO's visibility 1. COCO has no field for each keypoint's score;
    they stand in ``part_scores``.
    """
    # In one order for all: COCO's keypoints have no names of their own, only positions.
    names = sorted({place.part for place in places})
    images: dict[int, Record] = {}
    by_object: dict[int, dict[str, PartPlace]] = {}
    for place in places:
        width, height = place.size
        image = {"file_name": place.image, "width": width, "height": height}
        images[place.image_id] = {"id": place.image_id, **image}
        by_object.setdefault(place.annotation_id, {})[place.part] = place
    return {
        "images": list(images.values()),
        "categories": [{"id": 1, "name": "object", "keypoints": names, "skeleton": []}],
        "annotations": [_coco_annotation(found, names) for found in by_object.values()],
    }


def _coco_annotation(found: dict[str, PartPlace], names: Sequence[str]) -> Record:
    first = next(iter(found.values()))
    keypoints: list[float] = []
    for name in names:
        place = found.get(name)
        if place is None:
            # Not looked for on this object: COCO's "not labelled".
            keypoints += [0.0, 0.0, 0]
        else:
            keypoints += [place.x, place.y, SEEN if place.visible else HIDDEN]
    scores = {name: place.score for name, place in found.items()}
    return {
        "id": first.annotation_id,
        "image_id": first.image_id,
        "category_id": 1,
        "bbox": list(first.box),
        "area": first.box[2] * first.box[3],
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(found),
        # An object is as sure as its least sure part.
        "score": min(scores.values()),
        "part_scores": scores,
    }


def label_studio(places: Sequence[PartPlace]) -> list[Record]:
    """Label Studio tasks with pre-annotations: keypoint labels in percent of the photograph's size.

    For a labelling interface with ``<Image name="image" value="$image"/>`` and
    ``<KeyPointLabels name="part" toName="image">``.
    """
    by_image: dict[str, list[PartPlace]] = {}
    for place in places:
        by_image.setdefault(place.image, []).append(place)
    tasks = []
    for image, found in by_image.items():
        prediction = {
            "model_version": "explgraph",
            # As in COCO: Label Studio sorts tasks by it, the least sure first.
            "score": min(place.score for place in found),
            "result": [_label_studio_keypoint(place) for place in found],
        }
        tasks.append({"data": {"image": image}, "predictions": [prediction]})
    return tasks


def _label_studio_keypoint(place: PartPlace) -> Record:
    width, height = place.size
    x, y = 100 * place.x / width, 100 * place.y / height
    return {
        "id": f"{place.annotation_id}-{place.part}",
        "type": "keypointlabels",
        "from_name": "part",
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "score": place.score,
        # The width is that of the drawn dot, percent as well.
        "value": {"x": x, "y": y, "width": 0.8, "keypointlabels": [place.part]},
    }
