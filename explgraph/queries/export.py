"""`export`: the graph of a workspace as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from explgraph.formats import export_graph
from explgraph.images import AnyPath
from explgraph.queries.result import Result
from explgraph.workspace import Workspace


@dataclass(frozen=True)
class Exported(Result):
    """What `export_workspace` wrote: a file with so many nodes and edges."""

    out: Path
    format: str
    nodes: int
    edges: int


def export_workspace(workspace: Workspace, out: AnyPath, *, format: str) -> Exported:
    """Write the graph and its semantic parts to a file; see `explgraph.formats.export_graph`.

    The And-Or graphs of the parts are the graph's attribute ``semantic_parts``.

    Raises:
        UsageError: there can be no file at ``out``, or the format is unknown.

    >>> done = export_workspace(workspace, out / "graph.gexf", format="gexf")
    >>> done.format, done.nodes == len(graph)
    ('gexf', True)
    """
    graph = workspace.store.load_graph()  # one's own: `workspace.graph` is not to be changed
    if parts := workspace.store.read_semantic_parts():
        # As plain values, which any file format takes.
        graph.semantic_parts = [asdict(part) for part in parts]
    path = export_graph(graph, out, format=format)
    return Exported(path, format, graph.number_of_nodes(), graph.number_of_edges())
