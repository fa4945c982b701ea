"""What a job is recognised by: which peaks are its own, what can be kept, whose folder it is.

Peaks are kept as long as the `Identity` is the same; the graph as long as the settings of mining
are the same too.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from explgraph.errors import StoreError, WorkspaceError
from explgraph.images import Fit, ImageObject, Source
from explgraph.mining import MiningConfig
from explgraph.network import InputSpec, Network
from explgraph.peaks import N_SAMPLE
from explgraph.workspace.integrity import ROLES, shard_faults
from explgraph.workspace.settings import MineJob, built
from explgraph_storage import RunRecord, ShardRecord, Store

Stored = TypeVar("Stored")
MINE, RELOCATE = "mine", "relocate"  # commands that enter a run
FORMAT = 2  # of the shards; a change makes old ones unusable
MINING_FORMAT = 2  # of what mining makes of them; a change mines anew


@dataclass(frozen=True)
class Identity:
    """All that the peaks depend on: two jobs of the same identity have the same peaks."""

    format: int  # of the shards
    model: str  # network spec
    weights: str  # sha256 of the network's weights
    input: InputSpec
    layers: tuple[str, ...]  # sorted
    images: str  # hash of the objects
    background: str | None  # hash of its objects, if there is one
    background_seed: int | None  # of the sample that stands in for it; None where all objects do
    peaks: int  # kept of each map
    mirror: bool  # whether mirror images were looked at
    fit: Fit

    @classmethod
    def of(
        cls, job: MineJob, network: Network, source: Source, background: Source | None
    ) -> Identity:
        """The identity of a job."""
        is_sampled = background is None and len(source.objects) > N_SAMPLE
        return cls(
            format=FORMAT,
            model=network.spec,
            weights=network.sha256,
            input=network.input,
            layers=tuple(sorted(job.layers)),
            images=digest_objects(source.objects),
            background=None if background is None else digest_objects(background.objects),
            background_seed=job.mining.seed if is_sampled else None,
            peaks=job.n_peaks,
            mirror=job.mirror,
            fit=job.fit,
        )

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Identity:
        """The identity that `to_dict` gave, read from the database."""
        size = plain.get("input", {})
        spec = built(InputSpec, size | {key: tuple(size[key]) for key in ("mean", "std")})
        return built(cls, {**plain, "input": spec, "layers": tuple(plain["layers"])})

    def to_dict(self) -> dict[str, Any]:
        """The identity as JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @property
    def fingerprint(self) -> str:
        """What stands for the identity in the shards and the database."""
        return _digest(self.to_dict())

    def mining_fingerprint(self, mining: MiningConfig) -> str:
        """What stands for all that the graph depends on."""
        parts = {"format": MINING_FORMAT, "extraction": self.fingerprint, "mining": asdict(mining)}
        return _digest(parts)


def refuse_other_job(store: Store, folder: Path, identity: Identity, *, restart: bool) -> None:
    """Make sure that the workspace holds no peaks of another job; with ``restart`` delete them.

    Raises:
        WorkspaceError: it does; the message names what differs.
    """
    before = [run.config["identity"] for run in store.read_runs() if "identity" in run.config]
    wanted = identity.to_dict()
    # Where no shard was finished there is nothing that another job could spoil.
    if not before or not store.finished_shards() or before[-1] == wanted:
        return
    if restart:
        store.clear_shards()  # first: the ledger must never name a file that is gone
        for role in ROLES:
            store.write_files(role, ())
        shutil.rmtree(folder / "peaks")
        (folder / "peaks").mkdir()
        return
    differing = [key for key in wanted if before[-1].get(key) != wanted[key]]
    raise WorkspaceError(
        f"{folder} holds peaks of another job: {', '.join(differing)} differ; "
        "choose another --out, or --restart to throw them away"
    )


def intact_shards(store: Store, folder: Path, fingerprint: str) -> dict[int, ShardRecord]:
    """The shards of the ledger that belong to this job and whose files are there, unchanged."""
    shards = store.finished_shards()
    faults = shard_faults(folder, shards.values())
    return {
        number: shard
        for number, shard in shards.items()
        if shard.fingerprint == fingerprint and f"peaks/{shard.file}" not in faults
    }


def is_mined(store: Store, mining_fingerprint: str) -> bool:
    """Whether the last run made the graph that is wanted.

    Only the last one counts: a later one that was killed may have replaced either.
    """
    runs = [run for run in store.read_runs() if run.command == MINE]
    if not runs or not store.has_graph():
        return False
    return runs[-1].status == "finished" and runs[-1].mining_fingerprint == mining_fingerprint


def forget_unreadable(store: Store) -> None:
    """Empty the tables of shards and files where they are damaged: all of it can be made anew."""
    try:
        store.finished_shards()
    except StoreError:
        store.clear_shards()
    for role in ROLES:
        try:
            store.read_files(role)
        except StoreError:
            store.write_files(role, ())


def deviations_name(fingerprint: str) -> str:
    """Where the deviations of a job are, within the workspace."""
    # By the fingerprint, so that deviations of another job are never taken for these.
    return f"peaks/unit-std-{fingerprint[:16]}.npz"


def stored_job(store: Store) -> MineJob:
    """The job of the last run that finished, with its files where they are now.

    Raises:
        WorkspaceError: none has finished, or what is stored of it is damaged.

    >>> stored_job(workspace.store) == workspace.job
    True
    """
    runs = [run for run in store.read_runs() if run.command in (MINE, RELOCATE)]
    finished = [run for run in runs if run.status == "finished"] or runs
    if not finished:
        raise WorkspaceError("no mining run is known; run 'explgraph mine' again")
    return read_stored(finished[-1], "job", MineJob.from_dict)


def read_stored(run: RunRecord, name: str, read: Callable[[Mapping[str, Any]], Stored]) -> Stored:
    """What a run's configuration holds under a name, read by ``read``.

    Raises:
        WorkspaceError: it holds something else.
    """
    plain = run.config.get(name)
    try:
        if isinstance(plain, dict):
            return read(plain)
    # Values of other types than were written: whatever they break is the database's fault.
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        plain = f"{type(error).__name__}: {error}"
    raise WorkspaceError(
        f"expected the {name} of the last run, got {plain!r:.200}; the database is damaged: "
        "restore it from a copy or mine anew with --restart"
    )


def digest_objects(objects: tuple[ImageObject, ...]) -> str:
    """A hash of which objects these are: ids, files with their sizes in bytes, and boxes.

    >>> from explgraph.images import read_source
    >>> digest_objects(read_source(coco).objects) == workspace.identity.images
    True
    """
    # Sizes instead of contents: hashing thousands of photographs takes longer than it is worth.
    size = lambda path: path.stat().st_size if path.is_file() else -1
    return _digest([(o.annotation_id, o.file_name, size(o.path), o.box) for o in objects])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
