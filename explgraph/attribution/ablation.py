"""Ablation: what the network says when an activation is taken away, in one image at its place or for good.

Removed is what the layer says in favour of the pattern: ``A'_x = A_x - w(x) max(A_x, 0)``, where w is 1 for a whole channel and the node's
window ``exp(-|p_x - p_V|^2 / 2 sigma_V^2)`` for a node. What speaks against it (negative values before a ReLU) stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import groupby
from math import nan
from typing import Any

import torch
from torch import Tensor

from explgraph.attribution.forward import Images, ask, network_input, watching, worth
from explgraph.attribution.target import Activation, PlacedNode, Target, Targets
from explgraph.errors import UsageError
from explgraph.network import Network, evaluation_mode, feature_maps
from explgraph.network.partial import last_module, rest_of, trace_chain

Removed = Activation | PlacedNode


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a single image is worth without each of the things removed, one at a time.

    Args:
        targets: what was asked of the untouched image.
        values: (removals,), the same without each of them.
        drops: (removals,), the untouched image's value minus ``values``; above zero, the pattern speaks for the target.
        probabilities: (removals,), of the class; NaN if no class was asked for.
    """

    targets: Targets
    values: Tensor
    drops: Tensor
    probabilities: Tensor


def ablation(
    network: Network,
    image: Images,
    removed: Sequence[Removed],
    *,
    target: Target = None,
    batch_size: int = 64,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Ablation:
    """Return what the target is worth in one image without each of ``removed``, in their order.

    They are taken away in batches, layer by layer, and only what follows the layer is computed again, where the network can be cut
    there (see `explgraph.network.partial.chain`).

    Args:
        network: a classifier, or any network that yields what the target needs.
        image: one image, uint8 (1, height, width, 3); or the network's input itself, floating point (1, 3, height, width).
        removed: channels (`Activation`) or nodes where they are (`PlacedNode`).
        target: what is asked, see `explgraph.attribution.ask`; by default the image's own first choice.
        batch_size: removals per forward pass.
        report: progress: stage, removals done, removals in all.

    Raises:
        UsageError: not one image, nothing to remove, or a target, channel or cell is unknown.
        LayerError: a layer is unknown, or not reached.
    """
    batch = network_input(network, image)
    if len(batch) != 1 or not removed:
        raise UsageError(
            f"ablation takes one image and at least one removal, got {len(batch)} images and {len(removed)} removals"
        )
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    with evaluation_mode(network.model), torch.no_grad():
        untouched = ask(network, batch, target)
        index = int(untouched.targets.indexes[0])
        asked: Target = index if index >= 0 else target
        # A layer that is asked for may lie before the one that is changed, so then all of the network runs.
        chain = None if isinstance(asked, Activation | PlacedNode) else trace_chain(network)
        answers = torch.empty(2, len(removed), device=network.device)
        order = sorted(range(len(removed)), key=lambda k: removed[k].layer)
        done = 0
        for layer, group in groupby(order, key=lambda k: removed[k].layer):
            numbers = list(group)
            maps = feature_maps(network.model, batch.clone(), [layer], model_name=network.name)[
                layer
            ]
            rest = rest_of(network, layer, chain=chain)
            if chain is not None and not _agrees(
                network, asked, rest(maps, batch), untouched.values
            ):
                rest = rest_of(network, layer, chain=None)
            for start in range(0, len(numbers), batch_size):
                some = numbers[start : start + batch_size]
                without = torch.cat([remove(maps, removed[k]) for k in some])
                if isinstance(asked, Activation | PlacedNode) and _same(
                    network, asked.layer, layer
                ):
                    answers[:, some] = torch.stack(
                        [asked.values(without).float(), answers.new_full((len(some),), nan)]
                    )
                else:
                    with watching(network, asked) as seen:
                        output = rest(without, batch.expand(len(some), -1, -1, -1))
                    answers[:, some] = _read(network, asked, output, seen, len(some))
                report("ablation", done := done + len(some), len(removed))
    values, probabilities = answers
    return Ablation(untouched.targets, values, untouched.values.float() - values, probabilities)


@contextmanager
def ablated(network: Network, removed: Sequence[Removed]) -> Iterator[None]:
    """The network without ``removed`` for the length of the context: every forward pass lacks them, all at once.

    A `PlacedNode` needs a place for each image of the batch that is run, or one for all.

    Raises:
        LayerError: a layer is unknown.
    """
    layers = {
        one.layer: [other for other in removed if other.layer == one.layer] for one in removed
    }
    with ExitStack() as hooks:
        for layer, of_layer in layers.items():

            def hook(
                module: Any, args: Any, maps: Tensor, of_layer: Sequence[Removed] = of_layer
            ) -> Tensor:
                for one in of_layer:
                    maps = remove(maps, one)
                return maps

            hooks.callback(network.find_layers([layer])[layer].register_forward_hook(hook).remove)
        yield


def remove(maps: Tensor, one: Removed) -> Tensor:
    """Return ``maps`` (n, channels, rows, columns) without what it says in favour of ``one``.

    Raises:
        UsageError: the maps are of another shape, or have no such channel or cell.
    """
    result = maps.clone()
    if isinstance(one, PlacedNode):
        result[:, one.channel] -= maps[:, one.channel].relu() * one.weights(maps)
        return result
    numbers = torch.arange(len(maps))
    channels, cells = one.indexes(maps)
    at = (numbers, channels) if cells is None else (numbers, channels, cells[:, 0], cells[:, 1])
    result[at] -= maps[at].relu()
    return result


def _agrees(network: Network, target: Target, output: Any, values: Tensor) -> bool:
    """Return whether what follows a layer, run by itself on the untouched maps, says what the whole network says."""
    return bool(
        torch.isclose(worth(network, target, output, {}, 1), values, rtol=1e-3, atol=1e-5).all()
    )


def _same(network: Network, one: str, other: str) -> bool:
    """Return whether two names mean the same output: a plain Sequential's is that of its last module."""
    return last_module(network.find_layers([one])[one]) is last_module(
        network.find_layers([other])[other]
    )


def _read(
    network: Network, target: Target, output: Any, seen: dict[str, list[Tensor]], n: int
) -> Tensor:
    """Return (2, n): values and probabilities."""
    values = worth(network, target, output, seen, n).float()
    probabilities = (
        output.float().softmax(1)[:, target]
        if isinstance(target, int)
        else torch.full_like(values, float("nan"))
    )
    return torch.stack([values, probabilities])
