"""A graph as a file of another program: which formats there are, and how a file comes to be whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from explgraph.errors import ExplgraphError, GraphError, UsageError
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
INTERNAL = (
    "facing",
    "explained",
)  # attributes of the graph that are long and of no use to other programs
_LINES: dict[str, Callable[[ExplanatoryGraph, str], Iterator[str]]] = {
    "gexf": gexf_lines,
    "graphml": graphml_lines,
    "cytoscape": cytoscape_lines,
    "node-link": node_link_lines,
    "dot": dot_lines,
}


def export_graph(
    graph: ExplanatoryGraph, path: str | os.PathLike[str], *, format: str | None = None
) -> Path:
    """Return the path of the written file, which is whole or not there: it gets its name when it is complete.

    An older file of that name is replaced. ``parquet`` writes two files, the nodes to ``path`` and the edges to
    ``edges_file(path)``. docs/export.md says what each format holds.

    Args:
        graph: left as it is.
        path: in an existing folder.
        format: a name in FORMATS; None goes by the suffix.

    Raises:
        UsageError: unknown format or suffix, or no file can be at ``path``.
        GraphError: the graph violates its schema, or holds text or attributes that no file can.
        ExplgraphError: writing failed (no permission, disk full).

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     export_graph(ExplanatoryGraph(), Path(folder) / "zebra.gexf").name
    'zebra.gexf'
    """
    path = Path(path)
    format = _format_of(path) if format is None else _known(format)
    files = (path, edges_file(path)) if format == "parquet" else (path,)
    for file in files:
        _check_place(file)
    _check_text(graph.check())
    attributes = _attributes(graph)
    try:
        _write(graph, attributes, format, files)
    except OSError as error:
        raise ExplgraphError(f"cannot write '{path}': {error.strerror or error}") from error
    return path


def _write(graph: ExplanatoryGraph, attributes: str, format: str, files: tuple[Path, ...]) -> None:
    if format == "parquet":
        with (
            _whole(files[0]) as nodes,
            _whole(files[1]) as edges,
        ):  # the edges get their name first, `path` last
            write_nodes(graph, attributes, nodes)
            write_edges(graph, attributes, edges)
    else:
        with (
            _whole(files[0]) as temporary,
            open(temporary, "w", encoding="utf-8", newline="\n") as file,
        ):
            file.writelines(_LINES[format](graph, attributes))


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; rename it to ``path`` on success, remove it on failure."""
    temporary = path.with_name(f".explgraph-{secrets.token_hex(6)}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _known(format: str) -> str:
    if format not in FORMATS:
        raise UsageError(f"unknown format {format!r}; the formats are {', '.join(FORMATS)}")
    return format


def _format_of(path: Path) -> str:
    suffix = path.suffix.lower()
    for name, suffixes in FORMATS.items():
        if suffix in suffixes:
            return name
    known = ", ".join(f"{'/'.join(suffixes)} ({name})" for name, suffixes in FORMATS.items())
    raise UsageError(
        f"the suffix of '{path}' tells no format; expected {known}, or name the format"
    )


def _check_place(path: Path) -> None:
    if os.path.isdir(path):  # unlike Path.is_dir false, not an error, for a name that is too long
        raise UsageError(f"'{path}' is a folder; name a file")
    if not os.path.isdir(path.parent):
        raise UsageError(
            f"there is no folder '{path.parent}' to write '{path.name}' to; create it first"
        )


def _check_text(graph: ExplanatoryGraph) -> None:
    """Refuse text that XML cannot hold: control characters, halves of surrogate pairs."""
    keys = [key for key, kind in NODE_ATTRIBUTES.items() if kind is str]
    for text in {value for key in keys for _, value in graph.nodes(data=key)}:
        if not text.isprintable():
            raise GraphError(
                f"cannot export the name {text!r}: expected printable characters only; rename it in the network"
            )


def _attributes(graph: ExplanatoryGraph) -> str:
    """Return the graph's own attributes (layers, n_images, config) as one line of ASCII JSON."""
    try:
        return json.dumps(
            {key: value for key, value in graph.graph.items() if key not in INTERNAL},
            default=_plain,
            allow_nan=False,
        )
    except (TypeError, ValueError) as error:
        raise GraphError(
            f"graph.graph must hold finite numbers, text, lists and dictionaries to be exported: {error}"
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Layer):  # without what only a network knows of it
        return value.to_dict()
    raise TypeError(f"got {type(value).__name__} {value!r}")
