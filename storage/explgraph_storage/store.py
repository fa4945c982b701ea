"""The store: opens a database, holds the right to write to it, and offers each stage what it stores and reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine

from explgraph.errors import Skipped, StoreError, UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph_storage import graph_tables, ledger, part_tables, source
from explgraph_storage.engine import Place, find_place, in_words, open_engine, transaction
from explgraph_storage.lock import WriterLock
from explgraph_storage.migrations import SCHEMA_VERSION, find_version, migrate
from explgraph_storage.records import (
    ImageRecord,
    NodeRecord,
    ObjectRecord,
    PartRecord,
    RunRecord,
    SemanticPartRecord,
    TopPlaces,
)

Mode = Literal["read", "write", "create"]


class Store:
    """An open database; get one from `Store.open`, best in a ``with`` statement.

    Each call is one transaction: it is stored as a whole or, after any error and any kill, not at all. A store may be used
    by several threads. Every method raises StoreError where the database fails, says no, or is closed.
    """

    def __init__(self, place: Place, mode: Mode, engine: Engine, lock: WriterLock | None) -> None:
        self._place, self.mode = place, mode
        self._engine: Engine | None = engine
        self._lock = lock

    @classmethod
    def open(cls, path_or_url: str | os.PathLike[str], *, mode: Mode = "read") -> Store:
        """Return an open store.

        Args:
            path_or_url: a SQLite file, or the SQLAlchemy URL of any database (its driver must be installed).
            mode: "read"; "write" to an existing database; "create" to write to it and make it where it is missing. On
                SQLite one process at a time may write; readers are never kept out.

        Raises:
            StoreError: the database is missing, foreign, damaged, newer than this program, or being written by another process.
        """
        if mode not in ("read", "write", "create"):
            raise UsageError(f"mode must be 'read', 'write' or 'create', got {mode!r}")
        place = find_place(path_or_url)
        _require_file(place, mode)
        engine = open_engine(place, writing=mode != "read")
        lock = None
        try:
            version = _identify(engine, place, mode)
            if mode != "read":
                lock = WriterLock(place.file) if place.file else None
                _bring_up_to_date(engine, place)
            elif version < SCHEMA_VERSION:
                engine.dispose()
                cls.open(path_or_url, mode="write").close()
        except BaseException:
            _leave(engine, lock)
            raise
        return cls(place, mode, engine, lock)

    def close(self) -> None:
        """Close the store and let the next writer in; a second call does nothing."""
        if self._engine is not None:
            _leave(self._engine, self._lock)
        self._engine = self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Store {self._place}, {self.mode if self._engine else 'closed'}>"

    # Runs and the ledger of finished parts

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
        with self._writing() as connection:
            if self._lock is not None:
                ledger.fail_unfinished_runs(connection)
            return ledger.begin_run(
                connection,
                config=dict(config),
                command=command,
                extraction_fingerprint=extraction_fingerprint,
                mining_fingerprint=mining_fingerprint,
                weights_sha256=weights_sha256,
                versions=dict(versions or {}),
                seed=seed,
            )

    def finish_run(self, run: int, *, error: str | None = None) -> None:
        """Mark a run as finished, or as failed where ``error`` says why."""
        with self._writing() as connection:
            ledger.finish_run(connection, run, error)

    def read_runs(self) -> tuple[RunRecord, ...]:
        """Return every run, oldest first."""
        with self._reading() as connection:
            return ledger.read_runs(connection)

    def finished_parts(self) -> dict[int, PartRecord]:
        """Return the finished extraction parts: number -> record, in rising order."""
        with self._reading() as connection:
            return ledger.finished_parts(connection)

    def add_part(self, part: PartRecord) -> None:
        """Enter a finished part in place of the former one of its number."""
        with self._writing() as connection:
            ledger.add_part(connection, part)

    def clear_parts(self) -> None:
        """Forget every finished part."""
        with self._writing() as connection:
            ledger.clear_parts(connection)

    # Images and objects

    def write_source(
        self,
        images: Sequence[ImageRecord],
        objects: Sequence[ObjectRecord],
        skipped: Sequence[Skipped] = (),
    ) -> None:
        """Make these the images, objects and skipped files.

        An object whose id, image and box are as before keeps its facing and its top places; those of all others go.
        """
        with self._writing() as connection:
            source.write_source(connection, images, objects, skipped)

    def read_images(self) -> tuple[ImageRecord, ...]:
        """Return the images by rising id."""
        with self._reading() as connection:
            return source.read_images(connection)

    def read_objects(self) -> tuple[ObjectRecord, ...]:
        """Return the objects by rising id."""
        with self._reading() as connection:
            return source.read_objects(connection)

    def read_skipped(self) -> tuple[Skipped, ...]:
        """Return what gave no object, and why."""
        with self._reading() as connection:
            return source.read_skipped(connection)

    # The graph

    def has_graph(self) -> bool:
        """Return whether a graph is stored."""
        with self._reading() as connection:
            return graph_tables.has_graph(connection)

    def save_graph(
        self,
        graph: ExplanatoryGraph,
        *,
        top_places: TopPlaces | None = None,
        facings: Mapping[int, bool] | None = None,
        unit_std: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> None:
        """Put a graph and all that belongs to it in the place of the stored one, in one transaction.

        Args:
            graph: the graph; it is checked first.
            top_places: the best objects of each node.
            facings: object id -> mirrored; the facing of every other object is unknown afterwards.
            unit_std: layer -> float32 (channels, height, width) or (channels, 1, 1), the deviations of its units.

        Raises:
            GraphError: the graph violates its schema.
            StoreError: an object or layer is unknown, or a shape does not fit.
        """
        with self._writing() as connection:
            graph_tables.write_graph(connection, graph, top_places, facings or {}, unit_std or {})

    def load_graph(self) -> ExplanatoryGraph:
        """Return the stored graph: nodes, edges, their order and every attribute as saved."""
        with self._reading() as connection:
            return graph_tables.read_graph(connection)

    def load_unit_std(self) -> dict[str, NDArray[np.float32]]:
        """Return layer -> deviations of its units, for the layers that have them."""
        with self._reading() as connection:
            return graph_tables.read_unit_std(connection)

    def read_node(self, name: str) -> NodeRecord:
        """Return one node with its parents, children and top places; milliseconds, whatever the size of the graph."""
        with self._reading() as connection:
            return graph_tables.read_node(connection, name)

    def read_channel(self, layer: str, channel: int) -> tuple[NodeRecord, ...]:
        """Return the nodes of one channel, by index."""
        with self._reading() as connection:
            return graph_tables.read_channel(connection, layer, channel)

    # Semantic parts

    def save_semantic_part(self, part: SemanticPartRecord) -> None:
        """Put a semantic part in the place of the stored one of its name, whole or not at all.

        Raises:
            StoreError: an annotation on an object that is not stored, or templates that do not fit the annotations.
            GraphError: a vote of a node that is not in the stored graph.
        """
        with self._writing() as connection:
            part_tables.write_part(connection, part)

    def read_semantic_parts(self) -> tuple[SemanticPartRecord, ...]:
        """Return the semantic parts in the order of their names."""
        with self._reading() as connection:
            return part_tables.read_parts(connection)

    def remove_semantic_part(self, name: str) -> bool:
        """Remove a semantic part with its annotations; return whether there was one."""
        with self._writing() as connection:
            return part_tables.remove_part(connection, name)

    def _reading(self) -> AbstractContextManager[Connection]:
        return transaction(self._require_open(), self._place, writing=False)

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if self.mode == "read":
            raise StoreError(f"{self._place} is open for reading; open it with mode='write'")
        with transaction(self._require_open(), self._place, writing=True) as connection:
            yield connection

    def _require_open(self) -> Engine:
        if self._engine is None:
            raise StoreError(f"the store {self._place} is closed; open it again")
        return self._engine


def _require_file(place: Place, mode: Mode) -> None:
    if place.file is None or place.file.exists():
        return
    if mode != "create":
        raise StoreError(
            f"no database at {place.file}; check the path, or run 'explgraph mine' to make one"
        )
    try:
        place.file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"cannot make the folder {place.file.parent}: {error.strerror}; name another place"
        ) from error


def _identify(engine: Engine, place: Place, mode: Mode) -> int:
    """Return the schema version before anything is changed or locked."""
    with transaction(engine, place, writing=False) as connection, _naming(place):
        version = find_version(connection)
    if version == 0 and mode != "create":
        raise StoreError(
            f"{place} is an empty database; name another one, or run 'explgraph mine' to fill it"
        )
    return version


def _bring_up_to_date(engine: Engine, place: Place) -> None:
    if place.file is not None:
        with in_words(place), engine.connect() as connection:
            cursor = (
                connection.connection.cursor()
            )  # outside of any transaction, where alone the mode may change
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.close()
    with transaction(engine, place, writing=True) as connection, _naming(place):
        migrate(connection)


@contextmanager
def _naming(place: Place) -> Iterator[None]:
    try:
        yield
    except StoreError as error:
        raise StoreError(f"{place}: {error}") from error


def _leave(engine: Engine, lock: WriterLock | None) -> None:
    engine.dispose()  # the last connection moves the -wal file's content into the database
    if lock is not None:
        lock.release()
