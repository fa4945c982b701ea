"""Where the objects come from: a folder of images, a COCO file, or one image."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeGuard

import numpy as np

from explgraph.errors import Skipped, SourceError, UsageError
from explgraph.images.frame import MIN_SIDE, Box, Boxes, clip_box

# What `Picture` reads; it then recognises a file by its content.
IMAGE_SUFFIXES = frozenset(
    (
        *(".jfif", ".jpe", ".jpeg", ".jpg"),
        *(".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
        *(".bmp", ".gif", ".j2k", ".jp2", ".png", ".tif", ".tiff", ".webp"),
        *(".avif", ".heic", ".heif", ".hif"),
    )
)
_SUFFIXES = " ".join(sorted(IMAGE_SUFFIXES))

Kind = Literal["folder", "coco", "image", "files"]
AnyPath = str | os.PathLike[str]
"""A file or a folder."""

Entry = dict[str, Any]  # of a COCO file


@dataclass(frozen=True)
class ImageObject:
    """One object to look at: an image, a box in it, and what is known about it.

    Args:
        annotation_id: COCO's annotation id; 1, 2, ... for the images of a folder.
        image_id: COCO's image id; equal to ``annotation_id`` for the images of a folder.
        file_name: path relative to the folder of the images, with forward slashes.
        path: where the file is.
        box: (x, y, width, height), pixels, continuous; None for the whole image.
        landmarks: name -> (x, y), pixels; only those that are annotated. They may score a graph,
            never mine one.
        label: COCO's category, or the name of the subfolder that holds the image; None directly
            in a folder.
        recorded_size: (width, height) that the COCO file records for the image, pixels.
        category_id: COCO's, if it has one.

    >>> zebra = ImageObject(7, 3, "a/zebra.jpg", Path("photos/a/zebra.jpg"), box=(10, 20, 64, 48))
    >>> zebra.landmarks
    {}
    """

    annotation_id: int
    image_id: int
    file_name: str
    path: Path
    box: Box | None = None
    landmarks: dict[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    label: str | None = None
    recorded_size: tuple[int, int] | None = None
    category_id: int | None = None


Found = Iterator[ImageObject | Skipped]


@dataclass(frozen=True)
class Source:
    """The objects of a source, those of one image side by side, and what was skipped.

    Args:
        root: folder that the ``file_name`` of every object is relative to.
        kind: "folder", "coco", "image" or "files".
        objects: in a lasting order.
        skipped: what gave no object.
        landmarks: the names that a COCO file declares, in its order.

    >>> source = read_source(pictures)
    >>> source.kind, source.objects[0].file_name
    ('folder', '00001.jpg')
    """

    root: Path
    kind: Kind
    objects: tuple[ImageObject, ...]
    skipped: tuple[Skipped, ...]
    landmarks: tuple[str, ...] = ()


def read_source(
    path: AnyPath | Sequence[AnyPath],
    *,
    images: AnyPath | None = None,
    box: Boxes | None = None,
    objects: Sequence[int] = (),
    limit: int | None = None,
    allow_outside: bool = False,
) -> Source:
    """The objects of a folder of images, a COCO file or image files; no image is opened.

    A folder is searched recursively, sorted by relative path. Hidden files and folders are
    ignored, links are followed once, and every image is one object, labelled with its subfolder's
    name. In a COCO file every annotated box is one object, in the order of the file's images.
    Annotations with ``iscrowd`` are left out, keypoints of visibility 0 too. Of a list of files
    every image is one object, in the order of the list.

    Args:
        path: the folder, the ``.json`` file, the image file, or a list of image files.
        images: folder of a COCO file's images; by default the one that holds the COCO file.
        box: what to look at in an image: one (x, y, width, height) in its pixels, or several, each
            of which is an object; of a list of images, one for each.
        objects: only these, by their ``annotation_id``, in this order; empty keeps all.
        limit: stop after this many objects.
        allow_outside: read images that a COCO file names by an absolute path, or by one that leads
            out of the folder with ``..``; by default they are skipped. Links in the folder are
            followed in any case.

    Raises:
        SourceError: the source is missing, empty, or not what it should be.
        UsageError: ``limit`` below 1, ``images`` without a COCO file, boxes that do not fit the
            images, or an object that the source does not give.

    >>> len(read_source(pictures).objects)
    6
    >>> fox = read_source(coco, limit=1).objects[0]
    >>> fox.label, fox.landmarks["head"]
    ('fox', (205.67, 87.79))
    >>> read_source(fox.path, box=(20, 30, 90, 80)).objects[0].box
    (20.0, 30.0, 90.0, 80.0)
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit must be at least 1 object, got {limit}")
    # Of those that are picked the first are wanted, wherever they stand in the source.
    first = None if objects or box is not None else limit
    if isinstance(path, str | os.PathLike):
        source = _read(Path(path), images, first, allow_outside=allow_outside)
    else:
        source = _listed([Path(one) for one in path], images, first)
    return choose_objects(source, box=box, objects=objects, limit=limit)


def choose_objects(
    source: Source,
    *,
    box: Boxes | None = None,
    objects: Sequence[int] = (),
    limit: int | None = None,
) -> Source:
    """The source with some of its objects, see `read_source`.

    >>> [one.annotation_id for one in choose_objects(read_source(coco), objects=(3, 1)).objects]
    [3, 1]
    """
    found = source.objects if box is None else with_boxes(source.objects, box)
    return replace(source, objects=(_pick(found, objects) if objects else found)[:limit])


def with_boxes(objects: Sequence[ImageObject], box: Boxes) -> tuple[ImageObject, ...]:
    """Whole images cut down to boxes: one image to each of several, or each image to its own.

    Raises:
        UsageError: a box is not one, there are not as many as images, or an image has one already.

    >>> zebra = ImageObject(1, 1, "zebra.jpg", Path("zebra.jpg"))
    >>> [one.box for one in with_boxes([zebra], [(0, 0, 64, 48), (70, 0, 64, 48)])]
    [(0.0, 0.0, 64.0, 48.0), (70.0, 0.0, 64.0, 48.0)]
    """
    if any(one.box is not None for one in objects):
        raise UsageError(
            "a box goes with an image; a COCO file has its own boxes, of which the id of an "
            "object (--object) picks one"
        )
    pairs = enumerate(pair_boxes(len(objects), box), 1)
    return tuple(replace(objects[k], annotation_id=n, box=own) for n, (k, own) in pairs)


def pair_boxes(n_images: int, box: Boxes) -> list[tuple[int, Box]]:
    """(number of the image, box): one image with each of several boxes, or each with its own.

    Raises:
        UsageError: a box is not four finite numbers, or not at least MIN_SIDE wide and high; or
            there are not as many as images.

    >>> pair_boxes(1, [(3, 4, 10, 20), (5, 6, 10, 20)])
    [(0, (3.0, 4.0, 10.0, 20.0)), (0, (5.0, 6.0, 10.0, 20.0))]
    """
    boxes = _read_boxes(box)
    if n_images == 1:
        return [(0, one) for one in boxes]
    if len(boxes) != n_images:
        raise UsageError(
            "give one image with any number of boxes, or one box for each image; "
            f"got {len(boxes)} boxes and {n_images} images"
        )
    return list(enumerate(boxes))


def _read_boxes(box: Boxes) -> list[Box]:
    """The boxes of one, or of several."""
    try:
        found = np.atleast_2d(np.asarray(box, np.float64))
    except (TypeError, ValueError):  # not numbers, or lists of unequal length
        found = np.empty(0)
    fits = found.ndim == 2 and found.shape[1] == 4 and len(found) > 0
    if not (fits and np.isfinite(found).all() and (found[:, 2:] >= MIN_SIDE).all()):
        raise UsageError(
            "a box must be x, y, width, height in pixels of the photograph, at least "
            f"{MIN_SIDE:g} wide and high; got {_short(box)}"
        )
    return [(x, y, width, height) for x, y, width, height in found.tolist()]


def _pick(objects: Sequence[ImageObject], wanted: Sequence[int]) -> tuple[ImageObject, ...]:
    """The objects with these ids, in the order of the ids."""
    by_id = {one.annotation_id: one for one in objects}
    missing = [number for number in wanted if number not in by_id]
    if missing:
        known = ", ".join(map(str, list(by_id)[:5])) + (", ..." if len(by_id) > 5 else "")
        raise UsageError(f"the source gives no object {missing[0]}; its objects are {known}")
    return tuple(by_id[number] for number in dict.fromkeys(wanted))


def _read(path: Path, images: AnyPath | None, limit: int | None, *, allow_outside: bool) -> Source:
    """The source of one path."""
    kind = _kind(path)
    if images is not None and kind != "coco":
        raise UsageError(
            f"a folder of images goes with a COCO .json file only, got it with {path}; leave it out"
        )
    root = path if kind == "folder" else path.parent if images is None else Path(images)
    if not root.is_dir():
        raise SourceError(
            f"the images must be in a folder, but {root} is not one; "
            "name the folder of the COCO file's images"
        )
    landmarks: tuple[str, ...] = ()
    if kind == "coco":
        data = _load_coco(path)
        categories = _categories(path, data)
        names = (str(name) for one in categories.values() for name in _list(one.get("keypoints")))
        landmarks = tuple(dict.fromkeys(names))
        found = _in_coco(path, root, data, categories, allow_outside=allow_outside)
    else:
        found = _in_folder(path, root) if kind == "folder" else _image(path, root)
    objects: list[ImageObject] = []
    skipped: list[Skipped] = []
    for item in found:
        if isinstance(item, Skipped):
            skipped.append(item)
            continue
        objects.append(item)
        # What lies behind the limit is not even looked at.
        if len(objects) == limit:
            break
    if not objects:
        raise SourceError(_nothing_found(path, kind, skipped))
    return Source(root, kind, tuple(objects), tuple(skipped), landmarks)


def _listed(files: list[Path], images: AnyPath | None, limit: int | None) -> Source:
    """The source of a list of image files."""
    if images is not None:
        raise UsageError("a folder of images goes with a COCO .json file only, got it with a list")
    if not files:
        raise SourceError("expected at least one image file, got an empty list")
    files = [file.absolute() for file in files]
    # Objects are named relative to one folder, as those of every other source are.
    root = Path(os.path.commonpath([file.parent for file in files]))
    objects: list[ImageObject] = []
    skipped: list[Skipped] = []
    for file in dict.fromkeys(files):  # a file that is named twice is one object
        name = file.relative_to(root).as_posix()
        problem = _problem(name, file)
        if problem is not None:
            skipped.append(Skipped(_printable(name), problem))
        elif limit is None or len(objects) < limit:
            number = len(objects) + 1
            objects.append(ImageObject(number, number, name, file))
    if not objects:
        first = skipped[0]
        raise SourceError(f"none of {len(files)} files is an image: {first.path}: {first.reason}")
    return Source(root, "files", tuple(objects), tuple(skipped))


def _kind(path: Path) -> Kind:
    try:
        if path.is_dir():
            return "folder"
        exists = path.exists()
    except (OSError, ValueError) as error:
        raise SourceError(f"cannot read source {path}: {error}; check the path") from error
    if not exists:
        raise SourceError(
            f"no source at {str(path)!r}: expected a folder of images, a COCO .json file or an "
            "image; check the path"
        )
    if path.suffix.lower() == ".json":
        return "coco"
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return "image"
    raise SourceError(
        f"expected a folder of images, a COCO .json file or an image ({_SUFFIXES}), got {path}; "
        "name one of these"
    )


def _nothing_found(path: Path, kind: str, skipped: list[Skipped]) -> str:
    why = ""
    if skipped:
        why = f"; skipped {len(skipped)}, first {skipped[0].path}: {skipped[0].reason}"
    if kind == "coco":
        return f"{path} gives no object: expected at least one box on an image that exists{why}"
    return f"no image in {path}: expected files ending in {_SUFFIXES}{why}"


# Folders


def _image(path: Path, root: Path) -> Found:
    yield ImageObject(1, 1, path.relative_to(root).as_posix(), path)


def _in_folder(path: Path, root: Path) -> Found:
    unreadable: list[OSError] = []
    # The whole list first: numbers, shards and fingerprints hang on this order, and folders list
    # their files in whatever order the file system has.
    files = sorted(_files_below(root, unreadable))
    for error in unreadable:
        reason = f"folder cannot be read: {error.strerror}"
        yield Skipped(_printable(str(error.filename)), reason)
    number = 0
    for name in files:
        file = root / name
        problem = _problem(name, file)
        if problem is not None:
            yield Skipped(_printable(name), problem)
            continue
        number += 1
        label = file.parent.name if "/" in name else None
        yield ImageObject(number, number, name, file, label=label)


def _files_below(root: Path, unreadable: list[OSError]) -> Iterator[str]:
    """The relative posix paths of the files below ``root`` that are not hidden.

    Every folder is entered once, under whichever name comes first, so a link to a parent ends
    there.
    """
    seen: set[str] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=unreadable.append):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        # In place: this is how os.walk is told where to go.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(root)
        yield from ((relative / name).as_posix() for name in names if not name.startswith("."))


def _problem(name: str, file: Path) -> str | None:
    """Why ``file`` is not an image to read, None if it looks like one."""
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        return f"not an image by its suffix {file.suffix!r}"
    # A name of bytes that are no UTF-8 has lone surrogates, which neither SQLite nor JSON take.
    if _printable(name) != name:
        return "name is not valid Unicode and cannot be stored; rename the file"
    return None if _is_file(file) else "not a regular file, or a link to nothing"


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _printable(name: str) -> str:
    return name.encode("utf-8", "replace").decode("utf-8")


# COCO


def _in_coco(
    path: Path, root: Path, data: Entry, categories: dict[int, Entry], *, allow_outside: bool
) -> Found:
    images = _by_id(path, "image", data["images"])
    annotations = _by_id(path, "annotation", data["annotations"])
    of_image: dict[int, list[Entry]] = {key: [] for key in images}
    for key, annotation in annotations.items():
        image = annotation.get("image_id")
        # The check of the type comes first: a list as image_id cannot be looked up.
        if not _is_id(image) or image not in of_image:
            reason = f"annotation {key}: its image_id {_short(image)} is not among the images"
            yield Skipped(path.name, reason)
        # The box of a crowd is around many objects at once.
        elif not annotation.get("iscrowd"):
            of_image[image].append(annotation)
    for key, mine in of_image.items():
        name = images[key].get("file_name")
        if mine and isinstance(name, str) and not allow_outside and _is_outside(name, root):
            # The file may come from anyone; it shall not say which other files are read.
            reason = f"image {key}: its file_name leads out of {root}; --allow-outside reads it"
            yield Skipped(_printable(name), reason)
        elif mine:
            yield from _objects_of_image(root, images[key], mine, categories)


def _load_coco(path: Path) -> Entry:
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    # RecursionError: JSON that is nested a thousand deep.
    except (ValueError, RecursionError) as error:
        message = f"{path} is not a JSON file ({error}); expected COCO annotations"
        raise SourceError(message) from error
    # Categories may be missing: then objects have no label and no landmarks.
    for key in ("images", "annotations"):
        if not isinstance(data, dict) or not isinstance(data.get(key), list):
            raise SourceError(
                f"{path} is not a COCO file: expected an object with the lists 'images' and "
                f"'annotations', got no {key!r}"
            )
    return dict(data)


def _by_id(path: Path, what: str, entries: list[Any]) -> dict[int, Entry]:
    result: dict[int, Entry] = {}
    for position, entry in enumerate(entries):
        key = entry.get("id") if isinstance(entry, dict) else None
        if not _is_id(key):
            raise SourceError(
                f"{path}: {what} number {position} must be an object with a whole number of at "
                f"most 64 bits as 'id', got {_short(key)}"
            )
        if key in result:
            message = f"{path}: {what} ids must be unique, but {key} occurs twice; renumber them"
            raise SourceError(message)
        result[key] = entry
    return result


def _categories(path: Path, data: Entry) -> dict[int, Entry]:
    """The categories by id, if their names can be stored; else mining would fail at its end."""
    categories = _by_id(path, "category", _list(data.get("categories")))
    for key, category in categories.items():
        landmarks = [str(name) for name in _list(category.get("keypoints"))]
        # Of two landmarks of one name, one would be lost.
        if len(set(landmarks)) < len(landmarks):
            twice = Counter(landmarks).most_common(1)[0][0]
            message = f"{path}: category {key} names the keypoint {_short(twice)} twice; rename one"
            raise SourceError(message)
        for name in (one for one in (category.get("name"), *landmarks) if isinstance(one, str)):
            if _printable(name) != name or "\0" in name:
                raise SourceError(
                    f"{path}: category {key} has the name {_short(name)}, which is not valid "
                    "Unicode text and cannot be stored; rename it"
                )
    return categories


def _is_outside(name: str, root: Path) -> bool:
    """Whether a file_name leads out of the folder of the images.

    >>> [_is_outside(name, Path("photos")) for name in ("a/1.jpg", "a/../1.jpg", "../1.jpg", "/1")]
    [False, False, True, True]
    """
    path = Path(name)
    if path.anchor:
        return True
    if ".." not in path.parts:  # without it only a link leads out, which the folder's owner made
        return False
    try:
        # Resolved, as `link/..` is not the folder that holds the link.
        return not (root / path).resolve().is_relative_to(root.resolve())
    except (OSError, ValueError, RuntimeError):  # a loop of links, a NUL
        return True


def _short(value: Any) -> str:
    """A value as messages show it; ids of a thousand digits occur."""
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _is_id(value: Any) -> TypeGuard[int]:
    # In Python True is an int, and would be id 1. Databases and Parquet have 64 bits.
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return is_whole and -(2**63) <= value < 2**63


def _objects_of_image(
    root: Path, image: Entry, annotations: list[Entry], categories: dict[int, Entry]
) -> Found:
    name = image.get("file_name")
    if not isinstance(name, str) or not name:
        yield Skipped(str(name), f"image {image['id']} has no file_name")
        return
    file = root / name
    if _printable(name) != name:
        reason = f"image {image['id']}: its file_name is not valid Unicode and cannot be stored"
        yield Skipped(_printable(name), reason)
        return
    if not _is_file(file):
        reason = f"file does not exist below {root}; its annotations: {len(annotations)}"
        yield Skipped(_printable(name), reason)
        return
    # See `explgraph.images.load_input`: it tells whether boxes were drawn on the upright picture.
    size = _recorded_size(image)
    short = Path(name).as_posix()
    for annotation in annotations:
        number = annotation.get("category_id")
        number = number if _is_id(number) else None
        category = {} if number is None else categories.get(number, {})
        try:
            box, landmarks = _read_box(annotation, size), _read_landmarks(annotation, category)
        except ValueError as error:
            yield Skipped(name, f"annotation {annotation['id']}: {error}")
            continue
        label = None if category.get("name") is None else str(category["name"])
        ids = annotation["id"], image["id"]
        yield ImageObject(*ids, short, file, box, landmarks, label, size, number)


def _recorded_size(image: Entry) -> tuple[int, int] | None:
    width, height = (_side(image.get(key)) for key in ("width", "height"))
    return (width, height) if width and height else None


def _side(value: Any) -> int:
    """A number of pixels, 0 if it is not one."""
    return int(value) if _is_number(value) and value >= 1 and value == int(value) else 0


def _is_number(value: Any) -> TypeGuard[float]:
    """Whether it is a plain number: JSON as Python reads it may hold NaN and infinity."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) < 1e15


def _read_box(annotation: Entry, size: tuple[int, int] | None) -> Box:
    values = annotation.get("bbox")
    if not isinstance(values, list) or len(values) != 4 or not all(map(_is_number, values)):
        raise ValueError(f"bbox must be four numbers [x, y, width, height], got {values!r}")
    x, y, width, height = map(float, values)
    if width < MIN_SIDE or height < MIN_SIDE:
        got = f"{width:g} x {height:g}"
        raise ValueError(f"box must be at least {MIN_SIDE:g} pixel wide and high, got {got}")
    # Only boxes that miss the image are refused: those that reach over its border, as annotators
    # draw them, are clipped when they are cut out.
    if size is not None and clip_box((x, y, width, height), *size) is None:
        raise ValueError(f"box {values} lies outside of the image of {size[0]} x {size[1]} pixels")
    return x, y, width, height


def _read_landmarks(annotation: Entry, category: Entry) -> dict[str, tuple[float, float]]:
    names, values = _list(category.get("keypoints")), _list(annotation.get("keypoints"))
    if not all(map(_is_number, values)) or len(values) not in (0, 3 * len(names)):
        raise ValueError(
            f"keypoints must be [x, y, visibility] for each of {len(names)} names, got {values!r}"
        )
    # Not strict: an annotation without any keypoints has none of the names.
    triples = zip(names, values[0::3], values[1::3], values[2::3], strict=False)
    return {str(name): (float(x), float(y)) for name, x, y, visibility in triples if visibility > 0}
