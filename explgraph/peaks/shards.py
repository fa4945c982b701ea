"""The columnar peak store: immutable Parquet parts, one per shard of objects, sorted by layer and channel."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from explgraph.errors import WorkspaceError
from explgraph.graph import Layer
from explgraph.images import Box
from explgraph.peaks.peaks import COLUMNS, LayerPeaks
from explgraph.peaks.stream import MapPeaks

SCHEMA = pa.schema(
    [
        ("layer", pa.dictionary(pa.int8(), pa.string())),
        ("channel", pa.int32()),
        (
            "mirrored",
            pa.bool_(),
        ),  # found in the mirror image; row and col are in the mirror image's frame
        ("image", pa.int32()),  # number of the object in the source
        ("row", pa.float32()),  # fraction of the network input
        ("col", pa.float32()),
        ("value", pa.float16()),  # in standard deviations of the unit
        (
            "profile",
            pa.list_(pa.float16()),
        ),  # of the whole map, mean F in strips of columns; at its strongest peak only, else null
    ]
)
META = b"explgraph"


@dataclass(frozen=True)
class ReadObject:
    """An object that was read: its number in the source, its annotation id, the image's size and the box shown, pixels."""

    index: int
    id: int
    width: int
    height: int
    box: Box


@dataclass(frozen=True)
class PartContent:
    """What a part says about itself.

    Args:
        number: which part.
        fingerprint: of the extraction that made it.
        objects: the objects in it.
        skipped: (number in the source, reason) of those that could not be read.
    """

    number: int
    fingerprint: str
    objects: tuple[ReadObject, ...]
    skipped: tuple[tuple[int, str], ...]


def write_part(
    path: Path, content: PartContent, peaks: Mapping[str, Sequence[MapPeaks]]
) -> tuple[int, str]:
    """Write a part under a temporary name, sync and rename it; return its number of peaks and its sha256.

    Args:
        path: final name.
        content: what is in it.
        peaks: layer -> batches.
    """
    meta = json.dumps(asdict(content)).encode()
    schema = SCHEMA.with_metadata({META: meta})
    images = np.array([o.index for o in content.objects], np.int32)
    temporary = path.with_name(path.name + ".tmp")
    n_peaks = 0
    try:
        with pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=["layer", "channel"],
        ) as writer:
            for name in peaks:
                table = _table(name, images, peaks[name], schema)
                n_peaks += table.num_rows
                writer.write_table(table, row_group_size=max(table.num_rows, 1))
        with open(temporary, "rb+") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return n_peaks, digest


def _table(
    name: str, images: NDArray[np.int32], batches: Sequence[MapPeaks], schema: pa.Schema
) -> pa.Table:
    """Return one layer's peaks sorted by channel, facing and image; within a map the strongest first."""
    joined = [
        torch.cat(column, 1).permute(2, 0, 1, 3).contiguous()
        for column in zip(*batches, strict=True)
    ]
    value, row, col, profile = (t.numpy() for t in joined)  # channel, facing, image, peak
    value = value.astype(np.float16)
    channel, facing, image, slot = keep = np.nonzero(value > 0)
    first = slot == 0
    ends = np.r_[0, np.cumsum(first)] * profile.shape[3]
    flat = pa.array(profile.astype(np.float16)[channel[first], facing[first], image[first]].ravel())
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


def read_content(path: Path) -> PartContent:
    """Return what a part says about itself; raises WorkspaceError if it is no part."""
    try:
        meta = json.loads(pq.read_schema(path).metadata[META])
        objects = tuple(
            ReadObject(o["index"], o["id"], o["width"], o["height"], tuple(o["box"]))
            for o in meta["objects"]
        )
        return PartContent(
            meta["number"],
            meta["fingerprint"],
            objects,
            tuple((i, reason) for i, reason in meta["skipped"]),
        )
    except (
        OSError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:  # Arrow's own errors are ValueErrors
        raise _no_part(path, error) from error


def _no_part(path: Path, error: Exception) -> WorkspaceError:
    return WorkspaceError(
        f"{path} is no part of a peak store ({error}); delete it and run the job again"
    )


def read_layer(
    paths: Sequence[Path], layer: Layer, *, images: Sequence[int], n_peaks: int, n_facings: int
) -> LayerPeaks:
    """Return one layer's peaks over all parts as dense arrays.

    Args:
        paths: the parts.
        layer: which layer.
        images: numbers of the objects wanted, ascending; they become the last axis.
        n_peaks: P.
        n_facings: 2 where the mirror images were looked at.

    Raises:
        WorkspaceError: a file is no part, or not all of it.
    """
    shape = (n_facings, layer.channels, n_peaks, len(images))
    dense = [np.zeros(shape, np.float32) for _ in range(3)]
    profile = np.zeros((n_facings, layer.channels, COLUMNS, len(images)), np.float32)
    wanted = np.asarray(images)
    for path in paths:
        read = _read_columns(path, layer.name)
        at = np.searchsorted(wanted, read["image"])
        known = np.isin(read["image"], wanted)
        facing = read["mirrored"].astype(np.int64)
        # Rows of one map stand together, the strongest first: the slot is the distance to the map's first row.
        same_map = [np.diff(column) == 0 for column in (read["channel"], facing, read["image"])]
        start = np.maximum.accumulate(
            np.where(
                np.r_[False, np.logical_and.reduce(same_map)][: len(at)], 0, np.arange(len(at))
            )
        )
        slot = np.arange(len(at)) - start
        keep = known & (slot < n_peaks) & (facing < n_facings)
        target = (facing[keep], read["channel"][keep], slot[keep], at[keep])
        for array, name in zip(dense, ("value", "row", "col"), strict=True):
            array[target] = read[name][keep]
        first = slot == 0
        known_map = (known & (facing < n_facings))[first]
        maps = tuple(index[first][known_map] for index in (facing, read["channel"], at))
        profile[maps[0], maps[1], :, maps[2]] = read["profile"].reshape(-1, COLUMNS)[known_map]
    value, row, col = (torch.from_numpy(a) for a in dense)
    return LayerPeaks(layer, value, row, col, torch.from_numpy(profile))


def _read_columns(path: Path, layer: str) -> dict[str, np.ndarray]:
    """Return one layer's rows of a part, column by column."""
    names = ["channel", "mirrored", "image", "row", "col", "value"]
    try:
        table = pq.read_table(path, columns=[*names, "profile"], filters=[("layer", "=", layer)])
        columns = {name: table[name].to_numpy() for name in names}
        columns["profile"] = table["profile"].combine_chunks().flatten().to_numpy()
        return columns
    except (OSError, KeyError, ValueError) as error:
        raise _no_part(path, error) from error
