"""The picture of a part: its templates with the nodes that vote, and where they find it on objects that nobody annotated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import ImageError, WorkspaceError
from explgraph.graph import layer_of
from explgraph.images import ImageObject, load_image
from explgraph.parts import FoundPart, KnownObjects, SemanticPart, locate_part
from explgraph.queries.parts import read_part, to_part
from explgraph.workspace import Workspace

N_TEMPLATES, N_FOUND = 4, 8  # pictures of each kind at most
N_VOTES = 12  # nodes drawn, those that have most to say
Array = NDArray[np.float64]
Points = Mapping[int, tuple[float, float]]


def draw_part(workspace: Workspace, name: str, out: Path) -> Path:
    """Write a figure: each template's object with its annotation, then others from the surest answer to the least sure.

    A dot is a node, as large as its vote; its line leads to where it says that the part is, by the displacement that it has in the
    template that is most alike.

    Raises:
        UsageError: no such part, or there can be no file at ``out``.
        WorkspaceError: none of the photographs is where it was.
    """
    from explgraph.figures.nodes import save_figure  # matplotlib, which few commands need
    from explgraph.figures.part import PartPanel, part_figure

    record, known = read_part(workspace, name), workspace.known_objects()
    part = to_part(record, known.traits)
    found = locate_part(part, known.seen, known.traits)
    marked: Points = {known.require(a.object_id): (a.x, a.y) for a in record.annotations}
    panels = []
    for i in [*list(marked)[:N_TEMPLATES], *_spread(found, exclude=set(marked))]:
        try:
            picture = load_image(_object(i, known))
        except ImageError:
            continue
        left, top, width, height = (max(round(v), 0) for v in known.boxes[i])
        like = known.ids[list(marked)[int(found.template[i])]]
        title = f"object {known.ids[i]}: " + (
            "annotated" if i in marked else f"score {found.score[i]:.2f}, like {like}"
        )
        nodes, votes, weight, layers, spot = _votes(i, part, found, known)
        corner = (left, top)
        panels.append(
            PartPanel(
                image=picture[top : top + height, left : left + width],
                nodes=nodes - corner,
                votes=votes - corner,
                weight=weight,
                layers=layers,
                part=np.subtract(marked.get(i, spot), corner),
                annotated=i in marked,
                title=title,
            )
        )
    if not panels:
        raise WorkspaceError(
            f"the photographs are no longer where they were ({known.root}); put them back"
        )
    order = list(dict.fromkeys(layer_of(node) for node in known.traits.names))
    return save_figure(
        part_figure(
            panels, title=f"{name}: templates, and answers from sure to unsure", layers=order
        ),
        out,
    )


def _spread(found: FoundPart, *, exclude: set[int]) -> list[int]:
    """Return objects from the surest to the least sure, evenly spread over the ranks."""
    ranked = [i for i in np.argsort(-found.score, kind="stable").tolist() if i not in exclude]
    picks = np.linspace(0, len(ranked) - 1, min(N_FOUND, len(ranked))).round().astype(int)
    return [ranked[i] for i in picks]


def _object(i: int, known: KnownObjects) -> ImageObject:
    path = known.root / known.files[i]
    return ImageObject(
        known.ids[i],
        known.ids[i],
        known.files[i],
        path,
        known.boxes[i],
        recorded_size=known.sizes[i],
    )


def _votes(
    i: int, part: SemanticPart, found: FoundPart, known: KnownObjects
) -> tuple[Array, Array, Array, list[str], tuple[float, float]]:
    """Return where the strongest nodes are, where they vote, their weights and layers, and where the part is; pixels."""
    template = int(found.template[i])
    weight = part.weight[template] * np.square(known.seen.relative[i, part.nodes])
    strongest = np.argsort(-weight, kind="stable")[:N_VOTES]
    nodes = part.nodes[strongest]
    to_image = lambda place: known.frames[i].to_image(place, mirrored=known.seen.mirrored[i])
    at = known.seen.place[i, nodes]
    x, y = to_image(found.place[i]).tolist()
    layers = [layer_of(known.traits.names[node]) for node in nodes]
    share = weight[strongest] / max(float(weight.max()), 1e-12)
    return (
        to_image(at),
        to_image(at + part.displacement[template, strongest]),
        share,
        layers,
        (x, y),
    )
