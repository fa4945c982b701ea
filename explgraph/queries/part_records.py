"""Semantic parts as the database keeps them, and as arrays."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from explgraph.errors import UsageError, WorkspaceError
from explgraph.parts import MIN_CONTRAST, Mark, NodeTraits, PartConfig, SemanticPart
from explgraph.workspace import Workspace
from explgraph_storage import PartAnnotation, PartTemplate, SemanticPartRecord


def checked(workspace: Workspace, part: SemanticPartRecord) -> SemanticPartRecord:
    """A stored part, if it holds what `to_record` gives; SQLite keeps any value in any column.

    Raises:
        WorkspaceError: it does not.
    """
    if (fault := _fault(part, workspace.file_of_object())) is not None:
        raise WorkspaceError(
            f"{workspace.folder}: part {part.name!r}: expected {fault}; the database is damaged: "
            "restore it from a copy, or fit the part again"
        )
    return part


def _fault(part: SemanticPartRecord, known: Mapping[int, str]) -> str | None:
    """What was expected of a stored part; None if it is so."""
    for key, value in part.config.items():
        default = getattr(PartConfig(), key, None)
        # As its own kind of number: True is none, and 1.5 is no number of nodes.
        kinds = (int,) if isinstance(default, int) else (int, float)
        if default is None or type(value) not in kinds or not 0 < value < 1e6:
            return f"settings as numbers above 0, got {value!r:.80} as {key}"
    if not part.annotations or not all(mark.object_id in known for mark in part.annotations):
        return "marks on objects of the workspace"
    if not MIN_CONTRAST <= part.contrast <= 2:
        return f"a contrast of {MIN_CONTRAST} to 2, got {part.contrast}"
    # In the mean of the templates: the less sure the facing of one's object, the less it says.
    # A template without a node near its mark has none.
    sums = [math.fsum(one.weight) for one in part.templates if any(one.weight)]
    mean = math.fsum(sums) / max(len(sums), 1)
    if sums and abs(mean - 1) > 1e-6:
        return f"weights that sum to 1, got {mean:g}"
    for one in part.templates:
        first = part.templates[0]
        if not one.nodes or one.nodes != first.nodes or len(one.pose) != len(first.pose):
            return "the same nodes in every template, and poses of one length"
        if min(one.weight) < 0:
            return "weights from 0 up"
        rest = np.concatenate([np.ravel(one.displacement), one.correction, one.pose])
        if min(one.presence) < 0 or max(one.presence) > 1e12 or (np.abs(rest) > 1e6).any():
            return "fractions of the input as places, and scores from 0 up"
    return None


def read_part(workspace: Workspace, name: str) -> SemanticPartRecord:
    """A stored part.

    Raises:
        UsageError: there is none of that name.
        WorkspaceError: the database is damaged.
    """
    parts = {part.name: part for part in workspace.store.read_semantic_parts()}
    require_part(workspace, name, parts)
    return checked(workspace, parts[name])


def require_part(workspace: Workspace, name: str, there: Collection[str]) -> None:
    """Raise UsageError if a part is not among those that are there."""
    if name not in there:
        raise UsageError(
            f"{workspace.folder} has no part {name!r}; it has {', '.join(there) or 'none'}, see "
            "'explgraph part fit'"
        )


def to_part(record: SemanticPartRecord, traits: NodeTraits) -> SemanticPart:
    """A stored part as arrays.

    Raises:
        WorkspaceError: the graph was mined anew, or objects are gone, since it was fitted.
    """
    templates = record.templates
    if not templates or len(templates) != len(record.annotations):
        raise WorkspaceError(
            f"the graph was mined anew since part {record.name!r} was fitted; fit it again from "
            f"its {len(record.annotations)} stored annotations: explgraph part fit WORKSPACE "
            f"--name {record.name}"
        )
    position = {node: i for i, node in enumerate(traits.names)}
    if len(templates[0].pose) != traits.loadings.shape[2]:
        raise WorkspaceError(
            f"part {record.name!r}: expected a pose of {traits.loadings.shape[2]} dimensions as "
            f"the graph's, got {len(templates[0].pose)}; fit the part again"
        )
    stack = lambda key: np.array([getattr(one, key) for one in templates], np.float64)
    return SemanticPart(
        name=record.name,
        nodes=np.array([position[node] for node in templates[0].nodes], np.int64),
        weight=stack("weight"),
        displacement=stack("displacement"),
        presence=stack("presence"),
        pose=stack("pose").reshape(len(templates), -1),
        correction=stack("correction"),
        contrast=record.contrast,
        config=PartConfig(**record.config),
    )


def to_record(part: SemanticPart, marks: Sequence[Mark], traits: NodeTraits) -> SemanticPartRecord:
    """A part as it is stored."""
    nodes = tuple(traits.names[i] for i in part.nodes)
    pairs = lambda array: tuple((float(row), float(col)) for row, col in array)
    templates = tuple(
        PartTemplate(
            object_id=mark.object_id,
            correction=correction,
            pose=tuple(part.pose[k].tolist()),
            nodes=nodes,
            weight=tuple(part.weight[k].tolist()),
            displacement=pairs(part.displacement[k]),
            presence=tuple(part.presence[k].tolist()),
        )
        for k, (mark, correction) in enumerate(zip(marks, pairs(part.correction), strict=True))
    )
    annotations = tuple(PartAnnotation(mark.object_id, mark.x, mark.y) for mark in marks)
    return SemanticPartRecord(part.name, asdict(part.config), part.contrast, annotations, templates)


def strongest_votes(record: SemanticPartRecord, n: int | None = None) -> list[dict[str, Any]]:
    """The ``n`` nodes with the heaviest votes, and their mean displacement over the templates."""
    templates = record.templates
    if not templates:
        return []
    weight = np.mean([one.weight for one in templates], 0)
    displacement = np.mean([one.displacement for one in templates], 0)
    rows = zip(templates[0].nodes, weight.tolist(), displacement.tolist(), strict=True)
    ranked = sorted(rows, key=lambda row: -row[1])[:n]
    return [{"node": node, "weight": w, "d_row": d[0], "d_col": d[1]} for node, w, d in ranked]


def part_of_nodes(workspace: Workspace) -> dict[str, str]:
    """The semantic part that each voting node lies on.

    It is the nearest one whose mean displacement from the node is within the part's reach.

    >>> set(part_of_nodes(workspace).values())
    {'head'}
    """
    nearest: dict[str, tuple[float, str]] = {}
    for record in workspace.store.read_semantic_parts():
        reach = PartConfig(**checked(workspace, record).config).reach
        for vote in strongest_votes(record):
            node, distance = vote["node"], float(np.hypot(vote["d_row"], vote["d_col"]))
            if distance <= reach:
                here = (distance, record.name)
                # Of parts that are as near the first by name, whatever the order of the records.
                nearest[node] = min(nearest.get(node, here), here)
    return {node: name for node, (_, name) in nearest.items()}
