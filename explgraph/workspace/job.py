"""The mining job: photographs -> peaks -> graph -> database, resumable at every step."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explgraph.errors import MiningError, Skipped, WorkspaceError
from explgraph.graph import Layer
from explgraph.images import Fit, Frame, ImageObject, Source, read_source
from explgraph.locations import LocationWriter, Locator, NodeLocations, location_table
from explgraph.mining import MiningConfig, mine
from explgraph.network import Network, load_network, measure_geometry
from explgraph.peaks import (
    FinishedPart,
    LayerPeaks,
    PeakSettings,
    extract,
    measure_unit_std,
    part_path,
    read_content,
    read_layer,
    sample_objects,
    shards,
)
from explgraph.peaks.deviations import N_SAMPLE
from explgraph.peaks.shards import ReadObject
from explgraph.progress import Report, silent
from explgraph_storage import ImageRecord, ObjectRecord, PartRecord, Store, TopPlaces

FORMAT = 2  # of the peak parts; a change makes old parts unusable
MINING_FORMAT = 2  # of what mining makes of them; a change mines anew
N_TOP = 20  # best objects of each node that the database keeps
LOCATED_AT_A_TIME = 256  # objects; bounds the arrays (node, object) of a large graph


@dataclass(frozen=True)
class MineJob:
    """What `mine_workspace` is asked for.

    Args:
        source: folder of images, COCO file, or image.
        model: network spec; weights: as in `explgraph.network.load_network`; input_size: (height, width) or the network's own.
        layers: dotted names, any order.
        images: folder of a COCO file's images.
        background: folder of background photographs; None = deviations per channel over the objects themselves.
        n_peaks: P.
        mirror: look at mirror images too; else the facing is told from flipped maps, if ``mining.facing`` is on.
        fit: "stretch" (as published) or "letterbox".
        limit: use only the first objects.
        mining: settings of mining; its seed also chooses the sample that stands in for a background.
    """

    source: Path
    model: str
    layers: tuple[str, ...]
    weights: str | None = None
    input_size: tuple[int, int] | None = None
    images: Path | None = None
    background: Path | None = None
    n_peaks: int = 4
    mirror: bool = True
    fit: Fit = "stretch"
    limit: int | None = None
    mining: MiningConfig = field(default_factory=MiningConfig)

    @property
    def settings(self) -> PeakSettings:
        """What extraction keeps."""
        return PeakSettings(tuple(sorted(self.layers)), self.n_peaks, self.mirror, self.fit)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as plain values; paths absolute, so that the workspace can be asked from anywhere."""
        config = {**asdict(self), "layers": list(self.layers), "mining": asdict(self.mining)}
        for key in ("source", "images", "background"):
            config[key] = None if config[key] is None else str(Path(config[key]).absolute())
        if self.weights is not None and Path(self.weights).is_file():
            config["weights"] = str(Path(self.weights).absolute())
        return config


@dataclass(frozen=True)
class MineReport:
    """What a mining job did.

    Args:
        folder: the workspace.
        objects: objects read; skipped: what could not be used, and why.
        resumed: parts that were there already; parts: all of them.
        nodes: per layer, top layer first; edges: of the graph; mirrored: objects understood through their mirror image.
        converged: per layer.
        unchanged: the workspace was complete already and nothing was done.
    """

    folder: Path
    objects: int
    skipped: tuple[Skipped, ...]
    resumed: int
    parts: int
    nodes: dict[str, int]
    edges: int
    mirrored: int
    converged: dict[str, bool]
    unchanged: bool


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
        device: "auto", "cpu", "cuda", ...
        batch_size: objects per forward pass; workers: decoding threads. Neither is part of the result's identity.
        restart: throw away what the workspace holds of another job.
        report: told of progress: stage, done, total.

    Raises:
        WorkspaceError: the workspace holds peaks of other weights, layers, images or settings.
        ExplgraphError: the source, the network or a layer is not usable, or there is too little to mine.
    """
    folder = Path(folder)
    report("network", 0, 0)
    network = load_network(job.model, weights=job.weights, device=device, input_size=job.input_size)
    top_first = _top_first(network, job.layers)
    source = read_source(job.source, images=job.images, limit=job.limit)
    background = read_source(job.background) if job.background is not None else None
    _require_enough(source, job.mining)
    identity = _identity(job, network, source, background)
    fingerprint = _digest(identity)
    mining_fingerprint = _digest(
        {"format": MINING_FORMAT, "extraction": fingerprint, "mining": asdict(job.mining)}
    )
    (folder / "peaks").mkdir(parents=True, exist_ok=True)
    with Store.open(db or folder / "graph.db", mode="create") as store:
        _refuse_other_job(store, folder, identity, restart)
        finished = _intact_parts(store, folder, fingerprint)
        if len(finished) == len(shards(len(source.objects))) and _is_mined(
            store, folder, mining_fingerprint
        ):
            return _report(
                folder, store, resumed=len(finished), parts=len(finished), unchanged=True
            )
        run = store.begin_run(
            {"job": job.to_dict(), "identity": identity},
            command="mine",
            extraction_fingerprint=fingerprint,
            mining_fingerprint=mining_fingerprint,
            weights_sha256=network.sha256,
            versions=_versions(),
            seed=job.mining.seed,
        )
        try:
            geometry = measure_geometry(network, top_first)
            geometry = {name: geometry[name] for name in top_first}
            unit_std = _unit_std(
                folder,
                fingerprint,
                job,
                network,
                source,
                background,
                geometry,
                batch_size,
                workers,
                report,
            )
            extract(
                network,
                source.objects,
                folder / "peaks",
                geometry=geometry,
                unit_std=unit_std,
                settings=job.settings,
                fingerprint=fingerprint,
                finished=finished,
                batch_size=batch_size,
                workers=workers,
                on_part=lambda part: store.add_part(_part_record(part, fingerprint)),
                progress=lambda d, n: report("extract", d, n),
            )
            read = _register(store, folder, source)
            _mine(store, folder, job, source, read, geometry, unit_std, network.input.size, report)
        except BaseException as error:
            store.finish_run(run, error=f"{type(error).__name__}: {error}")
            raise
        store.finish_run(run)
        n_parts = len(store.finished_parts())
        return _report(folder, store, resumed=len(finished), parts=n_parts, unchanged=False)


def _identity(
    job: MineJob, network: Network, source: Source, background: Source | None
) -> dict[str, Any]:
    """Return all that the peaks depend on, as plain values; two jobs with the same identity have the same peaks."""
    return {
        "format": FORMAT,
        "model": network.spec,
        "weights": network.sha256,
        "input": asdict(network.input),
        "layers": sorted(job.layers),
        "images": _objects_digest(source.objects),
        "background": None if background is None else _objects_digest(background.objects),
        "background_seed": job.mining.seed
        if background is None and len(source.objects) > N_SAMPLE
        else None,
        "peaks": job.n_peaks,
        "mirror": job.mirror,
        "fit": job.fit,
    }


def _objects_digest(objects: tuple[ImageObject, ...]) -> str:
    """Return a hash of which objects these are: ids, files with their sizes in bytes, and boxes."""
    size = lambda path: path.stat().st_size if path.is_file() else -1
    return _digest([(o.annotation_id, o.file_name, size(o.path), o.box) for o in objects])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _versions() -> dict[str, str]:
    return {
        name: version(name)
        for name in ("explgraph", "torch", "torchvision", "numpy", "networkx", "pillow")
    }


def _refuse_other_job(store: Store, folder: Path, identity: dict[str, Any], restart: bool) -> None:
    """Raise WorkspaceError if the workspace holds peaks of another job, naming what differs; with ``restart`` delete them."""
    before = [run.config["identity"] for run in store.read_runs() if "identity" in run.config]
    if not before or not store.finished_parts() or _digest(before[-1]) == _digest(identity):
        return
    if restart:
        store.clear_parts()
        shutil.rmtree(folder / "peaks")
        (folder / "peaks").mkdir()
        return
    stored = json.loads(json.dumps(identity))  # tuples become lists there
    differing = [key for key in identity if before[-1].get(key) != stored[key]]
    raise WorkspaceError(
        f"{folder} holds peaks of another job: {', '.join(differing)} differ; choose another --out, or --restart to throw them away"
    )


def _require_enough(source: Source, mining: MiningConfig) -> None:
    """Raise MiningError before anything is made, where even readable images would be too few."""
    if len(source.objects) < mining.min_images:
        raise MiningError(
            f"expected at least {mining.min_images} objects, got {len(source.objects)}"
            f" ({len(source.skipped)} files skipped): the place of a part pattern cannot be estimated from fewer; "
            "add photographs (100 and more give steady graphs)"
        )


def _is_mined(store: Store, folder: Path, mining_fingerprint: str) -> bool:
    """Return whether the last run made the graph and the locations that are wanted; one that was killed may have replaced either."""
    last = [run for run in store.read_runs() if run.command == "mine"][-1:]
    there = store.has_graph() and (folder / "locations").is_dir()
    return there and any(
        run.status == "finished" and run.mining_fingerprint == mining_fingerprint for run in last
    )


def _intact_parts(store: Store, folder: Path, fingerprint: str) -> dict[int, PartRecord]:
    """Return the parts of the ledger that belong to this job and whose files are there, unchanged."""

    def intact(part: PartRecord) -> bool:
        path = folder / "peaks" / part.file
        if part.fingerprint != fingerprint or not path.is_file():
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == part.sha256

    return {number: part for number, part in store.finished_parts().items() if intact(part)}


def _part_record(part: FinishedPart, fingerprint: str) -> PartRecord:
    return PartRecord(
        part.number, part.path.name, fingerprint, part.n_objects, part.n_peaks, part.sha256
    )


def _top_first(network: Network, layers: tuple[str, ...]) -> tuple[str, ...]:
    """Return the layers, that which the forward pass reaches last first; raises LayerError if one is unknown or has no maps."""
    order: list[str] = []
    height, width = network.input.size
    with (
        torch.inference_mode(),
        network.watch(layers, lambda name, maps: order.append(name), stop=True) as run,
    ):
        run(torch.zeros(1, 3, height, width, device=network.device))
    return tuple(reversed(order))


def _unit_std(
    folder: Path,
    fingerprint: str,
    job: MineJob,
    network: Network,
    source: Source,
    background: Source | None,
    geometry: dict[str, Layer],
    batch_size: int,
    workers: int,
    report: Report,
) -> dict[str, Tensor]:
    """Return the units' deviations, measured once per workspace and kept beside the parts."""
    path = folder / "peaks" / f"unit-std-{fingerprint[:16]}.npz"
    if path.is_file():
        with np.load(path) as stored:
            return {name: torch.from_numpy(stored[name]) for name in geometry}
    objects = (
        sample_objects(source.objects, seed=job.mining.seed)
        if background is None
        else background.objects
    )
    unit_std = measure_unit_std(
        network,
        objects,
        geometry=geometry,
        per_unit=background is not None,
        fit=job.fit,
        batch_size=batch_size,
        workers=workers,
        progress=lambda done, total: report("background", done, total),
    )
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: std.numpy() for name, std in unit_std.items()})
    os.replace(temporary, path)
    return unit_std


def _register(store: Store, folder: Path, source: Source) -> list[ReadObject]:
    """Enter images, objects and skipped files into the database; return the objects that were read, in the source's order."""
    contents = [
        read_content(part_path(folder / "peaks", number))
        for number in range(len(shards(len(source.objects))))
    ]
    read = sorted((o for content in contents for o in content.objects), key=lambda o: o.index)
    images: dict[int, ImageRecord] = {}
    objects = []
    for one in read:
        obj = source.objects[one.index]
        images[obj.image_id] = ImageRecord(obj.image_id, obj.file_name, one.width, one.height)
        objects.append(
            ObjectRecord(obj.annotation_id, obj.image_id, one.box, obj.landmarks, obj.label)
        )
    unreadable = [
        Skipped(source.objects[i].file_name, reason)
        for content in contents
        for i, reason in content.skipped
    ]
    skipped = {
        record.path: record
        for record in (*(Skipped(s.path, s.reason) for s in source.skipped), *unreadable)
    }
    store.write_source(list(images.values()), objects, list(skipped.values()))
    if not read:
        reasons = "; ".join(record.reason for record in list(skipped.values())[:3])
        raise MiningError(f"none of the {len(source.objects)} images could be read: {reasons}")
    return read


def _mine(
    store: Store,
    folder: Path,
    job: MineJob,
    source: Source,
    read: list[ReadObject],
    geometry: dict[str, Layer],
    unit_std: dict[str, Tensor],
    input_size: tuple[int, int],
    report: Report,
) -> None:
    """Mine the peaks, locate every node on every object, and put graph, facings, top places and locations in place."""
    n_facings = 2 if job.mirror else 1
    paths = [
        part_path(folder / "peaks", number) for number in range(len(shards(len(source.objects))))
    ]
    numbers = [o.index for o in read]
    peaks: dict[str, LayerPeaks] = {}
    for name, layer in geometry.items():
        report(f"read {name}", 0, 0)
        peaks[name] = read_layer(
            paths, layer, images=numbers, n_peaks=job.n_peaks, n_facings=n_facings
        )
    mined = mine(
        list(peaks.values()), job.mining, progress=lambda what: report(f"mine {what}", 0, 0)
    )
    graph = mined.graph
    graph.config = job.to_dict()
    objects = [source.objects[i] for i in numbers]
    frames = [Frame(o.box, *input_size, job.fit) for o in read]
    locations = folder / "locations.tmp"
    shutil.rmtree(locations, ignore_errors=True)
    locations.mkdir()
    best = _Best(N_TOP)
    facings: dict[int, bool] = {}
    locator = Locator(graph)
    for number, start in enumerate(range(0, len(read), LOCATED_AT_A_TIME)):
        here = slice(start, start + LOCATED_AT_A_TIME)
        some = {name: p.images(here) for name, p in peaks.items()}
        found = locator.locate(some)
        ids = [o.annotation_id for o in objects[here]]
        table = location_table(
            found, ids=ids, images=[o.file_name for o in objects[here]], frames=frames[here]
        )
        with LocationWriter(part_path(locations, number)) as writer:
            writer.write(table)
        best.add(found, ids, frames[here])
        facings |= dict(zip(ids, found.mirrored.tolist(), strict=True))
        report("locations", min(start + LOCATED_AT_A_TIME, len(read)), len(read))
    report("store", 0, 0)
    order = {name: i for i, name in enumerate(graph)}
    top = best.places([order[name] for name in locator.nodes])
    deviations = {name: std.numpy() for name, std in unit_std.items()}
    store.save_graph(graph, top_places=top, facings=facings, unit_std=deviations)
    shutil.rmtree(folder / "locations", ignore_errors=True)
    os.replace(locations, folder / "locations")


class _Best:
    """Keeps the ``n`` best objects of every node while batches pass by."""

    def __init__(self, n: int) -> None:
        self.n = n
        self.score: NDArray[np.float32] | None = None  # (node, <= n)
        self.object: NDArray[np.int64] | None = None
        self.xy: NDArray[np.float64] | None = None

    def add(self, found: NodeLocations, ids: list[int], frames: list[Frame]) -> None:
        score = found.score.T
        xy = np.stack(
            [frame.to_image(place) for frame, place in zip(frames, found.place, strict=True)], 1
        )
        objects = np.broadcast_to(np.asarray(ids, np.int64), score.shape)
        if self.score is not None and self.object is not None and self.xy is not None:
            score, objects = (
                np.concatenate([self.score, score], 1),
                np.concatenate([self.object, objects], 1),
            )
            xy = np.concatenate([self.xy, xy], 1)
        keep = np.argsort(-score, axis=1, kind="stable")[:, : self.n]
        self.score, self.object = (
            np.take_along_axis(score, keep, 1),
            np.take_along_axis(objects, keep, 1),
        )
        self.xy = np.take_along_axis(xy, keep[..., None], 1)

    def places(self, order: list[int]) -> TopPlaces:
        """Return the best objects; ``order`` gives each node's position in the graph. Objects without evidence are left out."""
        assert self.score is not None
        assert self.object is not None
        assert self.xy is not None
        node = np.repeat(np.asarray(order, np.int64)[:, None], self.score.shape[1], 1)
        found = self.score > 0
        return TopPlaces(
            node[found],
            self.object[found],
            self.xy[..., 0][found],
            self.xy[..., 1][found],
            self.score[found],
        )


def _report(folder: Path, store: Store, *, resumed: int, parts: int, unchanged: bool) -> MineReport:
    graph = store.load_graph()
    objects = store.read_objects()
    summary = graph.describe()
    return MineReport(
        folder,
        len(objects),
        tuple(Skipped(record.path, record.reason) for record in store.read_skipped()),
        resumed,
        parts,
        {layer["name"]: layer["nodes"] for layer in summary["layers"]},
        graph.number_of_edges(),
        sum(bool(o.mirrored) for o in objects),
        graph.converged,
        unchanged,
    )
