"""The pass that answers what is asked of a network.

A method is written with these: `explgraph.attribution.shown` makes the batch, `differentiable` or
`explgraph.network.evaluation_mode` holds the modes, `ask` runs the pass, `gradient_at` its
gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from explgraph.attribution.attribution import Targets
from explgraph.attribution.shown import Batch, input_size
from explgraph.attribution.target import (
    Activation,
    LayerMaps,
    PerImage,
    PlacedNode,
    Target,
    check_scores,
    has_scores,
    kind_of,
    resolve_target,
)
from explgraph.errors import NetworkError, UsageError
from explgraph.network import (
    Network,
    blank_input,
    evaluation_mode,
    forward_errors,
    layout_of,
    once,
)
from explgraph.network.partial import last_module


@dataclass(frozen=True, eq=False)
class Answer:
    """What one pass says.

    Args:
        values: what was asked, with its gradient where gradients are enabled.
        targets: what was asked, in words, with the values.
        cut: a copy of the output of the layer at which the pass was cut, where its gradient
            starts; None if it was not cut.
    """

    values: PerImage
    targets: Targets
    cut: LayerMaps | None


def ask(
    network: Network,
    batch: Batch,
    target: Target,
    *,
    cut: str | None = None,
    rectified: bool = False,
) -> Answer:
    """What the target is worth in each image, from one pass that ends as early as it can.

    Args:
        network: any that yields what the target needs.
        batch: its input.
        target: see `explgraph.attribution.target`.
        cut: a layer. Its output becomes a leaf: gradients go no further back, and nothing before
            it is kept.
        rectified: cut behind the ReLU that is applied to the layer's output at once, as a function
            (torchvision's DenseNet); see `explgraph.attribution.last_layer`.

    Raises:
        UsageError: the class, channel or cell is unknown.
        LayerError: a layer is unknown, yields no maps, or is not reached.
        NetworkError: the network does not run on the batch, or does not yield what is asked for.

    >>> with torch.no_grad():
    ...     ask(network, x, "fox").targets.names
    ('fox', 'fox')
    """
    asked = target if isinstance(target, Activation | PlacedNode) else None
    found: list[Tensor] = []
    leaf: list[Tensor] = []
    at_relu = CutAtRelu(leaf)

    def on_output(name: str, maps: Tensor) -> Tensor | None:
        if name == cut and rectified:
            at_relu.waits_for = maps
            return None
        if name == cut:
            maps = make_leaf(maps, leaf)
        if asked is not None and name == asked.layer:
            found.append(asked.values(maps))
        return maps if name == cut else None

    layers = dict.fromkeys((cut, None if asked is None else asked.layer))
    names = [name for name in layers if name is not None]
    if names:
        # What lies behind an activation that is asked for need not run.
        watching = network.watch(names, on_output, stop=asked is not None)
        with watching as run, at_relu if rectified else nullcontext():
            output = run_model(network, run, batch)
    else:
        output = run_model(network, network.model, batch)
    held = leaf[0] if leaf else None
    if found:
        return Answer(found[0], _named(network, target, found[0], len(batch)), held)
    return Answer(*read_output(network, target, output, len(batch)), held)


def make_leaf(maps: Tensor, leaf: list[Tensor]) -> Tensor:
    """A copy of the maps whose gradient ends at a new leaf, which is added to the list."""
    needed = torch.is_grad_enabled() and maps.is_floating_point()
    leaf.append(maps.detach().requires_grad_(needed))
    return leaf[-1].clone()  # an in-place ReLU behind the layer overwrites this copy


class CutAtRelu(TorchFunctionMode):
    """While it is on, the result of the ReLU that is applied to ``waits_for`` becomes a leaf.

    No module's hook sees a function's result.
    """

    def __init__(self, leaf: list[Tensor]) -> None:
        super().__init__()
        self.leaf = leaf
        self.waits_for: Tensor | None = None

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if args and args[0] is self.waits_for and self.waits_for is not None and func in _RELUS:
            self.waits_for = None
            return make_leaf(result, self.leaf)
        return result


_RELUS = {
    torch.nn.functional.relu,
    torch.relu,
    torch.relu_,
    torch.nn.functional.relu_,
    Tensor.relu,
    Tensor.relu_,
}


def read_output(
    network: Network, target: Target, output: Any, n_images: int
) -> tuple[PerImage, Targets]:
    """What a class or a function is worth in the network's output, and the target in words."""
    if callable(target):
        try:
            values = target(output)
        except Exception as error:  # foreign code
            raise NetworkError(
                f"the target failed on the output of {network.name}: "
                f"{type(error).__name__}: {error}"
            ) from error
        return values, _named(network, target, values, n_images)
    scores = check_scores(network, output, n_images)
    assert not isinstance(target, Activation | PlacedNode)
    targets = resolve_target(network, target, scores=scores)
    return scores[torch.arange(n_images), targets.indexes.tolist()], targets


@contextmanager
def watching(network: Network, *asked: Any) -> Iterator[dict[int, PerImage]]:
    """What the activations and nodes among ``asked`` are worth in the pass that runs meanwhile.

    Yields the values by their position in ``asked``. Unlike `explgraph.network.watch_layers` it
    also sees a part of the network that is run by itself (see `explgraph.network.partial`).
    """
    seen: dict[int, Tensor] = {}
    with ExitStack() as hooks:
        for position, one in enumerate(asked):
            if isinstance(one, Activation | PlacedNode):
                module = last_module(network.find_layers([one.layer])[one.layer])
                hook = partial(_note, network, seen, position, one)
                hooks.callback(module.register_forward_hook(hook).remove)
        yield seen


def _note(
    network: Network,
    seen: dict[int, Tensor],
    position: int,
    one: Activation | PlacedNode,
    *call: Any,
) -> None:
    # A module that runs more than once is asked at its first run, as by `watch_layers`.
    if position not in seen:
        _module, _inputs, output = call
        maps = layout_of(network.model, one.layer, output).maps(output)
        seen[position] = one.values(maps)


def worth(
    network: Network, target: Target, output: Any, seen: dict[int, Tensor], n_images: int
) -> PerImage:
    """What the target is worth in a pass with this output, in which it was watched first."""
    if isinstance(target, Activation | PlacedNode):
        return seen[0]
    return read_output(network, target, output, n_images)[0]


def is_classifier(network: Network) -> bool:
    """Whether it yields scores (n, classes), which a class can be asked of: seen on a blank image.

    >>> is_classifier(network)
    True
    """

    def measure() -> bool:
        blank = blank_input(network, network.input.size)
        with evaluation_mode(network.model), torch.no_grad():
            return has_scores(run_model(network, network.model, blank), 1)

    return once(network.model, "is a classifier", measure)


def settled(network: Network, batch: Batch, target: Target) -> tuple[Target, Targets]:
    """What to ask of changed copies of the batch, and what the images themselves answer.

    None stands for each image's own first choice, and a copy might choose another.
    """
    with torch.no_grad():
        targets = ask(network, batch, target).targets
    # An explicit target means the same in every copy.
    if target is not None:
        return target, targets
    own = torch.as_tensor(targets.indexes, device=batch.device)[:, None]
    return lambda scores: scores.gather(1, own)[:, 0], targets


def gradient_of(values: PerImage, inputs: Tensor) -> Tensor | None:
    """d ``values`` / d ``inputs``, each image's own; None if nothing leads there."""
    if not values.requires_grad:
        return None
    # Of the sum: in evaluation mode no image bears on another's value, so each gets its own.
    return torch.autograd.grad(values.sum(), inputs, allow_unused=True)[0]


def gradient_at(
    network: Network,
    batch: Batch,
    target: Target,
    *,
    rule: Callable[[Tensor, Tensor], Tensor | None] = gradient_of,
) -> tuple[Batch, Targets]:
    """How the target changes with each value of the batch, and the target in words.

    Call it in `differentiable`. One backward pass serves the whole batch: in evaluation mode no
    image bears on another's value.

    Args:
        network: its parameters need no gradient and get none.
        batch: its input.
        target: see `explgraph.attribution.target`.
        rule: how the gradient is found, from the values and the input.

    Raises:
        NetworkError: the forward pass cuts gradients off. Others as `ask`.

    >>> with differentiable(network.model):
    ...     gradient, _ = gradient_at(network, x, "fox")
    >>> gradient.shape == x.shape
    True
    """
    image = batch.clone().requires_grad_()  # a tensor of inference mode takes no gradient
    answer = ask(network, image, target)
    gradient = rule(answer.values, image)
    if gradient is None:
        raise NetworkError(
            f"no gradient reaches back from the scores of {network.name}; "
            "its forward pass cuts them off"
        )
    return gradient, answer.targets


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients while the context lasts; the caller's modes come back.

    >>> model = nn.ReLU()
    >>> with differentiable(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    # cuDNN's recurrent layers have no gradient in evaluation mode; torch's own do.
    rnns = torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()
    # A caller may be in no_grad or in inference mode; a heat map needs gradients all the same.
    with evaluation_mode(model), torch.inference_mode(False), torch.enable_grad(), rnns:
        yield


def run_model(network: Network, run: Callable[[Tensor], Any], batch: Batch) -> Any:
    """What ``run``, the model or a part of it, makes of the batch, which stays as it is.

    Raises:
        NetworkError: it does not run on such a batch.
    """
    with forward_errors(network.name, input_size(batch)):
        return run(batch.clone())  # its own copy, as an in-place layer may come first


def _named(network: Network, target: Target, values: Any, n_images: int) -> Targets:
    # The name of a node, else of the function, for messages and figures.
    name = str(getattr(target, "name", None) or getattr(target, "__name__", "function"))
    tensor = isinstance(values, Tensor) and values.is_floating_point()
    if not tensor or tuple(values.shape) != (n_images,):
        raise UsageError(
            f"target {name} must yield one number for each of {n_images} images, "
            f"got {kind_of(values)}"
        )
    if not values.detach().isfinite().all():
        raise NetworkError(
            f"{network.name} yields values of {name} that are not finite; "
            "check its weights and its input"
        )
    # -1 and NaN rather than None: the arrays have one type, and a mistaken use shows.
    no_class, no_probability = np.full(n_images, -1), np.full(n_images, np.nan, np.float32)
    numbers = values.detach().float().cpu().numpy()
    return Targets(no_class, (name,) * n_images, numbers, no_probability)
