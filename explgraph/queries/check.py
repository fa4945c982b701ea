"""Is all of a workspace as it was? And what makes it whole again?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from explgraph.errors import ExplgraphError, StoreError, WorkspaceError
from explgraph.peaks import load_deviations
from explgraph.progress import Report, silent
from explgraph.queries.result import Result
from explgraph.workspace import (
    ANNOTATIONS,
    DEVIATIONS,
    LOCATIONS,
    PHOTOGRAPH,
    ROLES,
    WEIGHTS,
    MineJob,
    Workspace,
    faults_of,
    mine_workspace,
    open_database,
    set_aside_database,
    shard_faults,
    stored_job,
)
from explgraph_storage import REPAIR, FileRecord, Store

State = Literal["well", "not hashed", "missing", "damaged", "changed"]
GOOD = ("well", "not hashed")
NAMED = 3  # files of one kind that are named; the others are counted


@dataclass(frozen=True)
class Finding(Result):
    """One thing that a workspace consists of, and how it is.

    Args:
        what: the thing.
        state: "well"; "not hashed": readable, but an older version kept no hash; or what is wrong.
        said: how much there is, or what is wrong, in words.
        remedy: what to do; empty where nothing is wrong.
    """

    what: str
    state: State
    said: str
    remedy: str = ""


@dataclass(frozen=True)
class Checked(Result):
    """What `check_workspace` found.

    Args:
        well: nothing is missing, damaged or changed.
        repaired: what was wrong before and was made anew.
    """

    workspace: str
    well: bool
    findings: tuple[Finding, ...]
    repaired: tuple[str, ...] = ()


def check_workspace(folder: str | Path, *, db: str | None = None) -> Checked:
    """Look at all that a workspace consists of, and at all that it was made from.

    Nothing is changed. It takes as long as to read all files once and to load the graph.

    Args:
        folder: the workspace.
        db: SQLAlchemy URL of the tables, where the workspace does not remember it.

    Raises:
        WorkspaceError: the folder is no workspace.

    >>> checked = check_workspace(folder)
    >>> checked.well, [one.what for one in checked.findings][:4]
    (True, ['database', 'runs', 'objects', 'hashes'])
    """
    folder = Path(folder)
    findings = tuple(_findings(folder, db))
    return Checked(str(folder), all(one.state in GOOD for one in findings), findings)


def repair_workspace(
    folder: str | Path,
    *,
    db: str | None = None,
    device: str = "auto",
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> Checked:
    """Make anew what is missing or damaged, as far as its job can; then check it all again.

    A database that cannot be read is renamed, never deleted. Other arguments are those of
    `explgraph.workspace.mine_workspace`.

    Raises:
        ExplgraphError: the job cannot be run again: photographs or weights are not there, or the
            workspace does not know its job any more.

    >>> (folder / "locations" / "part-00000.parquet").unlink()
    >>> repair_workspace(folder, device="cpu").repaired
    ('locations',)
    """
    before = check_workspace(folder, db=db)
    if before.well:
        return before
    wrong = {one.what: one for one in before.findings if one.state not in GOOD}
    # Only mining makes anew. What was mined from is not ours to repair.
    if not wrong.keys() <= {"photographs", "annotations", "weights"}:
        job = _job_of(Path(folder), db)
        if "database" in wrong or "runs" in wrong:
            set_aside_database(Path(folder), db)
        if job is None:
            raise WorkspaceError(
                f"{folder} does not know any more what it was mined from, and its database is set "
                "aside; run the same 'explgraph mine' command again, it makes all anew"
            )
        means: dict[str, Any] = {"device": device, "batch_size": batch_size, "workers": workers}
        try:
            mine_workspace(folder, job, db=db, report=report, **means)
        except StoreError as error:
            # A table or column is lost, which mining cannot make.
            if REPAIR not in str(error):
                raise
            set_aside_database(Path(folder), db)
            mine_workspace(folder, job, db=db, report=report, **means)
    after = check_workspace(folder, db=db)
    left = {one.what for one in after.findings if one.state not in GOOD}
    repaired = tuple(what for what in wrong if what not in left)
    return Checked(after.workspace, after.well, after.findings, repaired)


def _job_of(folder: Path, db: str | None) -> MineJob | None:
    with suppress(ExplgraphError), open_database(folder, db) as store:
        return stored_job(store)
    return None


def _findings(folder: Path, db: str | None) -> Iterator[Finding]:
    repair = f"explgraph check {folder} --repair"
    try:
        with open_database(folder, db) as store:
            yield _tried("database", lambda: _database(store), f"restore a copy, or: {repair}")
            runs = _tried("runs", lambda: _runs(store), f"restore a copy, or: {repair}")
            yield runs
            if runs.state == "well":
                yield from _of_graph(store, repair)
    except WorkspaceError:
        raise
    except ExplgraphError as error:
        yield Finding("database", "damaged", str(error), f"restore a copy, or: {repair}")
        return
    if runs.state != "well":
        return
    try:
        with Workspace(folder, db=db) as workspace:
            yield from _of_files(workspace, repair)
    except ExplgraphError as error:
        yield Finding("mining", "missing", str(error), repair)


def _database(store: Store) -> str:
    store.check_file()
    return str(store.file or store.url)


def _runs(store: Store) -> str:
    stored_job(store)
    return f"{len(store.read_runs())} runs, {len(store.finished_shards())} shards in the ledger"


def _of_graph(store: Store, repair: str) -> Iterator[Finding]:
    def objects() -> str:
        images, objects, skipped = store.read_images(), store.read_objects(), store.read_skipped()
        return f"{len(objects):,} on {len(images):,} images, {len(skipped)} skipped"

    def hashes() -> str:
        return f"{sum(len(store.read_files(role)) for role in ROLES):,} files"

    def graph() -> str:
        loaded = store.load_graph()
        store.load_unit_std()
        store.check_digest()
        return f"{len(loaded):,} nodes, {loaded.number_of_edges():,} edges"

    def parts() -> str:
        stored = store.read_semantic_parts()
        unfitted = [part.name for part in stored if not part.templates]
        later = f", to be fitted again: {', '.join(unfitted)}" if unfitted else ""
        return f"{len(stored)}{later}"

    yield _tried("objects", objects, repair)
    yield _tried("hashes", hashes, repair)
    found = _tried("graph", graph, repair)
    unhashed = found.state == "well" and not store.read_files("graph")
    yield Finding("graph", "not hashed", found.said) if unhashed else found
    yield _tried("best places", lambda: f"{store.check_top_places():,}", repair)
    again = "mark them again: explgraph part remove, part fit"
    yield _tried("semantic parts", parts, again)


def _of_files(workspace: Workspace, repair: str) -> Iterator[Finding]:
    """What is wrong with the files, those of the workspace first."""
    folder, store = workspace.folder, workspace.store
    shards = store.finished_shards()
    faults = shard_faults(folder, shards.values())
    if faults:
        yield _faulty("peaks", faults, repair)
    else:
        yield _tried("peaks", lambda: _peaks(workspace), repair)
    known = {role: store.read_files(role) for role in (DEVIATIONS, LOCATIONS)}
    readers: dict[str, Callable[[], str]] = {
        DEVIATIONS: lambda: _deviations(workspace),
        LOCATIONS: lambda: f"{workspace.locations().score.size:,} places",
    }
    for role, read in readers.items():
        if faults := faults_of(folder, known[role]):
            yield _faulty(role, faults, repair)
        else:
            found = _tried(role, read, repair)
            is_unhashed = found.state == "well" and not known[role]
            yield Finding(role, "not hashed", found.said) if is_unhashed else found
    yield from _of_sources(workspace)


def _deviations(workspace: Workspace) -> str:
    """Say how many there are, if the file holds those of the graph."""
    path = workspace.folder / workspace.deviations_file
    layers = {layer.name: layer for layer in workspace.graph.layers}
    measured, stored = load_deviations(path, layers), workspace.store.load_unit_std()
    if any(not np.array_equal(std, stored.get(name, ())) for name, std in measured.items()):
        raise WorkspaceError(f"{path} and the database hold different deviations")
    return f"{sum(std.numel() for std in measured.values()):,} units"


def _of_sources(workspace: Workspace) -> Iterator[Finding]:
    """Whether what was mined from is still there, and as it was."""
    folder, job, store = workspace.folder, workspace.job, workspace.store
    again = "put back what was mined, or mine anew with --restart"
    moved = f"put them back, or: explgraph relocate {folder}"
    roots = {
        PHOTOGRAPH: (job.root, "photographs", f"{moved} --images FOLDER"),
        ANNOTATIONS: (Path(str(job.source)).parent, "annotations", f"{moved} --source FILE"),
        WEIGHTS: (Path(str(job.weights)).parent, "weights", f"{moved} --weights FILE"),
    }
    for role, (root, what, remedy) in roots.items():
        files = store.read_files(role)
        faults = faults_of(root, files)
        is_missing = "is missing" in faults.values()
        if faults:
            yield _faulty(what, faults, remedy if is_missing else again, "changed")
        elif files:
            yield Finding(what, "well", _said(files))
        elif role == PHOTOGRAPH:
            images = [image.path for image in store.read_images()]
            gone = {name: "is missing" for name in images if not (root / name).is_file()}
            there = Finding(what, "not hashed", f"{len(images)} files are there")
            yield _faulty(what, gone, remedy) if gone else there


def _tried(what: str, read: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(what, "well", read())
    except ExplgraphError as error:
        return Finding(what, "damaged", str(error), remedy)


def _faulty(what: str, faults: Mapping[str, str], remedy: str, state: State = "damaged") -> Finding:
    named = [f"{path} {said}" for path, said in faults.items()][:NAMED]
    more = f" and {len(faults) - NAMED} more" if len(faults) > NAMED else ""
    missing = all(said == "is missing" for said in faults.values())
    return Finding(what, "missing" if missing else state, "; ".join(named) + more, remedy)


def _peaks(workspace: Workspace) -> str:
    """How much there is, if all of it is this workspace's."""
    folder, shards = workspace.folder / "peaks", workspace.store.finished_shards()
    size = sum((folder / one.file).stat().st_size for one in shards.values())
    n_objects = len(workspace.objects_read)
    return f"{len(shards)} files, {size / 1e6:.1f} MB, {n_objects:,} objects"


def _said(files: Sequence[FileRecord]) -> str:
    return f"{len(files):,} files, {sum(one.bytes for one in files) / 1e6:.1f} MB"
