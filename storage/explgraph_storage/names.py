"""What people call nodes and filters, kept while the node is still the same; and repairs.

A graph mined anew numbers its nodes anew. A name then goes to the node of the same filter that is
the same pattern, or it is dropped and told of. Never does it go to another pattern. The same is:

* the weights of the network have not changed;
* the Bhattacharyya overlap of the two places is above 0.95: two nodes of one channel that lie so
  count as one when a graph is mined, too (`explgraph.mining.prune`);
* of the photographs that both find best there are some in common, and the median distance of the
  two places there is at most one deviation.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from explgraph.errors import GraphError, StoreError
from explgraph_storage.checks import damaged, read_rows
from explgraph_storage.database import Database
from explgraph_storage.migrations import FIRST_WITH_NAMES, find_version, now
from explgraph_storage.records import NameRecord, RepairRecord
from explgraph_storage.schema import (
    IMAGES,
    LAYERS,
    NAMES,
    NODES,
    OBJECTS,
    REPAIRS,
    RUNS,
    TOP_PLACES,
)

SAME = 0.95  # overlap from which on two nodes are one [explgraph.mining.prune]
LONGEST = 80  # characters of a name: it stands in figures and tables

Place = tuple[str, float, float, float]  # photograph, x, y, side of the box


class Names(Database):
    """What a `Store` knows of names and repairs."""

    def write_names(self, names: Mapping[str, str], *, origin: str = "hand") -> None:
        """Name nodes (LAYER:CHANNEL:INDEX) and filters (LAYER:CHANNEL), all or none.

        Args:
            names: target -> name; a former name of the target is replaced.
            origin: where they come from: "hand", or a semantic part.

        Raises:
            GraphError: there is no such node or filter.
            StoreError: a name is empty, longer than 80 characters, or not on one line.
        """
        for name in names.values():
            if not name.strip() or len(name) > LONGEST or not name.isprintable():
                raise StoreError(
                    f"a name needs 1 to {LONGEST} printable characters on one line, got {name!r}"
                )
        with self._writing() as connection:
            weights = _weights(connection)
            rows = []
            for target, name in names.items():
                known = _signature(connection, target) | {"weights_sha256": weights}
                own = {"target": target, "name": name.strip(), "origin": origin}
                rows.append(own | known | {"given_at": now()})
            _forget(connection, list(names))
            if rows:
                connection.execute(insert(NAMES), rows)

    def read_names(self) -> tuple[NameRecord, ...]:
        """Return the names, by target; none of a database that an older explgraph wrote."""
        with self._reading() as connection:
            return names_of(connection)

    def remove_names(self, targets: Collection[str]) -> int:
        """Remove the names of these targets; how many there were."""
        with self._writing() as connection:
            return _forget(connection, targets)

    def add_repair(self, repair: RepairRecord) -> int:
        """Enter a repair and return its number."""
        row = {key: value for key, value in asdict(repair).items() if key != "id"}
        with self._writing() as connection:
            key = connection.execute(
                insert(REPAIRS).values(row | {"made_at": repair.made_at or now()})
            ).inserted_primary_key
        assert key is not None
        return int(key[0])

    def read_repairs(self) -> tuple[RepairRecord, ...]:
        """Return the repairs, oldest first."""
        with self._reading() as connection:
            if find_version(connection) < FIRST_WITH_NAMES:
                return ()
            rows = read_rows(connection, select(REPAIRS).order_by(REPAIRS.c.id))
        for row in rows:
            if not isinstance(row.config, dict) or not isinstance(row.figures, dict):
                raise damaged(f"repairs of {row.id}", "objects", (row.config, row.figures))
        return tuple(RepairRecord(**row._asdict()) for row in rows)

    def remove_repair(self, number: int) -> bool:
        """Remove a repair; whether there was one."""
        with self._writing() as connection:
            gone = delete(REPAIRS).where(REPAIRS.c.id == number)
            return bool(connection.execute(gone).rowcount)


def names_of(connection: Connection) -> tuple[NameRecord, ...]:
    """The names, by target, within the caller's transaction."""
    if find_version(connection) < FIRST_WITH_NAMES:
        return ()
    c = NAMES.c
    query = select(c.target, c.name, c.origin, c.given_at).order_by(c.target)
    return tuple(NameRecord(**row._asdict()) for row in read_rows(connection, query))


def settle_names(connection: Connection) -> tuple[NameRecord, ...]:
    """Give the names to the nodes of the graph that was just stored.

    Returns:
        The names that were dropped, since their nodes are no longer there.
    """
    known, weights = names_of(connection), _weights(connection)
    if not known:
        return ()
    rows = {row.target: row for row in read_rows(connection, select(NAMES))}
    moved: dict[str, dict[str, Any]] = {}
    dropped = []
    for one in known:
        row = rows[one.target]
        target = _found_again(connection, row) if row.weights_sha256 == weights else None
        if target is None or target in moved:
            dropped.append(one)
        else:
            signature = _signature(connection, target)
            moved[target] = row._asdict() | {"target": target} | signature
    connection.execute(delete(NAMES))
    if moved:
        connection.execute(insert(NAMES), list(moved.values()))
    return tuple(dropped)


def _forget(connection: Connection, targets: Collection[str]) -> int:
    # One by one: a statement takes a limited number of values, and a graph has more nodes.
    gone = (delete(NAMES).where(NAMES.c.target == one) for one in targets)
    return sum(int(connection.execute(one).rowcount) for one in gone)


def _weights(connection: Connection) -> str | None:
    """The sha256 of the network's weights, as the last mining run says."""
    query = select(RUNS.c.weights_sha256).where(RUNS.c.command == "mine").order_by(RUNS.c.id.desc())
    found: str | None = connection.scalar(query.limit(1))
    return found


def _signature(connection: Connection, target: str) -> dict[str, Any]:
    """By what a node is known again; of a filter nothing is needed.

    Raises:
        GraphError: there is no such node or filter.
    """
    node = connection.execute(select(NODES).where(NODES.c.name == target)).one_or_none()
    if node is not None:
        own = {"row": node.row, "col": node.col, "std": node.std}
        return own | {"places": [list(place) for place in _places(connection, node.id)]}
    layer, _, channel = target.rpartition(":")
    channels = connection.scalar(select(LAYERS.c.channels).where(LAYERS.c.name == layer))
    if channels is None or not channel.isdecimal() or not int(channel) < channels:
        raise GraphError(
            f"{target!r} is neither a node (LAYER:CHANNEL:INDEX) nor a filter (LAYER:CHANNEL) of "
            "the graph; 'explgraph show' lists them"
        )
    return dict.fromkeys(("row", "col", "std", "places"))


def _places(connection: Connection, node: int) -> list[Place]:
    """Where a node is on its best objects; a photograph's name outlives the number of an object."""
    c, box = TOP_PLACES.c, OBJECTS.c
    query = select(IMAGES.c.path, c.x, c.y, box.width, box.height)
    query = query.join_from(TOP_PLACES, OBJECTS, c.object_id == box.id)
    query = query.join(IMAGES, box.image_id == IMAGES.c.id).where(c.node_id == node)
    rows = connection.execute(query.order_by(c.rank))
    return [(path, x, y, math.sqrt(width * height)) for path, x, y, width, height in rows]


def _found_again(connection: Connection, row: Any) -> str | None:
    """The id under which a named node or filter is in the graph now, None if it is not."""
    if row.places is None:
        try:
            _signature(connection, row.target)
        except GraphError:
            return None
        return str(row.target)
    layer, channel, _ = row.target.rsplit(":", 2)
    which = (NODES.c.layer == layer) & (NODES.c.channel == int(channel))
    rivals = connection.execute(select(NODES).where(which)).all()
    best = max(rivals, key=lambda one: _overlap(row, one), default=None)
    if best is None or _overlap(row, best) < SAME:
        return None
    apart = _apart(row.places, _places(connection, best.id))
    return str(best.name) if apart <= max(row.std, best.std) else None


def _overlap(one: Any, other: Any) -> float:
    """Bhattacharyya's coefficient of two round Gaussians in the plane, 0..1."""
    total = one.std**2 + other.std**2
    distance = (one.row - other.row) ** 2 + (one.col - other.col) ** 2
    return float(2 * one.std * other.std / total * math.exp(-distance / (4 * total)))


def _apart(kept: Sequence[Sequence[Any]], found: Sequence[Place]) -> float:
    """The median distance on the photographs in common, shares of the box; infinite without any."""
    at = {path: (x, y, side) for path, x, y, side in found}
    distances = sorted(
        math.dist((x, y), at[path][:2]) / at[path][2] for path, x, y, _ in kept if path in at
    )
    return distances[len(distances) // 2] if distances else math.inf
