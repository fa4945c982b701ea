"""Ablation: one at a time, and for good."""

import pytest
import torch
from builders.placed import SIZE, graph_at, maps_at
from builders.tiny_network import BOTTOM, MIDDLE, TOP

from explgraph.attribution import (
    Activation,
    PlacedNode,
    ablated,
    ablation,
)
from explgraph.attribution.ablation import remove
from explgraph.errors import LayerError, UsageError

HEIGHT, WIDTH = SIZE


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
    graph = graph_at(network, [(TOP, 3, 0.5, 0.5, 0.1)])
    placed = PlacedNode.of(graph, next(iter(graph)), [0.5, 0.5], input_size=SIZE)
    maps = maps_at(network, image, TOP)
    expected = maps.clone()
    expected[0, 3] -= maps[0, 3].relu() * torch.from_numpy(placed.window(1))[0]
    assert torch.allclose(remove(maps, placed), expected)
    assert placed.window(1).max() <= 1


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


def test_a_layer_stands_for_each_of_its_channels(network, image):
    found = ablation(network, image, MIDDLE, target=1)
    each = ablation(network, image, [Activation(MIDDLE, k) for k in range(12)], target=1)
    assert torch.equal(found.drops, each.drops)
    with pytest.raises(UsageError, match="got 2 images"):
        ablation(network, image.repeat(2, 1, 1, 1), MIDDLE)
    with pytest.raises(LayerError):
        ablation(network, image, "features.99")


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
