"""Where a semantic part is on an object, as files say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

UNSURE = 0.15  # expected error of an unsure answer: a constant guess errs about so much


@dataclass(frozen=True)
class PartPlace:
    """Where a part is on an object; one row of the tables.

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
        box: (x, y, width, height) of the object, pixels; of the photograph where it has none.
        label: what the source calls the object: its category in COCO, its subfolder.
        category_id: of that category in COCO.

    >>> size, box = (640, 480), (100.0, 50.0, 200.0, 150.0)
    >>> place = PartPlace(7, "a.jpg", "head", 120.5, 85, 0.9, 0.02, True, 3, False, 1, size, box)
    >>> place.to_dict()["score"], place.unsure
    (0.9, False)
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
    label: str | None = None
    category_id: int | None = None

    @property
    def unsure(self) -> bool:
        """Whether it is expected to err as much as a constant guess does."""
        return self.expected_error >= UNSURE

    @property
    def doubt(self) -> str:
        """What a person should know of it: "not visible", "unsure", or nothing."""
        # Not visible says more than unsure, which such an answer mostly is as well.
        return "unsure" if self.visible and self.unsure else "" if self.visible else "not visible"

    @property
    def category(self) -> str:
        """The label, or "object" where the source has none: files for annotators need a name."""
        return self.label or "object"

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
        "unsure": pa.bool_(),
    }
)


def by_photograph(places: Sequence[PartPlace]) -> dict[str, dict[int, list[PartPlace]]]:
    """Photograph -> annotation id of an object -> its places, all in their order."""
    found: dict[str, dict[int, list[PartPlace]]] = {}
    for place in places:
        found.setdefault(place.image, {}).setdefault(place.annotation_id, []).append(place)
    return found
