"""Ablation, explanations and node maps: what is removed, what it costs, and where the nodes are."""

import numpy as np
import pytest
import torch
from builders.tiny_network import BOTTOM, MIDDLE, TOP

from explgraph.attribution import (
    Activation,
    PlacedNode,
    ablated,
    ablation,
    explain,
    node_box,
    node_heat_map,
    receptive_field,
    saliency,
)
from explgraph.attribution.ablation import remove
from explgraph.errors import GraphError, LayerError, UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.network import load_network, measure_geometry

HEIGHT, WIDTH = 48, 64


@pytest.fixture
def network():
    return load_network("builders.tiny_network:make")


@pytest.fixture
def image():
    return torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(4))


def graph_of(network, places):
    """A graph with one node per (layer, channel, row, col, std)."""
    geometry = measure_geometry(network, [TOP, MIDDLE])
    layers = tuple(
        Layer(g.name, g.channels, g.height, g.width, g.stride, g.first, g.size)
        for g in geometry.values()
    )
    graph = ExplanatoryGraph(layers=layers, n_images=1)
    for index, (layer, channel, row, col, std) in enumerate(places):
        graph.add_pattern(
            layer=layer,
            channel=channel,
            index=index,
            row=row,
            col=col,
            std=std,
            weight=1.0,
            none=0.1,
            support=1.0,
            score=0.5,
            communality=0.5,
            kind="part",
        )
    return graph.check()


def maps_at(network, image, layer):
    held = []
    with (
        torch.no_grad(),
        network.watch([layer], lambda _, maps: held.append(maps.clone()), stop=True) as run,
    ):
        run(image)
    return held[0]


def slow_node_score(graph, node, maps, place):
    """S_V, one cell at a time."""
    part, layer = graph.nodes[node], graph.layer(graph.nodes[node]["layer"])
    total = 0.0
    for row in range(layer.height):
        for col in range(layer.width):
            y = (layer.first[0] + layer.stride[0] * row) / HEIGHT - place[0]
            x = (layer.first[1] + layer.stride[1] * col) / WIDTH - place[1]
            total += max(maps[0, part["channel"], row, col].item(), 0) * np.exp(
                -(x * x + y * y) / (2 * part["std"] ** 2)
            )
    return total


# what is removed


def test_a_nodes_score_is_the_sum_over_cells_of_the_definition(network, image):
    graph = graph_of(network, [(TOP, 3, 0.5, 0.5, 0.1), (MIDDLE, 7, 0.2, 0.8, 0.2)])
    for node, place in zip(graph, ([0.4, 0.6], [0.25, 0.7]), strict=True):
        placed = PlacedNode.of(graph, node, place, input_size=(HEIGHT, WIDTH))
        maps = maps_at(network, image, placed.layer)
        assert placed.values(maps).item() == pytest.approx(
            slow_node_score(graph, node, maps, place), rel=1e-5
        )


def test_removing_a_channel_leaves_what_is_below_zero_and_all_other_channels(network, image):
    maps = maps_at(network, image, TOP)
    without = remove(maps, Activation(TOP, 4))
    assert torch.equal(without[:, 4], maps[:, 4].clamp(max=0))
    others = [k for k in range(maps.shape[1]) if k != 4]
    assert torch.equal(without[:, others], maps[:, others])


def test_removing_a_cell_touches_that_cell_alone(network, image):
    maps = maps_at(network, image, TOP)
    row, col = divmod(int(maps[0, 2].argmax()), maps.shape[3])
    difference = maps - remove(maps, Activation(TOP, 2, (row, col)))
    assert difference[0, 2, row, col] == maps[0, 2, row, col].relu()
    assert difference.count_nonzero() == 1


def test_removing_a_node_takes_its_window_of_the_positive_part(network, image):
    graph = graph_of(network, [(TOP, 3, 0.5, 0.5, 0.1)])
    placed = PlacedNode.of(graph, next(iter(graph)), [0.5, 0.5], input_size=(HEIGHT, WIDTH))
    maps = maps_at(network, image, TOP)
    expected = maps.clone()
    expected[0, 3] -= maps[0, 3].relu() * torch.from_numpy(placed.window(1))[0]
    assert torch.allclose(remove(maps, placed), expected)
    assert placed.window(1).max() <= 1


# what it costs


@pytest.mark.parametrize("layer", [TOP, MIDDLE, BOTTOM])
def test_ablation_of_many_is_each_removed_by_itself(network, image, layer):
    removed = [Activation(layer, k) for k in (0, 5, 2)]
    found = ablation(network, image, removed, target=1, batch_size=2)
    for one, value, drop, probability in zip(
        removed, found.values, found.drops, found.probabilities, strict=True
    ):
        with torch.no_grad(), ablated(network, [one]):
            scores = network.model(image)
        assert value.item() == pytest.approx(scores[0, 1].item(), rel=1e-5)
        assert probability.item() == pytest.approx(scores.softmax(1)[0, 1].item(), rel=1e-5)
        assert drop.item() == pytest.approx(
            network.model(image)[0, 1].item() - value.item(), abs=1e-6
        )


def test_removals_of_several_layers_come_back_in_their_order(network, image):
    removed = [Activation(TOP, 1), Activation(BOTTOM, 1), Activation(TOP, 2), Activation(MIDDLE, 1)]
    together = ablation(network, image, removed, target=0).drops
    apart = torch.cat([ablation(network, image, [one], target=0).drops for one in removed])
    assert torch.allclose(together, apart, atol=1e-6)


def test_without_a_class_the_images_own_first_choice_is_asked(network, image):
    first = int(network.model(image).argmax(1))
    removed = [Activation(TOP, 1)]
    assert ablation(network, image, removed).targets.indexes.tolist() == [first]
    assert torch.equal(
        ablation(network, image, removed).drops,
        ablation(network, image, removed, target=first).drops,
    )


def test_what_a_channel_below_loses_can_be_asked_of_a_channel_above(network, image):
    target = Activation(TOP, 2)
    found = ablation(network, image, [Activation(BOTTOM, 3)], target=target)
    with ablated(network, [Activation(BOTTOM, 3)]):
        expected = target.values(maps_at(network, image, TOP))
    assert found.values.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.isnan(found.probabilities).all()


def test_a_channel_asked_for_in_the_layer_that_is_changed_or_before_it_loses_what_is_removed_there(
    network, image
):
    itself, other = Activation(TOP, 2), Activation(TOP, 3)
    found = ablation(network, image, [itself, other], target=itself)
    assert found.values[0] == 0
    assert found.drops[1] == 0
    assert ablation(
        network, image, [Activation(TOP, 1)], target=Activation(BOTTOM, 2)
    ).drops.tolist() == [0]


def test_ablation_for_good_removes_all_at_once_and_ends_with_the_context(network, image):
    before = network.model(image)
    removed = [Activation(TOP, k) for k in range(10)]
    with torch.no_grad(), ablated(network, removed):
        bare = network.model(image)
    assert torch.allclose(
        bare, network.model.classifier.bias.expand_as(bare), atol=1e-6
    )  # nothing but the bias is left
    assert torch.equal(network.model(image), before)
    with pytest.raises(RuntimeError), ablated(network, removed):
        raise RuntimeError
    assert torch.equal(network.model(image), before)


def test_what_cannot_be_removed_is_refused(network, image):
    for removed, error, message in (
        ([], UsageError, "at least one removal"),
        ([Activation(TOP, 99)], UsageError, "has 10 channels, counted from 0; got 99"),
        ([Activation(TOP, 1, (99, 0))], UsageError, "cells, counted from 0"),
        ([Activation("features.40", 1)], LayerError, "is no layer"),
    ):
        with pytest.raises(error, match=message):
            ablation(network, image, removed)
    with pytest.raises(UsageError, match="batch_size must be at least 1"):
        ablation(network, image, [Activation(TOP, 1)], batch_size=0)
    with pytest.raises(UsageError, match="takes one image"):
        ablation(network, image.repeat(2, 1, 1, 1), [Activation(TOP, 1)])


# explanations


def explained(network, image, graph, places, scores, **options):
    return explain(
        network, image, graph, nodes=tuple(graph), places=places, scores=scores, **options
    )


def test_nodes_are_ranked_by_the_drop_that_removing_each_makes(network, image):
    places = [(TOP, k, 0.5, 0.5, 0.5) for k in range(10)] + [
        (MIDDLE, k, 0.5, 0.5, 0.5) for k in range(12)
    ]
    graph = graph_of(network, places)
    at = np.full((len(graph), 2), 0.5)
    found = explained(
        network, image, graph, at, np.linspace(0.1, 0.9, len(graph)), target=1, n_shown=4
    )
    placed = [PlacedNode.of(graph, node, [0.5, 0.5], input_size=(HEIGHT, WIDTH)) for node in graph]
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
    graph = graph_of(
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
    graph = graph_of(network, [(TOP, k, 0.5, 0.5, 0.5) for k in range(10)])
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
    graph = graph_of(network, [(TOP, 2, 0.5, 0.5, 0.1)])
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


# maps of nodes


def test_a_heat_map_is_the_mixture_of_the_best_nodes_of_the_layer(network):
    graph = graph_of(
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
    found = node_heat_map(
        graph, TOP, places, scores, nodes=tuple(graph), input_size=(HEIGHT, WIDTH), top=0.67
    )
    expected = np.zeros((HEIGHT, WIDTH))
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
    graph = graph_of(network, [(TOP, 1, 0.5, 0.5, 0.1)])
    draw = lambda places, scores, **options: node_heat_map(
        graph,
        options.pop("layer", TOP),
        places,
        scores,
        nodes=tuple(graph),
        input_size=(HEIGHT, WIDTH),
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
    graph = graph_of(network, [(TOP, 1, 0.5, 0.5, 0.001)])  # so narrow that one cell alone counts
    layer = graph.layer(TOP)
    place = [
        (layer.first[0] + 5 * layer.stride[0]) / HEIGHT,
        (layer.first[1] + 7 * layer.stride[1]) / WIDTH,
    ]
    x, y, width, height = receptive_field(layer, place, input_size=(HEIGHT, WIDTH))
    reached = np.zeros((HEIGHT, WIDTH), bool)
    for seed in range(20):  # a ReLU may be closed in one image, not in all
        image = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))
        placed = PlacedNode.of(graph, next(iter(graph)), place, input_size=(HEIGHT, WIDTH))
        reached |= saliency(network, image, target=placed).maps[0].numpy() > 0
    rows, cols = np.flatnonzero(reached.any(1)), np.flatnonzero(reached.any(0))
    assert (cols[0], rows[0], cols[-1] + 1, rows[-1] + 1) == (x, y, x + width, y + height)
