"""Explanations: the nodes that a class rests on."""

import numpy as np
import pytest
import torch
from builders.placed import SIZE, graph_at
from builders.tiny_network import MIDDLE, TOP

from explgraph.attribution import (
    PlacedNode,
    ablated,
    ablation,
    explain,
)
from explgraph.errors import GraphError, UsageError

HEIGHT, WIDTH = SIZE


def explained(network, image, graph, places, scores, **options):
    return explain(
        network, image, graph, nodes=tuple(graph), places=places, scores=scores, **options
    )


def test_nodes_are_ranked_by_the_drop_that_removing_each_makes(network, image):
    places = [(TOP, k, 0.5, 0.5, 0.5) for k in range(10)] + [
        (MIDDLE, k, 0.5, 0.5, 0.5) for k in range(12)
    ]
    graph = graph_at(network, places)
    at = np.full((len(graph), 2), 0.5)
    found = explained(
        network, image, graph, at, np.linspace(0.1, 0.9, len(graph)), target=1, n_shown=4
    )
    placed = [PlacedNode.of(graph, node, [0.5, 0.5], input_size=SIZE) for node in graph]
    drops = dict(zip(graph, ablation(network, image, placed, target=1).drops.tolist(), strict=True))
    best = sorted((node for node in drops if drops[node] > 0), key=lambda node: -drops[node])[:4]
    assert [one.node for one in found.nodes] == best
    assert [one.drop for one in found.nodes] == pytest.approx(
        [drops[node] for node in best], abs=1e-6
    )
    assert found.n_tested == len(graph)
    shown = [placed[list(graph).index(node)] for node in best]
    with torch.no_grad(), ablated(network, shown):
        scores = network.model(image)
    assert found.without == pytest.approx(
        (scores[0, 1].item(), scores.softmax(1)[0, 1].item()), rel=1e-5
    )


def test_of_nodes_that_remove_the_same_only_the_surest_is_tested(network, image):
    graph = graph_at(
        network,
        [
            (TOP, 2, 0.5, 0.5, 0.1),
            (TOP, 2, 0.5, 0.5, 0.1),
            (TOP, 2, 0.1, 0.1, 0.1),
            (TOP, 3, 0.5, 0.5, 0.1),
        ],
    )
    at = np.array([[0.5, 0.5], [0.5, 0.52], [0.1, 0.1], [0.5, 0.5]])
    found = explained(network, image, graph, at, [0.3, 0.6, 0.2, 0.1], n_shown=9)
    assert found.n_tested == 3
    assert "features.4:2:0" not in {one.node for one in found.nodes}
    assert (
        explained(network, image, graph, at, [0.3, 0.6, 0.2, 0.0]).n_tested == 2
    )  # what was not seen is not tested


def test_the_text_says_class_drop_and_the_control(network, image):
    graph = graph_at(network, [(TOP, k, 0.5, 0.5, 0.5) for k in range(10)])
    found = explained(network, image, graph, np.full((10, 2), 0.5), np.full(10, 0.5), n_shown=2)
    text = found.to_text()
    assert text.startswith(f"The network says: {found.classes[0][1]} ")
    assert all(one.node in text for one in found.nodes)
    assert "Without these" in text
    assert "without as many others" in text
    nothing = explained(network, image, graph, np.full((10, 2), 0.5), np.zeros(10))
    assert "No node of the graph was found" in nothing.to_text()
    assert nothing.nodes == ()


def test_explanations_refuse_what_does_not_fit(network, image):
    graph = graph_at(network, [(TOP, 2, 0.5, 0.5, 0.1)])
    for options, message in (
        ({"places": np.zeros((2, 2))}, r"places must be \(1, 2\)"),
        ({"n_shown": 0}, "at least 1"),
        ({"target": 7}, "number must be 0 to 2"),
    ):
        settings = {
            "places": np.full((1, 2), 0.5),
            "scores": [0.5],
            "nodes": tuple(graph),
            **options,
        }
        with pytest.raises(UsageError, match=message):
            explain(network, image, graph, **settings)
    with pytest.raises(
        GraphError, match=r"is not a node of the graph; did you mean 'features.4:2:0'"
    ):
        explain(network, image, graph, nodes=("features.4:2:1",), places=[[0.5, 0.5]], scores=[0.5])
