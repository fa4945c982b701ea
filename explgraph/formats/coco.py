"""COCO keypoints, which most programs for keypoints read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

from explgraph.formats.part_place import PartPlace

Record = dict[str, Any]
Category = tuple[int | None, str]  # id and name in the source

# Not 0: that is "not labelled", and readers leave such keypoints out.
HIDDEN, SEEN = 1, 2  # COCO's visibility: labelled but not visible, and visible


def coco_keypoints(places: Sequence[PartPlace]) -> Record:
    """A COCO data set: one annotation per object, its parts as keypoints in order of their names.

    Objects keep the category of their source, with its id: scores can be computed against the
    source. A part that is not visible has COCO's visibility 1. COCO has no field for each
    keypoint's score; they stand in ``part_scores``.
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
    ids = _category_ids(places)
    categories = [
        {"id": number, "name": name, "keypoints": names, "skeleton": []}
        for (_, name), number in ids.items()
    ]
    annotations = [_annotation(found, names, ids) for found in by_object.values()]
    return {"images": list(images.values()), "categories": categories, "annotations": annotations}


def _category(place: PartPlace) -> Category:
    return place.category_id, place.category


def _category_ids(places: Sequence[PartPlace]) -> dict[Category, int]:
    """The id of each category: that of the source, or else the next one that is free."""
    kinds = sorted({_category(place) for place in places}, key=lambda kind: (kind[1], str(kind[0])))
    taken = {number for number, _ in kinds if number is not None}
    free = (number for number in count(1) if number not in taken)
    return {kind: next(free) if kind[0] is None else kind[0] for kind in kinds}


def _annotation(
    found: dict[str, PartPlace], names: Sequence[str], ids: dict[Category, int]
) -> Record:
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
        "category_id": ids[_category(first)],
        "bbox": list(first.box),
        "area": first.box[2] * first.box[3],
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(found),
        # An object is as sure as its least sure part.
        "score": min(scores.values()),
        "part_scores": scores,
    }
