"""The graph in its tables, read back whole or node by node."""

from __future__ import annotations

import gc
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Table,
    Text,
    cast,
    delete,
    insert,
    select,
)

from explgraph.errors import GraphError, StoreError
from explgraph.graph import CO_FIRING, EDGE_ATTRIBUTES, ExplanatoryGraph, Layer
from explgraph_storage import graph_rows as rows_of
from explgraph_storage.checks import (
    attribute_fault,
    check_ids,
    check_layers,
    check_nodes,
    damaged,
    read_rows,
)
from explgraph_storage.database import Database
from explgraph_storage.ledger import enter_files, files_of
from explgraph_storage.migrations import FIRST_WITH_CO_FIRING, find_version
from explgraph_storage.names import names_of, settle_names
from explgraph_storage.records import (
    FileRecord,
    NameRecord,
    NodeRecord,
    Relation,
    TopPlace,
    TopPlaces,
)
from explgraph_storage.schema import (
    EDGES,
    GRAPH_ATTRIBUTES,
    IMAGES,
    LAYERS,
    NODES,
    OBJECTS,
    PART_TEMPLATES,
    PART_VOTES,
    TOP_PLACES,
)
from explgraph_storage.sources import require_objects, write_facings

_RANKED = ("node_id", "rank", "score")
GRAPH = "graph"  # role of the digest among the files
_DIGESTED = (LAYERS, GRAPH_ATTRIBUTES, NODES, EDGES, TOP_PLACES)
_BATCH = 20_000  # rows per statement: bounds the memory, larger ones are no faster


class Graphs(Database):
    """What a `Store` knows of the graph."""

    def has_graph(self) -> bool:
        """Return whether a graph is stored."""
        with self._reading() as connection:
            return _has_graph(connection)

    def save_graph(
        self,
        graph: ExplanatoryGraph,
        *,
        top_places: TopPlaces | None = None,
        facings: Mapping[int, bool] | None = None,
        unit_std: Mapping[str, NDArray[np.float32]] | None = None,
        locations: Sequence[FileRecord] = (),
    ) -> tuple[NameRecord, ...]:
        """Put a graph and all that belongs to it in place of the stored one, in one transaction.

        Args:
            graph: it is checked first.
            top_places: the best objects of each node.
            facings: object id -> mirrored; every other object's facing is unknown afterwards.
            unit_std: layer -> deviations of its units, float32 (channels, height, width) or
                (channels, 1, 1).
            locations: the files of its locations; none are known afterwards without them.

        Returns:
            The names of nodes that are no longer there (`explgraph_storage.names`).

        Raises:
            GraphError: the graph violates its schema.
            StoreError: an object or layer is unknown, or a shape does not fit.
        """
        deviations = unit_std or {}
        with self._writing() as connection, _without_collector():
            # What is refused here costs no deleting; what is refused further down is undone.
            attributes = rows_of.graph_attributes(graph.check())
            # Raises where there is no such layer; `layer_row` would pass it over in silence.
            for name in deviations:
                graph.layer(name)
            layers = [
                rows_of.layer_row(layer, position, deviations.get(layer.name))
                for position, layer in enumerate(graph.layers)
            ]
            _delete_graph(connection)
            connection.execute(insert(LAYERS), layers)
            if attributes:
                named = [{"name": name, "value": value} for name, value in attributes.items()]
                connection.execute(insert(GRAPH_ATTRIBUTES), named)
            write_facings(connection, facings or {})
            # In this transaction: locations of a former graph are then not taken for this one's.
            enter_files(connection, "locations", locations)
            _insert_bulk(connection, NODES, rows_of.NODE_COLUMNS, rows_of.node_rows(graph))
            _insert_bulk(connection, EDGES, rows_of.EDGE_COLUMNS, rows_of.edge_rows(graph))
            if top_places is not None:
                require_objects(connection, np.unique(top_places.object).tolist(), "top places")
                places = rows_of.place_rows(top_places, graph.number_of_nodes())
                _insert_bulk(connection, TOP_PLACES, rows_of.PLACE_COLUMNS, places)
            enter_files(connection, GRAPH, [_digest(connection)])
            for table in (NODES, EDGES, TOP_PLACES):
                # `indexes` is a set. Sorted, two saves of one graph give the same schema in the
                # same order.
                for index in sorted(table.indexes, key=lambda index: str(index.name)):
                    index.create(connection)
            return settle_names(connection)

    def load_graph(self) -> ExplanatoryGraph:
        """Return the stored graph: nodes, edges, their order and every attribute as saved.

        Raises:
            StoreError: no graph is stored, or what is stored is damaged.
        """
        with self._reading() as connection:
            _require_graph(connection)
            layers = _read_layers(connection)
            attributes = _read_attributes(connection, layers)
            with _without_collector():
                nodes = [row for rows in _stream(connection, NODES) for row in rows]
                graph = rows_of.fill_graph(layers, attributes, nodes, _stream(connection, EDGES))
            graph.names = {one.target: one.name for one in names_of(connection)}
            return graph

    def check_digest(self) -> bool:
        """Return whether a digest of the graph's tables was kept, if they are as it says.

        Layers with their deviations, nodes, edges, places and attributes: also a number that became
        another number is seen. It takes as long as to read them.

        Raises:
            StoreError: they are not.
        """
        with self._reading() as connection:
            kept = files_of(connection, GRAPH)
            if kept and kept[0] != _digest(connection):
                tables = ", ".join(table.name for table in _DIGESTED)
                raise damaged(tables, "what was mined", "other values")
        return bool(kept)

    def keep_digest(self) -> None:
        """Enter the digest of a graph that an older version stored."""
        with self._writing() as connection:
            enter_files(connection, GRAPH, [_digest(connection)])

    def load_unit_std(self) -> dict[str, NDArray[np.float32]]:
        """Return layer -> deviations of its units, for the layers that have them."""
        known = select(LAYERS).where(LAYERS.c.unit_std.is_not(None)).order_by(LAYERS.c.position)
        with self._reading() as connection:
            rows = read_rows(connection, known)
        layers = [rows_of.layer_of(row._asdict()) for row in rows]
        return {
            layer.name: rows_of.deviations_of(layer, row.unit_std, row.unit_std_shape)
            for layer, row in zip(layers, rows, strict=True)
        }

    def check_top_places(self) -> int:
        """Return how many places are stored, if they are such as `save_graph` wrote them.

        Raises:
            StoreError: ranks have a gap, scores rise, or a node or object is not stored.
        """
        with self._reading() as connection:
            order = (TOP_PLACES.c.node_id, TOP_PLACES.c.rank)
            rows = read_rows(connection, select(TOP_PLACES).order_by(*order))
            nodes, objects = (set(connection.scalars(select(t.c.id))) for t in (NODES, OBJECTS))
        if not {row.node_id for row in rows} <= nodes or not {r.object_id for r in rows} <= objects:
            raise damaged("top_places", "nodes and objects that are stored", "others")
        node, rank, score = (np.array([getattr(row, n) for row in rows]) for n in _RANKED)
        follows = np.r_[False, np.diff(node) == 0][: len(node)]
        if (rank != np.where(follows, np.r_[0, rank[:-1]][: len(rank)] + 1, 1)).any():
            raise damaged("top_places.rank", "1, 2, ... for each node", "a gap")
        if (follows & (np.r_[0.0, np.diff(score)][: len(score)] > 0)).any():
            raise damaged("top_places.score", "falling scores", "a rising one")
        return len(rows)

    def read_node(self, name: str) -> NodeRecord:
        """Return one node with its parents, children and top places, in milliseconds.

        Raises:
            GraphError: there is no node of that name.
            StoreError: no graph is stored.
        """
        with self._reading() as connection:
            _require_graph(connection)
            found = _read_nodes(connection, NODES.c.name == name)
            if found:
                return found[0]
            # An id that exists shows how ids look.
            first = connection.scalar(select(NODES.c.name).order_by(NODES.c.id).limit(1))
        raise GraphError(
            f"node {name!r} is not in the graph; expected layer:channel:index, for instance {first}"
        )

    def read_channel(self, layer: str, channel: int) -> tuple[NodeRecord, ...]:
        """Return the nodes of one channel by index; none if all of them were pruned.

        Raises:
            GraphError: there is no such layer or channel.
            StoreError: no graph is stored.
        """
        with self._reading() as connection:
            _require_graph(connection)
            channels = {one.name: one.channels for one in _read_layers(connection)}
            if layer not in channels:
                names = ", ".join(channels)
                raise GraphError(f"layer {layer!r} is not in the graph; it has {names}")
            last = channels[layer] - 1
            if not 0 <= channel <= last:
                raise GraphError(f"layer {layer} has the channels 0..{last}, got {channel}")
            which = (NODES.c.layer == layer) & (NODES.c.channel == channel)
            return _read_nodes(connection, which)


def _digest(connection: Connection) -> FileRecord:
    """What stands for all rows of the graph's tables, as they are read back."""
    digest, n_rows = hashlib.sha256(), 0
    for table in _DIGESTED:
        # As text, whatever a damaged database holds; JSON in the order of its keys.
        columns = [cast(c, Text) if isinstance(c.type, JSON) else c for c in table.c]
        if table is EDGES and not _knows_co_firing(connection):
            columns.remove(EDGES.c.co_firing)  # the digest was made before the column was there
        result = connection.execute(select(*columns).order_by(*table.primary_key))
        while batch := list(result.cursor.fetchmany(_BATCH)):
            digest.update(_bytes_of(batch))
            n_rows += len(batch)
        result.close()
    return FileRecord(GRAPH, GRAPH, n_rows, digest.hexdigest())


def _knows_co_firing(connection: Connection) -> bool:
    # The first edge says it: all of a graph have it, or none.
    last = _edge_columns(connection)[-1]
    return last.name == CO_FIRING and connection.scalar(select(last).limit(1)) is not None


def _bytes_of(rows: list[tuple[Any, ...]]) -> bytes:
    try:
        # Rows of numbers, as most are: ten times as fast as their text.
        return np.array(rows, np.float64).tobytes()
    except (ValueError, TypeError, OverflowError):
        return repr(rows).encode("utf-8", "backslashreplace")


def _has_graph(connection: Connection) -> bool:
    return connection.scalar(select(LAYERS.c.position).limit(1)) is not None


def _require_graph(connection: Connection) -> None:
    if not _has_graph(connection):
        raise StoreError(
            "expected a mined graph, got a database without one; "
            "run 'explgraph mine' to its end first"
        )


def _delete_graph(connection: Connection) -> None:
    """Empty the tables and drop their indexes.

    To delete and insert without indexes and to make them at the end is twice as fast. What was
    fitted on the graph goes with it; annotations stay, so that every part can be fitted again.
    """
    # Who refers comes before what is referred to.
    for table in (PART_VOTES, PART_TEMPLATES):
        connection.execute(delete(table))
    for table in (TOP_PLACES, EDGES, NODES, LAYERS, GRAPH_ATTRIBUTES):
        for index in table.indexes:
            index.drop(connection, checkfirst=True)  # a damaged database may have lost it
        connection.execute(delete(table))


def _insert_bulk(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Iterable[tuple[Any, ...]]
) -> None:
    """Insert many plain tuples."""
    statement = insert(table).compile(dialect=connection.dialect, column_keys=list(columns))
    iterator = iter(rows)
    while batch := list(islice(iterator, _BATCH)):
        if statement.positional:  # 5 times as fast as dicts through Core
            connection.exec_driver_sql(str(statement), batch)
        else:
            named = [dict(zip(columns, row, strict=True)) for row in batch]
            connection.execute(insert(table), named)


def _read_layers(connection: Connection) -> tuple[Layer, ...]:
    rows = read_rows(connection, select(LAYERS).order_by(LAYERS.c.position))
    check_ids("layers", (row.position for row in rows), 0)
    layers = tuple(rows_of.layer_of(row._asdict()) for row in rows)
    check_layers(layers)
    return layers


def _read_attributes(connection: Connection, layers: tuple[Layer, ...]) -> dict[str, Any]:
    query = select(GRAPH_ATTRIBUTES).order_by(GRAPH_ATTRIBUTES.c.name)
    attributes = {row.name: row.value for row in read_rows(connection, query)}
    for name, value in attributes.items():
        if expected := attribute_fault(name, value, layers):
            raise damaged(f"graph_attributes.{name}", expected, value)
    return attributes


def _stream(connection: Connection, table: Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield batches of plain tuples as the driver gives them: half the time of SQLAlchemy's."""
    if table is NODES:
        columns = [NODES.c[name] for name in rows_of.NODE_COLUMNS]
    else:
        columns = [EDGES.c.id, EDGES.c.upper_id, EDGES.c.lower_id, *_edge_columns(connection)]
    result = connection.execute(select(*columns).order_by(table.c.id))
    while batch := list(result.cursor.fetchmany(_BATCH)):
        yield batch
    result.close()


def _edge_columns(connection: Connection) -> list[Column[Any]]:
    """The columns of what an edge says; an older database lacks the last one."""
    known = find_version(connection) >= FIRST_WITH_CO_FIRING
    return [EDGES.c[name] for name in (*EDGE_ATTRIBUTES, *[CO_FIRING] * known)]


def _read_nodes(connection: Connection, which: ColumnElement[bool]) -> tuple[NodeRecord, ...]:
    columns = (NODES.c[name] for name in rows_of.NODE_COLUMNS)
    nodes = read_rows(connection, select(*columns).where(which).order_by(NODES.c.index))
    layers = _read_layers(connection)
    depths = check_nodes(nodes, rows_of.NODE_COLUMNS, layers).tolist()
    # Three queries for all nodes of a channel together, and none for each.
    depth = {row.id: where for row, where in zip(nodes, depths, strict=True)}
    position = {layer.name: i for i, layer in enumerate(layers)}
    above = {key: where - 1 for key, where in depth.items()}
    below = {key: where + 1 for key, where in depth.items()}
    parents = _relations(connection, (EDGES.c.lower_id, EDGES.c.upper_id), above, position)
    children = _relations(connection, (EDGES.c.upper_id, EDGES.c.lower_id), below, position)
    places = _top_places(connection, list(depth))
    return tuple(
        NodeRecord(
            name=row.name,
            attributes=rows_of.node_attributes(row[2:]),
            parents=tuple(parents[row.id]),
            children=tuple(children[row.id]),
            top_places=tuple(places[row.id]),
        )
        for row in nodes
    )


def _relations(
    connection: Connection,
    ends: tuple[Column[int], Column[int]],
    expected: Mapping[int, int],
    position: Mapping[str, int],
) -> defaultdict[int, list[Relation]]:
    """What edges lead from nodes to others.

    Args:
        connection: within a transaction.
        ends: columns of the nodes' own end and of the other one.
        expected: id -> position of the layer in which the others must be.
        position: layer -> its position.
    """
    own, other = ends
    query = select(own, NODES.c.name, NODES.c.layer, *_edge_columns(connection))
    # An outer join: of an edge that leads nowhere the other one would say nothing.
    query = query.join_from(EDGES, NODES, other == NODES.c.id, isouter=True)
    query = query.where(own.in_(expected))
    related: defaultdict[int, list[Relation]] = defaultdict(list)
    # By id where weights are equal: SQL promises no order of its own.
    query = query.order_by(EDGES.c.weight.desc(), EDGES.c.id)
    for key, name, layer, *values in read_rows(connection, query):
        if position.get(layer) != expected[key]:
            raise damaged("edges", "an upper node and one of the next layer below", name)
        related[key].append(Relation(name, rows_of.edge_attributes(values)))
    return related


def _top_places(connection: Connection, ids: list[int]) -> defaultdict[int, list[TopPlace]]:
    c = TOP_PLACES.c
    query = select(c.node_id, c.object_id, IMAGES.c.path, c.x, c.y, c.score)
    query = query.join_from(TOP_PLACES, OBJECTS, c.object_id == OBJECTS.c.id, isouter=True)
    query = query.join(IMAGES, OBJECTS.c.image_id == IMAGES.c.id, isouter=True)
    query = query.where(c.node_id.in_(ids)).order_by(c.node_id, c.rank)
    places: defaultdict[int, list[TopPlace]] = defaultdict(list)
    for key, *place in read_rows(connection, query):
        places[key].append(TopPlace(*place))
    return places


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: it would search the growing graph again and again.

    That took a third of the time to load it (measured).
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # A caller may have switched it off before, and then it stays off.
        if was_enabled:
            gc.enable()
