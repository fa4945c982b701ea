"""Label Studio: tasks with predictions, to be corrected by people."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any
from urllib.parse import quote

from explgraph.formats.part_place import PartPlace, by_photograph

Record = dict[str, Any]
QUOTED = ("http://", "https://", "/")  # what is a URL; keys of a bucket (s3://) are taken literally


def label_studio(places: Sequence[PartPlace], *, image_prefix: str = "") -> list[Record]:
    """Label Studio tasks with pre-annotations: keypoint labels in percent of the photograph's size.

    For a labelling interface with ``<Image name="image" value="$image"/>`` and
    ``<KeyPointLabels name="part" toName="image">``. A part that is not visible, or unsure, says so
    in the region's notes (``meta.text``): per-region choices would need a control of their own, and
    without it Label Studio refuses the prediction as a whole.

    Args:
        places: object by object.
        image_prefix: stands before the photograph's name, as it is: where Label Studio finds it.
    """
    tasks = []
    for image, objects in by_photograph(places).items():
        found = list(chain.from_iterable(objects.values()))
        prediction = {
            "model_version": "explgraph",
            # As in COCO: Label Studio sorts tasks by it, the least sure first.
            "score": min(place.score for place in found),
            "result": [_keypoint(place) for place in found],
        }
        name = quote(image) if image_prefix.startswith(QUOTED) else image
        tasks.append({"data": {"image": image_prefix + name}, "predictions": [prediction]})
    return tasks


def _keypoint(place: PartPlace) -> Record:
    width, height = place.size
    x, y = 100 * place.x / width, 100 * place.y / height
    region = {
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
    return region | ({"meta": {"text": [place.doubt]}} if place.doubt else {})
