"""Semantic parts as the database keeps them, and as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from explgraph.errors import UsageError, WorkspaceError
from explgraph.parts import Mark, NodeTraits, PartConfig, SemanticPart
from explgraph.workspace import Workspace
from explgraph_storage import PartAnnotation, PartTemplate, SemanticPartRecord


def read_part(workspace: Workspace, name: str) -> SemanticPartRecord:
    """A stored part.

    Raises:
        UsageError: there is none of that name.
    """
    parts = {part.name: part for part in workspace.store.read_semantic_parts()}
    if name not in parts:
        raise UsageError(
            f"{workspace.folder} has no part {name!r}; it has {', '.join(parts) or 'none'}, see "
            "'explgraph part fit'"
        )
    return parts[name]


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
        reach = PartConfig(**record.config).reach
        for vote in strongest_votes(record):
            node, distance = vote["node"], float(np.hypot(vote["d_row"], vote["d_col"]))
            if distance <= reach:
                here = (distance, record.name)
                # Of parts that are as near the first by name, whatever the order of the records.
                nearest[node] = min(nearest.get(node, here), here)
    return {node: name for node, (_, name) in nearest.items()}
