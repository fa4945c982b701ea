"""Writes a graph into its tables and reads it back, whole or node by node."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Table, delete, insert, select

from explgraph.errors import GraphError, StoreError
from explgraph.graph import EDGE_ATTRIBUTES, ExplanatoryGraph
from explgraph_storage import graph_rows as rows_of
from explgraph_storage.part_tables import forget_templates
from explgraph_storage.records import NodeRecord, Relation, TopPlace, TopPlaces
from explgraph_storage.schema import (
    Edge,
    GraphAttribute,
    Image,
    Layer,
    Node,
    Object,
    TopPlaceRow,
    table_of,
)
from explgraph_storage.source import require_objects, write_facings

_ATTRIBUTES, _LAYERS, _NODES = table_of(GraphAttribute), table_of(Layer), table_of(Node)
_EDGES, _PLACES, _OBJECTS, _IMAGES = (
    table_of(Edge),
    table_of(TopPlaceRow),
    table_of(Object),
    table_of(Image),
)
_BATCH = 20_000  # rows per statement: bounds the memory, larger ones are no faster


def has_graph(connection: Connection) -> bool:
    """Return whether a graph is stored."""
    return connection.scalar(select(_LAYERS.c.position).limit(1)) is not None


def write_graph(
    connection: Connection,
    graph: ExplanatoryGraph,
    top_places: TopPlaces | None,
    facings: Mapping[int, bool],
    unit_std: Mapping[str, NDArray[np.float32]],
) -> None:
    """Put a graph in the place of the stored one, within the caller's transaction.

    Raises:
        GraphError: the graph violates its schema.
        StoreError: places or facings of unknown objects, deviations that fit no layer.
    """
    with _without_collector():
        attributes = rows_of.graph_attributes(graph.check())
        layers = _layer_rows(graph, unit_std)
        _delete_graph(connection)
        connection.execute(insert(_LAYERS), layers)
        if attributes:
            connection.execute(
                insert(_ATTRIBUTES),
                [{"name": name, "value": value} for name, value in attributes.items()],
            )
        write_facings(connection, facings)
        _insert_bulk(connection, _NODES, rows_of.NODE_COLUMNS, rows_of.node_rows(graph))
        _insert_bulk(connection, _EDGES, rows_of.EDGE_COLUMNS, rows_of.edge_rows(graph))
        if top_places is not None:
            require_objects(connection, set(np.unique(top_places.object).tolist()), "top places")
            places = rows_of.place_rows(top_places, graph.number_of_nodes())
            _insert_bulk(connection, _PLACES, rows_of.PLACE_COLUMNS, places)
        _index(connection)


def read_graph(connection: Connection) -> ExplanatoryGraph:
    """Return the stored graph, equal to the saved one in every order and bit.

    Raises:
        StoreError: no graph is stored.
    """
    _require_graph(connection)
    found = connection.execute(select(_LAYERS).order_by(_LAYERS.c.position))
    layers = tuple(rows_of.layer_of(row._asdict()) for row in found)
    attributes = {
        row.name: row.value
        for row in connection.execute(select(_ATTRIBUTES).order_by(_ATTRIBUTES.c.name))
    }
    with _without_collector():
        nodes = _stream(connection, _NODES, rows_of.NODE_COLUMNS)
        edges = _stream(connection, _EDGES, rows_of.EDGE_COLUMNS)
        return rows_of.fill_graph(layers, attributes, nodes, edges)


def read_unit_std(connection: Connection) -> dict[str, NDArray[np.float32]]:
    """Return the stored per-unit deviations of the layers that have them, top layer first."""
    query = select(_LAYERS.c.name, _LAYERS.c.unit_std, _LAYERS.c.unit_std_shape).where(
        _LAYERS.c.unit_std.is_not(None)
    )
    rows = connection.execute(query.order_by(_LAYERS.c.position))
    return {row.name: rows_of.deviations_of(row.unit_std, row.unit_std_shape) for row in rows}


def read_node(connection: Connection, name: str) -> NodeRecord:
    """Return one node with its parents, children and top places.

    Raises:
        GraphError: no node of that name.
        StoreError: no graph is stored.
    """
    _require_graph(connection)
    found = _read_nodes(connection, _NODES.c.name == name)
    if not found:
        first = connection.scalar(select(_NODES.c.name).order_by(_NODES.c.id).limit(1))
        raise GraphError(
            f"node {name!r} is not in the graph; expected layer:channel:index, for instance {first}"
        )
    return found[0]


def read_channel(connection: Connection, layer: str, channel: int) -> tuple[NodeRecord, ...]:
    """Return the nodes of one channel by index; none if all of them were pruned.

    Raises:
        GraphError: no such layer or channel.
        StoreError: no graph is stored.
    """
    _require_graph(connection)
    rows = connection.execute(
        select(_LAYERS.c.name, _LAYERS.c.channels).order_by(_LAYERS.c.position)
    )
    channels = {row.name: row.channels for row in rows}
    if layer not in channels:
        raise GraphError(f"layer {layer!r} is not in the graph; it has {', '.join(channels)}")
    if not 0 <= channel < channels[layer]:
        raise GraphError(f"layer {layer} has the channels 0..{channels[layer] - 1}, got {channel}")
    return _read_nodes(connection, (_NODES.c.layer == layer) & (_NODES.c.channel == channel))


def _require_graph(connection: Connection) -> None:
    if not has_graph(connection):
        raise StoreError(
            "expected a mined graph, got a database without one; run 'explgraph mine' to its end first"
        )


def _layer_rows(
    graph: ExplanatoryGraph, unit_std: Mapping[str, NDArray[np.float32]]
) -> list[dict[str, Any]]:
    for name in unit_std:
        graph.layer(name)
    rows = []
    for position, layer in enumerate(graph.layers):
        deviations = (
            rows_of.deviation_columns(layer, unit_std[layer.name]) if layer.name in unit_std else {}
        )
        rows.append(
            {
                "unit_std": None,
                "unit_std_shape": None,
                **rows_of.layer_row(layer, position),
                **deviations,
            }
        )
    return rows


def _delete_graph(connection: Connection) -> None:
    """Empty the tables and drop the indexes: deleting and inserting without them, `_index` at the end, is twice as fast."""
    forget_templates(connection)
    for table in (
        _PLACES,
        _EDGES,
        _NODES,
        _LAYERS,
        _ATTRIBUTES,
    ):  # who refers comes before what is referred to
        for index in table.indexes:
            index.drop(connection)
        connection.execute(delete(table))


def _index(connection: Connection) -> None:
    for table in (_NODES, _EDGES, _PLACES):
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            index.create(connection)


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
            connection.execute(
                insert(table), [dict(zip(columns, row, strict=True)) for row in batch]
            )


def _stream(
    connection: Connection, table: Table, columns: tuple[str, ...]
) -> Iterator[tuple[Any, ...]]:
    """Yield plain tuples as the driver gives them: half the time of SQLAlchemy's rows."""
    result = connection.execute(select(*(table.c[name] for name in columns)).order_by(table.c.id))
    yield from iter(result.cursor.fetchone, None)
    result.close()


def _read_nodes(connection: Connection, which: ColumnElement[bool]) -> tuple[NodeRecord, ...]:
    query = (
        select(*(_NODES.c[name] for name in rows_of.NODE_COLUMNS))
        .where(which)
        .order_by(_NODES.c.index)
    )
    nodes = connection.execute(query).all()
    ids = [row.id for row in nodes]
    parents = _relations(connection, _EDGES.c.lower_id, _EDGES.c.upper_id, ids)
    children = _relations(connection, _EDGES.c.upper_id, _EDGES.c.lower_id, ids)
    places = _top_places(connection, ids)
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
    connection: Connection, own: ColumnElement[int], other: ColumnElement[int], ids: list[int]
) -> defaultdict[int, list[Relation]]:
    columns = (_EDGES.c[name] for name in EDGE_ATTRIBUTES)
    query = select(own, _NODES.c.name, *columns).join_from(_EDGES, _NODES, other == _NODES.c.id)
    related: defaultdict[int, list[Relation]] = defaultdict(list)
    for row in connection.execute(
        query.where(own.in_(ids)).order_by(_EDGES.c.weight.desc(), _EDGES.c.id)
    ):
        related[row[0]].append(Relation(row[1], dict(zip(EDGE_ATTRIBUTES, row[2:], strict=True))))
    return related


def _top_places(connection: Connection, ids: list[int]) -> defaultdict[int, list[TopPlace]]:
    query = select(
        _PLACES.c.node_id,
        _PLACES.c.object_id,
        _IMAGES.c.path,
        _PLACES.c.x,
        _PLACES.c.y,
        _PLACES.c.score,
    )
    query = query.join_from(_PLACES, _OBJECTS, _PLACES.c.object_id == _OBJECTS.c.id)
    query = query.join(_IMAGES, _OBJECTS.c.image_id == _IMAGES.c.id)
    places: defaultdict[int, list[TopPlace]] = defaultdict(list)
    for row in connection.execute(
        query.where(_PLACES.c.node_id.in_(ids)).order_by(_PLACES.c.node_id, _PLACES.c.rank)
    ):
        places[row[0]].append(TopPlace(*row[1:]))
    return places


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the cyclic garbage collector: it would search the growing graph again and again (a third of the loading time)."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
