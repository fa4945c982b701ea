"""Where people marked a part: from a COCO file's landmarks, or as IMAGE:x,y."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from explgraph.errors import SourceError, UsageError
from explgraph.images import read_source
from explgraph.parts.known import KnownObjects

SAME = 1e-6  # pixels: annotations of one object that lie closer are one and the same


@dataclass(frozen=True)
class Mark:
    """A part, marked on an object: its annotation id, and (x, y) in pixels of its photograph."""

    object_id: int
    x: float
    y: float


def marks_from_coco(
    dataset: str | Path, ids: Sequence[int], landmark: str, known: KnownObjects
) -> list[Mark]:
    """Return the landmark of the objects ``ids`` of a COCO keypoints file.

    Raises:
        SourceError: the file is no COCO file.
        UsageError: an id is not in the file or not in the workspace, is another object there, or lacks the landmark.
    """
    source = read_source(dataset)
    if source.kind != "coco":
        raise SourceError(
            f"{dataset} is no COCO file; expected a .json with keypoints, or mark parts with --at IMAGE:x,y"
        )
    objects = {o.annotation_id: o for o in source.objects}
    names = sorted({name for o in source.objects for name in o.landmarks})
    if landmark not in names:
        raise UsageError(
            f"{dataset} has no landmark {landmark!r}; it has {', '.join(names) or 'none'}; choose with --landmark"
        )
    marks = []
    for number in ids:
        if number not in objects:
            raise UsageError(
                f"{dataset} has no annotation with id {number}; --ids takes the ids of its annotations"
            )
        obj, position = objects[number], known.require(number)
        if known.files[position] != obj.file_name:
            raise UsageError(
                f"object {number} is {obj.file_name} in {dataset}, but {known.files[position]} in the workspace; "
                "give the file that was mined"
            )
        if landmark not in obj.landmarks:
            raise UsageError(
                f"object {number} ({obj.file_name}) has no landmark {landmark!r}; choose objects that show it"
            )
        marks.append(Mark(number, *obj.landmarks[landmark]))
    return marks


def mark_at(text: str, known: KnownObjects) -> Mark:
    """Return the mark that ``IMAGE:x,y`` means: IMAGE as the source names it (or the end of its path), x and y in pixels.

    Where a photograph shows several objects, it is on the smallest one whose box holds the point.

    Raises:
        UsageError: other text, an image that is not in the workspace, or a point in no object's box.
    """
    image, _, point = text.rpartition(":")
    x, _, y = point.partition(",")
    try:
        at = float(x), float(y)
    except ValueError:
        at = math.nan, math.nan
    if not image or not all(map(math.isfinite, at)):
        raise UsageError(
            f"--at must be IMAGE:x,y such as photos/7.jpg:120,85, pixels from the upper left corner, got {text!r}"
        )
    return Mark(known.ids[_object_at(image, at, known)], *at)


def check_marks(name: str, marks: Iterable[Mark], known: KnownObjects) -> list[Mark]:
    """Return the marks, each object's once.

    Raises:
        UsageError: none at all, a mark outside of its object's box, an unknown object, or two different marks on one object.
    """
    checked: dict[int, Mark] = {}
    for mark in marks:
        x, y, width, height = known.boxes[known.require(mark.object_id)]
        if not (x <= mark.x <= x + width and y <= mark.y <= y + height):
            raise UsageError(
                f"{name} of object {mark.object_id} is at ({mark.x:g}, {mark.y:g}), outside of its box "
                f"({x:g}, {y:g}) to ({x + width:g}, {y + height:g}); the graph sees boxes only: correct it, or leave the object out"
            )
        former = checked.setdefault(mark.object_id, mark)
        if math.hypot(former.x - mark.x, former.y - mark.y) > SAME:
            raise UsageError(
                f"{name} is marked twice on object {mark.object_id}, at ({former.x:g}, {former.y:g}) and at ({mark.x:g}, {mark.y:g}); "
                "keep one"
            )
    if not checked:
        raise UsageError(
            f"part {name!r} has no annotation; give --annotations with --ids, or --at IMAGE:x,y"
        )
    return list(checked.values())


def _object_at(image: str, at: tuple[float, float], known: KnownObjects) -> int:
    same = [
        i
        for i, file in enumerate(known.files)
        if file == image or image.endswith(f"/{file}") or file.endswith(f"/{image}")
    ]
    if not same:
        raise UsageError(
            f"image {image!r} is not in the workspace; it has {len(set(known.files))}, for instance {known.files[0]}"
        )
    if len({known.files[i] for i in same}) > 1:
        raise UsageError(
            f"image {image!r} may be {known.files[same[0]]} or {known.files[same[1]]}; write more of the path"
        )
    inside = [i for i in same if _holds(known.boxes[i], at)]
    if not inside:
        boxes = "; ".join(
            f"({b[0]:g}, {b[1]:g}) to ({b[0] + b[2]:g}, {b[1] + b[3]:g})"
            for b in (known.boxes[i] for i in same)
        )
        raise UsageError(
            f"({at[0]:g}, {at[1]:g}) on {image} lies in no object's box ({boxes}); the graph sees boxes only"
        )
    return min(inside, key=lambda i: known.boxes[i][2] * known.boxes[i][3])


def _holds(box: tuple[float, float, float, float], at: tuple[float, float]) -> bool:
    return box[0] <= at[0] <= box[0] + box[2] and box[1] <= at[1] <= box[1] + box[3]
