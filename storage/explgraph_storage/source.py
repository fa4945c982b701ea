"""Images, their objects, and what was skipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from explgraph.errors import Skipped, StoreError
from explgraph_storage.records import ImageRecord, ObjectRecord
from explgraph_storage.schema import Image, Object, SkippedFile, table_of

_IMAGES, _OBJECTS, _SKIPPED = table_of(Image), table_of(Object), table_of(SkippedFile)
_SAME_IMAGE = ("id", "path", "width", "height")
_SAME_OBJECT = ("id", "image_id", "x", "y", "width", "height")


def write_source(
    connection: Connection,
    images: Sequence[ImageRecord],
    objects: Sequence[ObjectRecord],
    skipped: Sequence[Skipped],
) -> None:
    """Make these the images, objects and skipped files; an object that is as before keeps its facing and top places."""
    _check(images, objects)
    _synchronise(connection, _IMAGES, [asdict(image) for image in images], _SAME_IMAGE)
    rows = [_row(item) for item in objects]
    _synchronise(connection, _OBJECTS, rows, _SAME_OBJECT)
    _update_known(connection, rows)
    connection.execute(delete(_SKIPPED))
    _insert(connection, _SKIPPED, [asdict(item) for item in skipped])


def read_images(connection: Connection) -> tuple[ImageRecord, ...]:
    """Return the images by rising id."""
    return tuple(
        ImageRecord(**row._mapping)
        for row in connection.execute(select(_IMAGES).order_by(_IMAGES.c.id))
    )


def read_objects(connection: Connection) -> tuple[ObjectRecord, ...]:
    """Return the objects by rising id."""
    rows = connection.execute(select(_OBJECTS).order_by(_OBJECTS.c.id))
    return tuple(
        ObjectRecord(
            id=row.id,
            image_id=row.image_id,
            box=(row.x, row.y, row.width, row.height),
            landmarks={name: (x, y) for name, (x, y) in row.landmarks.items()},
            label=row.label,
            mirrored=row.mirrored,
        )
        for row in rows
    )


def read_skipped(connection: Connection) -> tuple[Skipped, ...]:
    """Return what gave no object, in the order in which it was written."""
    rows = connection.execute(select(_SKIPPED.c.path, _SKIPPED.c.reason).order_by(_SKIPPED.c.id))
    return tuple(Skipped(**row._mapping) for row in rows)


def write_facings(connection: Connection, facings: Mapping[int, bool]) -> None:
    """Set which objects are mirrored; all others are unknown afterwards.

    Raises:
        StoreError: a facing of an object that is not stored.
    """
    require_objects(connection, set(facings), "facings")
    connection.execute(update(_OBJECTS).values(mirrored=None))
    if facings:
        one = (
            update(_OBJECTS)
            .where(_OBJECTS.c.id == bindparam("which"))
            .values(mirrored=bindparam("facing"))
        )
        connection.execute(
            one, [{"which": int(key), "facing": bool(facing)} for key, facing in facings.items()]
        )


def require_objects(connection: Connection, ids: set[int], what: str) -> None:
    """Raise StoreError if one of the ids is not that of a stored object."""
    unknown = ids - set(connection.scalars(select(_OBJECTS.c.id)))
    if unknown:
        raise StoreError(
            f"{what}: expected ids of stored objects, got {len(unknown)} others (first {min(unknown)}); call write_source first"
        )


def _check(images: Sequence[ImageRecord], objects: Sequence[ObjectRecord]) -> None:
    known = {image.id for image in images}
    if len(known) < len(images) or len({image.path for image in images}) < len(images):
        raise StoreError(
            f"expected {len(images)} images with different ids and paths, got some twice; leave out the repeated ones"
        )
    if len({item.id for item in objects}) < len(objects):
        raise StoreError(
            f"expected {len(objects)} objects with different ids, got some twice; leave out the repeated ones"
        )
    for item in objects:
        if item.image_id not in known:
            raise StoreError(
                f"object {item.id} is on image {item.image_id}, which is not among the images; hand that over too"
            )


def _row(item: ObjectRecord) -> dict[str, Any]:
    fields = {name: getattr(item, name) for name in ("id", "image_id", "label", "mirrored")}
    x, y, width, height = map(float, item.box)
    return {
        **fields,
        "landmarks": dict(item.landmarks),
        "x": x,
        "y": y,
        "width": width,
        "height": height,
    }


def _synchronise(
    connection: Connection, table: Table, rows: list[dict[str, Any]], same: tuple[str, ...]
) -> None:
    """Delete what is gone or other than before in the columns ``same``, with all that hangs on it; insert what is new."""
    wanted = {row["id"]: tuple(row[name] for name in same) for row in rows}
    stored = {
        row.id: tuple(row) for row in connection.execute(select(*(table.c[name] for name in same)))
    }
    stale = [key for key, former in stored.items() if wanted.get(key) != former]
    if stale:
        connection.execute(
            delete(table).where(table.c.id == bindparam("which")), [{"which": key} for key in stale]
        )
    kept = stored.keys() - set(stale)
    _insert(connection, table, [row for row in rows if row["id"] not in kept])


def _update_known(connection: Connection, rows: list[dict[str, Any]]) -> None:
    """Refresh what no place depends on, of objects that were kept."""
    if not rows:
        return
    facing: ColumnElement[bool | None] = func.coalesce(bindparam("facing"), _OBJECTS.c.mirrored)
    one = update(_OBJECTS).where(_OBJECTS.c.id == bindparam("which"))
    one = one.values(
        label=bindparam("new_label"), landmarks=bindparam("new_landmarks"), mirrored=facing
    )
    keys = {"which": "id", "facing": "mirrored", "new_label": "label", "new_landmarks": "landmarks"}
    connection.execute(one, [{key: row[name] for key, name in keys.items()} for row in rows])


def _insert(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:  # an empty list would insert one row of defaults
        connection.execute(insert(table), rows)
