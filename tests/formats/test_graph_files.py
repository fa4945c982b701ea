import copy
import json
import os
import warnings
from pathlib import Path

import networkx as nx
import pyarrow.parquet as pq
import pydot
import pytest
from builders.awkward_graph import NAMES, make_graph
from builders.graphs import without_co_firing
from builders.real import ROOT

from explgraph.errors import ExplgraphError, GraphError, UsageError
from explgraph.formats import FORMATS, edges_file, export_graph
from explgraph.formats.layout import lay_out
from explgraph.graph import EDGE_ATTRIBUTES, EDGE_COLUMNS, NODE_ATTRIBUTES, ExplanatoryGraph


def _attributes_of(graph):
    """The graph's attributes as JSON keeps them: layers as dictionaries, tuples as lists."""
    layers = [
        layer if isinstance(layer, dict) else layer.to_dict()
        for layer in graph.graph.get("layers", ())
    ]
    return json.loads(json.dumps({**graph.graph, **({"layers": layers} if layers else {})}))


def _read_gexf(path):
    root = nx.readwrite.gexf.ElementTree(file=path)
    description = root.find(
        "{http://www.gexf.net/1.2draft}meta/{http://www.gexf.net/1.2draft}description"
    )
    return nx.read_gexf(path), json.loads(description.text)


def _read_graphml(path):
    graph = nx.read_graphml(path)
    return graph, json.loads(graph.graph["explgraph"])


def _read_cytoscape(path):
    graph = nx.cytoscape_graph(json.loads(path.read_text(encoding="utf-8")))
    return graph, graph.graph


def _read_node_link(path):
    graph = nx.node_link_graph(json.loads(path.read_text(encoding="utf-8")), edges="edges")
    return graph, graph.graph


def _read_dot(path):
    unquoted = lambda text: text[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    with warnings.catch_warnings():  # pydot calls its parser by names that are on the way out
        warnings.simplefilter("ignore", DeprecationWarning)
        (dot,) = pydot.graph_from_dot_file(path, encoding="utf-8")
    typed = lambda at, schema: {
        key: schema.get(key, str)(unquoted(value)) for key, value in at.items()
    }
    graph = nx.DiGraph()
    for node in dot.get_node_list():
        if node.get_name() not in ("node", "edge", "graph"):
            graph.add_node(
                unquoted(node.get_name()), **typed(node.get_attributes(), NODE_ATTRIBUTES)
            )
    for edge in dot.get_edge_list():
        upper, lower = unquoted(edge.get_source()), unquoted(edge.get_destination())
        graph.add_edge(upper, lower, **typed(edge.get_attributes(), EDGE_COLUMNS))
    return graph, json.loads(unquoted(dot.get_graph_defaults()[0]["comment"]))


def _read_parquet(path):
    nodes, edges = pq.read_table(path), pq.read_table(edges_file(path))
    assert nodes.schema.metadata == edges.schema.metadata
    graph = nx.DiGraph()
    graph.add_nodes_from((row.pop("node"), row) for row in nodes.to_pylist())
    graph.add_edges_from((row.pop("upper"), row.pop("lower"), row) for row in edges.to_pylist())
    return graph, json.loads(nodes.schema.metadata[b"explgraph"])


READERS = {
    "gexf": _read_gexf,
    "graphml": _read_graphml,
    "cytoscape": _read_cytoscape,
    "node-link": _read_node_link,
    "dot": _read_dot,
    "parquet": _read_parquet,
}


def _assert_same(read, graph):
    pick = lambda at, schema: {key: (type(at[key]), at[key]) for key in schema}
    assert read.is_directed()
    assert list(read) == list(graph)
    assert set(read.edges) == set(graph.edges)
    assert all(
        pick(read.nodes[n], NODE_ATTRIBUTES) == pick(graph.nodes[n], NODE_ATTRIBUTES) for n in graph
    )
    assert all(
        pick(read.edges[e], EDGE_COLUMNS) == pick(graph.edges[e], EDGE_COLUMNS) for e in graph.edges
    )


@pytest.mark.parametrize("format", FORMATS)
def test_edges_of_an_older_graph_are_written_without_co_firing(tmp_path, format):
    graph = without_co_firing(make_graph())
    export_graph(graph, tmp_path / "graph", format=format)
    for upper, lower, at in READERS[format](tmp_path / "graph")[0].edges(data=True):
        assert at.get("co_firing") is None
        assert {key: at[key] for key in EDGE_ATTRIBUTES} == graph.edges[upper, lower]


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "graph",
    [
        make_graph(),
        make_graph(edges=False),
        make_graph(NAMES[:1]),
        make_graph(nodes_each=0),
        ExplanatoryGraph(),
    ],
    ids=["three-layers", "no-edges", "one-layer", "no-nodes", "empty"],
)
def test_every_format_is_read_back_with_equal_attributes(tmp_path, graph, format):
    path = tmp_path / "zèbre"
    assert export_graph(graph, path, format=format) == path
    read, attributes = READERS[format](path)
    _assert_same(read, graph)
    assert attributes == _attributes_of(graph)


@pytest.mark.parametrize("format", FORMATS)
def test_no_format_tells_where_the_maker_kept_the_files(tmp_path, format):
    graph = make_graph()
    graph.config = {
        "source": ["/home/dolores/photos/a.jpg", "/home/dolores/photos/b.jpg"],
        "images": "C:\\Users\\dolores\\photos",
        "weights": "/home/dolores/w.pth",
        "background": "photos/other",
        "model": "package.module:factory",
        "mining": {"extra": "/home/dolores/x"},
    }
    before = copy.deepcopy(graph.graph)
    _, attributes = READERS[format](export_graph(graph, tmp_path / "g", format=format))
    assert attributes["config"] == {
        "source": ["a.jpg", "b.jpg"],
        "images": "photos",
        "weights": "w.pth",
        "background": "photos/other",
        "model": "package.module:factory",
        "mining": {"extra": "x"},
    }
    assert b"dolores" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert graph.graph == before
    asked = export_graph(graph, tmp_path / "g", format=format, folders=True)
    assert READERS[format](asked)[1] == _attributes_of(graph)


def test_node_link_holds_the_graph_and_nothing_else(tmp_path):
    graph = make_graph()
    read, _ = _read_node_link(export_graph(graph, tmp_path / "a.json"))
    assert dict(read.nodes(data=True)) == dict(graph.nodes(data=True))
    assert list(read.edges(data=True)) == list(graph.edges(data=True))


def test_gexf_reads_as_if_networkx_had_written_it(tmp_path):
    graph, plain = make_graph(), nx.DiGraph()
    for node, dot in lay_out(graph).items():
        color = dict(zip("rgb", dot.rgb, strict=True), a=1.0)
        viz = {"color": color, "size": dot.size, "position": {"x": dot.x, "y": dot.y, "z": 0.0}}
        plain.add_node(node, **graph.nodes[node], viz=viz)
    plain.add_edges_from(graph.edges(data=True))
    nx.write_gexf(plain, tmp_path / "theirs.gexf")
    ours, theirs = (
        nx.read_gexf(export_graph(graph, tmp_path / "ours.gexf")),
        nx.read_gexf(tmp_path / "theirs.gexf"),
    )
    assert dict(ours.nodes(data=True)) == dict(theirs.nodes(data=True))
    assert list(ours.edges(data=True)) == list(theirs.edges(data=True))
    assert all(at["label"] == node for node, at in ours.nodes(data=True))


def test_cytoscape_is_laid_out_as_networkx_does(tmp_path):
    graph = make_graph()
    written = json.loads(export_graph(graph, tmp_path / "a.cyjs").read_text(encoding="utf-8"))
    theirs = nx.cytoscape_data(graph)
    for element in written["elements"]["nodes"]:
        del element["position"], element["data"]["color"], element["data"]["size"]
    assert written["elements"] == theirs["elements"]
    assert written.keys() == theirs.keys()


def test_all_formats_draw_the_same_marks(tmp_path):
    graph = make_graph()
    gexf = nx.read_gexf(export_graph(graph, tmp_path / "a.gexf")).nodes
    graphml = nx.read_graphml(export_graph(graph, tmp_path / "a.graphml")).nodes
    cytoscape = json.loads(export_graph(graph, tmp_path / "a.cyjs").read_text(encoding="utf-8"))[
        "elements"
    ]["nodes"]
    screen = {element["data"]["id"]: element for element in cytoscape}
    dot = _read_dot(export_graph(graph, tmp_path / "a.dot"))[0].nodes
    for node, (x, y, size, colour) in lay_out(graph).items():
        rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
        viz = gexf[node]["viz"]
        assert (viz["position"]["x"], viz["position"]["y"], viz["size"]) == (x, y, size)
        assert [viz["color"][key] for key in "rgb"] == rgb
        assert [graphml[node][key] for key in ("label", "x", "y", "size", "r", "g", "b")] == [
            node,
            x,
            y,
            size,
            *rgb,
        ]
        assert screen[node]["position"] == {"x": x, "y": -y}  # y runs downwards there
        assert (screen[node]["data"]["size"], screen[node]["data"]["color"]) == (size, colour)
        assert (dot[node]["pos"], dot[node]["fillcolor"]) == (f"{x},{y}!", colour)
        assert float(dot[node]["width"]) * 72 == pytest.approx(size, abs=0.01)


@pytest.mark.parametrize("format", FORMATS)
def test_nodes_that_sway_are_written_like_any_other(tmp_path, format):
    graph, loadings = make_graph(), (0.1 + 0.2, -1 / 3, 1e-300, 0.0)
    for name in list(graph)[::2]:
        graph.nodes[name]["loadings"] = loadings
    read, _ = READERS[format](export_graph(graph.check(), tmp_path / "graph", format=format))
    _assert_same(read, graph)
    written = [at["loadings"] for _, at in read.nodes(data=True) if "loadings" in at]
    assert all(tuple(values) == loadings for values in written)


@pytest.mark.parametrize("format", FORMATS)
def test_what_only_explgraph_needs_is_left_out(tmp_path, format):
    graph = make_graph()
    expected = _attributes_of(graph)
    graph.graph |= {
        "facing": {"flipped": False, "weight": {NAMES[0]: [[0.5] * 8] * 8}},
        "explained": {NAMES[0]: {"mass": [1.0]}},
    }
    assert READERS[format](export_graph(graph, tmp_path / "graph", format=format))[1] == expected


@pytest.mark.parametrize("format", FORMATS)
def test_the_graph_is_left_as_it_is(tmp_path, format):
    graph = make_graph()
    before = copy.deepcopy(
        (dict(graph.graph), dict(graph.nodes(data=True)), list(graph.edges(data=True)))
    )
    export_graph(graph, tmp_path / "a", format=format)
    assert (graph.graph, dict(graph.nodes(data=True)), list(graph.edges(data=True))) == before


@pytest.mark.parametrize(
    ("suffix", "format"), [(s, name) for name, suffixes in FORMATS.items() for s in suffixes]
)
def test_the_suffix_says_the_format(tmp_path, suffix, format):
    by_suffix = export_graph(make_graph(), tmp_path / f"a{suffix.upper()}").read_bytes()
    assert by_suffix == export_graph(make_graph(), tmp_path / "b", format=format).read_bytes()


@pytest.mark.parametrize("name", ["a.svg", "a", "a.gexf.gz"])
def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path, name):
    with pytest.raises(UsageError, match=r"\.gexf \(gexf\).*\.dot/\.gv \(dot\)"):
        export_graph(make_graph(), tmp_path / name)


def test_an_unknown_format_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(
        UsageError,
        match="unknown format 'gml'; the formats are gexf, graphml, cytoscape, node-link, dot, par",
    ):
        export_graph(make_graph(), tmp_path / "a.gexf", format="gml")


def test_a_missing_folder_and_a_folder_as_file_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"folder .* does not exist; create it"):
        export_graph(make_graph(), tmp_path / "missing" / "a.gexf")
    with pytest.raises(UsageError, match="is a folder"):
        export_graph(make_graph(), tmp_path, format="gexf")
    (tmp_path / "a.edges.parquet").mkdir()
    with pytest.raises(UsageError, match=r"a\.edges\.parquet is a folder"):
        export_graph(make_graph(), tmp_path / "a.parquet")


def _set_nan(graph):
    graph.nodes[f"{NAMES[2]}:0:1"]["row"] = float("nan")


def _set_control_character(graph):
    graph.nodes[f"{NAMES[2]}:0:1"]["kind"] = "\x00"


def _set_object(graph):
    graph.graph["config"]["source"] = Path("a")


def _set_infinity(graph):
    graph.graph["config"]["seed"] = float("inf")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("spoil", [_set_nan, _set_control_character, _set_object, _set_infinity])
def test_a_graph_that_no_file_can_hold_is_refused_and_leaves_the_older_file(
    tmp_path, format, spoil
):
    graph, path = make_graph(), tmp_path / "a"
    path.write_text("older")
    spoil(graph)
    with pytest.raises(GraphError):
        export_graph(graph, path, format=format)
    assert path.read_text() == "older"
    assert os.listdir(tmp_path) == ["a"]


@pytest.fixture
def small_files():
    """Files of this process cannot grow beyond 3000 bytes, as on a full disk."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.usefixtures("small_files")
def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path, format):
    with pytest.raises(ExplgraphError, match=r"^cannot write .*a: .*"):
        export_graph(make_graph(nodes_each=100), tmp_path / "a", format=format)
    assert os.listdir(tmp_path) == []


def test_a_name_that_no_file_can_have_is_told(tmp_path):
    with pytest.raises(ExplgraphError, match="cannot write"):
        export_graph(make_graph(), tmp_path / ("a" * 300 + ".gexf"))
    assert os.listdir(tmp_path) == []


def test_the_documentation_names_every_format_and_suffix():
    text = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    assert all(
        f"`{word}`" in text for name, suffixes in FORMATS.items() for word in (name, *suffixes)
    )
    assert all(f"`{column}`" in text for column in (*NODE_ATTRIBUTES, *EDGE_COLUMNS))
