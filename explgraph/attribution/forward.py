"""The pass that answers what is asked of a network, and the modes that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from explgraph.attribution.target import (
    Activation,
    PlacedNode,
    Target,
    Targets,
    check_scores,
    resolve_target,
)
from explgraph.errors import ExplgraphError, NetworkError, UsageError
from explgraph.network import Network, evaluation_mode
from explgraph.network.partial import last_module

Images = Tensor | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Answer:
    """What one pass says.

    Args:
        values: (n,), what was asked, with its gradient where gradients are enabled.
        targets: what was asked, in words, with the values.
        cut: copy of the output of the layer at which the pass was cut, the start of its gradient; None if it was not.
    """

    values: Tensor
    targets: Targets
    cut: Tensor | None


def ask(network: Network, batch: Tensor, target: Target, *, cut: str | None = None) -> Answer:
    """Return what the target is worth in each image, from one forward pass that ends as early as it can.

    Args:
        network: any that yields what the target needs.
        batch: (n, 3, height, width), its input.
        target: class by number or name, None for each image's own first choice; an `Activation`; a `PlacedNode`; or a function
            from the network's output, whatever that is, to (n,).
        cut: a layer; its output becomes a leaf, so that gradients go no further back and nothing before it is kept.

    Raises:
        UsageError: the class, channel or cell is unknown.
        LayerError: a layer is unknown, yields no maps, or is not reached.
        NetworkError: the network does not run on the batch, or yields nothing that the target could be read from.
    """
    layer = target.layer if isinstance(target, Activation | PlacedNode) else None
    leaf: list[Tensor] = []
    found: list[Tensor] = []

    def on_output(name: str, maps: Tensor) -> Tensor | None:
        if name == cut:
            leaf.append(
                maps.detach().requires_grad_(torch.is_grad_enabled() and maps.is_floating_point())
            )
            maps = leaf[0].clone()  # an in-place ReLU behind the layer overwrites this copy
        if name == layer:
            assert isinstance(target, Activation | PlacedNode)
            found.append(target.values(maps))
        return maps if name == cut else None

    names = list(dict.fromkeys(name for name in (cut, layer) if name is not None))
    if names:
        with network.watch(names, on_output, stop=layer is not None) as run:
            output = run_model(network, run, batch)
    else:
        output = run_model(network, network.model, batch)
    held = leaf[0] if leaf else None
    if found:
        return Answer(found[0], _named(network, target, found[0], len(batch)), held)
    return Answer(*read_output(network, target, output, len(batch)), held)


def read_output(
    network: Network, target: Target, output: Any, n_images: int
) -> tuple[Tensor, Targets]:
    """Return what a class or a function is worth in the network's output, (n,), and the target in words."""
    if callable(target):
        try:
            values = target(output)
        except Exception as error:  # foreign code
            raise NetworkError(
                f"the target failed on the output of {network.name}: {type(error).__name__}: {error}"
            ) from error
        return values, _named(network, target, values, n_images)
    scores = check_scores(network, output, n_images)
    assert not isinstance(target, Activation | PlacedNode)
    targets = resolve_target(network, target, scores=scores)
    return scores[torch.arange(n_images), targets.indexes.tolist()], targets


@contextmanager
def watching(network: Network, *asked: Any) -> Iterator[dict[str, list[Tensor]]]:
    """Yield what the activations and nodes among ``asked`` are worth in the pass that runs meanwhile, by their layer, in their order.

    Unlike `explgraph.network.watch_layers` it also sees a part of the network run by itself (see `explgraph.network.partial.chain`).
    """
    seen: dict[str, list[Tensor]] = {}
    answered: set[int] = (
        set()
    )  # a module that runs more than once is asked at its first run, as by `watch_layers`
    with ExitStack() as hooks:
        for number, one in enumerate(asked):
            if isinstance(one, Activation | PlacedNode):

                def hook(
                    module: Any, args: Any, maps: Tensor, number: int = number, one: Any = one
                ) -> None:
                    if number not in answered:
                        answered.add(number)
                        seen.setdefault(one.layer, []).append(one.values(maps))

                module = last_module(network.find_layers([one.layer])[one.layer])
                hooks.callback(module.register_forward_hook(hook).remove)
        yield seen


def worth(
    network: Network, target: Target, output: Any, seen: dict[str, list[Tensor]], n_images: int
) -> Tensor:
    """Return what the target is worth in each image, (n,), of a pass with this output that was watched for it."""
    if isinstance(target, Activation | PlacedNode):
        return seen[target.layer][0]
    return read_output(network, target, output, n_images)[0]


def gradient_of(values: Tensor, inputs: Tensor) -> Tensor | None:
    """Return d ``values`` / d ``inputs`` in the shape of ``inputs``, each image's own; None if nothing leads there."""
    return (
        torch.autograd.grad(values.sum(), inputs, allow_unused=True)[0]
        if values.requires_grad
        else None
    )


def network_input(network: Network, images: Images) -> Tensor:
    """Return a copy of the images as the network takes them, (n, 3, height, width) on its device.

    Args:
        network: normalises uint8 images.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).

    Raises:
        UsageError: another dtype or shape, or no image, or values that are not finite.
    """
    batch = _as_tensor(images)
    if batch.dtype == torch.uint8 and batch.ndim == 4 and batch.shape[3] == 3:
        batch = network.preprocess(batch)
    elif not (batch.is_floating_point() and batch.ndim == 4 and batch.shape[1] == 3):
        raise UsageError(
            "images must be uint8 (n, height, width, 3), or floating point (n, 3, height, width) as the network takes them; "
            f"got {str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
        )
    if batch.numel() == 0:
        raise UsageError(
            f"give at least one image of at least one pixel, got shape {tuple(batch.shape)}"
        )
    if not batch.isfinite().all():
        raise UsageError("images must be finite, got NaN or infinity")
    # A copy of its own, so that no gradient is asked for from the caller's tensor; convolutions on a CPU like this layout best.
    layout = torch.channels_last if network.device.type == "cpu" else torch.contiguous_format
    return batch.detach().to(network.device).clone(memory_format=layout)


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients for the length of the context, whatever the caller's modes; all are put back."""
    with evaluation_mode(model), torch.inference_mode(False), torch.enable_grad():
        yield


def run_model(network: Network, run: Callable[[Tensor], Any], batch: Tensor) -> Any:
    """Return what ``run``, the model or a part of it, makes of the batch (n, 3, height, width), which stays as it is.

    Raises:
        NetworkError: it does not run on such a batch.
    """
    try:
        return run(batch.clone())  # its copy: an in-place layer may come first
    except ExplgraphError:
        raise
    except (
        RuntimeError,
        ValueError,
        TypeError,
        AssertionError,
    ) as error:  # what modules raise on inputs that they cannot take
        size = f"{batch.shape[2]} x {batch.shape[3]}"
        raise NetworkError(
            f"{network.name} does not run on an input of {size} pixels: {error}"
        ) from error


def _as_tensor(images: Images) -> Tensor:
    try:
        # A view that is mirrored or read-only is no array that torch takes.
        return torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"images must be an array or a tensor of numbers, got a {type(images).__name__}: {error}"
        ) from error


def _named(network: Network, target: Target, values: Any, n_images: int) -> Targets:
    name = str(getattr(target, "name", None) or getattr(target, "__name__", "function"))
    if (
        not isinstance(values, Tensor)
        or tuple(values.shape) != (n_images,)
        or not values.is_floating_point()
    ):
        got = (
            f"shape {tuple(values.shape)}"
            if isinstance(values, Tensor)
            else f"a {type(values).__name__}"
        )
        raise UsageError(
            f"target {name} must yield one number for each of {n_images} images, got {got}"
        )
    if not values.detach().isfinite().all():
        raise NetworkError(
            f"{network.name} yields values of {name} that are not finite; check its weights and its input"
        )
    numbers = values.detach().float().cpu().numpy()
    return Targets(
        np.full(n_images, -1), (name,) * n_images, numbers, np.full(n_images, np.nan, np.float32)
    )
