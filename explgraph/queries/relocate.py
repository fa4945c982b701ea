"""Where the photographs, the COCO file and the weights of a workspace are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from explgraph import __version__
from explgraph.errors import SourceError, WorkspaceError
from explgraph.files import sha256_of
from explgraph.images import AnyPath, Source, read_source
from explgraph.network import load_network
from explgraph.queries.result import Result
from explgraph.workspace import (
    ANNOTATIONS,
    PHOTOGRAPH,
    RELOCATE,
    WEIGHTS,
    MineJob,
    Workspace,
    digest_objects,
    faults_of,
    open_database,
    record_files,
    remember_database,
)

NAMED = 10  # differing files that a refusal names


@dataclass(frozen=True)
class Relocated(Result):
    """Where the workspace reads from now.

    Args:
        photographs: how many were compared, all by their content where it was hashed.
        hashed: whether it was.
        moved: what has another place -> that place.
    """

    workspace: str
    photographs: int
    hashed: bool
    moved: Mapping[str, str]


def relocate_workspace(
    folder: str | Path,
    *,
    source: AnyPath | None = None,
    images: AnyPath | None = None,
    weights: AnyPath | None = None,
    background: AnyPath | None = None,
    db: str | None = None,
) -> Relocated:
    """Have a workspace read its photographs, COCO file and weights from where they are now.

    All of them must be what was mined: files are compared by their hashes; where an older version
    kept none, by names, sizes and boxes. Nothing is changed unless all agree.

    Args:
        folder: the workspace.
        source: the COCO file, or the folder of photographs.
        images: folder of the photographs.
        weights: the file of weights.
        background: folder of the background photographs.
        db: SQLAlchemy URL of the tables, which the workspace remembers from now on.

    Raises:
        WorkspaceError: something is not what was mined; the message names the files that differ.

    >>> relocate_workspace(folder, source=coco).moved
    {}
    """
    with Workspace(folder, db=db) as workspace:
        former = workspace.job
        job = former.moved(source=source, images=images, weights=weights, background=background)
        is_hashed = bool(workspace.store.read_files(PHOTOGRAPH))
        found = _require_photographs(workspace, job)
        if weights is not None:
            _require_weights(workspace, job)
        if background is not None:
            same = digest_objects(read_source(background).objects) == workspace.identity.background
            if not same:
                raise WorkspaceError(f"{background} does not hold the background that was mined")
        identity = workspace.identity
    before, after = former.to_dict(), job.to_dict()
    moved = {key: str(after[key]) for key in after if after[key] != before[key]}
    with open_database(folder, db, mode="write") as store:
        if moved:
            run = store.begin_run(
                {"job": after, "identity": identity.to_dict()},
                command=RELOCATE,
                extraction_fingerprint=identity.fingerprint,
                weights_sha256=identity.weights,
                versions={"explgraph": __version__},
            )
            # Under their new names.
            for role, paths in ((ANNOTATIONS, job.annotations), (WEIGHTS, job.weights_file)):
                store.write_files(role, record_files(role, paths))
            store.finish_run(run)
        if db is not None:
            remember_database(Path(folder), store)
            moved["db"] = store.url
    return Relocated(str(folder), len({one.path for one in found.objects}), is_hashed, moved)


def _require_photographs(workspace: Workspace, job: MineJob) -> Source:
    """The source at its new place, if its photographs and objects are those that were mined.

    Raises:
        WorkspaceError: they are not.
    """
    try:
        source = job.read_source()
    except SourceError as error:
        raise WorkspaceError(
            f"{error}; say with --source and --images where they are now"
        ) from error
    wrong = faults_of(source.root, workspace.store.read_files(PHOTOGRAPH))
    read = workspace.store.read_images()
    for image in read:
        if not (source.root / image.path).is_file():
            wrong[image.path] = "is missing"
    if not wrong and digest_objects(source.objects) != workspace.identity.images:
        mined = {image.path for image in read}
        mined |= {one.path for one in workspace.store.read_skipped()}
        # Ids of a folder's photographs count them, so that one more makes others of them.
        wrong = {
            one.file_name: "was not mined" for one in source.objects if one.file_name not in mined
        }
        wrong = wrong or {str(job.source): "has other objects, or files of other sizes"}
    old = workspace.store.read_files(ANNOTATIONS)
    for name, path in job.annotations.items():
        if old and sha256_of(path) != old[0].sha256:
            wrong[name] = "is another COCO file than was mined"
    if wrong:
        named = "; ".join(f"{path} {said}" for path, said in list(wrong.items())[:NAMED])
        more = f"; and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        raise WorkspaceError(
            f"{source.root} does not hold what {workspace.folder} was mined from: {named}{more}; "
            "name the folder that does"
        )
    return source


def _require_weights(workspace: Workspace, job: MineJob) -> None:
    files = workspace.store.read_files(WEIGHTS)
    # The same file needs not be loaded; another one may hold the same weights in another format.
    if files and [sha256_of(path) for path in job.weights_file.values()] == [files[0].sha256]:
        return
    network = load_network(job.spec, weights=job.weights, input_size=job.input_size)
    if network.sha256 != workspace.identity.weights:
        raise WorkspaceError(
            f"{job.weights} holds other weights (sha256 {network.sha256[:12]}...) than "
            f"{workspace.folder} was mined from ({workspace.identity.weights[:12]}...)"
        )
