"""`export`: the graph of a workspace as a file for other programs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explgraph.formats import export_graph
from explgraph.graph import ExplanatoryGraph
from explgraph.workspace import Workspace


@dataclass(frozen=True)
class Exported:
    """What `export_workspace` wrote: a file with so many nodes and edges."""

    out: Path
    format: str
    nodes: int
    edges: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"out": str(self.out)}


def export_workspace(workspace: Workspace, out: Path, *, format: str) -> Exported:
    """Write the graph and its semantic parts to a file; see `explgraph.formats.export_graph`.

    Raises:
        UsageError: there can be no file at ``out``, or the format is unknown.
    """
    graph = graph_with_parts(workspace)
    path = export_graph(graph, out, format=format)
    return Exported(path, format, graph.number_of_nodes(), graph.number_of_edges())


def graph_with_parts(workspace: Workspace) -> ExplanatoryGraph:
    """The graph, with the And-Or graphs of its parts as its attribute ``semantic_parts``.

    They are plain values, which any file format takes.
    """
    graph = workspace.store.load_graph()
    if parts := workspace.store.read_semantic_parts():
        graph.semantic_parts = [asdict(part) for part in parts]
    return graph
