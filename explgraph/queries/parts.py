"""Semantic parts of a workspace: fitted, stored, described, removed; and which image to annotate next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.errors import UsageError, WorkspaceError
from explgraph.graph import ExplanatoryGraph
from explgraph.parts import (
    KnownObjects,
    Mark,
    NodeTraits,
    PartConfig,
    SemanticPart,
    check_marks,
    fit_part,
    mark_at,
    marks_from_coco,
    suggest,
)
from explgraph.workspace import Workspace
from explgraph_storage import PartAnnotation, PartTemplate, SemanticPartRecord, Store

MAX_NAME = 80  # characters


@dataclass(frozen=True)
class Annotations:
    """What the user marked, as the command line has it.

    Args:
        dataset: COCO keypoints file; ids: of its annotations; landmark: of its keypoints, by default the part's name.
        at: IMAGE:x,y each.
    """

    dataset: Path | None = None
    ids: tuple[int, ...] = ()
    landmark: str | None = None
    at: tuple[str, ...] = ()


def fit_workspace_part(
    folder: str | Path,
    name: str,
    annotations: Annotations,
    *,
    add: bool = False,
    db: str | None = None,
) -> SemanticPartRecord:
    """Fit a part of a workspace and store it in the place of the former one of its name; return what was stored.

    Everything is checked and computed first and stored last, in one transaction: after an error all is as before.

    Args:
        folder: the workspace.
        name: of the part.
        annotations: what was marked; nothing fits the part again from the annotations that are stored.
        add: keep the stored annotations and add these.
        db: SQLAlchemy URL of the tables.

    Raises:
        UsageError: no annotations, or wrong ones (`explgraph.parts.marks`).
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(
            f"a part needs a printable name of at most {MAX_NAME} characters, got {name!r}"
        )
    with Workspace(folder, db=db) as workspace:
        known = workspace.known_objects()
        marks = _marks(name, annotations, known)
        if add or not marks:
            marks = [*_stored_marks(workspace, name), *marks]
        marks = check_marks(name, marks, known)
    record = to_record(fit_marks(name, marks, known), marks, known.traits)
    with Store.open(db or Path(folder) / "graph.db", mode="write") as store:
        store.save_semantic_part(record)
    return record


def fit_marks(name: str, marks: Sequence[Mark], known: KnownObjects) -> SemanticPart:
    """Return the part that follows from checked marks on known objects."""
    positions = [known.require(mark.object_id) for mark in marks]
    places = known.resolved(positions, [(mark.x, mark.y) for mark in marks])
    return fit_part(name, known.seen, known.traits, np.array(positions), np.clip(places, 0, 1))


def read_part(workspace: Workspace, name: str) -> SemanticPartRecord:
    """Return a stored part.

    Raises:
        UsageError: there is none of that name.
    """
    parts = {part.name: part for part in workspace.store.read_semantic_parts()}
    if name not in parts:
        raise UsageError(
            f"{workspace.folder} has no part {name!r}; it has {', '.join(parts) or 'none'}, see 'explgraph part fit'"
        )
    return parts[name]


def to_part(record: SemanticPartRecord, traits: NodeTraits) -> SemanticPart:
    """Return a stored part as arrays.

    Raises:
        WorkspaceError: the graph was mined anew, or objects are gone, since it was fitted.
    """
    if not record.templates or len(record.templates) != len(record.annotations):
        raise WorkspaceError(
            f"the graph was mined anew since part {record.name!r} was fitted; fit it again from its "
            f"{len(record.annotations)} stored annotations: explgraph part fit WORKSPACE --name {record.name}"
        )
    position = {node: i for i, node in enumerate(traits.names)}
    stack = lambda key: np.array(
        [getattr(template, key) for template in record.templates], np.float64
    )
    return SemanticPart(
        name=record.name,
        nodes=np.array([position[node] for node in record.templates[0].nodes], np.int64),
        weight=stack("weight"),
        displacement=stack("displacement"),
        presence=stack("presence"),
        pose=stack("pose").reshape(len(record.templates), -1),
        correction=stack("correction"),
        contrast=record.contrast,
        config=PartConfig(**record.config),
    )


def to_record(part: SemanticPart, marks: Sequence[Mark], traits: NodeTraits) -> SemanticPartRecord:
    """Return a part as it is stored."""
    nodes = tuple(traits.names[i] for i in part.nodes)
    templates = tuple(
        PartTemplate(
            object_id=mark.object_id,
            correction=(float(part.correction[k, 0]), float(part.correction[k, 1])),
            pose=tuple(part.pose[k].tolist()),
            nodes=nodes,
            weight=tuple(part.weight[k].tolist()),
            displacement=tuple((float(row), float(col)) for row, col in part.displacement[k]),
            presence=tuple(part.presence[k].tolist()),
        )
        for k, mark in enumerate(marks)
    )
    annotations = tuple(PartAnnotation(mark.object_id, mark.x, mark.y) for mark in marks)
    return SemanticPartRecord(part.name, asdict(part.config), part.contrast, annotations, templates)


def describe_parts(workspace: Workspace) -> dict[str, Any]:
    """Return the parts of a workspace as plain values."""
    parts = [
        {
            "name": part.name,
            "annotations": len(part.annotations),
            "nodes": len({node for template in part.templates for node in template.nodes}),
            "fitted": part.fitted_at if part.templates else "mined anew since: fit again",
        }
        for part in workspace.store.read_semantic_parts()
    ]
    return {"workspace": str(workspace.folder), "parts": parts}


def describe_part(workspace: Workspace, name: str, *, top: int = 10) -> dict[str, Any]:
    """Return one part with its templates and the nodes that have most to say."""
    record = read_part(workspace, name)
    images = {image.id: image.path for image in workspace.store.read_images()}
    image_of = {o.id: images[o.image_id] for o in workspace.store.read_objects()}
    marked = [
        {"object": a.object_id, "image": image_of[a.object_id], "x": a.x, "y": a.y}
        for a in record.annotations
    ]
    return {
        "part": name,
        "fitted": record.fitted_at,
        "annotations": marked,
        "strongest": strongest_votes(record, top),
    }


def strongest_votes(record: SemanticPartRecord, n: int) -> list[dict[str, Any]]:
    """Return the ``n`` nodes that have most to say, with their mean displacement over the templates."""
    if not record.templates:
        return []
    weight = np.mean([template.weight for template in record.templates], 0)
    displacement = np.mean([template.displacement for template in record.templates], 0)
    rows = zip(record.templates[0].nodes, weight.tolist(), displacement.tolist(), strict=True)
    ranked = sorted(rows, key=lambda row: -row[1])[:n]
    return [{"node": node, "weight": w, "d_row": d[0], "d_col": d[1]} for node, w, d in ranked]


def part_of_nodes(workspace: Workspace) -> dict[str, str]:
    """Return the semantic part that each voting node lies on: the nearest one whose mean displacement from the node is within its reach."""
    nearest: dict[str, tuple[float, str]] = {}
    for record in workspace.store.read_semantic_parts():
        reach = PartConfig(**record.config).reach
        for vote in strongest_votes(
            record, len(record.templates[0].nodes) if record.templates else 0
        ):
            distance = float(np.hypot(vote["d_row"], vote["d_col"]))
            if distance <= reach:
                nearest[vote["node"]] = min(
                    nearest.get(vote["node"], (distance, record.name)), (distance, record.name)
                )
    return {node: name for node, (_, name) in nearest.items()}


def graph_with_parts(workspace: Workspace) -> ExplanatoryGraph:
    """Return the graph with the And-Or graphs of its parts as the attribute ``semantic_parts``, plain values for any file format."""
    graph = workspace.store.load_graph()
    if parts := workspace.store.read_semantic_parts():
        graph.semantic_parts = [asdict(part) for part in parts]
    return graph


def remove_workspace_part(folder: str | Path, name: str, *, db: str | None = None) -> None:
    """Remove a part with its annotations.

    Raises:
        UsageError: there is none of that name.
    """
    with Workspace(folder, db=db) as workspace:
        read_part(workspace, name)
    with Store.open(db or Path(folder) / "graph.db", mode="write") as store:
        store.remove_semantic_part(name)


def suggest_images(workspace: Workspace, name: str, *, n: int = 3) -> list[dict[str, Any]]:
    """Return the next ``n`` images worth annotating, best first: image, object, expected gain, and how open the part is on it."""
    record = read_part(workspace, name)
    known = workspace.known_objects()
    part = to_part(record, known.traits)
    annotated = np.array([known.require(one.object_id) for one in record.annotations])
    chosen = suggest(part, known.seen, known.traits, annotated, n)
    return [
        {
            "image": known.files[s.object],
            "object": known.ids[s.object],
            "gain": s.gain,
            "variance": s.variance,
        }
        for s in chosen
    ]


def _marks(name: str, annotations: Annotations, known: KnownObjects) -> list[Mark]:
    if (annotations.dataset is None) != (not annotations.ids):
        raise UsageError(
            "--annotations and --ids go together: the COCO file, and which of its annotations to use"
        )
    marks = [mark_at(text, known) for text in annotations.at]
    if annotations.dataset is not None:
        marks += marks_from_coco(
            annotations.dataset, annotations.ids, annotations.landmark or name, known
        )
    return marks


def _stored_marks(workspace: Workspace, name: str) -> list[Mark]:
    stored = {part.name: part for part in workspace.store.read_semantic_parts()}
    return (
        [Mark(one.object_id, one.x, one.y) for one in stored[name].annotations]
        if name in stored
        else []
    )
