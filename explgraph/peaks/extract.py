"""Extraction: all objects of a source -> parts of the peak store, resumable at every part."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from explgraph.errors import UsageError
from explgraph.graph import Layer
from explgraph.images import ImageObject
from explgraph.network import Network
from explgraph.peaks.shards import PartContent, ReadObject, write_part
from explgraph.peaks.stream import BatchPeaks, PeakSettings, stream_peaks

PART_SIZE = 64  # objects per part: what a kill can lose, and what memory holds at a time


@dataclass(frozen=True)
class FinishedPart:
    """A part that is safely on disk."""

    number: int
    path: Path
    n_objects: int
    n_peaks: int
    sha256: str


def part_path(folder: Path, number: int) -> Path:
    """Return the file of a part.

    >>> part_path(Path("peaks"), 3).as_posix()
    'peaks/part-00003.parquet'
    """
    return folder / f"part-{number:05d}.parquet"


def shards(n_objects: int) -> list[range]:
    """Return which objects each part holds: runs of PART_SIZE."""
    return [
        range(start, min(start + PART_SIZE, n_objects)) for start in range(0, n_objects, PART_SIZE)
    ]


def extract(
    network: Network,
    objects: Sequence[ImageObject],
    folder: Path,
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    settings: PeakSettings,
    fingerprint: str,
    finished: Collection[int] = (),
    batch_size: int = 16,
    workers: int = 2,
    on_part: Callable[[FinishedPart], None] = lambda part: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Write the missing parts of a peak store; the same objects give the same parts, however often it was interrupted.

    A part is written while the next one is computed; ``on_part`` is called, in the caller's thread, when it is on disk.
    Broken images are left out and named in their part. Memory is bounded by two parts, whatever the size of the source.

    Args:
        network: the network.
        objects: all objects of the source.
        folder: where the parts go.
        geometry: measured geometry of the layers.
        unit_std: what responses are measured in, per layer.
        settings: what to keep.
        fingerprint: stands for all of the above; written into each part.
        finished: numbers of the parts that are there already.
        batch_size: objects per forward pass, rounded down to a divisor of PART_SIZE.
        workers: decoding threads.
        on_part: told of each finished part.
        progress: called with objects done and their total.

    Raises:
        UsageError: a batch size or number of workers below 1.
    """
    missing = [
        (number, shard)
        for number, shard in enumerate(shards(len(objects)))
        if number not in finished
    ]
    batch_size = _dividing(batch_size)
    done = len(objects) - sum(len(shard) for _, shard in missing)
    progress(done, len(objects))
    pending: Future[FinishedPart] | None = None
    numbers = [i for _, shard in missing for i in shard]
    ids = [objects[i].annotation_id for i in numbers]
    stream = stream_peaks(
        network,
        [objects[i] for i in numbers],
        geometry=geometry,
        unit_std=unit_std,
        settings=settings,
        batch_size=batch_size,
        workers=workers,
    )
    with closing(stream), ThreadPoolExecutor(1, thread_name_prefix="explgraph-write") as writer:
        for number, shard in missing:
            batches = []
            for _ in range(0, len(shard), batch_size):
                batches.append(next(stream))
                done += len(batches[-1].batch.indices) + len(batches[-1].batch.skipped)
                progress(done, len(objects))
                if (
                    pending is not None and pending.done()
                ):  # as soon as it is on disk: a kill then loses nothing of it
                    on_part(pending.result())
                    pending = None
            if pending is not None:
                on_part(pending.result())
            pending = writer.submit(
                _write, folder, number, batches, numbers, ids, fingerprint, tuple(geometry)
            )
        if pending is not None:
            on_part(pending.result())


def _dividing(batch_size: int) -> int:
    """Return the largest number up to ``batch_size`` that divides PART_SIZE, so that no batch spans two parts."""
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    return next(n for n in range(min(batch_size, PART_SIZE), 0, -1) if PART_SIZE % n == 0)


def _write(
    folder: Path,
    number: int,
    batches: list[BatchPeaks],
    numbers: list[int],
    ids: list[int],
    fingerprint: str,
    layers: tuple[str, ...],
) -> FinishedPart:
    read, skipped = [], []
    for one in batches:
        for i, frame, (width, height) in zip(
            one.batch.indices.tolist(), one.batch.frames, one.batch.sizes, strict=True
        ):
            read.append(ReadObject(numbers[i], ids[i], width, height, frame.box))
        skipped += [(numbers[i], reason) for i, reason in one.batch.skipped]
    content = PartContent(number, fingerprint, tuple(read), tuple(skipped))
    peaks = (
        {name: [one.peaks[name] for one in batches if one.peaks] for name in sorted(layers)}
        if read
        else {}
    )
    path = part_path(folder, number)
    n_peaks, digest = write_part(path, content, peaks)
    return FinishedPart(number, path, len(read), n_peaks, digest)
