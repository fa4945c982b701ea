"""How a database file is recognised, made and brought to the newest schema.

A new file gets the newest tables at once. An older one runs through the migrations that it has
not seen, all in one transaction: it is either at the new version or untouched. Only a writer
migrates. ``docs/storage.md`` says how to add a migration.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, func, insert, inspect, select

from explgraph.errors import StoreError
from explgraph_storage.engine import REPAIR
from explgraph_storage.schema import (
    FILES,
    NAMES,
    PART_ANNOTATIONS,
    PART_TEMPLATES,
    PART_VOTES,
    REPAIRS,
    SCHEMA_VERSIONS,
    SEMANTIC_PARTS,
    create_tables,
    create_view,
)

Migration = Callable[[Connection], None]


def _add_pose(connection: Connection) -> None:
    """Version 2: nodes sway with the pose of the object. Graphs of version 1 know none."""
    # Written out, for SQLAlchemy has no ALTER, and `schema` says how the tables are now and not how
    # they were then.
    blob = "BLOB" if connection.dialect.name == "sqlite" else "BYTEA"
    # A column that may not be NULL needs a default for the rows that are there.
    share = "communality DOUBLE PRECISION NOT NULL DEFAULT 0"
    connection.exec_driver_sql(f"ALTER TABLE nodes ADD COLUMN {share}")
    connection.exec_driver_sql(f"ALTER TABLE nodes ADD COLUMN loadings {blob}")


def _add_semantic_parts(connection: Connection) -> None:
    """Version 3: semantic parts, their annotations, templates and votes."""
    for table in (SEMANTIC_PARTS, PART_ANNOTATIONS, PART_TEMPLATES, PART_VOTES):
        table.create(connection)


def _add_files(connection: Connection) -> None:
    """Version 4: hashes of files. Those of older workspaces are not known."""
    FILES.create(connection)


def _add_names_repairs_co_firing(connection: Connection) -> None:
    """Version 5: names of nodes and filters, repaired weights, co-firing of edges; none before."""
    for table in (NAMES, REPAIRS):
        table.create(connection)
    connection.exec_driver_sql("ALTER TABLE edges ADD COLUMN co_firing DOUBLE PRECISION")
    connection.exec_driver_sql("DROP VIEW IF EXISTS node_edges")
    create_view(connection)


# The first leads from version 1 to 2, the next to 3, ...
MIGRATIONS: tuple[Migration, ...] = (
    _add_pose,
    _add_semantic_parts,
    _add_files,
    _add_names_repairs_co_firing,
)
SCHEMA_VERSION = 1 + len(MIGRATIONS)
# Versions 3 and 4 are read too: they lack these tables, the edges' co-firing and nothing else.
FIRST_WITH_FILES, FIRST_WITH_NAMES, FIRST_WITH_CO_FIRING = 4, 5, 5
OLDEST_READ = 3
APPLICATION_ID = 0x45584752  # "EXGR" in the header of the SQLite file


def now() -> str:
    """The time as stored everywhere in the database: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def find_version(connection: Connection, newest: int = SCHEMA_VERSION) -> int:
    """The schema version of a database, 0 for an empty one.

    Raises:
        StoreError: the database is another program's, is damaged, or was written by a newer
            version of this one.
    """
    tables = set(inspect(connection).get_table_names())
    is_versioned = SCHEMA_VERSIONS.name in tables
    if connection.dialect.name == "sqlite":
        _check_application_id(connection, tables)
    # Tables without a version on a server belong to others; ours are added beside them.
    if not is_versioned:
        return 0
    version = connection.scalar(select(func.max(SCHEMA_VERSIONS.c.version)))
    # The table is filled in the transaction that makes it, so an empty one was tampered with.
    if not version:
        raise _damaged("empty")
    if type(version) is not int or version < 1:
        raise _damaged(f"without a number ({version!r:.40})")
    if version > newest:
        raise StoreError(
            f"expected a schema version of at most {newest}, got {version}: "
            "a newer explgraph wrote it; upgrade explgraph"
        )
    return version


def migrate(connection: Connection, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring a database to the newest schema within the caller's transaction.

    Returns:
        The version that it had before, 0 for an empty one.

    Raises:
        StoreError: see `find_version`.
    """
    newest = 1 + len(migrations)
    version = find_version(connection, newest)
    if version == 0:
        create_tables(connection)
        _record(connection, newest)
        if connection.dialect.name == "sqlite":
            # In the file's header, so that `file` and other programs can tell whose it is.
            connection.exec_driver_sql(f"PRAGMA application_id = {APPLICATION_ID}")
        return 0
    # Each step is recorded by itself: the table tells when which version came.
    for step, migration in enumerate(migrations[version - 1 :], start=version + 1):
        migration(connection)
        _record(connection, step)
    return version


def _record(connection: Connection, version: int) -> None:
    connection.execute(insert(SCHEMA_VERSIONS).values(version=version, applied_at=now()))


def _check_application_id(connection: Connection, tables: set[str]) -> None:
    found = connection.exec_driver_sql("PRAGMA application_id").scalar()
    if found == APPLICATION_ID:
        if SCHEMA_VERSIONS.name not in tables:
            raise _damaged("missing")
    # An empty file is nobody's, and may be filled.
    elif found or tables:
        names = ", ".join(sorted(tables)[:4]) or "none"
        raise StoreError(
            f"expected a database of explgraph, got another program's (tables: {names}); "
            "name another file"
        )


def _damaged(how: str) -> StoreError:
    return StoreError(
        f"the database is damaged, its table {SCHEMA_VERSIONS.name} is {how}; {REPAIR}"
    )
