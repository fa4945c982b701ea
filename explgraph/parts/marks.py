"""Where people marked a part: from a COCO file's landmarks, or as IMAGE:x,y."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from explgraph.errors import SourceError, UsageError
from explgraph.images import AnyPath, read_source
from explgraph.parts.and_or import SemanticPart
from explgraph.parts.fit import fit_part
from explgraph.parts.known import KnownObjects

SAME = 1e-6  # pixels: marks of one object that lie closer are one and the same


@dataclass(frozen=True)
class Mark:
    """A part, marked on an object.

    Args:
        object_id: annotation id of the object.
        x: pixels of its photograph.
        y: pixels of its photograph.

    >>> Mark(7, 120.0, 85.0)
    Mark(object_id=7, x=120.0, y=85.0)
    """

    object_id: int
    x: float
    y: float


@dataclass(frozen=True)
class Marked:
    """Where the marks of a part stand.

    Args:
        dataset: COCO keypoints file.
        ids: of its annotations.
        landmark: of its keypoints; the part's name if None.
        at: IMAGE:x,y each; see `mark_at`.

    >>> Marked("zebra.json", ids=(1, 7)).at
    ()
    """

    dataset: AnyPath | None = None
    ids: Sequence[int] = ()
    landmark: str | None = None
    at: Sequence[str] = ()


def read_marks(name: str, marked: Marked, known: KnownObjects) -> list[Mark]:
    """The marks of the part ``name``; see `mark_at` and `marks_from_coco` for what may be wrong.

    >>> read_marks("head", Marked(coco, ids=(1,)), known)
    [Mark(object_id=1, x=205.67, y=87.79)]
    """
    if (marked.dataset is None) != (not marked.ids):
        raise UsageError(
            "--annotations and --ids go together: the COCO file, and which of its annotations to "
            "use"
        )
    marks = [mark_at(text, known) for text in marked.at]
    if marked.dataset is not None:
        marks += marks_from_coco(marked.dataset, marked.ids, marked.landmark or name, known)
    return marks


def marks_from_coco(
    dataset: AnyPath, ids: Sequence[int], landmark: str, known: KnownObjects
) -> list[Mark]:
    """The landmark of the objects ``ids`` of a COCO keypoints file.

    Raises:
        SourceError: the file is not a COCO file.
        UsageError: an id is not in the file or not in the workspace, is another object there, or
            lacks the landmark.

    >>> marks_from_coco(coco, [1], "tail", known)
    [Mark(object_id=1, x=46.76, y=92.06)]
    """
    # No image is opened here: places and names are compared with what was mined.
    source = read_source(dataset, allow_outside=True)
    if source.kind != "coco":
        raise SourceError(
            f"{dataset} is not a COCO file; expected a .json with keypoints, or mark parts with "
            "--at IMAGE:x,y"
        )
    objects = {obj.annotation_id: obj for obj in source.objects}
    names = sorted({name for obj in source.objects for name in obj.landmarks})
    if landmark not in names:
        raise UsageError(
            f"{dataset} has no landmark {landmark!r}; it has {', '.join(names) or 'none'}; "
            "choose with --landmark"
        )
    marks = []
    for number in ids:
        if number not in objects:
            raise UsageError(
                f"{dataset} has no annotation with id {number}; --ids takes the ids of its "
                "annotations"
            )
        obj, file = objects[number], known.files[known.require(number)]
        # Ids count from 1 in many files, so an id alone may be another object.
        if file != obj.file_name:
            raise UsageError(
                f"object {number} is {obj.file_name} in {dataset}, but {file} in the workspace; "
                "give the file that was mined"
            )
        if landmark not in obj.landmarks:
            raise UsageError(
                f"object {number} ({file}) has no landmark {landmark!r}; choose objects that show "
                "it"
            )
        marks.append(Mark(number, *obj.landmarks[landmark]))
    return marks


def mark_at(text: str, known: KnownObjects) -> Mark:
    """The mark that ``IMAGE:x,y`` means.

    IMAGE is as the source names it, or the end of its path; x and y are pixels. Where a photograph
    shows several objects, the mark is on the smallest one whose box holds the point.

    Raises:
        UsageError: other text, an image that is not in the workspace, or a point in no object's
            box.

    >>> mark_at("00001.jpg:205,88", known)
    Mark(object_id=1, x=205.0, y=88.0)
    """
    # From the right: paths may hold colons.
    image, _, point = text.rpartition(":")
    x, _, y = point.partition(",")
    try:
        at = float(x), float(y)
    except ValueError:
        # Refused below, together with text such as "nan,inf" that float takes.
        at = math.nan, math.nan
    if not image or not all(map(math.isfinite, at)):
        raise UsageError(
            "--at must be IMAGE:x,y such as photos/7.jpg:120,85, pixels from the upper left "
            f"corner, got {text!r}"
        )
    return Mark(known.ids[_object_at(image, at, known)], *at)


def check_marks(name: str, marks: Iterable[Mark], known: KnownObjects) -> list[Mark]:
    """The marks, each object's once.

    Raises:
        UsageError: none at all, a mark outside of its object's box, an unknown object, or two
            different marks on one object.

    >>> twice = [Mark(1, 205.7, 87.8), Mark(1, 205.7, 87.8)]
    >>> check_marks("head", twice, known)
    [Mark(object_id=1, x=205.7, y=87.8)]
    """
    checked: dict[int, Mark] = {}
    for mark in marks:
        number, box = mark.object_id, known.boxes[known.require(mark.object_id)]
        if not _holds(box, (mark.x, mark.y)):
            raise UsageError(
                f"{name} of object {number} is at ({mark.x:g}, {mark.y:g}), outside of its box "
                f"{_corners(box)}; the graph sees boxes only: correct it, or leave the object out"
            )
        first = checked.setdefault(number, mark)
        # The same mark twice is no contradiction: from a file and by hand, for instance.
        if not same_mark(first, mark):
            raise UsageError(
                f"{name} is marked twice on object {number}, at ({first.x:g}, {first.y:g}) and at "
                f"({mark.x:g}, {mark.y:g}); keep one"
            )
    if not checked:
        raise UsageError(
            f"part {name!r} has no annotation; give --annotations with --ids, or --at IMAGE:x,y"
        )
    return list(checked.values())


def same_mark(one: Mark, other: Mark) -> bool:
    """Whether two marks are on the same object at the same place.

    >>> same_mark(Mark(7, 120.0, 85.0), Mark(7, 120.0, 86.0))
    False
    """
    near = math.hypot(one.x - other.x, one.y - other.y) <= SAME
    return one.object_id == other.object_id and near


def fit_marks(name: str, marks: Sequence[Mark], known: KnownObjects) -> SemanticPart:
    """The part that follows from checked marks on known objects.

    >>> fit_marks("head", [Mark(1, 205.7, 87.8)], known).n_templates
    1
    """
    positions = [known.require(mark.object_id) for mark in marks]
    # Clipped for rounding only: `check_marks` has refused what lies outside.
    places = known.resolved(positions, [(mark.x, mark.y) for mark in marks])
    return fit_part(name, known.seen, known.traits, np.array(positions), np.clip(places, 0, 1))


def _object_at(image: str, at: tuple[float, float], known: KnownObjects) -> int:
    """Position of the smallest object of an image that holds a point."""
    files = known.files
    names = {
        file
        for file in files
        if file == image or image.endswith(f"/{file}") or file.endswith(f"/{image}")
    }
    if not names:
        raise UsageError(
            f"image {image!r} is not in the workspace; it has {len(set(files))}, for instance "
            f"{files[0]}"
        )
    if len(names) > 1:
        one, other = sorted(names, key=files.index)[:2]
        raise UsageError(f"image {image!r} may be {one} or {other}; write more of the path")
    same = [i for i, file in enumerate(files) if file in names]
    inside = [i for i in same if _holds(known.boxes[i], at)]
    if not inside:
        boxes = "; ".join(_corners(known.boxes[i]) for i in same)
        raise UsageError(
            f"({at[0]:g}, {at[1]:g}) on {image} lies in no object's box ({boxes}); the graph sees "
            "boxes only"
        )
    # Boxes of objects overlap, and one in front of another is mostly the smaller.
    return min(inside, key=lambda i: known.boxes[i][2] * known.boxes[i][3])


def _holds(box: tuple[float, float, float, float], at: tuple[float, float]) -> bool:
    return box[0] <= at[0] <= box[0] + box[2] and box[1] <= at[1] <= box[1] + box[3]


def _corners(box: tuple[float, float, float, float]) -> str:
    x, y, width, height = box
    return f"({x:g}, {y:g}) to ({x + width:g}, {y + height:g})"
