"""The locations table: one row per object and node, written in bounded memory and read back.

`location_table` makes the rows, `LocationWriter` streams them to Parquet, CSV or JSON, and
`read_locations` reads those of a workspace's own objects.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from jaxtyping import Bool, Float64
from numpy.typing import NDArray

from explgraph.errors import WorkspaceError
from explgraph.files import check_place, guarded, whole_file
from explgraph.graph import ExplanatoryGraph, layer_of
from explgraph.images import Frame
from explgraph.locations.locator import NodeLocations

SCHEMA = pa.schema(
    [
        ("annotation_id", pa.int64()),
        # Names stand once in a dictionary: a node's comes once for every object.
        ("image", pa.dictionary(pa.int32(), pa.string())),
        ("node", pa.dictionary(pa.int32(), pa.string())),
        ("layer", pa.dictionary(pa.int32(), pa.string())),
        ("x", pa.float32()),  # pixels of the original image, x right, first pixel's centre at 0.5
        ("y", pa.float32()),
        ("score", pa.float32()),
        ("mirrored", pa.bool_()),
        ("facing_sureness", pa.float32()),  # 0.5 = a guess, 1 = sure; null = no facing was told
    ]
)
SURENESS = "facing_sureness"
NEEDED = [name for name in SCHEMA.names if name != SURENESS]  # all columns of older versions
Write = Callable[[pa.Table], None]
_PLAIN = pa.schema(  # what CSV can say
    [(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in SCHEMA]
)


@dataclass(frozen=True, eq=False)
class CachedLocations:
    """Where every node of a graph is on every object that it was mined from.

    Args:
        points: (x, y), pixels of the photograph; nodes in the graph's order.
        score: how sure that is, 0..1.
        mirrored: which objects were understood through their mirror images.
        sureness: how probable each flag is, 0.5 to 1; NaN where no facing was told, and in
            workspaces of older versions.

    >>> cached = workspace.locations()
    >>> cached.points.shape == (48, len(graph), 2), cached.mirrored.shape
    (True, (48,))
    """

    points: Float64[np.ndarray, "image node 2"]
    score: Float64[np.ndarray, "image node"]
    mirrored: Bool[np.ndarray, " image"]
    sureness: Float64[np.ndarray, " image"]


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
        ids: their annotation ids.
        images: their files.
        frames: the way back to the pixels of each image.
        top: keep only the ``top`` best nodes of each object, best first; None keeps all in the
            graph's order.

    >>> place, score = np.full((1, 1, 2), 0.5, np.float32), np.ones((1, 1), np.float32)
    >>> found = NodeLocations(("conv:0:0",), place, score, np.array([False]))
    >>> frames = [Frame((10, 20, 64, 48), 48, 64)]
    >>> table = location_table(found, ids=[7], images=["a.png"], frames=frames)
    >>> [(row["node"], row["x"], row["y"]) for row in table.to_pylist()]
    [('conv:0:0', 42.0, 44.0)]
    """
    n_objects, n_nodes = locations.score.shape
    node = np.broadcast_to(np.arange(n_nodes), (n_objects, n_nodes))
    if top is not None:
        # Stable: among nodes that were not found, score 0, the graph's order decides everywhere.
        node = np.argsort(-locations.score, axis=1, kind="stable")[:, :top]
    place = np.take_along_axis(locations.place, node[..., None], 1)
    # float32 as the schema has it: about a thousandth of a pixel, far below what a cell tells.
    xy = np.zeros(place.shape, np.float32)
    for i, frame in enumerate(frames):
        xy[i] = frame.to_image(place[i])
    layers = [layer_of(name) for name in locations.nodes]
    layer_names = sorted(set(layers))
    layer = np.array([layer_names.index(name) for name in layers], np.int32)
    # Each name once: Parquet writes out any other dictionary in full.
    image_number = {name: i for i, name in enumerate(dict.fromkeys(images))}
    image = np.array([image_number[name] for name in images], np.int32)
    each = node.shape[1]
    sureness = locations.sureness
    if sureness is None:
        sureness = np.full(n_objects, np.nan, np.float32)
    columns = [
        pa.array(np.repeat(np.asarray(ids, np.int64), each)),
        _named(np.repeat(image, each), list(image_number)),
        _named(node.ravel().astype(np.int32), locations.nodes),
        _named(layer[node.ravel()], layer_names),
        pa.array(xy[..., 0].ravel()),
        pa.array(xy[..., 1].ravel()),
        pa.array(np.take_along_axis(locations.score, node, 1).ravel()),
        pa.array(np.repeat(locations.mirrored, each)),
        pa.array(np.repeat(sureness, each), from_pandas=True),  # NaN becomes null
    ]
    return pa.table(columns, schema=SCHEMA)


def read_locations(
    folder: Path,
    graph: ExplanatoryGraph,
    ids: Sequence[int],
    *,
    hashes: Mapping[str, str] | None = None,
) -> CachedLocations:
    """Return the locations that mining left in ``folder``, objects in the order of ``ids``.

    Args:
        folder: of the Parquet files.
        graph: that the nodes belong to.
        ids: annotation ids of all objects that it was mined from.
        hashes: name -> sha256 of all files; None where an older version kept none.

    Raises:
        WorkspaceError: a file is missing or damaged, or they hold other objects or other nodes.

    >>> ids = [one.id for one in workspace.store.read_objects()]
    >>> read_locations(folder / "locations", graph, ids).score.shape == (48, len(graph))
    True
    """
    names = graph.ordered_nodes()
    files = hashes or dict.fromkeys(sorted(path.name for path in folder.glob("part-*.parquet")))
    tables = [_read_table(folder / name, sha256) for name, sha256 in files.items()]
    # With the empty table also a folder without files has columns.
    table = pa.concat_tables([SCHEMA.empty_table(), *tables], promote_options="permissive")
    n_objects, n_nodes = len(ids), len(names)
    # The files know no fingerprint of the graph, so what they hold is compared with it: places of a
    # former graph would be read as those of other nodes.
    if table.num_rows != n_objects * n_nodes:
        expected = f"{n_objects} objects x {n_nodes} nodes"
        raise _other_locations(folder, f"{table.num_rows} places, expected {expected}")
    if any(table[name].null_count for name in NEEDED):
        raise _other_locations(folder, "places without a value")
    grid = lambda values: values.to_numpy().reshape(n_objects, n_nodes)
    number = grid(table["annotation_id"])
    row = {first: i for i, first in enumerate(number[:, 0].tolist())}
    if row.keys() != set(ids) or (number != number[:, :1]).any():
        raise _other_locations(folder, "places on other objects")
    node = pc.index_in(table["node"].cast(pa.string()), pa.array(names, pa.string()))
    if (grid(node.fill_null(-1)) != np.arange(n_nodes)).any():
        raise _other_locations(folder, "places of other nodes")
    # Files keep the order in which objects were read, and callers have their own.
    order = [row[one] for one in ids]
    points = np.stack([grid(table["x"]), grid(table["y"])], -1)
    score, mirrored = grid(table["score"]), grid(table["mirrored"])[:, 0]
    if not (np.isfinite(points).all() and ((score >= 0) & (score <= 1)).all()):
        raise _other_locations(folder, "places or scores that are no numbers")
    sureness = grid(table[SURENESS])[:, 0]
    arrays = points[order], score[order], mirrored[order].astype(bool), sureness[order]
    return CachedLocations(*(x if x.dtype == bool else x.astype(float) for x in arrays))


def _read_table(path: Path, sha256: str | None) -> pa.Table:
    """One file of locations, if its bytes are those that were written."""
    try:
        # Read once: what is hashed is what is parsed.
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError("its bytes are not those that were written")
        table = pq.read_table(pa.BufferReader(content))
        if table.column_names == NEEDED:
            nothing = pa.nulls(table.num_rows, pa.float32())
            table = table.append_column(SURENESS, nothing)
        if table.column_names != SCHEMA.names:
            raise ValueError(f"it has the columns {', '.join(table.column_names)}")
        # The same values, in the types that they are compared in: others cannot be cast.
        return table.cast(SCHEMA)
    except (OSError, ValueError, OverflowError, pa.ArrowException) as error:
        raise WorkspaceError(
            f"{path} is missing or damaged ({error}); run the same 'explgraph mine' command again, "
            "it makes it anew"
        ) from error


class LocationWriter:
    """Writes location tables to FILE.parquet, .csv or .json; it appears when all is written.

    Use it in a ``with`` statement; after an exception nothing is left behind.

    Args:
        path: of the file.
        sync: wait until it is on disk.

    Raises:
        UsageError: another suffix, or there can be no file at ``path``.

    >>> with LocationWriter(out / "places.csv") as writer:
    ...     writer.write(pq.read_table(folder / "locations" / "part-00000.parquet"))
    >>> writer.n_rows == 48 * len(graph)
    True
    """

    def __init__(self, path: Path, *, sync: bool = False) -> None:
        self.path, self._sync = check_place(path, suffixes=SUFFIXES), sync
        self.n_rows = 0

    def __enter__(self) -> LocationWriter:
        with ExitStack() as stack:
            # Both or none: if the writer cannot be made, the temporary file goes as well.
            temporary = stack.enter_context(whole_file(self.path, sync=self._sync))
            self._write = stack.enter_context(_SINKS[self.path.suffix.lower()](temporary))
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._open.__exit__(*error)

    def write(self, table: pa.Table) -> None:
        """Append the rows of a table made by `location_table`."""
        self._write(table)
        self.n_rows += table.num_rows


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    # zstd at its fastest: the caches are written once and read at every question.
    with pq.ParquetWriter(path, SCHEMA, compression="zstd", compression_level=1) as writer:
        yield writer.write_table


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    with pa.csv.CSVWriter(str(path), _PLAIN) as writer:
        yield lambda table: writer.write_table(guarded(table.cast(_PLAIN)))


@contextmanager
def _json(path: Path) -> Iterator[Write]:
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        before = "\n"

        def write(table: pa.Table) -> None:
            nonlocal before
            # Row by row: one list of all rows would be many times the table.
            for row in table.to_pylist():
                file.write(before + json.dumps(row))
                before = ",\n"

        yield write
        file.write("\n]\n")


_SINKS = {".parquet": _parquet, ".csv": _csv, ".json": _json}
SUFFIXES = tuple(_SINKS)


def _named(number: NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(number, pa.array(names, pa.string()))


def _other_locations(folder: Path, held: str) -> WorkspaceError:
    return WorkspaceError(f"{folder} holds {held}; run the same 'explgraph mine' command again")
