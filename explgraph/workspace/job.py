"""The mining job: photographs -> feature maps -> peaks -> mixtures -> graph -> answers.

Every step can be interrupted; the same job goes on where it stopped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explgraph import __version__
from explgraph.errors import MiningError, Skipped
from explgraph.files import whole_file
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.images import Frame, Source, read_source
from explgraph.locations import LocationWriter, Locator, location_table
from explgraph.mining import mine
from explgraph.network import measure_geometry
from explgraph.peaks import (
    FinishedShard,
    LayerPeaks,
    ReadObject,
    extract,
    measure_unit_std,
    read_layer,
    read_shard_content,
    sample_objects,
    shard_path,
    shard_ranges,
)
from explgraph.progress import Report, silent
from explgraph.workspace.best import BestPlaces
from explgraph.workspace.resume import Identity, intact_shards, is_mined, refuse_other_job
from explgraph.workspace.settings import Compute, MineJob
from explgraph_storage import ImageRecord, ObjectRecord, ShardRecord, Store, TopPlaces

NEW_LOCATIONS = "locations.tmp"  # until the graph that they belong to is stored
LOCATED_AT_A_TIME = 256  # objects; bounds the arrays (node, object) of a large graph
_PACKAGES = ("torch", "torchvision", "numpy", "networkx", "pillow")


@dataclass(frozen=True)
class MineReport:
    """What a mining job did.

    Args:
        folder: the workspace.
        objects: how many were read.
        skipped: what could not be used, and why.
        resumed: shards that were there already.
        shards: all of them.
        nodes: per layer, top layer first.
        edges: of the graph.
        mirrored: objects understood through their mirror image.
        converged: per layer.
        unchanged: the workspace was complete already and nothing was done.
    """

    folder: Path
    objects: int
    skipped: tuple[Skipped, ...]
    resumed: int
    shards: int
    nodes: dict[str, int]
    edges: int
    mirrored: int
    converged: dict[str, bool]
    unchanged: bool

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; the shards under their former name, ``parts``."""
        plain = {"parts" if key == "shards" else key: value for key, value in asdict(self).items()}
        return plain | {
            "folder": str(self.folder),
            "skipped": [one.to_dict() for one in self.skipped],
        }


def mine_workspace(
    folder: str | Path,
    job: MineJob,
    *,
    db: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    restart: bool = False,
    report: Report = silent,
) -> MineReport:
    """Mine a source into a workspace; goes on where an earlier run of the same job stopped.

    Peaks that are there already stay. If only settings of mining changed, only mining runs anew.

    Args:
        folder: the workspace; made if missing.
        job: what to mine.
        db: SQLAlchemy URL for the tables, instead of ``graph.db`` in the folder.
        device: see `Compute`; neither it nor the next two change the result.
        batch_size: objects per forward pass.
        workers: decoding threads.
        restart: throw away what the workspace holds of another job.
        report: told of progress.

    Raises:
        WorkspaceError: the workspace holds peaks of other weights, layers, images or settings.
        ExplgraphError: the source, the network or a layer is not usable, or there is too little
            to mine.

    A finished job is not run again:

    >>> layers = ("features.11", "features.14")
    >>> job = MineJob(coco, "explgraph.demo.network:demo_network", layers)
    >>> done = mine_workspace(folder, job, device="cpu")
    >>> done.objects, list(done.nodes), done.unchanged
    (48, ['features.14', 'features.11'], True)
    """
    run = MiningRun(Path(folder), job, Compute(device, batch_size, workers), report)
    with run.opened(db, restart=restart):
        if run.is_complete():
            return run.summary(unchanged=True)
        # Deviations and peaks of an interrupted run are kept; what follows them is done anew.
        with run.recorded():
            deviations = run.measure_deviations()
            run.extract_peaks(deviations)
            objects = run.register_objects()
            peaks = run.read_peaks(objects)
            graph = run.mine_graph(peaks)
            best, facings = run.locate_nodes(graph, peaks, objects)
            run.store_graph(graph, best, facings, deviations)
        return run.summary(unchanged=False)


class MiningRun:
    """One run of a mining job on its workspace: the steps that it goes through, in their order.

    To make one checks all that can be checked before the folder is made or changed.
    """

    store: Store
    resumed: dict[int, ShardRecord]  # the shards that were there already

    def __init__(self, folder: Path, job: MineJob, compute: Compute, report: Report) -> None:
        self.folder, self.job, self.compute, self.report = folder, job, compute, report
        report("network", 0, 0)
        self.network = job.load_network(compute.device)
        self.layers = self.network.top_first(job.layers)
        self.source = job.read_source()
        self.background = None if job.background is None else read_source(job.background)
        _require_enough(self.source, job.mining.min_images)
        self.identity = Identity.of(job, self.network, self.source, self.background)
        self.fingerprint = self.identity.fingerprint
        self.mining_fingerprint = self.identity.mining_fingerprint(job.mining)
        n_shards = len(shard_ranges(len(self.source.objects)))
        self.shards = [shard_path(folder / "peaks", number) for number in range(n_shards)]

    @contextmanager
    def opened(self, db: str | None, *, restart: bool) -> Iterator[None]:
        """Hold the database open, for this job alone.

        Raises:
            WorkspaceError: the workspace holds peaks of another job, and no ``restart``.
            StoreError: another process writes to it.
        """
        (self.folder / "peaks").mkdir(parents=True, exist_ok=True)
        with Store.open(db or self.folder / "graph.db", mode="create") as self.store:
            if (before := self.store.migrated_from) is not None:
                self.report(f"bring graph.db from schema {before} up to date", 0, 0)
            refuse_other_job(self.store, self.folder, self.identity, restart=restart)
            self.resumed = intact_shards(self.store, self.folder, self.fingerprint)
            yield

    def is_complete(self) -> bool:
        """Whether an earlier run of this job did everything."""
        mined = is_mined(self.store, self.folder, self.mining_fingerprint)
        return mined and len(self.resumed) == len(self.shards)

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Enter the run into the database, and how it ended."""
        number = self.store.begin_run(
            {"job": self.job.to_dict(), "identity": self.identity.to_dict()},
            command="mine",
            extraction_fingerprint=self.fingerprint,
            mining_fingerprint=self.mining_fingerprint,
            weights_sha256=self.network.sha256,
            versions={"explgraph": __version__} | {name: version(name) for name in _PACKAGES},
            seed=self.job.mining.seed,
        )
        try:
            yield
        except BaseException as error:  # an interrupt too: the run did not finish
            self.store.finish_run(number, error=f"{type(error).__name__}: {error}")
            raise
        self.store.finish_run(number)

    def measure_deviations(self) -> dict[str, Tensor]:
        """The deviation of every unit, per layer: measured once, then read from a file."""
        # Named by the fingerprint, so that deviations of another job are never taken for these.
        path = self.folder / "peaks" / f"unit-std-{self.fingerprint[:16]}.npz"
        if path.is_file():
            with np.load(path) as stored:
                return {name: torch.from_numpy(stored[name]) for name in self.geometry}
        if self.background is None:
            objects = sample_objects(self.source.objects, seed=self.job.mining.seed)
        else:
            objects = list(self.background.objects)
        deviations = measure_unit_std(
            self.network,
            objects,
            geometry=self.geometry,
            per_unit=self.background is not None,
            fit=self.job.fit,
            batch_size=self.compute.batch_size,
            workers=self.compute.workers,
            report=self.report,
        )
        arrays = {name: std.numpy() for name, std in deviations.items()}
        with whole_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        return deviations

    def extract_peaks(self, deviations: dict[str, Tensor]) -> None:
        """Write the shards that are missing; each enters the ledger when it is on disk."""
        extract(
            self.network,
            self.source.objects,
            self.folder / "peaks",
            geometry=self.geometry,
            unit_std=deviations,
            settings=self.job.peak_settings,
            fingerprint=self.fingerprint,
            finished=self.resumed,
            batch_size=self.compute.batch_size,
            workers=self.compute.workers,
            on_shard=self._enter,
            report=self.report,
        )

    def register_objects(self) -> list[ReadObject]:
        """The objects that were read, in the source's order; they enter the database.

        Raises:
            MiningError: there are none.
        """
        contents = [read_shard_content(path) for path in self.shards]
        read = sorted((o for content in contents for o in content.objects), key=lambda o: o.index)
        images: dict[int, ImageRecord] = {}
        objects = []
        for one in read:
            obj = self.source.objects[one.index]
            number, image = obj.annotation_id, obj.image_id
            images[image] = ImageRecord(image, obj.file_name, one.width, one.height)
            objects.append(ObjectRecord(number, image, one.box, obj.landmarks, obj.label))
        # By path: several objects of one broken photograph are one skipped file.
        skipped = {one.path: one for one in self.source.skipped}
        for number, reason in (broken for content in contents for broken in content.skipped):
            name = self.source.objects[number].file_name
            skipped[name] = Skipped(name, reason)
        self.store.write_source(list(images.values()), objects, list(skipped.values()))
        if not read:
            reasons = "; ".join(one.reason for one in list(skipped.values())[:3])
            n = len(self.source.objects)
            raise MiningError(f"none of the {n} images could be read: {reasons}")
        return read

    def read_peaks(self, objects: list[ReadObject]) -> dict[str, LayerPeaks]:
        """The peaks of all objects, per layer, top layer first."""
        numbers = [one.index for one in objects]
        n_facings = 2 if self.job.mirror else 1
        peaks = {}
        for name, layer in self.geometry.items():
            self.report(f"read {name}", 0, 0)
            peaks[name] = read_layer(
                self.shards, layer, images=numbers, n_peaks=self.job.n_peaks, n_facings=n_facings
            )
        return peaks

    def mine_graph(self, peaks: dict[str, LayerPeaks]) -> ExplanatoryGraph:
        """The explanatory graph of the peaks."""
        graph = mine(list(peaks.values()), self.job.mining, report=self.report).graph
        graph.config = self.job.to_dict()
        return graph

    def locate_nodes(
        self, graph: ExplanatoryGraph, peaks: dict[str, LayerPeaks], read: list[ReadObject]
    ) -> tuple[TopPlaces, dict[int, bool]]:
        """The best places of every node and the facing of every object; all places go to files."""
        objects = [self.source.objects[one.index] for one in read]
        ids = [one.annotation_id for one in objects]
        files = [one.file_name for one in objects]
        frames = [Frame(one.box, *self.network.input.size, self.job.fit) for one in read]
        folder = self.folder / NEW_LOCATIONS
        shutil.rmtree(folder, ignore_errors=True)  # what an interrupted run left
        folder.mkdir()
        locator = Locator(graph)
        best = BestPlaces(len(locator.nodes))
        facings: dict[int, bool] = {}
        for number, start in enumerate(range(0, len(read), LOCATED_AT_A_TIME)):
            here = slice(start, start + LOCATED_AT_A_TIME)
            found = locator.locate({name: p.images(here) for name, p in peaks.items()})
            table = location_table(found, ids=ids[here], images=files[here], frames=frames[here])
            with LocationWriter(shard_path(folder, number)) as writer:
                writer.write(table)
            best.add(found, frames[here])
            facings |= dict(zip(ids[here], found.mirrored.tolist(), strict=True))
            self.report("locations", best.n_objects, len(read))
        # The locator orders nodes layer by layer, the database as they were added to the graph.
        position = {name: i for i, name in enumerate(graph)}
        return best.places([position[name] for name in locator.nodes], ids), facings

    def store_graph(
        self,
        graph: ExplanatoryGraph,
        best: TopPlaces,
        facings: dict[int, bool],
        deviations: dict[str, Tensor],
    ) -> None:
        """Put the graph and all that belongs to it in place of the former one."""
        self.report("store", 0, 0)
        unit_std = {name: std.numpy() for name, std in deviations.items()}
        # Between the two steps graph and locations do not belong together. A run that is killed
        # there is not "finished", so `is_mined` says no and the next one mines anew.
        self.store.save_graph(graph, top_places=best, facings=facings, unit_std=unit_std)
        shutil.rmtree(self.folder / "locations", ignore_errors=True)
        os.replace(self.folder / NEW_LOCATIONS, self.folder / "locations")

    def summary(self, *, unchanged: bool) -> MineReport:
        """What was done, and what the workspace holds now."""
        # Read back, because where nothing was done there is no graph in memory.
        graph = self.store.load_graph()
        objects = self.store.read_objects()
        return MineReport(
            folder=self.folder,
            objects=len(objects),
            skipped=self.store.read_skipped(),
            resumed=len(self.resumed),
            shards=len(self.store.finished_shards()),
            nodes={layer["name"]: layer["nodes"] for layer in graph.describe()["layers"]},
            edges=graph.number_of_edges(),
            mirrored=sum(bool(one.mirrored) for one in objects),
            converged=graph.converged,
            unchanged=unchanged,
        )

    @cached_property
    def geometry(self) -> dict[str, Layer]:
        """Where the cells of each layer look at, top layer first."""
        measured = measure_geometry(self.network, self.layers)
        return {name: measured[name] for name in self.layers}

    def _enter(self, done: FinishedShard) -> None:
        name, n_objects, n_peaks = done.path.name, done.n_objects, done.n_peaks
        self.store.add_shard(
            ShardRecord(done.number, name, self.fingerprint, n_objects, n_peaks, done.sha256)
        )


def _require_enough(source: Source, at_least: int) -> None:
    """Raise MiningError before anything is made, where even readable images would be too few."""
    if len(source.objects) < at_least:
        raise MiningError(
            f"expected at least {at_least} objects, got {len(source.objects)}"
            f" ({len(source.skipped)} files skipped): the place of a part pattern cannot be "
            "estimated from fewer; add photographs (100 and more give steady graphs)"
        )
