"""What is asked: classes by number and name, activations, nodes at their places."""

import numpy as np
import pytest
from builders.networks import (
    CLASSES,
    batch,
    network_of,
    small,
)
from builders.placed import SIZE, graph_at, maps_at
from builders.tiny_network import MIDDLE, TOP

from explgraph.attribution import (
    PlacedNode,
    find_class,
    resolve_target,
    saliency,
)
from explgraph.errors import UsageError


def test_a_class_is_found_by_number_by_name_in_any_case_or_by_a_part_that_is_unique():
    network = network_of(small())
    wanted = {3: 3, "3": 3, "ZEBRA": 3, " zeb ": 3, "tabby": 0, "Tiger Cat": 1, "12": 5}
    assert {target: find_class(network, target) for target in wanted} == wanted


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "cat",
            r"'cat' fits 2 classes \(0 'Tabby cat', 1 'tiger cat'\); "
            "give one name in full, or a number",
        ),
        ("crane", r"'crane' fits 2 classes \(2 'crane', 4 'crane'\)"),
        ("tigre cat", "'tigre cat' is not a class of tests:small; did you mean 'tiger cat'"),
        ("qqq", "give a part of its name, or a number 0 to 5"),
        ("", "is not a class"),
        (6, "number must be 0 to 5, got 6"),
        (-1, "number must be 0 to 5, got -1"),
        ("600", "number must be 0 to 5, got 600"),
        ("6" * 5000, "is not a class"),
        (True, "a number or a name, got True"),
        (1.0, "a number or a name, got 1.0"),
    ],
)
def test_a_class_that_is_not_there_is_refused_with_the_near_ones(target, message):
    network = network_of(small())
    with pytest.raises(UsageError, match=message):
        find_class(network, target)
    with pytest.raises(UsageError, match=message):
        saliency(network, batch(), target=target)


def test_a_network_without_class_names_takes_numbers_only():
    network = network_of(small(), classes=None)
    found = saliency(network, batch(1), target=2).targets
    assert (found.indexes.tolist(), found.names) == ([2], ("class 2",))
    with pytest.raises(
        UsageError,
        match="does not say what its classes are called; give a number 0 to 5, got 'zebra'",
    ):
        saliency(network, batch(1), target="zebra")


def test_class_names_of_another_number_than_the_outputs_are_not_used():
    network = network_of(small(), classes=("a", "b"))
    assert saliency(network, batch(1), target=5).targets.names == ("class 5",)


def test_the_default_target_is_each_images_own_first_choice_with_its_probability():
    network = network_of(small())
    scores = network.model(batch())
    targets = resolve_target(network, scores=scores)
    assert targets.indexes.tolist() == scores.argmax(1).tolist()
    assert targets.names == tuple(CLASSES[i] for i in targets.indexes)
    np.testing.assert_allclose(targets.scores, scores.amax(1), rtol=1e-6)
    np.testing.assert_allclose(targets.probabilities, scores.softmax(1).amax(1), rtol=1e-6)


def slow_node_score(graph, node, maps, place):
    """S_V, one cell at a time."""
    part, layer = graph.nodes[node], graph.layer(graph.nodes[node]["layer"])
    total = 0.0
    for row in range(layer.height):
        for col in range(layer.width):
            y = (layer.first[0] + layer.stride[0] * row) / SIZE[0] - place[0]
            x = (layer.first[1] + layer.stride[1] * col) / SIZE[1] - place[1]
            total += max(maps[0, part["channel"], row, col].item(), 0) * np.exp(
                -(x * x + y * y) / (2 * part["std"] ** 2)
            )
    return total


def test_a_nodes_score_is_the_sum_over_cells_of_the_definition(network, image):
    graph = graph_at(network, [(TOP, 3, 0.5, 0.5, 0.1), (MIDDLE, 7, 0.2, 0.8, 0.2)])
    for node, place in zip(graph, ([0.4, 0.6], [0.25, 0.7]), strict=True):
        placed = PlacedNode.of(graph, node, place, input_size=SIZE)
        maps = maps_at(network, image, placed.layer)
        assert placed.values(maps).item() == pytest.approx(
            slow_node_score(graph, node, maps, place), rel=1e-5
        )
