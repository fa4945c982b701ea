"""The picture of a part: its templates with the votes, and answers on objects without a mark."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from explgraph.errors import ImageError, WorkspaceError
from explgraph.graph import layer_of
from explgraph.images import AnyPath, Box, ImageObject, load_image
from explgraph.parts import FoundPart, KnownObjects, SemanticPart, locate_part
from explgraph.queries.part_records import read_part, to_part
from explgraph.workspace import Workspace

if TYPE_CHECKING:
    from explgraph.figures import PartPanel

N_TEMPLATES, N_FOUND = 4, 8  # pictures of each kind at most
N_VOTES = 12  # nodes drawn, those with the heaviest votes
NARROWEST, WIDEST = 0.85, 1.6  # width / height of an object's picture


def draw_part(workspace: Workspace, name: str, out: AnyPath) -> Path:
    """Write a figure: each template's object with its mark, then others from sure to unsure.

    A dot is a node, as large as its vote; its line leads to where the part is by the node's
    displacement in the template that is most alike.

    Raises:
        UsageError: no such part, or there can be no file at ``out``.
        WorkspaceError: none of the photographs is where it was.

    >>> draw_part(workspace, "head", out / "head.png").name
    'head.png'
    """
    # matplotlib, which few commands need
    from explgraph.figures import part_figure, save_figure

    record, known = read_part(workspace, name), workspace.known_objects()
    part = to_part(record, known.traits)
    found = locate_part(part, known.seen, known.traits)
    marked = {known.require(a.object_id): (a.x, a.y) for a in record.annotations}
    panels = []
    for i in [*list(marked)[:N_TEMPLATES], *_spread(found, exclude=set(marked))]:
        like = record.annotations[int(found.template[i])].object_id
        said = "marked" if i in marked else f"score {found.score[i]:.2f}, as in {like}"
        title = f"object {known.ids[i]}: {said}"
        with suppress(ImageError):  # a photograph that is gone; the others are drawn
            panels.append(_panel(i, part, found, known, mark=marked.get(i), title=title))
    if not panels:
        raise WorkspaceError(
            f"the photographs are no longer where they were ({known.root}); put them back, or: "
            f"explgraph relocate {workspace.folder} --images FOLDER"
        )
    title = f"{name}: marked on {len(marked)} objects, found on others, from sure to unsure"
    layers = list(dict.fromkeys(layer_of(node) for node in known.traits.names))
    return save_figure(part_figure(panels, title=title, layers=layers), Path(out))


def _window(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of the box with what makes it neither thin nor low, whole pixels.

    Pictures of alike aspects fill the rows of a figure, and their titles fit above them.
    """
    x, y, width, height = box
    wide, high = max(width, NARROWEST * height), max(height, width / WIDEST)
    left = min(max(x + width / 2 - wide / 2, 0), max(size[0] - wide, 0))
    top = min(max(y + height / 2 - high / 2, 0), max(size[1] - high, 0))
    right, bottom = min(left + wide, size[0]), min(top + high, size[1])
    return round(left), round(top), round(right), round(bottom)


def _spread(found: FoundPart, *, exclude: set[int]) -> list[int]:
    """Objects from the surest to the least sure, evenly spread over the ranks."""
    ranked = [i for i in np.argsort(-found.score, kind="stable").tolist() if i not in exclude]
    # Not the surest alone: a picture that shows no failure teaches nothing.
    picks = np.linspace(0, len(ranked) - 1, min(N_FOUND, len(ranked))).round().astype(int)
    return [ranked[i] for i in picks]


def _panel(
    i: int,
    part: SemanticPart,
    found: FoundPart,
    known: KnownObjects,
    *,
    mark: tuple[float, float] | None,
    title: str,
) -> PartPanel:
    """One object, cut out, with its strongest nodes and where they say that the part is."""
    from explgraph.figures import PartPanel

    number, file, size, box = known.ids[i], known.files[i], known.sizes[i], known.boxes[i]
    path = known.root / file
    picture = load_image(ImageObject(number, number, file, path, box, recorded_size=size))
    left, top, right, bottom = _window(box, (picture.shape[1], picture.shape[0]))
    template = int(found.template[i])
    # A node that is not seen has no vote, however heavy it is in the template.
    weight = part.weight[template] * np.square(known.seen.relative[i, part.nodes])
    strongest = np.argsort(-weight, kind="stable")[:N_VOTES]
    nodes = part.nodes[strongest]
    at, mirrored = known.seen.place[i, nodes], bool(known.seen.mirrored[i])
    # In pixels of what is shown: a window of the photograph.
    shown = lambda place: known.frames[i].to_image(place, mirrored=mirrored) - (left, top)
    return PartPanel(
        image=picture[top:bottom, left:right],
        nodes=shown(at),
        votes=shown(at + part.displacement[template, strongest]),
        weight=weight[strongest] / max(float(weight.max()), 1e-12),
        layers=[layer_of(known.traits.names[node]) for node in nodes],
        part=np.subtract(mark, (left, top)) if mark else shown(found.place[i]),
        annotated=mark is not None,
        title=title,
    )
