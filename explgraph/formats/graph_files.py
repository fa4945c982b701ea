"""A graph as a file of another program: which formats there are, and the one that writes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from explgraph.errors import GraphError, UsageError
from explgraph.files import check_place, whole_file
from explgraph.formats.dot import dot_lines
from explgraph.formats.gexf import gexf_lines
from explgraph.formats.graphml import graphml_lines
from explgraph.formats.json import cytoscape_lines, node_link_lines
from explgraph.formats.parquet import edges_file, write_edges, write_nodes
from explgraph.graph import NODE_ATTRIBUTES, ExplanatoryGraph, Layer

FORMATS: dict[str, tuple[str, ...]] = {  # name -> suffixes that mean it
    "gexf": (".gexf",),
    "graphml": (".graphml",),
    "cytoscape": (".cyjs",),
    "node-link": (".json",),
    "dot": (".dot", ".gv"),
    "parquet": (".parquet",),
}
# Attributes of the graph that are long and of no use to other programs.
INTERNAL = ("facing", "explained")
_LINES: dict[str, Callable[[ExplanatoryGraph, str], Iterator[str]]] = {
    "gexf": gexf_lines,
    "graphml": graphml_lines,
    "cytoscape": cytoscape_lines,
    "node-link": node_link_lines,
    "dot": dot_lines,
}


def export_graph(
    graph: ExplanatoryGraph,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    folders: bool = False,
) -> Path:
    """The path of the written file, which is whole or not there.

    An older file of that name is replaced. ``parquet`` writes two files, the nodes to ``path`` and
    the edges to ``edges_file(path)``. docs/export.md says what each format holds.

    Args:
        graph: left as it is.
        path: in an existing folder.
        format: a name in FORMATS; None goes by the suffix.
        folders: keep the folders of the files that ``graph.config`` names (photographs, weights).
            Where they lay on the maker's disk is nobody's business: else only names are written.

    Raises:
        UsageError: see `graph_format`.
        GraphError: the graph violates its schema, or holds text or attributes that no file can.
        ExplgraphError: writing failed (no permission, disk full).

    >>> export_graph(graph, out / "fox.graphml").name
    'fox.graphml'
    """
    path, format = Path(path), graph_format(path, format)
    # Before any file is begun, so that no file holds NaN.
    _check_text(graph.check())
    attributes = _attributes(graph, folders=folders)
    if format == "parquet":
        # The edges get their name first, ``path`` last.
        with whole_file(path) as nodes:
            write_nodes(graph, attributes, nodes)
            with whole_file(edges_file(path)) as edges:
                write_edges(graph, attributes, edges)
    else:
        # One newline on every system, so that a graph gives the same bytes everywhere.
        with whole_file(path) as whole, whole.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(_LINES[format](graph, attributes))
    return path


def graph_format(path: str | os.PathLike[str], format: str | None = None) -> str:
    """The format to write, by name or by the suffix of the file.

    Raises:
        UsageError: unknown format or suffix, or there can be no file at ``path``.

    >>> graph_format(out / "fox.cyjs"), graph_format(out / "fox.txt", "dot")
    ('cytoscape', 'dot')
    """
    path = check_place(path)
    suffix = path.suffix.lower()
    by_suffix = (name for name, suffixes in FORMATS.items() if suffix in suffixes)
    chosen = format or next(by_suffix, None)
    if chosen is None:
        known = ", ".join(f"{'/'.join(suffixes)} ({name})" for name, suffixes in FORMATS.items())
        raise UsageError(
            f"the suffix of '{path}' tells no format; expected {known}, or name the format"
        )
    if chosen not in FORMATS:
        raise UsageError(f"unknown format {chosen!r}; the formats are {', '.join(FORMATS)}")
    # Both places before anything is written: half a graph would be worse than none.
    if chosen == "parquet":
        check_place(edges_file(path))
    return chosen


def _check_text(graph: ExplanatoryGraph) -> None:
    """Refuse text that XML cannot hold: control characters, halves of surrogate pairs."""
    keys = [key for key, kind in NODE_ATTRIBUTES.items() if kind is str]
    # A set: thousands of nodes have the names of a few layers.
    for text in {value for key in keys for _, value in graph.nodes(data=key)}:
        if not text.isprintable():
            raise GraphError(
                f"cannot export the name {text!r}: expected printable characters only; rename it "
                "in the network"
            )


def _attributes(graph: ExplanatoryGraph, *, folders: bool) -> str:
    """The graph's own attributes (layers, n_images, config) as one line of ASCII JSON."""
    kept = {key: value for key, value in graph.graph.items() if key not in INTERNAL}
    if "config" in kept and not folders:
        kept["config"] = _without_folders(kept["config"])
    try:
        # JSON has no NaN; Python's would be refused by other readers.
        return json.dumps(kept, default=_plain, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise GraphError(
            "graph.graph must hold finite numbers, text, lists and dictionaries to be exported: "
            f"{error}"
        ) from error


def _without_folders(value: Any) -> Any:
    """Plain values in which an absolute path is only its last name."""
    if isinstance(value, dict):
        return {key: _without_folders(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_folders(item) for item in value]
    if isinstance(value, str):
        # The graph may have been mined on another system.
        for path in (PurePosixPath(value), PureWindowsPath(value)):
            if path.is_absolute():
                return path.name
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):  # without what only a network knows of it
        return value.to_dict()
    raise TypeError(f"got {type(value).__name__} {value!r}")
