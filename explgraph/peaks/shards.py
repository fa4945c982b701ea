"""The peak store: Parquet files, one per shard of the objects, sorted by layer and channel."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from explgraph.errors import WorkspaceError
from explgraph.files import sha256_of, whole_file
from explgraph.graph import Layer
from explgraph.images import Box
from explgraph.peaks.peaks import COLUMNS, LayerPeaks
from explgraph.peaks.stream import MapPeaks

SHARD_SIZE = 64  # objects: what a kill can lose, and what memory holds at a time
SCHEMA = pa.schema(
    [
        ("layer", pa.dictionary(pa.int8(), pa.string())),
        ("channel", pa.int32()),
        # Found in the mirror image; row and col are then in the mirror image's frame.
        ("mirrored", pa.bool_()),
        ("image", pa.int32()),  # number of the object in the source
        ("row", pa.float32()),  # fraction of the network input
        ("col", pa.float32()),
        ("value", pa.float16()),  # in standard deviations of the unit
        # Of the whole map: mean F in strips of columns. At its strongest peak only, else null.
        ("profile", pa.list_(pa.float16())),
    ]
)
META = b"explgraph"
# What reading a damaged file raises; not all of Arrow's errors are ValueErrors.
BROKEN = (OSError, KeyError, ValueError, IndexError, OverflowError, pa.ArrowException)


@dataclass(frozen=True)
class ReadObject:
    """An object that was read.

    Args:
        index: its number in the source.
        id: its annotation id.
        width: of its image, pixels.
        height: of its image, pixels.
        box: what the network was shown: (x, y, width, height), pixels.
    """

    index: int
    id: int
    width: int
    height: int
    box: Box


@dataclass(frozen=True)
class ShardContent:
    """What a shard states about itself.

    Args:
        number: which shard.
        fingerprint: of the extraction that made it.
        objects: the objects in it.
        skipped: (number in the source, reason) of those that could not be read.

    >>> content = read_shard_content(folder / "peaks" / "part-00000.parquet")
    >>> content.number, len(content.objects), content.objects[0].box
    (0, 48, (25.0, 56.0, 202.0, 80.0))
    """

    number: int
    fingerprint: str
    objects: tuple[ReadObject, ...]
    skipped: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class FinishedShard:
    """A shard that is safely on disk."""

    number: int
    path: Path
    n_objects: int
    n_peaks: int
    sha256: str


def shard_path(folder: Path, number: int) -> Path:
    """The file of a shard.

    >>> shard_path(Path("peaks"), 3).as_posix()
    'peaks/part-00003.parquet'
    """
    return folder / f"part-{number:05d}.parquet"


def shard_ranges(n_objects: int) -> list[range]:
    """The objects that each shard holds: runs of SHARD_SIZE.

    >>> shard_ranges(100)
    [range(0, 64), range(64, 100)]
    """
    starts = range(0, n_objects, SHARD_SIZE)
    return [range(start, min(start + SHARD_SIZE, n_objects)) for start in starts]


def remove_unfinished(folder: Path) -> None:
    """Delete what a killed `write_shard` left in the folder."""
    for temporary in folder.glob(".*.part-*.parquet"):
        temporary.unlink(missing_ok=True)


def write_shard(
    path: Path, content: ShardContent, peaks: Mapping[str, Sequence[MapPeaks]]
) -> FinishedShard:
    """Write a shard, so that the file is there whole and on disk, or not at all.

    Args:
        path: of the file.
        content: what is in it.
        peaks: layer -> its peaks, batch by batch.

    Raises:
        ExplgraphError: it cannot be written.
    """
    schema = SCHEMA.with_metadata({META: json.dumps(asdict(content)).encode()})
    images = np.array([o.index for o in content.objects], np.int32)
    options = {
        "compression": "zstd",
        "compression_level": 1,
        "use_dictionary": ["layer", "channel"],
    }
    n_peaks = 0
    with whole_file(path, sync=True) as temporary:
        with pq.ParquetWriter(temporary, schema, **options) as writer:
            for name in sorted(peaks) if content.objects else ():
                table = _table(name, images, peaks[name], schema)
                n_peaks += table.num_rows
                # One row group per layer: `read_layer` then skips the other layers' bytes.
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
        digest = sha256_of(temporary)
    return FinishedShard(content.number, path, len(content.objects), n_peaks, digest)


def _table(
    name: str, images: NDArray[np.int32], batches: Sequence[MapPeaks], schema: pa.Schema
) -> pa.Table:
    """One layer's peaks sorted by channel, facing and image; within a map the strongest first."""
    joined = [
        torch.cat(column, 1).permute(2, 0, 1, 3).contiguous()
        for column in zip(*batches, strict=True)
    ]
    value, row, col, profile = (t.numpy() for t in joined)  # channel, facing, image, peak
    # Before the test for 0: what half precision rounds to 0 is no peak when it is read back.
    value = value.astype(np.float16)
    channel, facing, image, slot = keep = np.nonzero(value > 0)
    # A map's profile goes with its strongest peak. A map without a peak needs none: it is all 0.
    first = slot == 0
    ends = np.r_[0, np.cumsum(first)] * profile.shape[3]
    of_map = channel[first], facing[first], image[first]
    flat = pa.array(profile.astype(np.float16)[of_map].ravel())
    # Arrow reads a masked offset as a null list.
    offsets = pa.array(ends.astype(np.int32), mask=np.r_[~first, False])
    columns = {
        "layer": pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(channel), np.int8)), [name]),
        "channel": pa.array(channel.astype(np.int32)),
        "mirrored": pa.array(facing.astype(bool)),
        "image": pa.array(images[image]),
        "row": pa.array(row[keep]),
        "col": pa.array(col[keep]),
        "value": pa.array(value[keep]),
        "profile": pa.ListArray.from_arrays(offsets, flat),
    }
    return pa.table(columns, schema=schema)


def read_shard_content(path: Path) -> ShardContent:
    """What a shard states about itself.

    Raises:
        WorkspaceError: the file is not a shard.

    >>> read_shard_content(folder / "peaks" / "part-00000.parquet").skipped
    ()
    """
    try:
        meta = json.loads(pq.read_schema(path).metadata[META])
        objects = tuple(ReadObject(**{**o, "box": tuple(o["box"])}) for o in meta["objects"])
        skipped = tuple((i, reason) for i, reason in meta["skipped"])
        return ShardContent(meta["number"], meta["fingerprint"], objects, skipped)
    except (*BROKEN, TypeError, AttributeError, RecursionError) as error:
        raise _not_a_shard(path, error) from error


def _not_a_shard(path: Path, error: Exception) -> WorkspaceError:
    return WorkspaceError(
        f"{path} is not a shard of a peak store ({error}); run the same 'explgraph mine' command "
        "again, it makes it anew"
    )


def read_layer(
    paths: Sequence[Path], layer: Layer, *, images: Sequence[int], n_peaks: int, n_facings: int
) -> LayerPeaks:
    """One layer's peaks over all shards, as dense arrays.

    Args:
        paths: the shards.
        layer: which layer.
        images: numbers of the objects wanted, ascending; they become the last axis.
        n_peaks: P, peaks per map.
        n_facings: 2 where the mirror images were looked at.

    Raises:
        WorkspaceError: a file is not a shard, or not all of it.

    >>> files, upper = sorted(folder.glob("peaks/part-*.parquet")), graph.layers[0]
    >>> read_layer(files, upper, images=range(48), n_peaks=3, n_facings=2).value.shape
    torch.Size([2, 96, 3, 48])
    """
    shape = (n_facings, layer.channels, n_peaks, len(images))
    value, row, col = (np.zeros(shape, np.float32) for _ in range(3))
    profile = np.zeros((n_facings, layer.channels, COLUMNS, len(images)), np.float32)
    wanted = np.asarray(images)
    for path in paths:
        read = _read_columns(path, layer)
        channel, image = read["channel"], read["image"]
        facing = read["mirrored"].astype(np.int64)
        at = np.searchsorted(wanted, image)
        # `searchsorted` also gives a place to those that are not wanted.
        known = np.isin(image, wanted) & (facing < n_facings)
        slot = read["slot"]
        keep = known & (slot < n_peaks)
        target = (facing[keep], channel[keep], slot[keep], at[keep])
        value[target], row[target] = read["value"][keep], read["row"][keep]
        col[target] = read["col"][keep]
        # Of profiles there is one for each first row: the nulls of the others are not in the list.
        first = slot == 0
        known = known[first]
        f, c, i = (index[first][known] for index in (facing, channel, at))
        profile[f, c, :, i] = read["profile"].reshape(-1, COLUMNS)[known]
    return LayerPeaks(layer, *map(torch.from_numpy, (value, row, col, profile)))


def _slots(*keys: NDArray[np.integer]) -> NDArray[np.int64]:
    """Which peak of its map each row is.

    Rows of one map (equal ``keys``) stand together, the strongest first, so it is the distance
    to the map's first row.
    """
    rows = np.arange(len(keys[0]))
    same_map = np.logical_and.reduce([np.diff(key) == 0 for key in keys])
    same_map = np.r_[False, same_map][: len(rows)]  # np.diff of nothing is nothing
    return rows - np.maximum.accumulate(np.where(same_map, 0, rows))


def _read_columns(path: Path, layer: Layer) -> dict[str, NDArray[Any]]:
    """One layer's rows of a shard, column by column, and which peak of its map each row is."""
    names = ["channel", "mirrored", "image", "row", "col", "value"]
    try:
        filters = [("layer", "=", layer.name)]
        table = pq.read_table(path, columns=[*names, "profile"], filters=filters)
        if odd := [one for one in table.schema if one.type != SCHEMA.field(one.name).type]:
            raise ValueError(f"its column {odd[0].name} is of type {odd[0].type}")
        if any(table[name].null_count for name in names):
            raise ValueError("it has rows without a value")
        columns = {name: table[name].to_numpy() for name in names}
        columns["profile"] = table["profile"].combine_chunks().flatten().to_numpy()
        keys = columns["channel"], columns["mirrored"].astype(np.int64), columns["image"]
        columns["slot"] = _slots(*keys)
        _check_columns(columns, layer)
        return columns
    except BROKEN as error:
        raise _not_a_shard(path, error) from error


def _check_columns(columns: Mapping[str, NDArray[Any]], layer: Layer) -> None:
    """Raise ValueError where the rows of a layer cannot be those that were written."""
    channel = columns["channel"]
    if not ((channel >= 0) & (channel < layer.channels)).all():
        raise ValueError(f"it has channels beyond the {layer.channels} of {layer.name}")
    for name in ("row", "col", "value", "profile"):
        if not np.isfinite(columns[name]).all():
            raise ValueError(f"its column {name} has values that are no numbers")
    if len(columns["profile"]) != COLUMNS * (columns["slot"] == 0).sum():
        raise ValueError(f"it has not one profile of {COLUMNS} for each map with peaks")
