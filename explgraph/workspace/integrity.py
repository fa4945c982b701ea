"""Whether the files of a workspace, and those that it was made from, are as they were."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from explgraph.errors import WorkspaceError
from explgraph.files import sha256_of
from explgraph.peaks import SHARD_SIZE, ReadObject, ShardContent, read_shard_content
from explgraph_storage import FileRecord, ShardRecord, Store

LOCATIONS, DEVIATIONS = "locations", "deviations"  # roles of files that a job writes
PHOTOGRAPH, ANNOTATIONS, WEIGHTS = "photograph", "annotations", "weights"  # ... and reads
ROLES = (LOCATIONS, DEVIATIONS, PHOTOGRAPH, ANNOTATIONS, WEIGHTS)


def record_files(role: str, paths: Mapping[str, Path]) -> list[FileRecord]:
    """What the ledger keeps of files, by the names that it knows them under.

    >>> paths = {"part": folder / "peaks" / "part-00000.parquet"}
    >>> [one.path for one in record_files("locations", paths)]
    ['part']
    """
    record = lambda name: FileRecord(role, name, paths[name].stat().st_size, sha256_of(paths[name]))
    # hashlib leaves the interpreter to others while it hashes.
    with ThreadPoolExecutor() as pool:
        return list(pool.map(record, paths))


def fault_of(path: Path, sha256: str, size: int | None = None) -> str | None:
    """What is wrong with a file, in words; None if its content is as it was.

    >>> fault_of(folder / "peaks" / "part-00009.parquet", "73475cb40a56")
    'is missing'
    """
    try:
        if not path.is_file():
            return "is missing"
        if size is not None and (found := path.stat().st_size) != size:
            return f"has {found:,} bytes, not {size:,}"
        return None if sha256_of(path) == sha256 else "is damaged: its bytes have changed"
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def faults_of(root: Path, files: Sequence[FileRecord]) -> dict[str, str]:
    """Path -> what is wrong with it, of the files that are not as they were.

    >>> faults_of(out, workspace.store.read_files("locations"))
    {'locations/part-00000.parquet': 'is missing'}
    """
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda one: fault_of(root / one.path, one.sha256, one.bytes), files)
        return {one.path: said for one, said in zip(files, found, strict=True) if said}


def shard_faults(folder: Path, shards: Iterable[ShardRecord]) -> dict[str, str]:
    """The same of the shards of the peak store.

    >>> shard_faults(folder, workspace.store.finished_shards().values())
    {}
    """
    listed = list(shards)
    with ThreadPoolExecutor() as pool:
        found = pool.map(lambda one: fault_of(folder / "peaks" / one.file, one.sha256), listed)
        return {f"peaks/{one.file}": said for one, said in zip(listed, found, strict=True) if said}


def read_own_shards(folder: Path, store: Store) -> list[ReadObject]:
    """The objects that the shards of the ledger hold, in the source's order.

    Only the end of each file is read. What it says must be what the database says, so that neither
    a shard of another workspace nor a changed box goes unseen.

    Raises:
        WorkspaceError: it is not, or a file is no shard.

    >>> len(read_own_shards(folder, workspace.store))
    48
    """
    read: list[ReadObject] = []
    for shard in store.finished_shards().values():
        path = folder / "peaks" / shard.file
        content = read_shard_content(path)
        if not _is(content, shard):
            raise _foreign(path, "is of another job than the ledger names")
        read += content.objects
    sizes = {image.id: (image.width, image.height) for image in store.read_images()}
    known = {one.id: (*sizes[one.image_id], one.box) for one in store.read_objects()}
    if {one.id: (one.width, one.height, one.box) for one in read} != known:
        raise _foreign(folder / "peaks", "holds other objects than the database")
    return sorted(read, key=lambda one: one.index)


def _is(content: ShardContent, shard: ShardRecord) -> bool:
    if (content.number, content.fingerprint) != (shard.number, shard.fingerprint):
        return False
    numbers = [one.index for one in content.objects]
    first = shard.number * SHARD_SIZE
    rising = numbers == sorted(set(numbers) & set(range(first, first + SHARD_SIZE)))
    return rising and len(numbers) == shard.n_objects


def _foreign(path: Path, how: str) -> WorkspaceError:
    return WorkspaceError(
        f"{path} {how}; run the same 'explgraph mine' command again, it makes anew what is not its "
        "own"
    )
