"""CVAT: its own XML, "CVAT for images 1.1" in its list of formats.

COCO keypoints are no way into CVAT: it takes them for skeletons, and refuses files whose labels are
no skeletons in the task (cvat-ai/cvat, issues 5285, 7501, 9681).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

from explgraph.errors import UsageError
from explgraph.formats.part_place import PartPlace, by_photograph

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2
ATTRIBUTES = {"score": "number", "unsure": "checkbox"}  # of a point, and how CVAT asks for them


def cvat_lines(places: Sequence[PartPlace]) -> Iterator[str]:
    """Yield the file: for each object a group of its box and its parts, which are points.

    A part that is not visible is ``occluded``. Objects without a box of their own have points only.

    Raises:
        UsageError: a name has characters that XML cannot hold.
    """
    for text in {text for one in places for text in (one.image, one.part, one.category)}:
        if _NO_XML.search(text):
            raise UsageError(
                f"CVAT's XML cannot hold the name {text!r}; rename it, or choose another format"
            )
    yield '<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n<version>1.1</version>\n'
    photographs = by_photograph(places)
    # CVAT itself reads no labels here, the task has them; other readers do.
    yield f"<meta><task><size>{len(photographs)}</size><mode>annotation</mode><labels>\n"
    boxes = {place.category: "rectangle" for place in places if _has_box(place)}
    for name, kind in (boxes | {place.part: "points" for place in places}).items():
        yield _label(name, kind)
    yield "</labels></task></meta>\n"
    group = 0
    for number, (image, objects) in enumerate(photographs.items()):
        width, height = next(iter(objects.values()))[0].size
        size = f'width="{width}" height="{height}"'
        yield f'<image id="{number}" name={quoteattr(image)} {size}>\n'
        for found in objects.values():
            group += 1  # from 1: group 0 is none
            yield from _shapes(found, group)
        yield "</image>\n"
    yield "</annotations>\n"


def _label(name: str, kind: str) -> str:
    asked = "".join(
        f"<attribute><name>{key}</name><mutable>False</mutable><input_type>{input}</input_type>"
        f"<default_value/><values/></attribute>"
        for key, input in ATTRIBUTES.items()
        if kind == "points"
    )
    return (
        f"<label><name>{escape(name)}</name><type>{kind}</type>"
        f"<attributes>{asked}</attributes></label>\n"
    )


def _shapes(found: Sequence[PartPlace], group: int) -> Iterator[str]:
    first, common = found[0], f'source="auto" z_order="0" group_id="{group}"'
    if _has_box(first):
        x, y, width, height = first.box
        corners = f'xtl="{x:.2f}" ytl="{y:.2f}" xbr="{x + width:.2f}" ybr="{y + height:.2f}"'
        yield f'<box label={quoteattr(first.category)} occluded="0" {corners} {common}/>\n'
    for place in found:
        # Hundredths of a pixel, as CVAT writes them.
        at = f'points="{place.x:.2f},{place.y:.2f}" occluded="{int(not place.visible)}"'
        yield f"<points label={quoteattr(place.part)} {at} {common}>"
        yield f'<attribute name="score">{place.score:.4f}</attribute>'
        yield f'<attribute name="unsure">{str(place.unsure).lower()}</attribute></points>\n'


def _has_box(place: PartPlace) -> bool:
    return place.box != (0.0, 0.0, *map(float, place.size))
