"""`export`: the graph of a workspace, or a selection of it, as a file for other programs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explgraph.errors import WorkspaceError
from explgraph.formats import edges_file, export_graph, graph_format
from explgraph.graph import ExplanatoryGraph
from explgraph.images import AnyPath
from explgraph.queries.options import ExportOptions
from explgraph.queries.part_records import checked, read_part
from explgraph.queries.result import Result
from explgraph.workspace import Workspace


@dataclass(frozen=True)
class Exported(Result):
    """What `export_workspace` wrote: a file with so many nodes and edges.

    Args:
        edges_out: the second file, where the format has one for the edges.
    """

    out: Path
    format: str
    nodes: int
    edges: int
    edges_out: Path | None = None


def export_workspace(
    workspace: Workspace,
    out: AnyPath,
    *,
    format: str | None = None,
    options: ExportOptions | None = None,
) -> Exported:
    """Write the graph and its semantic parts to a file; see `explgraph.formats.export_graph`.

    The And-Or graphs of the parts are the graph's attribute ``semantic_parts``; of a selection,
    those of the parts whose nodes are all in it.

    Args:
        out: in an existing folder.
        format: None goes by the suffix of ``out``.
        options: what of the graph; by default all.

    Raises:
        UsageError: there can be no file at ``out``, neither the format nor the suffix is known, or
            there is no such part.
        GraphError: there is no such node.

    >>> done = export_workspace(workspace, out / "graph.gexf")
    >>> done.format, done.nodes == len(graph)
    ('gexf', True)
    >>> export_workspace(workspace, out / "few.gexf", options=ExportOptions(top=3)).nodes
    6
    """
    options = options or ExportOptions()
    format = graph_format(out, format)  # before the graph is read, which may take seconds
    graph = workspace.store.load_graph()  # one's own: `workspace.graph` is not to be changed
    graph = _selected(workspace, graph, options)
    parts = [checked(workspace, one) for one in workspace.store.read_semantic_parts()]
    whole = [one for one in parts if all(set(t.nodes) <= set(graph) for t in one.templates)]
    if whole:
        # As plain values, which any file format takes.
        graph.semantic_parts = [asdict(part) for part in whole]
    path = export_graph(graph, out, format=format, folders=options.folders)
    second = edges_file(path) if format == "parquet" else None
    return Exported(path, format, graph.number_of_nodes(), graph.number_of_edges(), second)


def _selected(
    workspace: Workspace, graph: ExplanatoryGraph, options: ExportOptions
) -> ExplanatoryGraph:
    """What of the graph was asked for; each option leaves less of it."""
    asked: dict[str, Any] = {}
    if options.min_weight is not None:
        asked["min_weight"] = options.min_weight
        light = [e for *e, w in graph.edges(data="weight") if w < options.min_weight]
        graph.remove_edges_from(light)
    if options.nodes:
        asked["nodes"] = list(options.nodes)
        for node in options.nodes:
            graph.node(node)  # names a near one where it is unknown
        graph = _only(graph, (kin for v in options.nodes for kin in (v, *graph.pred[v], *graph[v])))
    if options.parts:
        asked["parts"] = list(options.parts)
        graph = _only(graph, (v for name in options.parts for v in _voters(workspace, name)))
    if options.top is not None:
        asked["top"] = options.top
        by_score = lambda node: -graph.nodes[node]["score"]
        layers = [sorted(graph.nodes_of(one.name), key=by_score) for one in graph.layers]
        # What was asked for by name stays, however weak.
        best = [node for layer in layers for node in layer[: options.top]]
        graph = _only(graph, (*best, *options.nodes))
    if asked:
        graph.graph["selection"] = asked  # so that nobody takes the file for the whole graph
    return graph


def _voters(workspace: Workspace, name: str) -> list[str]:
    """The nodes that vote for a part."""
    part = read_part(workspace, name)
    if not part.templates:
        raise WorkspaceError(
            f"the graph was mined anew since part {name!r} was fitted, no node votes for it; fit "
            f"it again: explgraph part fit {workspace.folder} --name {name}"
        )
    return [node for template in part.templates for node in template.nodes]


def _only(graph: ExplanatoryGraph, nodes: Iterable[str]) -> ExplanatoryGraph:
    """The graph without all other nodes, in the same order."""
    kept = set(nodes)
    graph.remove_nodes_from([node for node in graph if node not in kept])
    graph.names = {of: name for of, name in graph.names.items() if of in kept or of.count(":") < 2}
    return graph
