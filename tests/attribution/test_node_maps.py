"""Nodes as maps and boxes."""

import numpy as np
import pytest
import torch
from builders.placed import SIZE, graph_at
from builders.tiny_network import BOTTOM, MIDDLE, TOP

from explgraph.attribution import (
    PlacedNode,
    node_box,
    node_heat_map,
    receptive_field,
    saliency,
)
from explgraph.errors import GraphError, UsageError

HEIGHT, WIDTH = SIZE


def test_a_heat_map_is_the_mixture_of_the_best_nodes_of_the_layer(network):
    graph = graph_at(
        network,
        [
            (TOP, 1, 0.5, 0.5, 0.1),
            (TOP, 2, 0.5, 0.5, 0.2),
            (MIDDLE, 1, 0.5, 0.5, 0.1),
            (TOP, 3, 0.5, 0.5, 0.1),
        ],
    )
    places = np.array([[[0.3, 0.6], [0.7, 0.2], [0.5, 0.5], [0.9, 0.9]]])
    scores = np.array([[0.8, 0.5, 0.9, 0.1]])
    found = node_heat_map(graph, TOP, places, scores, nodes=tuple(graph), input_size=SIZE, top=0.67)
    expected = np.zeros(SIZE)
    for node in (0, 1):  # the best two of three
        std = [0.1, 0.2][node]
        for row in range(HEIGHT):
            for col in range(WIDTH):
                y, x = (
                    (row + 0.5) / HEIGHT - places[0, node, 0],
                    (col + 0.5) / WIDTH - places[0, node, 1],
                )
                density = (
                    np.exp(-(x * x + y * y) / (2 * std**2))
                    / (2 * np.pi * std**2)
                    / (HEIGHT * WIDTH)
                )
                expected[row, col] += scores[0, node] * density
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-9)
    assert found[0].sum() == pytest.approx(0.8 + 0.5, rel=0.1)  # some of it lies beyond the border


def test_heat_maps_refuse_what_does_not_fit(network):
    graph = graph_at(network, [(TOP, 1, 0.5, 0.5, 0.1)])
    draw = lambda places, scores, **options: node_heat_map(
        graph,
        options.pop("layer", TOP),
        places,
        scores,
        nodes=tuple(graph),
        input_size=SIZE,
        **options,
    )
    for arguments, options, message in (
        ((np.zeros((1, 2, 2)), np.zeros((1, 1))), {}, "places and scores must be"),
        ((np.full((1, 1, 2), np.nan), np.zeros((1, 1))), {}, "must be finite"),
        ((np.zeros((1, 1, 2)), np.zeros((1, 1))), {"top": 0}, "top must be a share"),
    ):
        with pytest.raises(UsageError, match=message):
            draw(*arguments, **options)
    with pytest.raises(GraphError, match="not in the graph"):
        draw(np.zeros((1, 1, 2)), np.zeros((1, 1)), layer=BOTTOM)
    assert not draw(np.zeros((1, 1, 2)), np.zeros((1, 1)), layer=MIDDLE).any()


def test_a_node_box_holds_all_but_the_outermost_score():
    rng = np.random.default_rng(0)
    places, scores = rng.random((300, 2)), rng.random(300)
    x, y, width, height = node_box(places, scores)
    for axis, (low, high) in enumerate(((y, y + height), (x, x + width))):
        below = scores[places[:, axis] < low - 1e-12].sum() / scores.sum()
        above = scores[places[:, axis] > high + 1e-12].sum() / scores.sum()
        assert below <= 0.05 < below + scores[np.isclose(places[:, axis], low)].sum() / scores.sum()
        assert above <= 0.05
    assert node_box([[0.2, 0.3], [0.9, 0.9]], [1.0, 0.0]) == (
        0.3,
        0.2,
        0.0,
        0.0,
    )  # what is not seen has no say
    for arguments, options in (
        (([[0.5, 0.5]], [0.0]), {}),
        (([[0.5, 0.5]], [1.0]), {"margin": 0.5}),
        (([[0.5]], [1.0]), {}),
    ):
        with pytest.raises(UsageError, match="must be"):
            node_box(*arguments, **options)


def test_a_receptive_field_is_what_the_nodes_gradient_can_reach(network):
    graph = graph_at(network, [(TOP, 1, 0.5, 0.5, 0.001)])  # so narrow that one cell alone counts
    layer = graph.layer(TOP)
    place = [
        (layer.first[0] + 5 * layer.stride[0]) / HEIGHT,
        (layer.first[1] + 7 * layer.stride[1]) / WIDTH,
    ]
    x, y, width, height = receptive_field(layer, place, input_size=SIZE)
    reached = np.zeros(SIZE, bool)
    for seed in range(20):  # a ReLU may be closed in one image, not in all
        image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
        placed = PlacedNode.of(graph, next(iter(graph)), place, input_size=SIZE)
        reached |= saliency(network, image, target=placed).maps[0].numpy() > 0
    rows, cols = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
    assert (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1) == (x, y, x + width, y + height)
