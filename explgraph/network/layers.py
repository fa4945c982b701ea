"""Layers by their dotted torch name, and hooks that see an output the moment it exists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from explgraph.errors import LayerError

OnOutput = Callable[[str, torch.Tensor], torch.Tensor | None]


class _AllSeen(Exception):
    """Ends a forward pass whose remaining layers nobody asked for."""


def find_layers(
    model: nn.Module, names: Sequence[str], *, model_name: str | None = None
) -> dict[str, nn.Module]:
    """Return the modules called ``names``, in that order.

    Args:
        model: the network.
        names: dotted torch names, as in ``model.named_modules()``.
        model_name: what error messages call the model; the class name if not given.

    Raises:
        LayerError: a name is unknown (the nearest one is suggested) or occurs twice, or there is none.
    """
    if not names:
        raise LayerError("name at least one layer, got none")
    # An alias (the same module under two names) is a name too.
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    found: dict[str, nn.Module] = {}
    for name in names:
        if name not in modules:
            raise LayerError(
                _unknown_layer(
                    name,
                    list(modules),
                    model_name or type(model).__name__,
                    hint=model_name is not None,
                )
            )
        if name in found or any(modules[name] is other for other in found.values()):
            raise LayerError(f"layers must differ, got {name!r} twice; leave one out")
        found[name] = modules[name]
    return found


@contextmanager
def watch_layers(
    model: nn.Module,
    names: Sequence[str],
    on_output: OnOutput,
    *,
    stop: bool = False,
    model_name: str | None = None,
) -> Iterator[Callable[..., Any]]:
    """Yield a callable that runs ``model``; meanwhile ``on_output(name, maps)`` is called as each layer's output comes to be.

    The call comes before anything behind the layer runs, so an in-place ReLU has not yet overwritten ``maps``
    (n, channels, height, width); it will, so reduce or clone what is to be kept. A tensor that ``on_output`` returns takes
    the output's place, ``None`` leaves it. A layer that runs more than once in a forward pass (a shared module) is reported
    at its first run only. The hooks are gone when the context ends, however it ends.

    Args:
        model: the network; runs as it is (gradients, training mode and device are the caller's).
        names: dotted torch names.
        on_output: receives the name and the maps.
        stop: end the pass once every layer was seen, so that the classifier is not computed; the yielded callable then
            returns None. With ``stop``, call that callable and not the model.
        model_name: what error messages call the model.

    Raises:
        LayerError: a name is unknown; an output is no 4-D tensor; a layer was not reached.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> with torch.no_grad(), watch_layers(model, ["0"], lambda name, maps: print(name, tuple(maps.shape)), stop=True) as run:
    ...     run(torch.zeros(2, 3, 5, 6))
    0 (2, 4, 3, 4)
    """
    layers = find_layers(model, names, model_name=model_name)
    seen: set[str] = set()

    def hook_of(name: str) -> Callable[..., torch.Tensor | None]:
        def hook(module: nn.Module, args: Any, output: Any) -> torch.Tensor | None:
            if name in seen:
                return None
            seen.add(name)
            replacement = on_output(name, _checked_maps(name, output))
            if stop and len(seen) == len(layers):
                raise _AllSeen
            return replacement

        return hook

    def begin(module: nn.Module, args: Any) -> None:
        seen.clear()

    def end(module: nn.Module, args: Any, output: Any) -> None:
        missing = [name for name in layers if name not in seen]
        if missing:
            raise LayerError(
                f"the forward pass does not reach {', '.join(map(repr, missing))}; name layers on its way"
            )

    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return model(*args, **kwargs)
        except _AllSeen:
            return None

    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(begin).remove)
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(hook_of(name)).remove)
        hooks.callback(model.register_forward_hook(end).remove)
        yield run


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode for the length of the context; every module then has its own mode again."""
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def feature_maps(
    model: nn.Module, images: torch.Tensor, names: Sequence[str], *, model_name: str | None = None
) -> dict[str, torch.Tensor]:
    """Return copies of the layers' outputs (n, channels, height, width) on ``images``, in the order of ``names``.

    Gradients flow through the copies where they are enabled. The forward pass ends with the last layer asked for.

    Raises:
        LayerError: as `watch_layers`.
    """
    maps: dict[str, torch.Tensor] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        maps[name] = output.clone()

    with watch_layers(model, names, keep, stop=True, model_name=model_name) as run:
        run(images)
    return {name: maps[name] for name in names}


def _checked_maps(name: str, output: Any) -> torch.Tensor:
    if not isinstance(output, torch.Tensor):
        raise LayerError(
            f"layer {name!r} must yield one tensor, got a {type(output).__name__}; name a layer inside it"
        )
    if output.ndim != 4:
        raise LayerError(
            f"layer {name!r} must yield maps (images, channels, height, width), got shape {tuple(output.shape)}; "
            "name a convolution or a block of them"
        )
    return output


def _unknown_layer(name: str, known: list[str], model_name: str, *, hint: bool) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    message = f"{name!r} is no layer of {model_name}"
    if close:
        message += f"; did you mean {close[0]!r}?"
    if hint:
        message += f"{'' if close else ';'} 'explgraph layers --model {model_name}' lists them"
    return message
