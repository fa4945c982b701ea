"""A graph comes back from the database as it was."""

import gc
import math

import numpy as np
import pytest
from builders.graphs import IMAGES, OBJECTS, assert_same, make_graph, make_layer, make_places, sway

from explgraph.errors import GraphError, StoreError
from explgraph.graph import LOADINGS, ExplanatoryGraph
from explgraph_storage import Store, TopPlaces
from explgraph_storage.graph_rows import filling_order


@pytest.mark.parametrize("seed", range(5))
def test_a_graph_comes_back_equal_in_every_order_and_bit(place, seed):
    graph = make_graph(seed)
    with Store.open(place, mode="create") as store:
        assert not store.has_graph()
        store.save_graph(graph)
    with Store.open(place) as store:
        assert store.has_graph()
        assert_same(graph, store.load_graph())


@pytest.mark.parametrize("seed", range(3))
def test_loadings_come_back_bit_by_bit_and_nodes_without_stay_without(place, seed):
    graph = sway(make_graph(seed), seed)
    with Store.open(place, mode="create") as store:
        store.save_graph(graph)
    with Store.open(place) as store:
        loaded = store.load_graph()
        assert_same(graph, loaded)
        for name, attributes in graph.nodes(data=True):
            assert store.read_node(name).attributes == attributes
            bits = [
                [x.hex() for x in at[LOADINGS]] if LOADINGS in at else None
                for at in (attributes, loaded.nodes[name])
            ]
            assert bits[0] == bits[1]
    assert sum(LOADINGS in at for _, at in loaded.nodes(data=True)) == 18


def test_saving_a_graph_that_does_not_sway_leaves_no_loadings_behind(store):
    store.save_graph(sway(make_graph(1)))
    store.save_graph(make_graph(1))
    assert_same(make_graph(1), store.load_graph())


@pytest.mark.parametrize(
    "wrong",
    [
        (0.1, 0.2, 0.3), [0.1, 0.2], (0.1, math.nan), (math.inf, 0.1), (1, 0.1),
        (0.1, np.float64(0.2)), None, "ab", 0.5, np.zeros(2),
    ],
    ids=str,
)  # fmt: skip
def test_loadings_that_are_no_pairs_of_finite_floats_are_refused(store, wrong):
    graph = make_graph()
    name = next(iter(graph))
    graph.nodes[name][LOADINGS] = wrong
    with pytest.raises(
        GraphError, match=f"{name}: loadings must be a tuple of an even number of finite floats"
    ):
        graph.check()
    with pytest.raises(GraphError, match="loadings"):
        store.save_graph(graph)
    with pytest.raises(GraphError, match="loadings"):
        ExplanatoryGraph().add_pattern(**graph.nodes[name])
    assert not store.has_graph()


def test_a_loaded_graph_can_be_changed_like_any_other(store):
    store.save_graph(make_graph())
    graph = store.load_graph()
    upper, lower = next(iter(graph.edges))
    graph.edges[upper, lower]["weight"] = 0.75
    assert graph.pred[lower][upper]["weight"] == 0.75
    graph.remove_node(upper)
    assert upper not in graph.pred[lower]
    store.save_graph(graph)
    assert_same(graph, store.load_graph())


def test_a_graph_without_nodes_or_extras_comes_back(store):
    graph = ExplanatoryGraph(layers=(make_layer("only", 2),))
    store.save_graph(graph)
    assert_same(graph, store.load_graph())


def test_the_filling_order_keeps_predecessors_that_were_added_against_the_order_of_nodes():
    graph = make_graph(3)
    rebuilt = ExplanatoryGraph()
    rebuilt.add_nodes_from(graph)
    rebuilt.add_edges_from(filling_order(graph))
    assert sorted(rebuilt.edges) == sorted(graph.edges)
    assert all(list(rebuilt.pred[node]) == list(graph.pred[node]) for node in graph)
    assert all(list(rebuilt.succ[node]) == list(graph.succ[node]) for node in graph)


def test_contradicting_orders_are_refused_instead_of_searched_for_ever():
    graph = ExplanatoryGraph()
    graph.add_edges_from([("a", "x"), ("a", "y"), ("b", "x"), ("b", "y")])
    for node, order in (("x", "ab"), ("y", "ba")):
        graph._pred[node] = {upper: graph._pred[node][upper] for upper in order}
    graph._succ["a"] = {lower: graph._succ["a"][lower] for lower in "yx"}
    graph._succ["b"] = {lower: graph._succ["b"][lower] for lower in "xy"}
    with pytest.raises(GraphError, match="contradict"):
        list(filling_order(graph))


def test_saving_replaces_the_former_graph_with_all_that_belonged_to_it(store):
    first, second = make_graph(1), make_graph(2, nodes=8, layers=("features.12", "features.10"))
    deviations = {"top": np.full((4, 5, 7), 0.1, np.float32)}
    store.save_graph(
        first, top_places=make_places(first), facings={5: True, 6: False}, unit_std=deviations
    )
    store.save_graph(second)
    assert_same(second, store.load_graph())
    assert store.load_unit_std() == {}
    assert all(item.mirrored is None for item in store.read_objects())
    assert all(store.read_node(name).top_places == () for name in second)


def test_a_node_is_read_with_its_parents_children_and_places(store):
    graph = make_graph(4)
    store.save_graph(graph, top_places=make_places(graph))
    path_of = {
        item.id: image.path for item in OBJECTS for image in IMAGES if image.id == item.image_id
    }
    places = make_places(graph)
    for position, name in enumerate(graph):
        node = store.read_node(name)
        assert node.attributes == graph.nodes[name]
        assert [relation.name for relation in node.parents] == graph.parents(name)
        assert [relation.attributes for relation in node.parents] == [
            graph.edges[p, name] for p in graph.parents(name)
        ]
        assert {relation.name: relation.attributes for relation in node.children} == dict(
            graph.adj[name]
        )
        mine = places.node == position
        assert [place.score for place in node.top_places] == places.score[mine].tolist()
        assert [(place.x, place.y) for place in node.top_places] == list(
            zip(places.x[mine], places.y[mine], strict=True)
        )
        assert [place.image for place in node.top_places] == [
            path_of[i] for i in places.object[mine].tolist()
        ]


def test_a_channel_is_read_as_its_nodes_by_index(store):
    graph = make_graph(4)
    store.save_graph(graph, top_places=make_places(graph))
    nodes = store.read_channel("b:c", 2)
    assert [node.name for node in nodes] == ["b:c:2:0", "b:c:2:1", "b:c:2:2"]
    assert nodes == tuple(store.read_node(node.name) for node in nodes)


def test_asking_for_what_is_not_there_says_what_is(store):
    with pytest.raises(StoreError, match="explgraph mine"):
        store.load_graph()
    with pytest.raises(StoreError, match="explgraph mine"):
        store.read_node("top:0:0")
    graph = make_graph()
    store.save_graph(graph)
    with pytest.raises(
        GraphError, match="'nose' is not in the graph; expected layer:channel:index, for instance"
    ):
        store.read_node("nose")
    with pytest.raises(GraphError, match=r"it has top, features\.10, b:c"):
        store.read_channel("features.99", 0)
    with pytest.raises(GraphError, match=r"channels 0\.\.3, got 4"):
        store.read_channel("top", 4)


def test_deviations_come_back_bit_for_bit(store):
    rng = np.random.default_rng(0)
    deviations = {
        "features.10": rng.random((4, 5, 7), np.float32),
        "top": rng.random((4, 1, 1), np.float32),
    }
    store.save_graph(make_graph(), unit_std=deviations)
    loaded = store.load_unit_std()
    assert list(loaded) == ["top", "features.10"]
    for name, array in loaded.items():
        assert array.dtype == np.float32
        assert array.flags.writeable
        np.testing.assert_array_equal(array, deviations[name])


def test_facings_belong_to_the_graph(store):
    store.save_graph(make_graph(), facings={900_100_259_690: True, 5: False})
    assert {item.id: item.mirrored for item in store.read_objects()} == {
        5: False,
        6: None,
        900_100_259_690: True,
    }


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            lambda g: g.graph.update(config={"size": (1, 2)}),
            GraphError,
            r"\['config'\] must hold JSON values",
        ),
        (lambda g: g.graph.update(config={"x": math.nan}), GraphError, "must hold JSON values"),
        (lambda g: g.graph.update(layers=()), GraphError, "layers"),
        (lambda g: g.nodes["top:0:0"].pop("kind"), GraphError, "missing attributes"),
        (lambda g: g.nodes["top:0:0"].update(row=math.inf), GraphError, "finite"),
        (
            lambda g: {"facings": {4: True}},
            StoreError,
            r"got 1 others \(first 4\); call write_source",
        ),
        (
            lambda g: {"top_places": TopPlaces(*np.array([[99], [5], [1], [1], [1]]))},
            StoreError,
            r"positions 0\.\.35, got 99",
        ),
        (
            lambda g: {"top_places": TopPlaces(*np.array([[0], [8], [1], [1], [1]]))},
            StoreError,
            "first 8",
        ),
        (
            lambda g: {
                "top_places": TopPlaces(np.array([0]), np.array([5]), *np.full((3, 1), np.nan))
            },
            StoreError,
            "finite",
        ),
        (
            lambda g: {"unit_std": {"top": np.ones((4, 7, 5), np.float32)}},
            StoreError,
            r"expected shape \(4, 5, 7\) or",
        ),
        (
            lambda g: {"unit_std": {"conv": np.ones((4, 5, 7), np.float32)}},
            GraphError,
            "'conv' is not in the graph",
        ),
    ],
)
def test_a_graph_that_cannot_be_stored_leaves_the_former_one_intact(
    store, arguments, error, message
):
    former = make_graph(9)
    store.save_graph(former, top_places=make_places(former), facings={5: True})
    graph = make_graph()
    options = arguments(graph)
    with pytest.raises(error, match=message):
        store.save_graph(graph, **(options if isinstance(options, dict) else {}))
    assert_same(former, store.load_graph())
    assert len(store.read_node(next(iter(former))).top_places) == 2
    assert store.read_objects()[0].mirrored is True


def test_the_garbage_collector_is_back_on_after_success_and_failure(store):
    store.save_graph(make_graph())
    store.load_graph()
    with pytest.raises(GraphError):
        store.save_graph(ExplanatoryGraph())
    assert gc.isenabled()


def test_a_database_in_memory_serves_as_well():
    graph = make_graph()
    with Store.open("sqlite://", mode="create") as store:
        store.write_source(IMAGES, OBJECTS)
        store.save_graph(graph, top_places=make_places(graph))
        assert_same(graph, store.load_graph())


def test_top_places_of_different_lengths_are_refused():
    with pytest.raises(StoreError, match="one length"):
        TopPlaces(np.arange(2), np.arange(3), np.ones(2), np.ones(2), np.ones(2))
