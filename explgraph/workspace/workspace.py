"""A workspace: the folder of one mining job, and what can be read from it.

zebra/
  graph.db      runs, images and objects, layers, nodes, edges, top places, the ledger of shards
  peaks/        immutable Parquet shards of the peak store, and the units' deviations
  locations/    the place of every node on every object of the source
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from explgraph.errors import WorkspaceError
from explgraph.graph import ExplanatoryGraph
from explgraph.images import AnyPath, Frame
from explgraph.locations import CachedLocations, read_locations
from explgraph.network import Model, Network, wrap
from explgraph.parts import KnownObjects, SeenNodes, node_traits, turn
from explgraph.peaks import ReadObject
from explgraph.workspace.database import open_database
from explgraph.workspace.integrity import LOCATIONS, read_own_shards, shard_faults
from explgraph.workspace.resume import MINE, Identity, deviations_name, read_stored, stored_job
from explgraph.workspace.settings import MineJob
from explgraph_storage import RunRecord


class Workspace:
    """An existing workspace, open for reading; use it in a ``with`` statement, or `close` it.

    Args:
        folder: the workspace.
        db: SQLAlchemy URL of the tables, where the workspace does not remember it.

    Raises:
        WorkspaceError: there is no workspace, or mining has not finished, or it started anew with
            other photographs.

    >>> with Workspace(folder) as workspace:
    ...     workspace.job.layers, workspace.graph.layers[0].name, len(workspace.objects_read)
    (('features.11', 'features.14'), 'features.14', 48)
    """

    def __init__(self, folder: str | Path, *, db: str | None = None) -> None:
        self.folder = Path(folder)
        self.store = open_database(self.folder, db)
        try:
            self._require_finished()
        except BaseException:
            self.store.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database, where there is no ``with`` statement; again does no harm."""
        self.store.close()

    def __repr__(self) -> str:
        return f"<Workspace {self.folder}, {self.store!r}>"

    @cached_property
    def graph(self) -> ExplanatoryGraph:
        """The mined graph, read once; not to be changed (`Store.load_graph` gives a new one)."""
        graph = self.store.load_graph()
        graph.deviations = self.store.load_unit_std()
        return graph

    @cached_property
    def run(self) -> RunRecord:
        """The last mining run that finished."""
        runs = [run for run in self._mining_runs() if run.status == "finished"]
        if not runs:
            raise WorkspaceError(
                f"{self.folder} has no finished mining run; run 'explgraph mine' again"
            )
        return runs[-1]

    @cached_property
    def job(self) -> MineJob:
        """What was mined, and with which settings; its files where `relocate` has put them."""
        return stored_job(self.store)

    @cached_property
    def identity(self) -> Identity:
        """What the peaks depend on: the network's weights, its input, the layers, the images."""
        return read_stored(self.run, "identity", Identity.from_dict)

    @property
    def deviations_file(self) -> str:
        """Where the deviations of the units are, within the folder."""
        return deviations_name(self.identity.fingerprint)

    def network(
        self, model: Model | None = None, *, weights: AnyPath | None = None, device: str = "cpu"
    ) -> Network:
        """Return the network that the graph was mined from.

        Args:
            model: the network or module itself, where it was handed over when it was mined.
            weights: the same weights at another place, where the file has moved.
            device: where it shall compute; a ``model`` computes where it is.

        Raises:
            WorkspaceError: these are other weights, or their file has moved.
        """
        if model is not None:
            spec = self.identity.input
            given = wrap(model, input_size=spec.size, mean=spec.mean, std=spec.std)
            return self._mined_from(given, "hand over the one that was mined")
        # Names of published weights and tags are no absolute paths: only a file can have moved.
        used = weights or self.job.weights
        moved = used is not None and Path(used).is_absolute() and not Path(used).is_file()
        if moved and weights is None:
            raise WorkspaceError(
                f"the weights are no longer at {used}; say with --weights where they are now, or "
                f"once and for all: explgraph relocate {self.folder} --weights FILE"
            )
        network = self.job.load(weights=used, device=device)
        return self._mined_from(network, "give the right file with --weights")

    def _mined_from(self, network: Network, remedy: str) -> Network:
        """The network itself, if it is the one: other weights have other channels."""
        mined = self.identity.weights
        if network.sha256 != mined:
            raise WorkspaceError(
                f"the graph was mined from weights with sha256 {mined[:12]}..., these have "
                f"{network.sha256[:12]}...; {remedy}"
            )
        return network

    def peak_files(self) -> list[Path]:
        """Return the shards of the peak store, as the ledger names them.

        Raises:
            WorkspaceError: the content of one is not what was written.
        """
        shards = self.store.finished_shards().values()
        for path, said in shard_faults(self.folder, shards).items():
            raise WorkspaceError(
                f"{self.folder / path} {said}; run the same 'explgraph mine' command again, it "
                "makes it anew"
            )
        return [self.folder / "peaks" / shard.file for shard in shards]

    @cached_property
    def objects_read(self) -> list[ReadObject]:
        """The objects that the graph was mined from, in the source's order."""
        return read_own_shards(self.folder, self.store)

    @cached_property
    def frames(self) -> tuple[Frame, ...]:
        """How the box of each of `objects_read` fills the network input."""
        size, fit = self.identity.input.size, self.job.fit
        return tuple(Frame(one.box, *size, fit) for one in self.objects_read)

    def file_of_object(self) -> dict[int, str]:
        """Return object id -> its photograph, as the source names it."""
        images = {image.id: image.path for image in self.store.read_images()}
        return {one.id: images[one.image_id] for one in self.store.read_objects()}

    def locations(self) -> CachedLocations:
        """Return where every node is on each of `objects_read`.

        Raises:
            WorkspaceError: the cached locations are damaged, or do not belong to the graph.
        """
        ids = [one.id for one in self.objects_read]
        hashes = {Path(one.path).name: one.sha256 for one in self.store.read_files(LOCATIONS)}
        return read_locations(self.folder / LOCATIONS, self.graph, ids, hashes=hashes)

    def known_objects(self) -> KnownObjects:
        """Return what is known of `objects_read`; 0.1 s for 250 objects and 4,000 nodes.

        Raises:
            WorkspaceError: the cached locations do not belong to the graph.
        """
        read, files, found = self.objects_read, self.file_of_object(), self.locations()
        pairs = zip(self.frames, found.points, strict=True)
        place = np.stack([frame.to_input(xy) for frame, xy in pairs])
        return KnownObjects(
            traits=node_traits(self.graph),
            seen=SeenNodes(
                turn(place, found.mirrored), found.score, found.mirrored, found.sureness
            ),
            ids=tuple(one.id for one in read),
            files=tuple(files[one.id] for one in read),
            root=self.job.root,
            frames=self.frames,
            sizes=tuple((one.width, one.height) for one in read),
        )

    def _mining_runs(self) -> list[RunRecord]:
        return [run for run in self.store.read_runs() if run.command == MINE]

    def _require_finished(self) -> None:
        if not self.store.has_graph():
            raise WorkspaceError(
                f"{self.folder} has no graph yet; run the same 'explgraph mine' command again, "
                "it goes on where it stopped"
            )
        last = self._mining_runs()[-1:]
        # The last job decides: one that failed with the same peaks has spoilt nothing.
        for run in last:
            replaces = run.extraction_fingerprint != self.run.extraction_fingerprint
            if run.status != "finished" and replaces:
                raise WorkspaceError(
                    f"{self.folder} is being mined anew with --restart and that job has not "
                    "finished; wait for it, or run the same 'explgraph mine' command again"
                )
