"""What the tables hold, checked in bulk: a damaged database is refused in words.

SQLite keeps any value in any column, and a foreign key only while it is switched on. So what is
read is checked column by column, not value by value: 0.4 s for a graph of 61,440 nodes and 783,360
edges (measured).
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    LargeBinary,
    Select,
    select,
    type_coerce,
)

from explgraph.errors import StoreError
from explgraph.graph import KINDS, LOADINGS, Layer, node_name
from explgraph_storage.engine import REPAIR
from explgraph_storage.schema import EDGES, NODES

_DEEPEST = 50  # containers within each other; ours go 6 deep, and Python's own limit is a crash
_ENDLESS = ("size_row", "size_col")  # of receptive fields, which may reach over any input
_INTEGERS = (-(2**63), 2**63 - 1)


def damaged(where: str, expected: str, got: object) -> StoreError:
    """The error that says so.

    >>> print(damaged("edges.weight", "a finite number", "heavy"))
    edges.weight: expected a finite number, got 'heavy'; the database is damaged: restore it from \
a copy or run 'explgraph check WORKSPACE --repair'
    """
    return StoreError(
        f"{where}: expected {expected}, got {got!r:.80}; the database is damaged: {REPAIR}"
    )


def read_rows(connection: Connection, query: Select[Any]) -> list[Any]:
    """The rows of a query of plain columns, every value of the type of its column.

    Raises:
        StoreError: one is not, or is no JSON.
    """
    columns = list(query.selected_columns)
    for column in columns:
        if isinstance(column.type, Boolean):
            _check_flags(connection, column)
    try:
        rows = list(connection.execute(query).all())
    # What SQLAlchemy's readers of JSON and flags raise; too deep a document is a RecursionError.
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        kinds = {str(column) for column in columns if isinstance(column.type, JSON | Boolean)}
        raise damaged(", ".join(sorted(kinds)), "JSON and flags", str(error)) from error
    for column, values in zip(columns, zip(*rows, strict=True), strict=False):
        check_column(column, values)
    return rows


def _check_flags(connection: Connection, column: Any) -> None:
    # SQLAlchemy makes True of any text, so the values are asked for as what they are stored as.
    found = set(connection.scalars(select(type_coerce(column, Integer())).distinct()))
    if wrong := found - {0, 1, None}:
        raise damaged(str(column), "true or false", wrong.pop())


def check_column(column: Column[Any] | Any, values: Sequence[Any]) -> None:
    """Raise StoreError if a value is not of the column's type, or NULL, NaN or infinite."""
    given = [one for one in values if one is not None] if column.nullable else values
    kind = column.type
    if isinstance(kind, Integer):
        expected, is_good = "a whole number", _are_integers(given)
    elif isinstance(kind, Double):
        endless = column.name in _ENDLESS
        expected, is_good = "a finite number", _are_numbers(given, endless=endless)
    elif isinstance(kind, JSON):
        expected, is_good = "plain JSON", all(map(is_plain, given))
    else:
        types, expected = _types(kind)
        is_good = set(map(type, given)) <= types
    if not is_good:
        # Only now one by one, to name it.
        wrong = given if len(given) == 1 else [one for one in given if not _fits(column, one)]
        raise damaged(str(column), expected, wrong[0])


def check_nodes(
    rows: Sequence[Sequence[Any]], names: Sequence[str], layers: Sequence[Layer]
) -> NDArray[np.int64]:
    """The position of each node's layer, if the rows keep the schema of a graph.

    Args:
        rows: values of the columns ``names``.
        names: of columns of the table of nodes.
        layers: of the graph, top layer first.

    Raises:
        StoreError: they do not.
    """
    if not rows:
        return np.zeros(0, np.int64)
    of = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name, values in of.items():
        check_column(NODES.c[name], values)
    position = {layer.name: i for i, layer in enumerate(layers)}
    for name, known in (("layer", position.keys()), ("kind", set(KINDS))):
        if unknown := set(of[name]) - known:
            raise damaged(f"nodes.{name}", " or ".join(sorted(known)), min(unknown))
    depth = np.fromiter((position[name] for name in of["layer"]), np.int64, len(rows))
    channel, last = np.array(of["channel"]), np.array([layer.channels for layer in layers])[depth]
    if (wrong := (channel < 0) | (channel >= last)).any():
        raise damaged("nodes.channel", "a channel of the layer", channel[wrong][0].item())
    ids = [node_name(*one) for one in zip(of["layer"], of["channel"], of["index"], strict=True)]
    if tuple(ids) != of["name"]:
        pairs = zip(ids, of["name"], strict=True)
        raise damaged("nodes.name", *next(pair for pair in pairs if pair[0] != pair[1]))
    _check_loadings(of[LOADINGS])
    return depth


def check_ids(table: str, ids: Iterable[int], first: int) -> None:
    """Raise StoreError if rows are gone: ids count up without a gap."""
    found = np.fromiter(ids, np.int64)
    wrong = np.flatnonzero(found != np.arange(first, first + found.size))
    if wrong.size:
        expected = f"rows numbered without a gap ({first + int(wrong[0])})"
        raise damaged(f"{table}.id", expected, int(found[wrong[0]]))


def check_edges(
    rows: Sequence[Sequence[Any]], names: Sequence[str], depth: NDArray[np.int64], first: int
) -> None:
    """Raise StoreError if the rows of edges do not keep the schema of a graph.

    Args:
        rows: values of the columns ``names``.
        names: of columns of the table of edges.
        depth: position of each node's layer, in the order of the nodes' ids.
        first: id of the first of these edges.
    """
    of = dict(zip(names, zip(*rows, strict=True), strict=True))
    for name, values in of.items():
        check_column(EDGES.c[name], values)
    check_ids("edges", of["id"], first)
    ends = np.array((of["upper_id"], of["lower_id"]), np.int64)
    if (outside := (ends < 1) | (ends > depth.size)).any():
        which = int(ends[outside][0])
        raise damaged("edges", f"ends among the nodes 1..{depth.size}", which)
    upper, lower = depth[ends - 1]
    if (wrong := lower != upper + 1).any():
        pair = ends[:, wrong][:, 0].tolist()
        raise damaged("edges", "an upper node and one of the next layer below", pair)


def check_layers(layers: Sequence[Layer]) -> None:
    """Raise StoreError if a layer has no cells or channels."""
    for layer in layers:
        extent = (layer.channels, layer.height, layer.width)
        if min(extent) < 1:
            raise damaged(f"layers.{layer.name}", "channels, height and width of 1 or more", extent)


def is_plain(value: Any) -> bool:
    """Whether JSON can hold it: finite, of 64 bits, text that can be written, not too deep.

    >>> is_plain({"layers": ["conv", 1.5, None]}), is_plain([float("nan")]), is_plain(chr(0xD800))
    (True, False, False)
    """
    level = [value]
    # A level at a time, for a recursive walk would itself end in a RecursionError.
    for _ in range(_DEEPEST):
        following: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                following += one.keys()
                following += one.values()
            elif isinstance(one, list):
                following += one
            elif not _is_leaf(one):
                return False
        if not following:
            return True
        level = following
    return False


def attribute_fault(name: str, value: Any, layers: Sequence[Layer]) -> str | None:
    """What was expected of an attribute of the graph, or None if it is so.

    >>> attribute_fault("n_images", "many", ())
    'a number of images or null'
    """
    if name == "layers":
        return "no attribute of that name"
    if name == "n_images":
        good = value is None or (_is_number(value) and value >= 0)
        return None if good else "a number of images or null"
    if name in ("config", "mining", "lower_bound", "converged"):
        return None if isinstance(value, dict) else "an object"
    if name == "explained":
        channels = {layer.name: layer.channels for layer in layers}
        good = isinstance(value, dict) and all(
            key in channels and _is_account(one, channels[key]) for key, one in value.items()
        )
        return None if good else "an account of each layer, a number per channel"
    if name == "facing":
        return None if value is None or _is_facing(value) else "weights of each layer, or null"
    return None


def is_place(value: Any) -> bool:
    """Whether it is a pair of numbers, as JSON keeps a landmark.

    >>> is_place([1, 2.5]), is_place([1]), is_place("12")
    (True, False, False)
    """
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


def floats_of(blob: bytes, where: str, kind: str) -> NDArray[Any]:
    """The numbers of a blob, if they are whole and finite.

    >>> floats_of(bytes(16), "nodes.loadings", "<f8").tolist()
    [0.0, 0.0]
    """
    size = np.dtype(kind).itemsize
    if len(blob) % size:
        raise damaged(where, f"numbers of {size} bytes", f"{len(blob)} bytes")
    values = np.frombuffer(blob, kind)
    if not np.isfinite(values).all():
        raise damaged(where, "finite numbers", values[~np.isfinite(values)][0].item())
    return values


def _check_loadings(blobs: Sequence[bytes | None]) -> None:
    known = [one for one in blobs if one is not None]
    if odd := [len(one) for one in known if len(one) % 16]:
        raise damaged("nodes.loadings", "pairs of numbers of 8 bytes", f"{odd[0]} bytes")
    floats_of(b"".join(known), "nodes.loadings", "<f8")


def _are_integers(values: Sequence[Any]) -> bool:
    try:
        array("q", values)
    except (TypeError, OverflowError):
        return False
    return True


def _are_numbers(values: Sequence[Any], *, endless: bool) -> bool:
    try:
        numbers = np.frombuffer(array("d", values)) if values else np.zeros(0)
    except (TypeError, OverflowError):
        return False
    return not np.isnan(numbers).any() if endless else bool(np.isfinite(numbers).all())


def _types(kind: Any) -> tuple[set[type], str]:
    if isinstance(kind, Boolean):
        return {bool}, "true or false"
    # Some drivers hand on blobs as views of their own memory.
    return ({bytes, memoryview}, "bytes") if isinstance(kind, LargeBinary) else ({str}, "text")


def _fits(column: Any, value: Any) -> bool:
    try:
        check_column(column, [value])
    except StoreError:
        return False
    return True


def _is_leaf(value: Any) -> bool:
    if isinstance(value, str):
        # The rest of a path that is no UTF-8 may stay: it is the path of a file that is there.
        return value.isascii() or _is_text(value)
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, int):
        return _INTEGERS[0] <= value <= _INTEGERS[1]
    return value is None


def _is_text(value: str) -> bool:
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_account(value: Any, channels: int) -> bool:
    keys = {"mass", "part", "texture", "nothing", "patterns"}
    return (
        isinstance(value, dict)
        # What chance explains is not known of older graphs.
        and value.keys() in (keys, keys | {"chance", "repeats"})
        and all(isinstance(one, list) and len(one) == channels for one in value.values())
        and all(_is_number(x) for one in value.values() for x in one)
    )


def _is_facing(value: Mapping[str, Any]) -> bool:
    rule, spread = {"flipped", "weight"}, {"unit", "views"}
    # Older versions knew no sureness.
    if not isinstance(value, dict) or value.keys() not in (rule, rule | spread):
        return False
    weights = value["weight"]
    return (
        isinstance(value["flipped"], bool)
        and _is_spread(value.get("unit", {}), value.get("views", {}))
        and isinstance(weights, dict)
        and all(isinstance(one, list) and _is_matrix(one) for one in weights.values())
    )


def _is_spread(unit: Any, views: Any) -> bool:
    return (
        isinstance(unit, dict)
        and isinstance(views, dict)
        and all(isinstance(one, list) and all(map(_is_number, one)) for one in unit.values())
        and all(x > 0 for one in unit.values() for x in one)
        and all(map(_is_number, views.values()))
    )


def _is_matrix(rows: list[Any]) -> bool:
    if not all(isinstance(row, list) and all(map(_is_number, row)) for row in rows):
        return False
    return all(len(one) == len(other) for one, other in pairwise(rows))
