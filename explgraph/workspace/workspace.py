"""A workspace: the folder of one mining job, and what can be read from it.

zebra/
  graph.db      runs, images and objects, layers, nodes, edges, top places, the ledger of finished parts
  peaks/        immutable Parquet parts, one per shard of objects, and the units' deviations
  locations/    the place of every node on every object of the source
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq

from explgraph.errors import WorkspaceError
from explgraph.graph import ExplanatoryGraph
from explgraph.network import Network, load_network
from explgraph.peaks import PeakSettings, read_content
from explgraph.peaks.shards import ReadObject
from explgraph_storage import RunRecord, Store


class Workspace:
    """An existing workspace, open for reading; use it in a ``with`` statement.

    Args:
        folder: the workspace.
        db: SQLAlchemy URL where the tables are not in the folder's ``graph.db``.

    Raises:
        WorkspaceError: there is no workspace, or mining has not finished, or it started anew with other photographs.
    """

    def __init__(self, folder: str | Path, *, db: str | None = None) -> None:
        self.folder = Path(folder)
        if db is None and not (self.folder / "graph.db").is_file():
            raise WorkspaceError(
                f"{self.folder} is no workspace (no graph.db in it); 'explgraph mine SOURCE --out {self.folder}' makes one"
            )
        self.store = Store.open(db or self.folder / "graph.db")
        if not self.store.has_graph():
            self.store.close()
            raise WorkspaceError(
                f"{self.folder} has no graph yet; run the same 'explgraph mine' command again, it goes on where it stopped"
            )
        if self._is_being_replaced():
            self.store.close()
            raise WorkspaceError(
                f"{self.folder} is being mined anew with --restart and that job has not finished; "
                "wait for it, or run the same 'explgraph mine' command again"
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    @cached_property
    def graph(self) -> ExplanatoryGraph:
        """The mined graph, read once; not to be changed (`explgraph_storage.Store.load_graph` gives one of one's own)."""
        return self.store.load_graph()

    def run(self) -> RunRecord:
        """Return the last mining run that finished."""
        runs = [run for run in self._mining_runs() if run.status == "finished"]
        if not runs:
            raise WorkspaceError(
                f"{self.folder} has no finished mining run; run 'explgraph mine' again"
            )
        return runs[-1]

    def _mining_runs(self) -> list[RunRecord]:
        return [run for run in self.store.read_runs() if run.command == "mine"]

    def _is_being_replaced(self) -> bool:
        """Return whether a later job, not finished, has thrown away the peaks behind the graph."""
        last = self._mining_runs()[-1:]
        return any(
            one.status != "finished"
            and one.extraction_fingerprint != self.run().extraction_fingerprint
            for one in last
        )

    def network(self, *, weights: str | None = None, device: str = "cpu") -> Network:
        """Return the network that the graph was mined from.

        Args:
            weights: the same weights at another place, where the file has moved.
            device: where it shall compute.

        Raises:
            WorkspaceError: these are other weights, or their file has moved.
        """
        run = self.run()
        config = run.config["job"]
        size, used = config["input_size"], weights or config["weights"]
        if (
            weights is None
            and used is not None
            and Path(used).is_absolute()
            and not Path(used).is_file()
        ):
            raise WorkspaceError(
                f"the weights are no longer at {used}; say with --weights where they are now"
            )
        network = load_network(
            config["model"],
            weights=used,
            device=device,
            input_size=None if size is None else tuple(size),
        )
        if network.sha256 != run.weights_sha256:
            raise WorkspaceError(
                f"the graph was mined from weights with sha256 {str(run.weights_sha256)[:12]}..., these have {network.sha256[:12]}...; "
                "give the right file with --weights"
            )
        return network

    def settings(self) -> PeakSettings:
        """Return the peak settings of the mining run."""
        config = self.run().config["job"]
        return PeakSettings(
            tuple(sorted(config["layers"])), config["n_peaks"], config["mirror"], config["fit"]
        )

    def locations(self) -> Iterator[Any]:
        """Yield the locations of the source's own objects, one Arrow table per part."""
        for path in sorted((self.folder / "locations").glob("part-*.parquet")):
            yield pq.read_table(path)

    def parts(self) -> list[Path]:
        """Return the files of the peak store, as the ledger names them."""
        return [self.folder / "peaks" / part.file for part in self.store.finished_parts().values()]

    def objects_read(self) -> list[ReadObject]:
        """Return the objects that the graph was mined from, in the source's order."""
        return sorted(
            (o for path in self.parts() for o in read_content(path).objects), key=lambda o: o.index
        )
