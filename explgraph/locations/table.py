"""The locations table: one row per object and node, streamed to Parquet, CSV or JSON in bounded memory."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from explgraph.errors import UsageError
from explgraph.graph import layer_of
from explgraph.images import Frame
from explgraph.locations.locator import NodeLocations

SCHEMA = pa.schema(
    [
        ("annotation_id", pa.int64()),
        ("image", pa.dictionary(pa.int32(), pa.string())),
        ("node", pa.dictionary(pa.int32(), pa.string())),
        ("layer", pa.dictionary(pa.int32(), pa.string())),
        ("x", pa.float32()),  # pixels of the original image, x right, first pixel's centre at 0.5
        ("y", pa.float32()),
        ("score", pa.float32()),
        ("mirrored", pa.bool_()),
    ]
)
SUFFIXES = (".parquet", ".csv", ".json")


def location_table(
    locations: NodeLocations,
    *,
    ids: Sequence[int],
    images: Sequence[str],
    frames: Sequence[Frame],
    top: int | None = None,
) -> pa.Table:
    """Return the locations as rows with the columns of SCHEMA, object by object.

    Args:
        locations: of n objects.
        ids: their annotation ids; images: their files; frames: the way back to the pixels of each image.
        top: keep only the ``top`` best nodes of each object, best first; None keeps all in the graph's order.
    """
    layers = [layer_of(node) for node in locations.nodes]
    layer_names = sorted(set(layers))
    layer_number = np.array([layer_names.index(layer) for layer in layers], np.int32)
    n = len(locations.nodes) if top is None else min(top, len(locations.nodes))
    order = np.argsort(-locations.score, axis=1, kind="stable")[:, :n] if top is not None else None
    xy, nodes, scores = [], [], []
    for i, frame in enumerate(frames):
        chosen = slice(None) if order is None else order[i]
        xy.append(frame.to_image(locations.place[i, chosen]).astype(np.float32))
        scores.append(locations.score[i, chosen])
        nodes.append(np.arange(n, dtype=np.int32) if order is None else order[i].astype(np.int32))
    image_number = {
        name: i for i, name in enumerate(dict.fromkeys(images))
    }  # unique: Parquet writes out any other dictionary
    image_of = np.array([image_number[name] for name in images], np.int32)
    node = np.concatenate(nodes) if nodes else np.zeros(0, np.int32)
    place = np.concatenate(xy) if xy else np.zeros((0, 2), np.float32)
    columns = [
        np.repeat(np.asarray(ids, np.int64), n),
        pa.DictionaryArray.from_arrays(
            np.repeat(image_of, n), pa.array(list(image_number), pa.string())
        ),
        pa.DictionaryArray.from_arrays(node, pa.array(locations.nodes, pa.string())),
        pa.DictionaryArray.from_arrays(layer_number[node], pa.array(layer_names, pa.string())),
        place[:, 0],
        place[:, 1],
        np.concatenate(scores) if scores else np.zeros(0, np.float32),
        np.repeat(locations.mirrored, n),
    ]
    return pa.table(
        [pa.array(c) if isinstance(c, np.ndarray) else c for c in columns], schema=SCHEMA
    )


class LocationWriter:
    """Writes location tables one after the other to FILE.parquet, .csv or .json; the file appears when all is written.

    Use it in a ``with`` statement; after an exception nothing is left behind.
    """

    def __init__(self, path: Path) -> None:
        """Open a temporary file beside ``path``.

        Raises:
            UsageError: the suffix is none of SUFFIXES, or there can be no file at ``path``.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise UsageError(
                f"locations go to a file that ends in {', '.join(SUFFIXES)}, got {path.name!r}"
            )
        if path.is_dir():
            raise UsageError(f"{path} is a folder; name a file")
        if not path.parent.is_dir():
            raise UsageError(
                f"folder {path.parent} does not exist; create it or choose another --out"
            )
        self.path = path
        self.n_rows = 0
        self._temporary = path.with_name(path.name + ".tmp")
        self._writer: Any = None
        self._json: IO[str] | None = None
        if path.suffix.lower() == ".parquet":
            self._writer = pq.ParquetWriter(
                self._temporary, SCHEMA, compression="zstd", compression_level=1
            )
        elif path.suffix.lower() == ".csv":
            plain = pa.schema(
                [
                    (f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type)
                    for f in SCHEMA
                ]
            )
            self._writer = pa.csv.CSVWriter(str(self._temporary), plain)
        else:
            self._json = self._temporary.open("w", encoding="utf-8")
            self._json.write("[")

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table made by `location_table`."""
        if self._json is not None:
            for row in table.to_pylist():
                self._json.write(("\n" if not self.n_rows else ",\n") + json.dumps(row))
                self.n_rows += 1
            return
        if isinstance(self._writer, pa.csv.CSVWriter):
            table = pa.table(
                [
                    c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c
                    for c in table.columns
                ],
                names=table.column_names,
            )
        self._writer.write_table(table)
        self.n_rows += table.num_rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._close()
            if error is None:
                os.replace(self._temporary, self.path)
        finally:
            self._temporary.unlink(missing_ok=True)

    def _close(self) -> None:
        if self._json is None:
            self._writer.close()
            return
        with self._json:
            self._json.write("\n]\n")
