"""Ablation: what the network says when an activation is taken away, one by one or for good.

Removed is what the layer says in favour of the pattern: ``A'_x = A_x - w(x) max(A_x, 0)``. The
weight w is 1 for a whole channel, and the node's window ``exp(-|p_x - p_V|^2 / 2 sigma_V^2)`` for a
node. What speaks against it (negative values before a ReLU) stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import nan
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.attribution.attribution import OneLine, Targets
from explgraph.attribution.forward import Answer, ask, watching, worth
from explgraph.attribution.head import as_scores, probabilities
from explgraph.attribution.shown import Batch, Images, show
from explgraph.attribution.target import Activation, LayerMaps, PlacedNode, Target
from explgraph.errors import UsageError
from explgraph.images import Box
from explgraph.network import Model, Network, evaluation_mode, feature_maps, layout_of, wrap
from explgraph.network.partial import Chain, last_module, rest_of, trace_chain
from explgraph.progress import Report, silent

Removed = Activation | PlacedNode


@dataclass(frozen=True, eq=False, repr=False)
class Ablation(OneLine):
    """What a single image is worth without each of the things removed, one at a time.

    Args:
        targets: what was asked of the untouched image.
        values: the same without each of them.
        drops: the untouched image's value less ``values``; above zero, the pattern speaks for it.
        probabilities: of the class; NaN if no class was asked for.
    """

    targets: Targets
    values: Float[Tensor, " removal"]
    drops: Float[Tensor, " removal"]
    probabilities: Float[Tensor, " removal"]


def ablation(
    model: Model,
    image: Images,
    removed: Sequence[Removed] | str,
    *,
    box: Box | None = None,
    target: Target = None,
    batch_size: int = 64,
    report: Report = silent,
) -> Ablation:
    """What the target is worth in one image without each of ``removed``, in their order.

    They are taken away in batches, layer by layer. Only what follows the layer is computed again,
    where the network can be cut there (see `explgraph.network.partial`).

    Args:
        model: a classifier, or any network that yields what the target needs; or a module.
        image: one, see `explgraph.attribution.network_input`.
        removed: channels (`Activation`) or nodes where they are (`PlacedNode`); or a layer, for
            each of its channels.
        box: in a photograph, see `explgraph.attribution.show`.
        target: see `explgraph.attribution.target`; by default the image's own first choice.
        batch_size: removals per forward pass.
        report: progress, in removals.

    Raises:
        UsageError: not one image, nothing to remove, or a target, channel or cell is unknown.
        LayerError: a layer is unknown, or not reached.

    >>> found = ablation(network, x[:1], [Activation("features.14", 3)], target="fox")
    >>> found.drops.shape, ablation(network, x[:1], "features.14", target="fox").drops.shape
    (torch.Size([1]), torch.Size([96]))
    """
    shown = show(model, image, box=box)
    network, batch = shown.network, shown.inputs
    n_removed = 1 if isinstance(removed, str) else len(removed)
    if len(batch) != 1 or not n_removed:
        raise UsageError(
            "ablation takes one image and at least one removal, "
            f"got {len(batch)} images and {n_removed} removals"
        )
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, got {batch_size}")
    if isinstance(removed, str):
        removed = _channels(network, batch, removed)
    answers = torch.empty(2, len(removed), device=network.device)
    layer_of = lambda number: removed[number].layer
    done = 0
    with evaluation_mode(network.model), torch.no_grad():
        untouched = ask(network, batch, target)
        # Settled once: without a node another class may be the first choice.
        index = int(untouched.targets.indexes[0])
        asked = index if index >= 0 else target
        # A layer that is asked for may lie before the one that is changed: then all must run.
        chain = None if isinstance(asked, Activation | PlacedNode) else trace_chain(network)
        # Layer by layer, so that what lies before it is computed once.
        for layer, group in groupby(sorted(range(len(removed)), key=layer_of), key=layer_of):
            changed = _Changed(network, batch, layer, asked, untouched, chain)
            numbers = list(group)
            for start in range(0, len(numbers), batch_size):
                some = numbers[start : start + batch_size]
                answers[:, some] = changed.without([removed[k] for k in some])
                done += len(some)
                report("ablation", done, len(removed))
    values, probabilities = answers
    drops = untouched.values.float() - values
    return Ablation(untouched.targets, values, drops, probabilities)


def _channels(network: Network, batch: Batch, layer: str) -> list[Activation]:
    """Every channel of a layer."""
    with evaluation_mode(network.model), torch.no_grad():
        found = feature_maps(network.model, batch.clone(), [layer], model_name=network.name)
    return [Activation(layer, channel) for channel in range(found[layer].shape[1])]


class _Changed:
    """The network on one image, changed at one layer."""

    def __init__(
        self,
        network: Network,
        batch: Batch,
        layer: str,
        asked: Target,
        untouched: Answer,
        chain: Chain | None,
    ) -> None:
        self.network, self.batch, self.layer, self.asked = network, batch, layer, asked
        found = feature_maps(network.model, batch.clone(), [layer], model_name=network.name)
        self.maps = found[layer]
        self.rest = rest_of(network, layer, chain=chain)
        if chain is not None:
            # One pass more for each layer, against a wrong figure in silence.
            again = worth(network, asked, self.rest(self.maps, batch), {}, 1)
            # The layers behind may look at more than the maps; then the whole network runs.
            if not torch.isclose(again, untouched.values, rtol=1e-3, atol=1e-5).all():
                self.rest = rest_of(network, layer, chain=None)

    def without(self, removed: Sequence[Removed]) -> Float[Tensor, "2 removal"]:
        """Value and probability without each of ``removed``, all of this layer."""
        maps = torch.cat([remove(self.maps, one) for one in removed])
        n, asked = len(removed), self.asked
        probability = maps.new_full((n,), nan)
        # Then the answer is in the changed maps themselves: nothing has to run.
        if isinstance(asked, Activation | PlacedNode) and self._is_here(asked.layer):
            values = asked.values(maps)
        else:
            with watching(self.network, asked) as seen:
                output = self.rest(maps, self.batch.expand(n, -1, -1, -1))
            values = worth(self.network, asked, output, seen, n)
            # Only a class has a probability; an activation and a function have none.
            if isinstance(asked, int):
                scores = as_scores(self.network, output.float())
                probability = probabilities(self.network, scores)[:, asked]
        return torch.stack([values.float(), probability.float()])

    def _is_here(self, layer: str) -> bool:
        """Whether its output is the changed one; a plain Sequential yields its last module's."""
        one, other = (self.network.find_layers([name])[name] for name in (layer, self.layer))
        return last_module(one) is last_module(other)


@contextmanager
def ablated(model: Model, removed: Sequence[Removed]) -> Iterator[None]:
    """The network without ``removed`` while the context lasts: every pass lacks them, all at once.

    A `PlacedNode` needs a place for each image of the batch that is run, or one for all.

    Raises:
        LayerError: a layer is unknown.

    >>> with ablated(network, [Activation("features.14", k) for k in range(96)]), torch.no_grad():
    ...     scores = network.model(x)
    >>> torch.allclose(scores[0], scores[1])  # nothing of the images is left
    True
    """
    network = wrap(model)
    layers: dict[str, list[Removed]] = {}
    for one in removed:
        layers.setdefault(one.layer, []).append(one)
    with ExitStack() as hooks:
        for layer, of_layer in layers.items():
            module = network.find_layers([layer])[layer]
            hook = partial(_remove_all, network, layer, of_layer)
            # On the stack at once: if a later layer is unknown, the hooks before it go as well.
            hooks.callback(module.register_forward_hook(hook).remove)
        yield


def _remove_all(network: Network, layer: str, removed: list[Removed], *call: Any) -> Tensor:
    _module, _inputs, output = call
    layout = layout_of(network.model, layer, output)
    maps: Tensor = layout.maps(output)
    for one in removed:
        maps = remove(maps, one)
    return layout.output(maps, output)


def remove(maps: LayerMaps, one: Removed) -> LayerMaps:
    """``maps`` without what they say in favour of ``one``.

    Raises:
        UsageError: the maps are of another shape, or have no such channel or cell.

    >>> remove(torch.tensor([[[[-1.0, 2.0]], [[3.0, 4.0]]]]), Activation("conv", 0)).tolist()
    [[[[-1.0, 0.0]], [[3.0, 4.0]]]]
    """
    # The maps may be those of the untouched image, which others are compared with.
    result = maps.clone()
    if isinstance(one, PlacedNode):
        result[:, one.channel] -= maps[:, one.channel].relu() * one.weights(maps)
        return result
    images, (channels, cells) = torch.arange(len(maps)), one.indexes(maps)
    at = (images, channels) if cells is None else (images, channels, cells[:, 0], cells[:, 1])
    # Less its positive value, and not set to 0: what speaks against the pattern stays.
    result[at] -= maps[at].relu()
    return result
