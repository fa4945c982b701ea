"""The mining job: photographs -> feature maps -> peaks -> mixtures -> graph -> answers.

Every step can be interrupted; the same job goes on where it stopped.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from explgraph import __version__
from explgraph.errors import GraphError, MiningError, Skipped, StoreError, WorkspaceError
from explgraph.files import make_folder
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.images import Frame, Source, decode_batches, read_source
from explgraph.locations import LocationWriter, Locator, location_table, read_locations
from explgraph.mining import mine
from explgraph.network import last_stages, measure_geometry
from explgraph.peaks import (
    N_CHANCE,
    FinishedShard,
    LayerPeaks,
    ReadObject,
    chance_peaks,
    extract,
    load_deviations,
    measure_unit_std,
    read_layer,
    read_shard_content,
    sample_numbers,
    sample_objects,
    save_deviations,
    shard_path,
    shard_ranges,
)
from explgraph.progress import Report, silent
from explgraph.workspace.best import BestPlaces
from explgraph.workspace.database import open_database, remember_database
from explgraph.workspace.integrity import (
    ANNOTATIONS,
    DEVIATIONS,
    LOCATIONS,
    PHOTOGRAPH,
    WEIGHTS,
    faults_of,
    read_own_shards,
    record_files,
)
from explgraph.workspace.resume import (
    MINE,
    Identity,
    deviations_name,
    forget_unreadable,
    intact_shards,
    is_mined,
    refuse_other_job,
    stored_job,
)
from explgraph.workspace.settings import Compute, MineJob
from explgraph_storage import FileRecord, ImageRecord, ObjectRecord, ShardRecord, Store, TopPlaces

NEW_LOCATIONS = "locations.tmp"  # until the graph that they belong to is stored
_LEAST_NODES, _LEAST_SHARE = 5, 0.02  # of the channels: fewer nodes are hardly a graph
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
        relocate: where it was mined from another place than it is now asked for: the command that
            has it read from here.
        note: what to do about a graph that is nearly empty; None if it is not.
        dropped_names: target and name of each node that is no longer there; the others were kept.
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
    relocate: str | None = None
    note: str | None = None
    dropped_names: tuple[tuple[str, str], ...] = ()

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
        if (stored := run.stored_graph()) is not None:
            if not run.faults(stored):
                run.record_sources()
                run.record_older()
                return run.summary(unchanged=True)
            if run.refill(stored):
                return run.summary(unchanged=False)
        # Deviations and peaks of an interrupted run are kept; what follows them is done anew.
        with run.recorded():
            deviations = run.measure_deviations()
            run.extract_peaks(deviations)
            objects = run.register_objects()
            run.record_sources()
            peaks = run.read_peaks(objects)
            graph = run.mine_graph(peaks, run.chance_peaks(objects, deviations))
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
        self.dropped_names: tuple[tuple[str, str], ...] = ()
        self.folder, self.job, self.compute, self.report = folder, job, compute, report
        # First: a slip in a path shall not cost the loading of the weights.
        self.source = job.read_source()
        self.background = None if job.background is None else read_source(job.background)
        _require_enough(self.source, job.mining.min_images)
        report("network", 0, 0)
        self.network = job.load_network(compute.device)
        if not job.layers:
            job = self.job = replace(job, layers=last_stages(self.network))
            report(f"layers {', '.join(job.layers)}, by default", 0, 0)
        self.layers = self.network.top_first(job.layers)
        self.identity = Identity.of(job, self.network, self.source, self.background)
        self.fingerprint = self.identity.fingerprint
        self._deviations_name = deviations_name(self.fingerprint)
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
        make_folder(self.folder / "peaks")
        with open_database(self.folder, db, mode="create") as self.store:
            remember_database(self.folder, self.store)
            if (before := self.store.migrated_from) is not None:
                self.report(f"bring graph.db from schema {before} up to date", 0, 0)
            forget_unreadable(self.store)
            refuse_other_job(self.store, self.folder, self.identity, restart=restart)
            self.resumed = intact_shards(self.store, self.folder, self.fingerprint)
            yield

    def stored_graph(self) -> ExplanatoryGraph | None:
        """The graph that an earlier run of this job made, if all that is stored of it is well."""
        if not is_mined(self.store, self.mining_fingerprint):
            return None
        try:
            graph = self.store.load_graph()
            self.store.check_digest()
            self.store.check_top_places()
            self.store.read_skipped()
            stored = self.store.load_unit_std()
            facings = [one.mirrored for one in self.store.read_objects()]
        except (StoreError, GraphError) as error:
            self.report(f"mine anew: {error}", 0, 0)
            return None
        measured = self._stored_deviations()
        is_same = stored.keys() == set(self.layers) and (
            measured is None
            or all(np.array_equal(std, measured[name]) for name, std in stored.items())
        )
        return graph if is_same and None not in facings else None

    def faults(self, graph: ExplanatoryGraph) -> dict[str, str]:
        """What is wrong with the files that belong to the graph: path -> in words."""
        missing = [path.name for i, path in enumerate(self.shards) if i not in self.resumed]
        faults = {f"peaks/{name}": "is missing or damaged" for name in missing}
        if self._stored_deviations() is None:
            faults[self._deviations_name] = "is missing or damaged"
        locations = self.store.read_files(LOCATIONS)
        faults |= faults_of(self.folder, locations)
        try:
            if not faults:
                ids = [one.id for one in read_own_shards(self.folder, self.store)]
                if not locations:  # of an older version: all that can be told is told by reading
                    read_locations(self.folder / LOCATIONS, graph, ids)
        except WorkspaceError as error:
            faults[LOCATIONS] = str(error)
        for path, said in faults.items():
            self.report(f"make anew: {path} {said}", 0, 0)
        return faults

    def refill(self, graph: ExplanatoryGraph) -> bool:
        """Make the files anew that are missing or damaged; whether they are those of the graph.

        The graph and the semantic parts on it stay as they are, and no run is entered: a kill in
        here leaves a workspace whose files are missing, as it was before.
        """
        former = {number: one.sha256 for number, one in self.store.finished_shards().items()}
        deviations = self.measure_deviations()
        self.extract_peaks(deviations)
        shards = self.store.finished_shards()
        # Another machine may round otherwise; then the graph has to be mined from the new peaks.
        if {number: one.sha256 for number, one in shards.items()} != former:
            return False
        try:
            read_own_shards(self.folder, self.store)
        except WorkspaceError:
            return False
        objects = self.register_objects()
        self.locate_nodes(graph, self.read_peaks(objects), objects)
        self.store.write_files(LOCATIONS, self._hashed(self.folder / NEW_LOCATIONS))
        self._put_locations()
        return True

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Enter the run into the database, and how it ended."""
        number = self.store.begin_run(
            {"job": self.job.to_dict(), "identity": self.identity.to_dict()},
            command=MINE,
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
        if (stored := self._stored_deviations()) is not None:
            return stored
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
        save_deviations(self.folder / self._deviations_name, deviations)
        self._record(DEVIATIONS, self._deviations_file, anew=True)
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

    def record_sources(self) -> None:
        """Enter the hashes of all that the job read, and of what an older version wrote.

        0.4 ms for a photograph of 100 kB (measured on two busy cores): less than to decode it.
        """
        self.report("hash files", 0, 0)
        paths = {one.file_name: one.path for one in self.source.objects}
        self._record(PHOTOGRAPH, {name: path for name, path in paths.items() if path.is_file()})
        # Labels may change under a graph, so that the file may be another of the same size.
        self._record(ANNOTATIONS, self.job.annotations, anew=True)
        self._record(WEIGHTS, self.job.weights_file)
        if self._stored_deviations() is not None:
            self._record(DEVIATIONS, self._deviations_file)

    def record_older(self) -> None:
        """Enter the hashes of graph and locations that an older version wrote, once read."""
        if not self.store.read_files("graph"):
            self.store.keep_digest()
        if not self.store.read_files(LOCATIONS):
            self.store.write_files(LOCATIONS, self._hashed(self.folder / LOCATIONS))

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

    def chance_peaks(
        self, objects: list[ReadObject], deviations: dict[str, Tensor]
    ) -> list[LayerPeaks]:
        """The peaks of some of the objects, rolled, top layer first."""
        seed, (height, width) = self.job.mining.seed, self.network.input.size
        self.report("mine chance", 0, 0)
        some = sample_numbers(len(objects), seed=seed, most=N_CHANCE)
        batches = decode_batches(
            [self.source.objects[objects[i].index] for i in some],
            height=height,
            width=width,
            fit=self.job.fit,
            batch_size=self.compute.batch_size,
            workers=self.compute.workers,
        )
        with closing(batches):  # type: ignore[type-var]
            found = chance_peaks(
                self.network,
                (torch.from_numpy(batch.images) for batch in batches if len(batch.images)),
                geometry=self.geometry,
                unit_std=deviations,
                n_peaks=self.job.n_peaks,
                seed=seed,
            )
        return list(found.values())

    def mine_graph(
        self, peaks: dict[str, LayerPeaks], chance: list[LayerPeaks]
    ) -> ExplanatoryGraph:
        """The explanatory graph of the peaks."""
        graph = mine(list(peaks.values()), self.job.mining, chance=chance, report=self.report).graph
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
        make_folder(folder)
        locator = Locator(graph)
        best = BestPlaces(len(locator.nodes))
        facings: dict[int, bool] = {}
        for number, start in enumerate(range(0, len(read), LOCATED_AT_A_TIME)):
            here = slice(start, start + LOCATED_AT_A_TIME)
            found = locator.locate({name: p.images(here) for name, p in peaks.items()})
            table = location_table(found, ids=ids[here], images=files[here], frames=frames[here])
            with LocationWriter(shard_path(folder, number), sync=True) as writer:
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
        # there is not "finished", so `is_mined` says no and the next one mines anew; and who reads
        # them finds other hashes.
        dropped = self.store.save_graph(
            graph,
            top_places=best,
            facings=facings,
            unit_std=unit_std,
            locations=self._hashed(self.folder / NEW_LOCATIONS),
        )
        self.dropped_names = tuple((one.target, one.name) for one in dropped)
        self._put_locations()

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
            relocate=self._relocation(),
            note=_nearly_empty(graph),
            dropped_names=self.dropped_names,
        )

    def _relocation(self) -> str | None:
        """The command that has the workspace read what this job names, if it reads elsewhere."""
        known, wanted = stored_job(self.store).to_dict(), self.job.to_dict()
        differing = [
            key
            for key in ("source", "images", "weights", "background")
            # Neither lists of files nor names of published weights.
            if known[key] != wanted[key] and os.path.isabs(str(wanted[key]))
        ]
        if not differing:
            return None
        places = " ".join(f"--{key} {shlex.quote(wanted[key])}" for key in differing)
        return f"explgraph relocate {shlex.quote(str(self.folder))} {places}"

    @cached_property
    def geometry(self) -> dict[str, Layer]:
        """Where the cells of each layer look at, top layer first."""
        measured = measure_geometry(self.network, self.layers)
        return {name: measured[name] for name in self.layers}

    @property
    def _deviations_file(self) -> dict[str, Path]:
        return {self._deviations_name: self.folder / self._deviations_name}

    def _stored_deviations(self) -> dict[str, Tensor] | None:
        """The deviations that an earlier run measured, if their file is as it was."""
        name, path = self._deviations_name, self.folder / self._deviations_name
        known = [one for one in self.store.read_files(DEVIATIONS) if one.path == name]
        # Without a hash only where peaks rest on it already: of an older version.
        if not path.is_file() or not (known or self.resumed) or faults_of(self.folder, known):
            return None
        try:
            return load_deviations(path, self.geometry)
        except WorkspaceError:
            return None

    def _record(self, role: str, paths: Mapping[str, Path], *, anew: bool = False) -> None:
        """Enter the hashes of files; those that are entered with their size stand as they are."""
        known = {} if anew else {one.path: one for one in self.store.read_files(role)}
        is_known = lambda name: name in known and known[name].bytes == paths[name].stat().st_size
        unknown = {name: path for name, path in paths.items() if not is_known(name)}
        if unknown or known.keys() != paths.keys():
            new = {one.path: one for one in record_files(role, unknown)}
            self.store.write_files(role, [new.get(name) or known[name] for name in sorted(paths)])

    def _hashed(self, folder: Path) -> list[FileRecord]:
        files = sorted(folder.glob("part-*.parquet"))
        return record_files(LOCATIONS, {f"{LOCATIONS}/{path.name}": path for path in files})

    def _put_locations(self) -> None:
        shutil.rmtree(self.folder / LOCATIONS, ignore_errors=True)
        os.replace(self.folder / NEW_LOCATIONS, self.folder / LOCATIONS)

    def _enter(self, done: FinishedShard) -> None:
        name, n_objects, n_peaks = done.path.name, done.n_objects, done.n_peaks
        self.store.add_shard(
            ShardRecord(done.number, name, self.fingerprint, n_objects, n_peaks, done.sha256)
        )


def _nearly_empty(graph: ExplanatoryGraph) -> str | None:
    channels = sum(layer.channels for layer in graph.layers)
    # Trained networks have one to four patterns per channel (measured), so this is no graph of
    # objects; the usual reasons are these.
    if len(graph) >= max(_LEAST_NODES, _LEAST_SHARE * channels):
        return None
    return (
        f"the graph is nearly empty, {len(graph)} nodes in {channels} channels: are the weights "
        "trained, is each object one kind of thing in its own box, and are there a hundred of "
        "them? Other layers may hold more: --layers"
    )


def _require_enough(source: Source, at_least: int) -> None:
    """Raise MiningError before anything is made, where even readable images would be too few."""
    if len(source.objects) < at_least:
        raise MiningError(
            f"expected at least {at_least} objects, got {len(source.objects)}"
            f" ({len(source.skipped)} files skipped): the place of a part pattern cannot be "
            "estimated from fewer; add photographs (100 and more give steady graphs)"
        )
