"""The picture of a part: its templates with the votes, and answers on objects without a mark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import ImageError, WorkspaceError
from explgraph.graph import layer_of
from explgraph.images import ImageObject, load_image
from explgraph.parts import FoundPart, KnownObjects, SemanticPart, locate_part
from explgraph.queries.part_records import read_part, to_part
from explgraph.workspace import Workspace

N_TEMPLATES, N_FOUND = 4, 8  # pictures of each kind at most
N_VOTES = 12  # nodes drawn, those with the heaviest votes
Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Votes:
    """The strongest nodes on one object; places are (x, y) in pixels of the photograph."""

    nodes: Array
    votes: Array
    weight: Array
    layers: list[str]
    part: Array


def draw_part(workspace: Workspace, name: str, out: Path) -> Path:
    """Write a figure: each template's object with its mark, then others from sure to unsure.

    A dot is a node, as large as its vote; its line leads to where the part is by the node's
    displacement in the template that is most alike.

    Raises:
        UsageError: no such part, or there can be no file at ``out``.
        WorkspaceError: none of the photographs is where it was.
    """
    # matplotlib, which few commands need
    from explgraph.figures import PartPanel, part_figure, save_figure

    record, known = read_part(workspace, name), workspace.known_objects()
    part = to_part(record, known.traits)
    found = locate_part(part, known.seen, known.traits)
    marked = {known.require(a.object_id): (a.x, a.y) for a in record.annotations}
    panels = []
    for i in [*list(marked)[:N_TEMPLATES], *_spread(found, exclude=set(marked))]:
        try:
            picture = load_image(_object(i, known))
        except ImageError:
            continue
        left, top, width, height = (max(round(v), 0) for v in known.boxes[i])
        votes, corner = _votes(i, part, found, known), (left, top)
        like = record.annotations[int(found.template[i])].object_id
        said = "annotated" if i in marked else f"score {found.score[i]:.2f}, like {like}"
        panels.append(
            PartPanel(
                image=picture[top : top + height, left : left + width],
                nodes=votes.nodes - corner,
                votes=votes.votes - corner,
                weight=votes.weight,
                layers=votes.layers,
                part=np.subtract(marked.get(i, votes.part), corner),
                annotated=i in marked,
                title=f"object {known.ids[i]}: {said}",
            )
        )
    if not panels:
        raise WorkspaceError(
            f"the photographs are no longer where they were ({known.root}); put them back"
        )
    title = f"{name}: templates, and answers from sure to unsure"
    layers = list(dict.fromkeys(layer_of(node) for node in known.traits.names))
    return save_figure(part_figure(panels, title=title, layers=layers), out)


def _spread(found: FoundPart, *, exclude: set[int]) -> list[int]:
    """Objects from the surest to the least sure, evenly spread over the ranks."""
    ranked = [i for i in np.argsort(-found.score, kind="stable").tolist() if i not in exclude]
    picks = np.linspace(0, len(ranked) - 1, min(N_FOUND, len(ranked))).round().astype(int)
    return [ranked[i] for i in picks]


def _object(i: int, known: KnownObjects) -> ImageObject:
    number, file = known.ids[i], known.files[i]
    path, size = known.root / file, known.sizes[i]
    return ImageObject(number, number, file, path, known.boxes[i], recorded_size=size)


def _votes(i: int, part: SemanticPart, found: FoundPart, known: KnownObjects) -> _Votes:
    template = int(found.template[i])
    weight = part.weight[template] * np.square(known.seen.relative[i, part.nodes])
    strongest = np.argsort(-weight, kind="stable")[:N_VOTES]
    nodes = part.nodes[strongest]
    frame, mirrored = known.frames[i], bool(known.seen.mirrored[i])
    at = known.seen.place[i, nodes]
    votes = at + part.displacement[template, strongest]
    return _Votes(
        nodes=frame.to_image(at, mirrored=mirrored),
        votes=frame.to_image(votes, mirrored=mirrored),
        weight=weight[strongest] / max(float(weight.max()), 1e-12),
        layers=[layer_of(known.traits.names[node]) for node in nodes],
        part=frame.to_image(found.place[i], mirrored=mirrored),
    )
