"""Export: a mined graph as files that other programs read."""

from explgraph.formats.graph_files import FORMATS, export_graph
from explgraph.formats.parquet import edges_file

__all__ = ["FORMATS", "edges_file", "export_graph"]
