"""Semantic parts in their tables: annotations, templates and votes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, Select, Table, delete, insert, select

from explgraph.errors import GraphError, StoreError
from explgraph_storage.checks import damaged, floats_of, read_rows
from explgraph_storage.database import Database
from explgraph_storage.migrations import now
from explgraph_storage.records import PartAnnotation, PartTemplate, SemanticPartRecord
from explgraph_storage.schema import (
    NODES,
    PART_ANNOTATIONS,
    PART_TEMPLATES,
    PART_VOTES,
    SEMANTIC_PARTS,
)
from explgraph_storage.sources import require_objects


class Parts(Database):
    """What a `Store` knows of semantic parts."""

    def save_semantic_part(self, part: SemanticPartRecord) -> None:
        """Put a part in place of the stored one of its name, whole or not at all.

        Raises:
            StoreError: there is no annotation, one is on an object that is not stored, or the
                templates are not one per annotation.
            GraphError: a vote of a node that is not in the stored graph.
        """
        objects = [one.object_id for one in part.annotations]
        if not objects or len(set(objects)) < len(objects):
            raise StoreError(
                f"part {part.name!r} needs one annotation or more, each on another object, "
                f"got objects {objects}"
            )
        # Rows of both are joined by position below.
        if [one.object_id for one in part.templates] != objects:
            raise StoreError(
                f"part {part.name!r} needs one template for each annotation, in their order"
            )
        row = {"name": part.name, "config": dict(part.config), "contrast": part.contrast}
        with self._writing() as connection:
            require_objects(connection, objects, f"annotations of {part.name!r}")
            # Looked up first, so that an unknown node is named; the database would only say that a
            # reference is broken.
            ids = _node_ids(connection, {node for one in part.templates for node in one.nodes})
            _remove(connection, part.name)
            own = _insert(connection, SEMANTIC_PARTS, row | {"fitted_at": now()})
            for mark, template in zip(part.annotations, part.templates, strict=True):
                marked = {"object_id": mark.object_id, "x": mark.x, "y": mark.y}
                key = _insert(connection, PART_ANNOTATIONS, {"part_id": own, **marked})
                _write_template(connection, key, template, ids)

    def read_semantic_parts(self) -> tuple[SemanticPartRecord, ...]:
        """Return the semantic parts in the order of their names."""
        with self._reading() as connection:
            rows = read_rows(connection, select(SEMANTIC_PARTS).order_by(SEMANTIC_PARTS.c.name))
            for row in rows:
                if not isinstance(row.config, dict):
                    raise damaged(f"semantic_parts.config of {row.name}", "an object", row.config)
            marks = _grouped(connection, select(PART_ANNOTATIONS), "part_id", "id")
            templates = {
                row.annotation_id: row for row in read_rows(connection, select(PART_TEMPLATES))
            }
            cast = select(PART_VOTES, NODES.c.name)
            cast = cast.join_from(
                PART_VOTES, NODES, PART_VOTES.c.node_id == NODES.c.id, isouter=True
            )
            # By rank, so that the sums over votes round as they did before they were stored.
            votes = _grouped(connection, cast, "annotation_id", "rank")
        return tuple(
            SemanticPartRecord(
                name=row.name,
                config=row.config,
                contrast=row.contrast,
                annotations=tuple(
                    PartAnnotation(one.object_id, one.x, one.y) for one in marks[row.id]
                ),
                templates=tuple(
                    _template(one.object_id, templates[one.id], votes[one.id])
                    for one in marks[row.id]
                    # A graph mined anew takes the templates away and leaves the marks.
                    if one.id in templates
                ),
                fitted_at=row.fitted_at,
            )
            for row in rows
        )

    def remove_semantic_part(self, name: str) -> bool:
        """Remove a part with its annotations and all that hangs on them; whether there was one."""
        with self._writing() as connection:
            return _remove(connection, name)


def _remove(connection: Connection, name: str) -> bool:
    # Marks, templates and votes follow by their foreign keys.
    gone = delete(SEMANTIC_PARTS).where(SEMANTIC_PARTS.c.name == name)
    return bool(connection.execute(gone).rowcount)


def _node_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    ids = {row.name: row.id for row in connection.execute(select(NODES.c.name, NODES.c.id))}
    if unknown := names - ids.keys():
        raise GraphError(
            f"votes: expected nodes of the stored graph, got {min(unknown)!r}; "
            "fit the part on this graph"
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
    # A graph without loadings has a pose of length 0: an empty blob, not NULL.
    pose = np.asarray(template.pose, "<f8").tobytes()
    own = {"correction_row": row, "correction_col": col, "pose": pose}
    connection.execute(insert(PART_TEMPLATES).values(annotation_id=key, **own))
    columns = (template.nodes, template.weight, template.displacement, template.presence)
    votes = [
        {
            "annotation_id": key,
            "rank": rank,
            "node_id": ids[node],
            "weight": weight,
            "d_row": d_row,
            "d_col": d_col,
            "presence": presence,
        }
        for rank, (node, weight, (d_row, d_col), presence) in enumerate(
            zip(*columns, strict=True), start=1
        )
    ]
    if votes:
        connection.execute(insert(PART_VOTES), votes)


def _grouped(
    connection: Connection, query: Select[Any], by: str, order: str
) -> defaultdict[int, list[Any]]:
    """The rows of a query, those with the same value of ``by`` together, sorted by ``order``."""
    groups: defaultdict[int, list[Any]] = defaultdict(list)
    for row in read_rows(connection, query.order_by(order)):
        groups[getattr(row, by)].append(row)
    return groups


def _template(object_id: int, row: Any, votes: Sequence[Any]) -> PartTemplate:
    return PartTemplate(
        object_id=object_id,
        correction=(row.correction_row, row.correction_col),
        pose=tuple(floats_of(row.pose, "part_templates.pose", "<f8").tolist()),
        nodes=tuple(vote.name for vote in votes),
        weight=tuple(vote.weight for vote in votes),
        displacement=tuple((vote.d_row, vote.d_col) for vote in votes),
        presence=tuple(vote.presence for vote in votes),
    )
