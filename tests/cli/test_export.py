"""`explgraph export`: the graph as a file for other programs."""

import json
import xml.etree.ElementTree as ElementTree

import pyarrow.parquet as pq
import pytest
from builders.commands import explgraph, refused

from explgraph_storage import Store


@pytest.mark.parametrize("format", ["gexf", "graphml", "cytoscape", "node-link", "dot", "parquet"])
def test_every_export_holds_every_node(workspace, tmp_path, format):
    with Store.open(workspace / "graph.db") as store:
        graph = store.load_graph()
    path = tmp_path / f"graph.{format}"
    summary = explgraph("export", workspace, "--format", format, "--out", path, "--json").json()
    assert summary == {
        "out": str(path),
        "format": format,
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
        "edges_out": str(tmp_path / "graph.edges.parquet") if format == "parquet" else None,
    }
    if format == "parquet":
        assert pq.read_metadata(path).num_rows == graph.number_of_nodes()
        assert pq.read_metadata(summary["edges_out"]).num_rows == graph.number_of_edges()
        text = explgraph("export", workspace, "--out", path).out
        assert text.startswith(f"{path} and {summary['edges_out']}: ")
        return
    text = path.read_text()
    assert all(name in text for name in graph)
    if format in ("gexf", "graphml"):
        ElementTree.fromstring(text)
    elif format != "dot":
        json.loads(text)
    assert explgraph("export", workspace, "--format", format, "--out", path).out == (
        f"{path}: {graph.number_of_nodes()} nodes, {graph.number_of_edges()} edges\n"
    )


@pytest.mark.parametrize(
    ("suffix", "format"),
    [("gexf", "gexf"), ("GV", "dot"), ("cyjs", "cytoscape"), ("json", "node-link")],
)
def test_the_suffix_says_the_format(workspace, tmp_path, suffix, format):
    out = tmp_path / f"graph.{suffix}"
    assert explgraph("export", workspace, "--out", out, "--json").json()["format"] == format
    named = tmp_path / "named.txt"
    assert explgraph("export", workspace, "--out", named, "--format", format).code == 0
    assert named.read_bytes() == out.read_bytes()


def test_a_suffix_that_says_no_format_is_misuse(workspace, tmp_path):
    said = refused(2, "export", workspace, "--out", tmp_path / "graph.txt")
    assert "tells no format; expected .gexf (gexf)" in said


def test_an_export_into_a_missing_folder_is_misuse(workspace, tmp_path):
    assert "create it or choose another" in refused(
        2, "export", workspace, "--format", "dot", "--out", tmp_path / "no" / "graph.dot"
    )
