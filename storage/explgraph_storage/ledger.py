"""Runs, the ledger of finished shards of the peak store, and the hashes of other files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from explgraph.errors import StoreError
from explgraph_storage.checks import damaged, read_rows
from explgraph_storage.database import Database
from explgraph_storage.migrations import FIRST_WITH_FILES, find_version, now
from explgraph_storage.records import FileRecord, RunRecord, ShardRecord
from explgraph_storage.schema import FILES, RUNS, SHARDS


class Ledger(Database):
    """What a `Store` knows of runs, shards and other files."""

    def begin_run(
        self,
        config: Mapping[str, Any],
        *,
        command: str,
        extraction_fingerprint: str | None = None,
        mining_fingerprint: str | None = None,
        weights_sha256: str | None = None,
        versions: Mapping[str, str] | None = None,
        seed: int | None = None,
    ) -> int:
        """Return the id of a new run; earlier ones that never ended are marked as failed."""
        row = {
            "config": dict(config),
            "command": command,
            "extraction_fingerprint": extraction_fingerprint,
            "mining_fingerprint": mining_fingerprint,
            "weights_sha256": weights_sha256,
            "versions": dict(versions or {}),
            "seed": seed,
            "status": "running",
            "started_at": now(),
        }
        with self._writing() as connection:
            # Whoever holds the lock is alone, so a run that still says "running" was killed.
            # Without a lock, on a server, it may belong to somebody else who is at work.
            if self._lock is not None:
                killed = {"status": "failed", "error": "ended without a word (killed?)"}
                stale = update(RUNS).where(RUNS.c.status == "running")
                connection.execute(stale.values(finished_at=now(), **killed))
            key = connection.execute(insert(RUNS).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def finish_run(self, run: int, *, error: str | None = None) -> None:
        """Mark a run as finished, or as failed where ``error`` says why."""
        status = "failed" if error else "finished"
        ended = update(RUNS).where(RUNS.c.id == run)
        ended = ended.values(status=status, finished_at=now(), error=error)
        with self._writing() as connection:
            # An UPDATE of no row is no error for a database, but a run that never ends is one here.
            if not connection.execute(ended).rowcount:
                raise StoreError(f"expected the id of a run that begin_run gave, got {run}")

    def read_runs(self) -> tuple[RunRecord, ...]:
        """Return every run, oldest first."""
        with self._reading() as connection:
            rows = read_rows(connection, select(RUNS).order_by(RUNS.c.id))
            for row in rows:
                for name in ("config", "versions"):
                    if not isinstance(found := getattr(row, name), dict):
                        raise damaged(f"runs.{name} of {row.id}", "an object", found)
            return tuple(RunRecord(**row._asdict()) for row in rows)

    def finished_shards(self) -> dict[int, ShardRecord]:
        """Return the finished shards: number -> record, numbers ascending."""
        with self._reading() as connection:
            rows = read_rows(connection, select(SHARDS).order_by(SHARDS.c.number))
            return {row.number: ShardRecord(**row._asdict()) for row in rows}

    def add_shard(self, shard: ShardRecord) -> None:
        """Enter a finished shard in place of the former one of its number."""
        row = asdict(replace(shard, finished_at=shard.finished_at or now()))
        with self._writing() as connection:
            # Two statements, since "insert or replace" has another form in each dialect.
            connection.execute(delete(SHARDS).where(SHARDS.c.number == shard.number))
            connection.execute(insert(SHARDS), row)

    def clear_shards(self) -> None:
        """Forget every shard, before its file is made anew."""
        with self._writing() as connection:
            connection.execute(delete(SHARDS))

    def read_files(self, role: str) -> tuple[FileRecord, ...]:
        """Return the files of a role, by path; none where an older explgraph kept no hashes."""
        with self._reading() as connection:
            return files_of(connection, role)

    def write_files(self, role: str, files: Sequence[FileRecord]) -> None:
        """Make these the files of a role."""
        with self._writing() as connection:
            enter_files(connection, role, files)


def files_of(connection: Connection, role: str) -> tuple[FileRecord, ...]:
    """The files of a role, by path."""
    # Not whether there is such a table: one that is lost would pass for an older database.
    if find_version(connection) < FIRST_WITH_FILES:
        return ()
    query = select(FILES).where(FILES.c.role == role).order_by(FILES.c.path)
    return tuple(FileRecord(**row._asdict()) for row in read_rows(connection, query))


def enter_files(connection: Connection, role: str, files: Sequence[FileRecord]) -> None:
    """Make these the files of a role, within the caller's transaction."""
    connection.execute(delete(FILES).where(FILES.c.role == role))
    if files:
        connection.execute(insert(FILES), [asdict(one) for one in files])
