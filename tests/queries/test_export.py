"""What of a workspace's graph is exported."""

import json

import networkx as nx
import pytest
from builders.tiny_network import TOP

from explgraph.errors import GraphError, UsageError, WorkspaceError
from explgraph.queries import ExportOptions, export_workspace
from explgraph.workspace import Workspace
from explgraph_storage import Store


@pytest.fixture
def exported(fitted, tmp_path):
    """The graph that a file holds with these options, and the attributes of the file."""

    def export(**options):
        with Workspace(fitted) as workspace:
            asked = ExportOptions(**options)
            done = export_workspace(workspace, tmp_path / "graph.json", options=asked)
        graph = nx.node_link_graph(json.loads(done.out.read_text()), edges="edges")
        assert (done.nodes, done.edges) == (len(graph), graph.number_of_edges())
        return graph

    return export


@pytest.fixture(scope="module")
def whole(fitted):
    with Store.open(fitted / "graph.db") as store:
        return store.load_graph()


def same(graph, whole, nodes):
    """Whether a file holds these nodes and all edges of the graph among them."""
    among = whole.subgraph(nodes)
    as_plain = lambda one: (
        dict(one.nodes(data=True)),
        {(u, v): at for u, v, at in one.edges.data()},
    )
    drop = lambda plain: ({k: {**v, "loadings": 0} for k, v in plain[0].items()}, plain[1])
    return drop(as_plain(graph)) == drop(as_plain(among))


def test_the_whole_graph_says_no_selection(exported, whole):
    graph = exported()
    assert same(graph, whole, list(whole))
    assert "selection" not in graph.graph
    assert [part["name"] for part in graph.graph["semantic_parts"]] == ["head", "leg"]


def test_the_strongest_nodes_of_each_layer(exported, whole):
    graph = exported(top=4)
    best = []
    for layer in whole.layers:
        of_layer = sorted(whole.nodes_of(layer.name), key=lambda v: -whole.nodes[v]["score"])
        best += of_layer[:4]
    assert same(graph, whole, best)
    assert graph.graph["selection"] == {"top": 4}
    assert "semantic_parts" not in graph.graph  # they name nodes that are not in the file


def test_only_heavy_edges(exported, whole):
    weights = sorted(weight for *_, weight in whole.edges(data="weight"))
    middle = weights[len(weights) // 2]
    graph = exported(min_weight=middle)
    assert list(graph) == list(whole)
    assert sorted(w for *_, w in graph.edges(data="weight")) == [w for w in weights if w >= middle]


def test_a_node_with_its_kin_stays_however_weak(exported, whole):
    related = [v for v in whole.nodes_of(TOP) if whole.out_degree(v)]
    node = min(related, key=lambda v: whole.nodes[v]["score"])
    kin = {node, *whole.predecessors(node), *whole.successors(node)}
    assert same(exported(nodes=(node,)), whole, kin)
    few = exported(nodes=(node,), top=1, min_weight=0.01)
    assert node in few
    assert len(few) == 2


def test_the_nodes_that_vote_for_parts(exported, whole, fitted):
    with Store.open(fitted / "graph.db") as store:
        votes = {one.name: set(one.templates[0].nodes) for one in store.read_semantic_parts()}
    assert same(exported(parts=("head",)), whole, votes["head"])
    both = exported(parts=("head", "leg"))
    assert same(both, whole, votes["head"] | votes["leg"])
    assert [part["name"] for part in both.graph["semantic_parts"]] == ["head", "leg"]


def test_what_is_not_there_is_refused_and_nothing_is_written(exported, ws, tmp_path):
    with pytest.raises(GraphError, match="not a node of the graph"):
        exported(nodes=(f"{TOP}:99:0",))
    with pytest.raises(UsageError, match="no part 'tail'; it has head, leg"):
        exported(parts=("tail",))
    assert not list(tmp_path.glob("*.json"))


def test_a_part_of_a_former_graph_has_no_nodes(ws, scenes, tmp_path):
    from builders.commands import explgraph

    marked = ("--annotations", scenes.coco, "--ids", "1000")
    assert explgraph("part", "fit", ws, "--name", "head", *marked).code == 0
    with Store.open(ws / "graph.db", mode="write") as store:
        facings = {o.id: bool(o.mirrored) for o in store.read_objects()}
        store.save_graph(store.load_graph(), facings=facings, unit_std=store.load_unit_std())
    with Workspace(ws) as workspace:
        options = ExportOptions(parts=("head",))
        with pytest.raises(WorkspaceError, match="mined anew since part 'head' was fitted"):
            export_workspace(workspace, tmp_path / "graph.json", options=options)
        assert export_workspace(workspace, tmp_path / "graph.json").nodes > 0
