import itertools

import numpy as np
import pytest

from explgraph.errors import GraphError
from explgraph.graph import ExplanatoryGraph, Layer, pick_apart, telling_nodes

REST = {"std": 0.1, "weight": 0.1, "none": 0.1, "support": 5.0, "communality": 0.5, "kind": "part"}


def random_graph(n_channels, n_nodes):
    rng = np.random.default_rng(0)
    graph = ExplanatoryGraph(layers=(Layer("a", n_channels, 4, 5, (8, 8), (4, 4), (20, 20)),))
    for channel, index in itertools.product(range(n_channels), range(n_nodes)):
        row, col, score = rng.random(3).tolist()
        place = {"row": row, "col": col, "score": score}
        graph.add_pattern(layer="a", channel=channel, index=index, **place, **REST)
    return graph


def test_the_strongest_comes_first_and_all_lie_apart_in_other_filters():
    graph = random_graph(40, 4)
    chosen = telling_nodes(graph, 6)
    at = [graph.nodes[name] for name in chosen]
    assert at[0]["score"] == max(graph.nodes[name]["score"] for name in graph)
    assert len({one["channel"] for one in at}) == 6
    for one, other in itertools.combinations(at, 2):
        assert np.hypot(one["row"] - other["row"], one["col"] - other["col"]) >= 0.25


def test_a_node_that_was_passed_over_is_weaker_too_near_or_of_a_filter_that_was_picked():
    rng = np.random.default_rng(1)
    score, place, filters = (
        1 + rng.random(60),
        rng.random((60, 2)),
        rng.integers(0, 30, 60).tolist(),
    )
    picked = pick_apart(score, place, filters, 5)
    for k in set(range(60)) - set(picked):
        before = [one for one in picked if score[one] >= score[k]]
        near = any(np.linalg.norm(place[k] - place[one]) < 0.25 for one in before)
        assert near or filters[k] in [filters[one] for one in before] or len(before) == 5


def test_where_too_few_lie_apart_nearer_ones_follow_but_never_a_filter_twice():
    place = [(0.5, 0.5), (0.5, 0.6), (0.5, 0.7), (0.5, 0.5)]
    assert pick_apart([1, 0.9, 0.8, 0.7], place, "abca", 9) == [0, 2, 1]
    assert pick_apart([], [], "", 3) == []


def test_weak_nodes_come_last_however_far_they_are():
    place = [(0.5, 0.5), (0.5, 0.5), (0.9, 0.9)]
    assert pick_apart([0.9, 0.5, 0.4], place, "abc", 3) == [0, 1, 2]
    assert pick_apart([0.9, 0.5, 0.5], place, "abc", 3) == [0, 2, 1]


def test_nodes_are_chosen_among_those_that_are_named():
    graph = random_graph(5, 2)
    among = ["a:0:0", "a:0:1", "a:1:0"]
    chosen = telling_nodes(graph, 5, among=among)
    assert len(chosen) == 2
    assert set(chosen) < set(among)
    with pytest.raises(GraphError, match="'a:9:9' is not a node"):
        telling_nodes(graph, 1, among=["a:9:9"])


def test_a_notebook_shows_its_layers_and_the_surest_nodes():
    graph = random_graph(3, 2)
    assert repr(graph).startswith("<ExplanatoryGraph: ")
    html = graph._repr_html_()
    assert all(layer.name in html for layer in graph.layers)
    surest = max(graph, key=lambda node: graph.nodes[node]["score"])
    assert surest in html
    assert "<script" not in html
