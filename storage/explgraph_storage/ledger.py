"""Runs, and the ledger of finished extraction parts."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from explgraph.errors import StoreError
from explgraph_storage.migrations import now
from explgraph_storage.records import PartRecord, RunRecord
from explgraph_storage.schema import Part, Run, table_of

_RUNS, _PARTS = table_of(Run), table_of(Part)


def begin_run(connection: Connection, **columns: Any) -> int:
    """Insert a running run and return its id."""
    done = connection.execute(insert(_RUNS).values(status="running", started_at=now(), **columns))
    assert done.inserted_primary_key is not None
    return int(done.inserted_primary_key[0])


def fail_unfinished_runs(connection: Connection) -> None:
    """Mark what still counts as running as failed; to be called by the only writer there is."""
    stale = update(_RUNS).where(_RUNS.c.status == "running")
    connection.execute(
        stale.values(status="failed", finished_at=now(), error="ended without a word (killed?)")
    )


def finish_run(connection: Connection, run: int, error: str | None) -> None:
    """Mark a run as finished, or as failed if there is an error."""
    values = {"status": "failed" if error else "finished", "finished_at": now(), "error": error}
    if not connection.execute(update(_RUNS).where(_RUNS.c.id == run).values(**values)).rowcount:
        raise StoreError(f"expected the id of a run that begin_run gave, got {run}")


def read_runs(connection: Connection) -> tuple[RunRecord, ...]:
    """Return every run, oldest first."""
    return tuple(
        RunRecord(**_fields(row)) for row in connection.execute(select(_RUNS).order_by(_RUNS.c.id))
    )


def finished_parts(connection: Connection) -> dict[int, PartRecord]:
    """Return the finished parts by number, in rising order."""
    rows = connection.execute(select(_PARTS).order_by(_PARTS.c.number))
    return {row.number: PartRecord(**_fields(row)) for row in rows}


def add_part(connection: Connection, part: PartRecord) -> None:
    """Enter a finished part in place of the former one of its number."""
    connection.execute(delete(_PARTS).where(_PARTS.c.number == part.number))
    connection.execute(insert(_PARTS), asdict(replace(part, finished_at=part.finished_at or now())))


def clear_parts(connection: Connection) -> None:
    """Forget every part."""
    connection.execute(delete(_PARTS))


def _fields(row: Row[Any]) -> dict[str, Any]:
    return dict(row._mapping)
