"""`name`: what people call nodes and filters, stored in the workspace and used in every answer."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from explgraph.errors import SourceError, UsageError
from explgraph.images import AnyPath
from explgraph.queries.part_records import part_of_nodes, read_part
from explgraph.queries.result import Record, Result
from explgraph.workspace import Workspace, open_database

COLUMNS = ("target", "name")  # of a CSV file; others are passed over


@dataclass(frozen=True)
class NameList(Result):
    """The names of a workspace's nodes and filters.

    Args:
        names: of each its target, name, origin ("hand", or the part), and when it was given.
    """

    workspace: str
    names: tuple[Record, ...]


def list_names(workspace: Workspace) -> NameList:
    """The names that were given, by target.

    >>> list_names(workspace).names
    ()
    """
    names = tuple(asdict(one) for one in workspace.store.read_names())
    return NameList(str(workspace.folder), names)


def name_nodes(folder: AnyPath, names: Mapping[str, str], *, db: str | None = None) -> None:
    """Name nodes and filters; a former name of the same target is replaced.

    Args:
        folder: the workspace.
        names: id of a node (LAYER:CHANNEL:INDEX), or a filter (LAYER:CHANNEL) -> its name.
        db: SQLAlchemy URL of the tables.

    Raises:
        GraphError: there is no such node or filter; then none is named.
        StoreError: a name is empty, too long, or not on one line.

    >>> name_nodes(folder, {"features.14:0": "ear"})
    >>> with Workspace(folder) as workspace:
    ...     workspace.graph.called("features.14:0:0")
    'ear'
    """
    with open_database(Path(folder), db, mode="write") as store:
        store.write_names(names)


def name_from_part(folder: AnyPath, part: str, *, db: str | None = None) -> tuple[str, ...]:
    """Name the nodes that a semantic part rests on after it; the nodes named.

    They are those that vote for it and lie nearest to it (`part_of_nodes`). Names that were given
    by hand stay.

    Raises:
        UsageError: there is no such part, or no node lies on it.

    >>> len(name_from_part(folder, "head")) > 10
    True
    """
    with Workspace(Path(folder), db=db) as workspace:
        read_part(workspace, part)
        by_hand = {one.target for one in workspace.store.read_names() if one.origin == "hand"}
        on_part = (node for node, name in part_of_nodes(workspace).items() if name == part)
        nodes = tuple(node for node in on_part if node not in by_hand)
    if not nodes:
        raise UsageError(
            f"part {part!r} rests on no node that has no name yet; where the graph was mined anew "
            f"since it was fitted: explgraph part fit {folder} --name {part}"
        )
    with open_database(Path(folder), db, mode="write") as store:
        store.write_names(dict.fromkeys(nodes, part), origin=f"part {part}")
    return nodes


def forget_names(folder: AnyPath, targets: Collection[str], *, db: str | None = None) -> None:
    """Remove the names of these nodes and filters.

    Raises:
        UsageError: one of them has no name; then none is removed.

    >>> name_nodes(folder, {"features.14:0": "ear"})
    >>> forget_names(folder, ["features.14:0"])
    """
    with open_database(Path(folder), db, mode="write") as store:
        known = {one.target for one in store.read_names()}
        for target in targets:
            if target not in known:
                raise UsageError(
                    f"{target!r} has no name; it has: {', '.join(sorted(known)) or 'none'}"
                )
        store.remove_names(targets)


def read_names(path: AnyPath) -> dict[str, str]:
    """Target -> name, from a CSV file with the columns ``target`` and ``name``.

    Raises:
        SourceError: the file cannot be read, has no such columns, or names a target twice.

    >>> _ = (out / "names.csv").write_text("target,name\\nfeatures.14:0,ear\\n")
    >>> read_names(out / "names.csv")
    {'features.14:0': 'ear'}
    """
    names: dict[str, str] = {}
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:  # also of a spreadsheet
            for row in csv.DictReader(file, strict=True):
                target, name = (row[key] for key in COLUMNS)
                if target is None or name is None or names.get(target, name) != name:
                    raise ValueError(f"expected one name for each target, got {row}")
                names[target] = name
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise SourceError(
            f"{path}: expected CSV with the columns {','.join(COLUMNS)} ({error!r:.200})"
        ) from error
    if not names:
        raise SourceError(f"{path} names nothing; expected a row of {','.join(COLUMNS)} for each")
    return names
