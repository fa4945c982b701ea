"""The graph as two Parquet tables, nodes and edges, for pandas, Polars, DuckDB and the like."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from explgraph.formats.columns import node_columns, node_values
from explgraph.graph import EDGE_COLUMNS, ExplanatoryGraph

META = b"explgraph"  # key of the graph's attributes (JSON) in the metadata of both files
_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def edges_file(nodes_file: Path) -> Path:
    """Where the edges lie when the nodes lie in ``nodes_file``.

    >>> edges_file(Path("zebra.parquet")).name, edges_file(Path("zebra.v2")).name
    ('zebra.edges.parquet', 'zebra.v2.edges.parquet')
    """
    return nodes_file.with_name(nodes_file.name.removesuffix(".parquet") + ".edges.parquet")


def write_nodes(graph: ExplanatoryGraph, attributes: str, path: Path) -> None:
    """Write one row per node: ``node`` (its id) and the columns of `node_columns`."""
    columns = {"node": pa.array(list(graph), pa.string())}
    rows = [node_values(graph, node) for node in graph]
    for key, kind in node_columns(graph).items():
        columns[key] = pa.array((row[key] for row in rows), _TYPES[kind])
    _write(columns, attributes, path)


def write_edges(graph: ExplanatoryGraph, attributes: str, path: Path) -> None:
    """Write one row per edge: ``upper`` and ``lower`` (ids) and the columns of EDGE_COLUMNS."""
    columns = {
        "upper": pa.array((upper for upper, _ in graph.edges), pa.string()),
        "lower": pa.array((lower for _, lower in graph.edges), pa.string()),
    }
    for key, kind in EDGE_COLUMNS.items():
        columns[key] = pa.array((value for _, _, value in graph.edges(data=key)), _TYPES[kind])
    _write(columns, attributes, path)


def _write(columns: dict[str, pa.Array], attributes: str, path: Path) -> None:
    # In both files, so that edges without their nodes still tell what they are of.
    pq.write_table(pa.table(columns).replace_schema_metadata({META: attributes.encode()}), path)
