"""Writes semantic parts, their annotations, templates and votes, and reads them back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, delete, insert, select

from explgraph.errors import GraphError, StoreError
from explgraph_storage.migrations import now
from explgraph_storage.records import PartAnnotation, PartTemplate, SemanticPartRecord
from explgraph_storage.schema import (
    Node,
    PartAnnotationRow,
    PartTemplateRow,
    PartVoteRow,
    SemanticPartRow,
    table_of,
)
from explgraph_storage.source import require_objects

_PARTS, _ANNOTATIONS = table_of(SemanticPartRow), table_of(PartAnnotationRow)
_TEMPLATES, _VOTES, _NODES = table_of(PartTemplateRow), table_of(PartVoteRow), table_of(Node)


def write_part(connection: Connection, part: SemanticPartRecord) -> None:
    """Put a part in the place of the stored one of its name, within the caller's transaction.

    Raises:
        StoreError: an annotation on an object that is not stored, no annotation, or templates other than one per annotation.
        GraphError: a vote of a node that is not in the stored graph.
    """
    objects = [one.object_id for one in part.annotations]
    if not objects or len(set(objects)) < len(objects):
        raise StoreError(
            f"part {part.name!r} needs one annotation or more, each on another object, got objects {objects}"
        )
    if [one.object_id for one in part.templates] != objects:
        raise StoreError(
            f"part {part.name!r} needs one template for each annotation, in their order"
        )
    require_objects(connection, set(objects), f"annotations of {part.name!r}")
    ids = _node_ids(connection, {node for one in part.templates for node in one.nodes})
    remove_part(connection, part.name)
    row = {
        "name": part.name,
        "config": dict(part.config),
        "contrast": part.contrast,
        "fitted_at": now(),
    }
    part_id = _insert(connection, _PARTS, row)
    for annotation, template in zip(part.annotations, part.templates, strict=True):
        own = {
            "part_id": part_id,
            "object_id": annotation.object_id,
            "x": annotation.x,
            "y": annotation.y,
        }
        _write_template(connection, _insert(connection, _ANNOTATIONS, own), template, ids)


def read_parts(connection: Connection) -> tuple[SemanticPartRecord, ...]:
    """Return every part with all that belongs to it, in the order of their names."""
    rows = connection.execute(select(_PARTS).order_by(_PARTS.c.name)).all()
    annotations: defaultdict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(select(_ANNOTATIONS).order_by(_ANNOTATIONS.c.id)):
        annotations[row.part_id].append(row)
    templates = {row.annotation_id: row for row in connection.execute(select(_TEMPLATES))}
    votes = _read_votes(connection)
    return tuple(
        SemanticPartRecord(
            name=row.name,
            config=row.config,
            contrast=row.contrast,
            annotations=tuple(
                PartAnnotation(one.object_id, one.x, one.y) for one in annotations[row.id]
            ),
            templates=tuple(
                _template(one.object_id, templates[one.id], votes[one.id])
                for one in annotations[row.id]
                if one.id in templates
            ),
            fitted_at=row.fitted_at,
        )
        for row in rows
    )


def remove_part(connection: Connection, name: str) -> bool:
    """Remove a part with its annotations, templates and votes; return whether there was one."""
    return bool(connection.execute(delete(_PARTS).where(_PARTS.c.name == name)).rowcount)


def forget_templates(connection: Connection) -> None:
    """Remove what was fitted on the graph; the annotations stay, so that every part can be fitted on another graph."""
    connection.execute(delete(_VOTES))
    connection.execute(delete(_TEMPLATES))


def _node_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    ids = {row.name: row.id for row in connection.execute(select(_NODES.c.name, _NODES.c.id))}
    if unknown := names - ids.keys():
        raise GraphError(
            f"votes: expected nodes of the stored graph, got {min(unknown)!r}; fit the part on this graph"
        )
    return ids


def _insert(connection: Connection, table: Table, row: dict[str, Any]) -> int:
    """Insert one row and return its id."""
    key = connection.execute(insert(table).values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _write_template(
    connection: Connection, key: int, template: PartTemplate, ids: dict[str, int]
) -> None:
    row, col = template.correction
    pose = np.asarray(template.pose, "<f8").tobytes()
    connection.execute(
        insert(_TEMPLATES).values(
            annotation_id=key, correction_row=row, correction_col=col, pose=pose
        )
    )
    columns = zip(
        template.nodes, template.weight, template.displacement, template.presence, strict=True
    )
    rows = [
        {
            "annotation_id": key,
            "rank": rank,
            "node_id": ids[node],
            "weight": weight,
            "d_row": d[0],
            "d_col": d[1],
            "presence": seen,
        }
        for rank, (node, weight, d, seen) in enumerate(columns, start=1)
    ]
    if rows:
        connection.execute(insert(_VOTES), rows)


def _read_votes(connection: Connection) -> defaultdict[int, list[Any]]:
    query = select(_VOTES, _NODES.c.name).join_from(_VOTES, _NODES, _VOTES.c.node_id == _NODES.c.id)
    votes: defaultdict[int, list[Any]] = defaultdict(list)
    for row in connection.execute(query.order_by(_VOTES.c.annotation_id, _VOTES.c.rank)):
        votes[row.annotation_id].append(row)
    return votes


def _template(object_id: int, row: Any, votes: Sequence[Any]) -> PartTemplate:
    return PartTemplate(
        object_id=object_id,
        correction=(row.correction_row, row.correction_col),
        pose=tuple(np.frombuffer(row.pose, "<f8").tolist()),
        nodes=tuple(vote.name for vote in votes),
        weight=tuple(vote.weight for vote in votes),
        displacement=tuple((vote.d_row, vote.d_col) for vote in votes),
        presence=tuple(vote.presence for vote in votes),
    )
