"""Which objects a question is about, and whether the graph was mined from such."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from explgraph.files import short_stem, unique_names
from explgraph.images import (
    AnyPath,
    Boxes,
    ImageObject,
    Source,
    choose_objects,
    read_source,
)
from explgraph.workspace import Workspace

Photographs = Source | AnyPath | Sequence[AnyPath]
FRAME = "pixels of the photograph"  # of every box and place of a record
# From this share of a photograph on a box leaves nothing out that would mislead.
_WHOLE = 0.9


def asked_source(
    asked: Photographs,
    *,
    box: Boxes | None = None,
    objects: Sequence[int] = (),
    limit: int | None = None,
    **reading: Any,
) -> Source:
    """The objects of whatever is asked about: image files, folders, COCO files, a source.

    Unlike `explgraph.read_source` it takes image files unseen, whatever they are called: one that
    is no image is skipped when it is read, and one that is named twice is answered twice.

    Args:
        asked: one or several of them.
        box: as in `explgraph.read_source`.
        objects: as in `explgraph.read_source`.
        limit: as in `explgraph.read_source`.
        **reading: other arguments of `explgraph.read_source`, for folders and COCO files.

    Raises:
        SourceError: a folder or a COCO file gives no object.
        UsageError: see `explgraph.read_source`.

    >>> [one.box for one in asked_source(pictures / "00001.jpg", box=(20, 30, 90, 80)).objects]
    [(20.0, 30.0, 90.0, 80.0)]
    """
    if not isinstance(asked, Source):
        paths = [asked] if isinstance(asked, str | os.PathLike) else asked
        parts = [_part(Path(one), reading) for one in paths]
        found = tuple(one for part in parts for one in part.objects)
        skipped = tuple(one for part in parts for one in part.skipped)
        asked = parts[0] if len(parts) == 1 else Source(Path(), "files", found, skipped)
    return choose_objects(asked, box=box, objects=objects, limit=limit)


def _part(path: Path, reading: dict[str, Any]) -> Source:
    """The objects of one path."""
    # Unlike Path.is_dir no error for a name that is too long.
    if os.path.isdir(path) or path.suffix.lower() == ".json":
        return read_source(path, **reading)
    return Source(path.parent, "image", (ImageObject(1, 1, path.name, path),), ())


def source_of(given: Photographs, *, box: Boxes | None = None) -> Source:
    """The objects of a source, or of the photographs that are there.

    >>> len(source_of(pictures).objects)
    6
    """
    return (
        choose_objects(given, box=box) if isinstance(given, Source) else read_source(given, box=box)
    )


def object_names(objects: Sequence[ImageObject]) -> list[str]:
    """A name for the files of each object: that of its image, with its id if it is a box in it.

    >>> object_names(asked_source(pictures / "00001.jpg", box=(20, 30, 90, 80)).objects)
    ['00001-1']
    """
    files = [
        one.path if one.box is None else one.path.with_stem(f"{one.path.stem}-{one.annotation_id}")
        for one in objects
    ]
    return unique_names(files)


def picture_name(obj: ImageObject) -> str:
    """The name of an object's picture among those of a source.

    >>> picture_name(read_source(coco, limit=1).objects[0])
    'creatures-00001-1.png'
    """
    # A photograph may hold several objects, and two folders files of one name.
    stem = Path(obj.file_name).with_suffix("").as_posix().replace("/", "-")
    return short_stem(f"{stem}-{obj.annotation_id}") + ".png"


def object_record(obj: ImageObject) -> dict[str, Any]:
    """Which object a record is of: its image, and its id and box if it is a box in it.

    >>> record = object_record(asked_source("fox.jpg", box=(20, 30, 90, 80)).objects[0])
    >>> record["object"], record["box"], record["frame"]
    (1, [20.0, 30.0, 90.0, 80.0], 'pixels of the photograph')
    """
    boxed = obj.box is not None
    return {
        "image": str(obj.path),
        "object": obj.annotation_id if boxed else None,
        "box": list(obj.box) if obj.box is not None else None,
        "frame": FRAME,
    }


def object_title(obj: ImageObject) -> str:
    """An object in words: its image, and its id and box if it is a box in it.

    >>> object_title(asked_source("fox.jpg", box=(20, 30, 90, 80)).objects[0])
    'fox.jpg, object 1 in the box 20,30,90,80'
    """
    if obj.box is None:
        return str(obj.path)
    box = ",".join(f"{number:.6g}" for number in obj.box)
    return f"{obj.path}, object {obj.annotation_id} in the box {box}"


def box_hint(workspace: Workspace, objects: Sequence[ImageObject]) -> str | None:
    """What to say of whole photographs that are asked about a graph that was mined from boxes.

    Its nodes have their places in a box about an object. In a whole photograph, where the object is
    smaller and elsewhere, they are looked for in the wrong places.

    >>> box_hint(workspace, read_source(pictures).objects)[:49]
    'the graph was mined from boxes (in the median 51%'
    """
    n_whole = sum(one.box is None for one in objects)
    share = median(_shares(workspace)) if n_whole else 1.0
    if share >= _WHOLE:
        return None
    asked = "1 photograph is" if n_whole == 1 else f"{n_whole} photographs are"
    return (
        f"the graph was mined from boxes (in the median {share:.0%} of their photographs), but "
        f"{asked} asked about as a whole, where its nodes are looked for in the wrong places; "
        "give the object's box (--box x,y,w,h), or a COCO file with boxes"
    )


def _shares(workspace: Workspace) -> list[float]:
    """How much of its photograph each mined object's box covers."""
    sizes = {one.id: one.width * one.height for one in workspace.store.read_images()}
    return [one.box[2] * one.box[3] / sizes[one.image_id] for one in workspace.store.read_objects()]
