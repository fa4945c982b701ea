"""Names stay with their node, or are dropped and told of: never do they go to another pattern."""

import numpy as np
import pytest
from builders.databases import VERSION_4, ask, run_script
from builders.graphs import OBJECTS, make_layer

from explgraph.errors import GraphError, StoreError
from explgraph.graph import NODE_ATTRIBUTES, ExplanatoryGraph
from explgraph_storage import RepairRecord, Store, TopPlaces

EAR, TAIL = (0.2, 0.8, 0.05), (0.6, 0.1, 0.06)  # row, column, deviation


def graph_of(*nodes, channel=3, layer="conv"):
    """A graph of one channel's nodes, given as (row, column, deviation)."""
    graph = ExplanatoryGraph(layers=(make_layer(layer, 4),), n_images=3)
    for index, (row, col, std) in enumerate(nodes):
        at = {"layer": layer, "channel": channel, "index": index, "row": row, "col": col}
        rest = {key: 0.5 for key, kind in NODE_ATTRIBUTES.items() if kind is float}
        graph.add_pattern(**rest | at | {"std": std, "kind": "part"})
    return graph.check()


def places_of(graph, move=0.0):
    """Every node's best places, one on each object."""
    n, ids = len(graph), [one.id for one in OBJECTS]
    node, number = np.repeat(np.arange(n), len(ids)), np.tile(ids, n)
    x = 50.0 + 40 * node + move
    return TopPlaces(node, number, x, x, np.linspace(1, 0.5, len(node)))


@pytest.fixture
def named(store):
    """A store with two nodes of a channel, an ear and a tail, and a named filter."""
    graph = graph_of(EAR, TAIL)
    store.finish_run(store.begin_run({}, command="mine", weights_sha256="aa"))
    store.save_graph(graph, top_places=places_of(graph))
    store.write_names({"conv:3:0": "ear", "conv:3:1": "tail", "conv:2": "fur"})
    return store


def names(store):
    return {one.target: one.name for one in store.read_names()}


def test_names_come_back_with_the_graph(named):
    assert names(named) == {"conv:2": "fur", "conv:3:0": "ear", "conv:3:1": "tail"}
    graph = named.load_graph()
    assert graph.called("conv:3:0") == "ear"
    assert graph.called("conv:2:9") == "fur"  # that of its filter
    assert graph.called("conv:1:0") is None
    assert graph.title("conv:3:1") == 'conv:3:1 "tail"'


def test_a_name_is_replaced_and_removed(named):
    named.write_names({"conv:3:0": " left ear "}, origin="part ear")
    assert names(named)["conv:3:0"] == "left ear"
    assert named.remove_names(["conv:3:0", "conv:9"]) == 1
    assert names(named) == {"conv:2": "fur", "conv:3:1": "tail"}


@pytest.mark.parametrize("target", ["conv:3:7", "conv:4", "other:1", "conv", "", "conv:3:0:0"])
def test_what_is_not_there_is_not_named(named, target):
    with pytest.raises(GraphError, match="neither a node"):
        named.write_names({"conv:1": "whisker", target: "ear"})
    assert "conv:1" not in names(named)  # all or none


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 81, "\x1b[31m"])
def test_a_name_is_a_few_characters_on_one_line(named, name):
    with pytest.raises(StoreError, match="printable characters"):
        named.write_names({"conv:3:0": name})


def mine_again(store, *nodes, weights="aa", move=0.0):
    graph = graph_of(*nodes)
    store.begin_run({}, command="mine", weights_sha256=weights)
    return [one.name for one in store.save_graph(graph, top_places=places_of(graph, move))]


def test_a_graph_mined_anew_keeps_the_names_of_nodes_that_are_the_same(named):
    assert mine_again(named, (0.201, 0.799, 0.052), (0.6, 0.1, 0.06)) == []
    assert names(named) == {"conv:2": "fur", "conv:3:0": "ear", "conv:3:1": "tail"}


def test_a_name_follows_its_node_to_another_number(store):
    graph = graph_of(EAR, TAIL)
    store.save_graph(graph, top_places=places_of(graph))
    store.write_names({"conv:3:0": "ear", "conv:3:1": "tail"})
    turned = graph_of(TAIL, EAR)
    places = places_of(turned)
    # Number 0 is the tail now, so its places are those that number 1 had.
    swapped = TopPlaces(1 - places.node, places.object, places.x, places.y, places.score)
    assert store.save_graph(turned, top_places=swapped) == ()
    assert names(store) == {"conv:3:0": "tail", "conv:3:1": "ear"}


@pytest.mark.parametrize(
    ("nodes", "how"),
    [
        ([(0.5, 0.5, 0.05), TAIL], {}),  # elsewhere
        ([(0.2, 0.8, 0.12), TAIL], {}),  # as wide as a texture
        ([TAIL], {}),  # gone
        ([EAR, TAIL], {"weights": "bb"}),  # another network
        ([EAR, TAIL], {"move": 90.0}),  # at other places of the same photographs
    ],
)
def test_a_name_whose_node_is_another_one_is_dropped_and_told_of(named, nodes, how):
    assert "ear" in mine_again(named, *nodes, **how)
    assert "ear" not in names(named).values()


def test_without_photographs_in_common_nothing_says_that_a_node_is_the_same(named):
    named.save_graph(graph_of(EAR, TAIL))
    assert names(named) == {"conv:2": "fur"}


def test_a_database_of_version_4_has_no_names_and_gets_their_tables(file):
    run_script(file, VERSION_4)
    with Store.open(file) as store:
        assert store.read_names() == store.read_repairs() == ()
        assert store.load_graph().names == {}
    with Store.open(file, mode="write") as store:
        store.write_names({"top:0": "fur"})
        assert names(store) == {"top:0": "fur"}
    assert ("names",) in ask(file, "SELECT name FROM sqlite_schema")


def test_repairs_come_back_and_go(store):
    one = RepairRecord("damp", {"filters": ["conv:3"], "factor": 0.5}, {"n": 3}, b"\x00\x01", "aa")
    assert store.add_repair(one) == 1
    (found,) = store.read_repairs()
    assert (found.id, found.weights, found.config) == (1, one.weights, one.config)
    assert store.remove_repair(1)
    assert not store.remove_repair(1)
    assert store.read_repairs() == ()
