"""Extraction: the peaks of all objects of a source, in shards that outlive an interruption."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from torch import Tensor

from explgraph.errors import UsageError
from explgraph.graph import Layer
from explgraph.images import DecodedBatch, ImageObject
from explgraph.network import Network
from explgraph.peaks.shards import (
    SHARD_SIZE,
    FinishedShard,
    ReadObject,
    ShardContent,
    remove_unfinished,
    shard_path,
    shard_ranges,
    write_shard,
)
from explgraph.peaks.stream import BatchPeaks, MapPeaks, PeakSettings, stream_peaks
from explgraph.progress import Report, silent


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
    on_shard: Callable[[FinishedShard], None] = lambda shard: None,
    report: Report = silent,
) -> None:
    """Write the missing shards of a peak store.

    The same objects give the same bytes, however often the work was interrupted. One shard is
    written while the next is computed, so memory holds two, whatever the size of the source.
    Broken images are left out and named in their shard.

    Args:
        network: the network.
        objects: all objects of the source.
        folder: where the shards go. Only one extraction may write there at a time.
        geometry: the layers, as `explgraph.network.measure_geometry` found them.
        unit_std: what responses are measured in, per layer.
        settings: what to keep.
        fingerprint: stands for all of the above. Each shard states it.
        finished: numbers of the shards that are there already.
        batch_size: objects per forward pass, rounded down to a divisor of SHARD_SIZE.
        workers: decoding threads.
        on_shard: called in the caller's thread with each shard that is safely on disk.
        report: told how many objects are done, as stage "extract".

    Raises:
        UsageError: the batch size or the number of workers is below 1.
        ExplgraphError: a shard cannot be written.

    >>> from explgraph.images import read_source
    >>> from explgraph.network import measure_geometry
    >>> layers, objects = measure_geometry(network, ["features.14"]), read_source(pictures).objects
    >>> settings = PeakSettings(layers=("features.14",))
    >>> wanted = {"geometry": layers, "unit_std": {}, "settings": settings, "fingerprint": "any"}
    >>> extract(network, objects, out, **wanted, on_shard=lambda shard: print(shard.path.name))
    part-00000.parquet
    """
    shards = enumerate(shard_ranges(len(objects)))
    missing = {number: shard for number, shard in shards if number not in finished}
    # Only what is missing is decoded, so a number in the stream is not one in the source.
    numbers = [i for shard in missing.values() for i in shard]
    wanted = [objects[i] for i in numbers]
    batch_size = _dividing(batch_size)
    remove_unfinished(folder)
    report("extract", len(objects) - len(wanted), len(objects))
    # One stream over all shards: decoding ahead does not stop at their ends.
    stream = stream_peaks(
        network,
        wanted,
        geometry=geometry,
        unit_std=unit_std,
        settings=settings,
        batch_size=batch_size,
        workers=workers,
    )
    with closing(stream), ThreadPoolExecutor(1, thread_name_prefix="explgraph-write") as pool:
        writing = _Writing(pool, on_shard)
        watched = _watched(stream, writing, report, len(wanted), len(objects))
        for number, shard in missing.items():
            batches = [next(watched) for _ in range(0, len(shard), batch_size)]
            read, skipped = _read_and_skipped([one.batch for one in batches], wanted, numbers)
            content = ShardContent(number, fingerprint, read, skipped)
            # A batch without one readable object has no peaks.
            peaks = {name: [one.peaks[name] for one in batches if one.peaks] for name in geometry}
            writing.start(shard_path(folder, number), content, peaks)
        writing.finish()


class _Writing:
    """One shard at a time on its way to disk, in a thread; its ledger entry in the caller's."""

    def __init__(self, pool: Executor, on_shard: Callable[[FinishedShard], None]) -> None:
        self._pool, self._on_shard = pool, on_shard
        self._pending: Future[FinishedShard] | None = None

    def start(
        self, path: Path, content: ShardContent, peaks: Mapping[str, Sequence[MapPeaks]]
    ) -> None:
        # Waits for the shard before: at most two are held, and they are told of in order.
        self.finish()
        self._pending = self._pool.submit(write_shard, path, content, peaks)

    def tell_if_done(self) -> None:
        # As soon as it is on disk: a kill then loses nothing of it.
        if self._pending is not None and self._pending.done():
            self.finish()

    def finish(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            self._on_shard(pending.result())


def _watched(
    stream: Iterator[BatchPeaks], writing: _Writing, report: Report, n_wanted: int, n_objects: int
) -> Iterator[BatchPeaks]:
    """The batches of the stream, with news of each, and of a shard that is on disk by then."""
    # What an earlier run has finished counts as done from the start.
    done = n_objects - n_wanted
    for one in stream:
        done += len(one.batch.indices) + len(one.batch.skipped)
        report("extract", done, n_objects)
        writing.tell_if_done()
        yield one


def _dividing(batch_size: int) -> int:
    """The largest divisor of SHARD_SIZE up to ``batch_size``: no batch may span two shards."""
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    return next(n for n in range(min(batch_size, SHARD_SIZE), 0, -1) if SHARD_SIZE % n == 0)


def _read_and_skipped(
    batches: Sequence[DecodedBatch], wanted: Sequence[ImageObject], numbers: Sequence[int]
) -> tuple[tuple[ReadObject, ...], tuple[tuple[int, str], ...]]:
    """What a shard states of its objects; ``numbers`` are those of ``wanted`` in the source."""
    read: list[ReadObject] = []
    skipped: list[tuple[int, str]] = []
    for batch in batches:
        shown = zip(batch.indices.tolist(), batch.frames, batch.sizes, strict=True)
        for i, frame, (width, height) in shown:
            read.append(ReadObject(numbers[i], wanted[i].annotation_id, width, height, frame.box))
        skipped += [(numbers[i], reason) for i, reason in batch.skipped]
    return tuple(read), tuple(skipped)
