"""Opens connections: where the database is, SQLite's settings, its errors in words that help."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Connection,
    Engine,
    QueuePool,
    StaticPool,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from explgraph.errors import StoreError

REPAIR = "restore it from a copy or run 'explgraph check WORKSPACE --repair'"
PASSWORD = "EXPLGRAPH_DB_PASSWORD"  # environment variable: of a database whose URL has none
BUSY_SECONDS = 3.0  # waited for a program that locks the file without our lock: a sqlite3 shell
_WRITER_PRAGMAS = (
    "foreign_keys = ON",
    "synchronous = NORMAL",
    "cache_size = -65536",  # 64 MiB: saves a tenth of the time (measured)
)
_READER_PRAGMAS = ("foreign_keys = ON", "query_only = ON")

_REMEDIES = {  # part of SQLite's message -> what to tell instead
    "database is locked": "another program holds a lock on it (an open sqlite3 shell?); "
    "close that and try again",
    "not a database": "the file is not a SQLite database; name another file",
    "malformed": f"the database file is damaged; {REPAIR}",
    "disk is full": "the disk is full; make room and run again, what was stored is unharmed",
    # What SQLite says where not even its shared memory, 32 KiB, has room.
    "disk I/O": "the disk may be full: make room and run again; else the file is damaged: "
    + REPAIR,
    "readonly": "the file or its folder is write-protected; open it for reading, or copy it",
    "unable to open": "the file cannot be opened; check that you may read it, "
    "and that its -wal and -shm files came with it",
    "password": f"the database wants another password: give it in --db URL, or in {PASSWORD}",
    "refused": "the server cannot be reached; start it, or name another place with --db URL",
    "no such table": "the database lacks a table of its schema version; " + REPAIR,
    "no such column": "the database lacks a column of its schema version; " + REPAIR,
}
_DAMAGED = f"if nothing else explains it, the database is damaged: {REPAIR}"


@dataclass(frozen=True)
class Place:
    """Where a database is: its URL, and the file if it is one of SQLite."""

    url: URL
    file: Path | None

    def __str__(self) -> str:
        return str(self.file or self._without_secrets().render_as_string(hide_password=True))

    @property
    def remembered(self) -> str:
        """The URL as a file may keep it: absolute, without a password."""
        if self.file is not None:
            return URL.create("sqlite", database=str(self.file)).render_as_string()
        return self._without_secrets()._replace(password=None).render_as_string()

    def _without_secrets(self) -> URL:
        secret = [key for key in self.url.query if "pass" in key.lower()]
        return self.url.difference_update_query(secret)


def find_place(path_or_url: str | os.PathLike[str]) -> Place:
    """Where a path or SQLAlchemy URL leads; resolved, so that two names of a file share its lock.

    Raises:
        StoreError: the URL is malformed, or the path is a folder.

    >>> find_place("sqlite:////photos/graph.db").file.as_posix()
    '/photos/graph.db'
    """
    text = os.fspath(path_or_url)
    try:
        url = make_url(text) if "://" in text else URL.create("sqlite", database=text)
    except SQLAlchemyError as error:
        raise StoreError(
            f"{text!r} is neither a path nor a database URL such as sqlite:///graph.db"
        ) from error
    if url.get_backend_name() != "sqlite":
        # A password is nothing to be kept in files or shell histories.
        if url.password is None and (password := os.environ.get(PASSWORD)):
            url = url.set(password=password)
        return Place(url, None)
    if url.database in (None, "", ":memory:"):
        return Place(url, None)
    # Such a URI may say nolock or immutable, and then nothing here holds.
    if str(url.database).startswith("file:"):
        raise StoreError(
            f"expected a plain path to the SQLite file, got the URI {url.database!r}; "
            "leave out 'file:' and options"
        )
    file = Path(str(url.database)).resolve()
    if os.path.isdir(file):
        raise StoreError(f"{file} is a folder, expected a database file such as graph.db in it")
    return Place(url, file)


def open_engine(place: Place, *, writing: bool) -> Engine:
    """An engine for a database; it connects at the first statement.

    Raises:
        StoreError: the URL's driver is not installed.
    """
    with in_words(place):
        try:
            engine = _file_engine(place.file, writing) if place.file else _other_engine(place.url)
        except ImportError as error:
            raise StoreError(
                f"{place}: the driver {error.name} is not installed; "
                "install it, or use a SQLite file"
            ) from error
    if engine.dialect.name == "sqlite":
        pragmas = _WRITER_PRAGMAS if writing else _READER_PRAGMAS
        # Pragmas hold for a connection, not for the file: every new one needs them again.
        event.listen(engine, "connect", partial(_set_up, pragmas))
        event.listen(engine, "begin", _begin)
    return engine


@contextmanager
def in_words(place: Place) -> Iterator[None]:
    """Turn every database error into a StoreError that names the database and the remedy."""
    try:
        yield
    # UnicodeError: names and messages in a file whose bytes are damaged.
    except (SQLAlchemyError, sqlite3.Error, UnicodeError) as error:
        # SQLAlchemy's own text adds the statement and a link, which help no user.
        text = str(error.orig if isinstance(error, DBAPIError) else error)
        remedy = next((remedy for part, remedy in _REMEDIES.items() if part in text), None)
        raise StoreError(f"{place}: {remedy or f'{text}; {_DAMAGED}'}") from error


@contextmanager
def transaction(engine: Engine, place: Place, *, writing: bool) -> Iterator[Connection]:
    """One transaction: all of it is stored at the end, or nothing after an exception."""
    with in_words(place), engine.connect() as connection:
        connection = connection.execution_options(explgraph_writes=writing)
        with connection.begin():
            yield connection


def use_wal(engine: Engine, place: Place) -> None:
    """Let readers and a writer work side by side, from now on."""
    with in_words(place), engine.connect() as connection:
        # Outside of any transaction: only there may the journal's mode change.
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.close()


def _file_engine(file: Path, writing: bool) -> Engine:
    connect = partial(
        sqlite3.connect,
        f"{file.as_uri()}?{_file_options(file, writing)}",
        uri=True,
        timeout=BUSY_SECONDS,
        check_same_thread=False,  # the pool hands a connection to one thread at a time
    )
    # Of a URL without a file SQLAlchemy thinks it is in memory and gives each thread a connection
    # of its own; hence the pool is named.
    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)


def _file_options(file: Path, writing: bool) -> str:
    if writing:
        return "mode=rwc"
    # A reader that may write opens read-write under query_only: only such a one removes the -wal
    # and -shm files when it is the last to leave, and recovers them after a crash.
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return "mode=rw"
    # A WAL database opens in a read-only folder only as one that nobody changes.
    has_wal = file.with_name(file.name + "-wal").exists()
    # Immutable would overlook the transactions in a -wal file that lies beside it.
    return "mode=ro" if has_wal else "mode=ro&immutable=1"


def _other_engine(url: URL) -> Engine:
    if url.get_backend_name() == "sqlite":
        # In memory: a second connection would be a second, empty database.
        return create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
    return create_engine(url)


def _set_up(pragmas: tuple[str, ...], connection: Any, _record: object) -> None:
    # sqlite3's own BEGINs would leave out DDL and reads; `_begin` issues them all.
    connection.isolation_level = None
    for pragma in pragmas:
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    # IMMEDIATE takes the right to write at once. A transaction that has read before it writes
    # fails, without any waiting, if another one has written meanwhile.
    writes = connection.get_execution_options().get("explgraph_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
