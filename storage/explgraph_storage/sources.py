"""Images, their objects, and what was skipped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, func, insert, select, update

from explgraph.errors import Skipped, StoreError
from explgraph_storage.checks import damaged, is_place, read_rows
from explgraph_storage.database import Database
from explgraph_storage.records import ImageRecord, ObjectRecord
from explgraph_storage.schema import IMAGES, OBJECTS, SKIPPED

Rows = list[dict[str, Any]]
_SAME_IMAGE = ("id", "path", "width", "height")
# What places depend on. Labels, landmarks and facings may change under a stored graph.
_SAME_OBJECT = ("id", "image_id", "x", "y", "width", "height")


class Sources(Database):
    """What a `Store` knows of the photographs."""

    def write_source(
        self,
        images: Sequence[ImageRecord],
        objects: Sequence[ObjectRecord],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """Make these the images, objects and skipped files.

        An object that is as before keeps its facing and top places; one that is gone, or on
        another image or in another box, loses them.

        Raises:
            StoreError: an id or path comes twice, or an object is on an image that is not given.
        """
        _check(images, objects)
        rows = [_object_row(one) for one in objects]
        with self._writing() as connection:
            # Images first: objects refer to them, and go with those that are gone.
            _synchronise(connection, IMAGES, [asdict(one) for one in images], _SAME_IMAGE)
            _synchronise(connection, OBJECTS, rows, _SAME_OBJECT)
            _update_known(connection, rows)
            connection.execute(delete(SKIPPED))
            _insert(connection, SKIPPED, [asdict(one) for one in skipped])

    def read_images(self) -> tuple[ImageRecord, ...]:
        """Return the images, ids ascending."""
        with self._reading() as connection:
            rows = read_rows(connection, select(IMAGES).order_by(IMAGES.c.id))
            return tuple(ImageRecord(**row._asdict()) for row in rows)

    def read_objects(self) -> tuple[ObjectRecord, ...]:
        """Return the objects, ids ascending."""
        with self._reading() as connection:
            rows = read_rows(connection, select(OBJECTS).order_by(OBJECTS.c.id))
            images = set(connection.scalars(select(IMAGES.c.id)))
        for row in rows:
            if row.image_id not in images:
                raise damaged(f"objects {row.id}", "an image that is stored", row.image_id)
            marks = row.landmarks
            if not isinstance(marks, dict) or not all(map(is_place, marks.values())):
                raise damaged(f"objects.landmarks of {row.id}", "names with x and y each", marks)
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

    def read_skipped(self) -> tuple[Skipped, ...]:
        """Return what gave no object, and why, in the order in which it was written."""
        with self._reading() as connection:
            rows = read_rows(connection, select(SKIPPED).order_by(SKIPPED.c.id))
            return tuple(Skipped(row.path, row.reason) for row in rows)


def write_facings(connection: Connection, facings: Mapping[int, bool]) -> None:
    """Set which objects are mirrored; all others are unknown afterwards.

    Raises:
        StoreError: a facing of an object that is not stored.
    """
    require_objects(connection, facings, "facings")
    # A facing belongs to one graph. One left over from the former would turn places of this one.
    connection.execute(update(OBJECTS).values(mirrored=None))
    if facings:
        # Not called "id": SQLAlchemy keeps the columns' own names for the values that are set.
        one = update(OBJECTS).where(OBJECTS.c.id == bindparam("which"))
        rows = [{"which": int(key), "facing": bool(facing)} for key, facing in facings.items()]
        connection.execute(one.values(mirrored=bindparam("facing")), rows)


def require_objects(connection: Connection, ids: Iterable[int], what: str) -> None:
    """Raise StoreError if one of the ids is not that of a stored object."""
    # All ids are read: a question with every id in it may hold more than SQLite takes.
    unknown = set(ids) - set(connection.scalars(select(OBJECTS.c.id)))
    if unknown:
        raise StoreError(
            f"{what}: expected ids of stored objects, got {len(unknown)} others "
            f"(first {min(unknown)}); call write_source first"
        )


def _check(images: Sequence[ImageRecord], objects: Sequence[ObjectRecord]) -> None:
    known, paths = {image.id for image in images}, {image.path for image in images}
    if len(known) < len(images) or len(paths) < len(images):
        raise StoreError(
            f"expected {len(images)} images with different ids and paths, got some twice; "
            "leave out the repeated ones"
        )
    if len({one.id for one in objects}) < len(objects):
        raise StoreError(
            f"expected {len(objects)} objects with different ids, got some twice; "
            "leave out the repeated ones"
        )
    for one in objects:
        if one.image_id not in known:
            raise StoreError(
                f"object {one.id} is on image {one.image_id}, which is not among the images; "
                "hand that over too"
            )


def _object_row(one: ObjectRecord) -> dict[str, Any]:
    row = asdict(one)
    # Four columns, so that boxes can be asked for in SQL.
    box = zip(("x", "y", "width", "height"), map(float, row.pop("box")), strict=True)
    return row | dict(box)


def _synchronise(connection: Connection, table: Table, rows: Rows, same: tuple[str, ...]) -> None:
    """Delete what is gone or other than before, with all that hangs on it; insert what is new.

    Args:
        connection: within a transaction.
        table: with a column ``id``.
        rows: all that it shall hold.
        same: the columns in which a row must be as before to be kept.
    """
    wanted = {row["id"]: tuple(row[name] for name in same) for row in rows}
    found = connection.execute(select(*(table.c[name] for name in same)))
    stored = {row.id: tuple(row) for row in found}
    # Changed rows go and come anew instead of being changed: two images that swap their paths would
    # meet the same path twice on the way. What hangs on them goes too, as it must.
    stale = [{"which": key} for key, former in stored.items() if wanted.get(key) != former]
    if stale:
        connection.execute(delete(table).where(table.c.id == bindparam("which")), stale)
    kept = stored.keys() - {one["which"] for one in stale}
    _insert(connection, table, [row for row in rows if row["id"] not in kept])


def _update_known(connection: Connection, rows: Rows) -> None:
    """Refresh what no place depends on, of objects that were kept."""
    if rows:
        columns = ("label", "landmarks", "mirrored")
        new: dict[str, Any] = {name: bindparam(f"new_{name}") for name in columns}
        # A source that gives no facing takes none away: mining's stays.
        new["mirrored"] = func.coalesce(new["mirrored"], OBJECTS.c.mirrored)
        one = update(OBJECTS).where(OBJECTS.c.id == bindparam("which")).values(new)
        keys = {"which": "id"} | {f"new_{name}": name for name in columns}
        # Boxes are not among them: a place in another box is another place, see `_SAME_OBJECT`.
        connection.execute(one, [{key: row[name] for key, name in keys.items()} for row in rows])


def _insert(connection: Connection, table: Table, rows: Rows) -> None:
    if rows:  # an empty list would insert one row of defaults
        connection.execute(insert(table), rows)
