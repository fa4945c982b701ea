"""An open database: the right to write to it, its schema brought up to date, its transactions."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Literal, Self

from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine

from explgraph.errors import StoreError, UsageError
from explgraph_storage.engine import REPAIR, Place, find_place, open_engine, transaction, use_wal
from explgraph_storage.migrations import OLDEST_READ, SCHEMA_VERSION, find_version, migrate, now

Mode = Literal["read", "write", "create"]


class Database:
    """An open database; get one from `open`, best in a ``with`` statement.

    Each call of a method is one transaction: it is stored as a whole or, after any error and any
    kill, not at all. It may be used by several threads. Every method raises StoreError where the
    database fails, says no, or is closed.

    Args:
        place: where it is.
        mode: how it was opened.
        engine: connected to it.
        lock: the right to write, if that needs one.
        migrated_from: the older schema version that it had until now, if it had one.
    """

    def __init__(
        self,
        place: Place,
        mode: Mode,
        engine: Engine,
        *,
        lock: FileLock | None = None,
        migrated_from: int | None = None,
    ) -> None:
        self.mode, self.migrated_from = mode, migrated_from
        self._place, self._lock = place, lock
        # None once closed: a second `close` does nothing, and any other call says so.
        self._engine: Engine | None = engine

    @classmethod
    def open(cls, path_or_url: str | os.PathLike[str], *, mode: Mode = "read") -> Self:
        """Return an open database. Reading changes nothing in it, its schema included.

        Args:
            path_or_url: a SQLite file, or the SQLAlchemy URL of any database (its driver must be
                installed).
            mode: "read"; "write" to an existing database; "create" to write to it and make it
                where it is missing. Of a SQLite file there is one writer at a time; readers are
                never kept out.

        Raises:
            StoreError: the database is missing, foreign, damaged, newer than this program, being
                written by another process, or too old to be read without changing it.
        """
        if mode not in ("read", "write", "create"):
            raise UsageError(f"mode must be 'read', 'write' or 'create', got {mode!r}")
        place = find_place(path_or_url)
        # SQLite says no more than "unable to open database file", and makes no folders.
        _require_file(place, mode)
        engine, lock, before = open_engine(place, writing=mode != "read"), None, None
        try:
            # Before the lock and before WAL: a file that is not ours, or newer, is left as it is.
            _check_version(engine, place, mode)
            if mode != "read":
                lock = _lock(place.file) if place.file else None
                before = _bring_up_to_date(engine, place)
        # Also Ctrl-C: the right to write would stay taken while this process lives.
        except BaseException:
            _leave(engine, lock)
            raise
        return cls(place, mode, engine, lock=lock, migrated_from=before)

    @staticmethod
    def set_aside(path_or_url: str | os.PathLike[str]) -> Path:
        """Rename a SQLite file that cannot be read; the new name.

        Raises:
            StoreError: it is another database, or is being written.

        >>> from pathlib import Path
        >>> _ = (out / "graph.db").write_text("scrap")
        >>> Database.set_aside(out / "graph.db").name
        'graph.db.damaged'
        """
        place = find_place(path_or_url)
        if place.file is None:
            raise StoreError(f"{place} is on a server: restore it there, or drop its tables")
        lock = _lock(place.file)
        names = (f"{place.file.name}.damaged{i or ''}" for i in count())
        new = next(p for p in map(place.file.with_name, names) if not p.exists())
        # With its journal, which belongs to this file and to no other.
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.replace(f"{place.file}{end}", f"{new}{end}")
        lock.release()
        return new

    def check_file(self) -> None:
        """Have SQLite check its own structure, pages and indexes; on a server nothing.

        Raises:
            StoreError: it found something.
        """
        with self._reading() as connection:
            if connection.dialect.name != "sqlite":
                return
            found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(3)")]
        if found != ["ok"]:
            said = "; ".join(map(str, found))
            raise StoreError(f"{self._place} is damaged ({said:.200}); {REPAIR}")

    @property
    def url(self) -> str:
        """Where it is, as a SQLAlchemy URL without a password: it can be opened from anywhere."""
        return self._place.remembered

    @property
    def file(self) -> Path | None:
        """The SQLite file, if it is one."""
        return self._place.file

    def close(self) -> None:
        """Close the database and let the next writer in; a second call does nothing."""
        if self._engine is not None:
            _leave(self._engine, self._lock)
        self._engine = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = self.mode if self._engine else "closed"
        return f"<{type(self).__name__} {self._place}, {state}>"

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._require_open(), self._place, writing=False)

    def _writing(self) -> AbstractContextManager[Connection]:
        if self.mode == "read":
            raise StoreError(f"{self._place} is open for reading; open it with mode='write'")
        return transaction(self._require_open(), self._place, writing=True)

    def _require_open(self) -> Engine:
        if self._engine is None:
            raise StoreError(f"the store {self._place} is closed; open it again")
        return self._engine


def _require_file(place: Place, mode: Mode) -> None:
    # Of other databases nobody can say beforehand whether they are there: connecting tells.
    if place.file is None or os.path.exists(place.file):
        return
    if mode != "create":
        raise StoreError(
            f"no database at {place.file}; check the path, or run 'explgraph mine' to make one"
        )
    folder = place.file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {folder}: {error.strerror}; name another place"
        ) from error


def _check_version(engine: Engine, place: Place, mode: Mode) -> None:
    """Look at the schema before anything is changed or locked."""
    with transaction(engine, place, writing=False) as connection, _naming(place):
        version = find_version(connection)
    if version == 0 and mode != "create":
        raise StoreError(
            f"{place} is an empty database; name another one, or run 'explgraph mine' to fill it"
        )
    if version < OLDEST_READ and mode == "read":
        raise StoreError(
            f"{place} has schema version {version}, this explgraph reads {SCHEMA_VERSION}; "
            "run the same 'explgraph mine' command again, it brings the database up to date"
        )


def _bring_up_to_date(engine: Engine, place: Place) -> int | None:
    """Make or migrate the tables; return the older version, if there was one."""
    if place.file is not None:
        use_wal(engine, place)
    with transaction(engine, place, writing=True) as connection, _naming(place):
        before = migrate(connection)
    # A database that was made just now was not migrated, so there is nothing to tell of.
    return before if 0 < before < SCHEMA_VERSION else None


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{place}: {error}") from error


def _lock(file: Path) -> FileLock:
    """The right to write to a file. FILE.lock names the holder, for others to read.

    The system drops it when the holder dies; the lock file stays, for removing it would let two
    writers lock two different files.

    Raises:
        StoreError: another process, or another store of this one, holds it; or there can be none.
    """
    named = file.with_name(file.name + ".lock")
    # Locks that are mere files outlive a killed holder: rather none than such a one.
    lock = FileLock(named, thread_local=False, fallback_to_soft=False)
    try:
        # A job takes minutes to hours, so the second writer is told at once and does not wait.
        lock.acquire(blocking=False)
        # Whoever comes second reads it: "being written by process 4711 on ...".
        named.write_text(_describe_self(), encoding="utf-8")
    except Timeout as error:
        holder = named.read_text(encoding="utf-8") or "another process"
        raise StoreError(
            f"{file} is being written by {holder}; wait until it ends or stop it, "
            "reading is possible"
        ) from error
    except OSError as error:
        raise StoreError(
            f"cannot write to {file}: its folder takes no lock file ({error.strerror}); "
            "open it for reading, or copy it to a local disk"
        ) from error
    return lock


def _describe_self() -> str:
    # A list of a thousand files as argument would hide the rest of the message.
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return f"process {os.getpid()} on {socket.gethostname()} ({command}, since {now()})"


def _leave(engine: Engine, lock: FileLock | None) -> None:
    engine.dispose()  # the last connection moves the -wal file's content into the database
    if lock is not None:
        # A name that stays is that of a writer who was killed, for others to read.
        Path(lock.lock_file).write_text("")
        lock.release()
