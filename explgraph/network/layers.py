"""Layers by their dotted torch name, and hooks that see an output the moment it exists."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from explgraph.errors import ExplgraphError, LayerError, NetworkError
from explgraph.network.layout import layout_of, learn_layouts

OnOutput = Callable[[str, Tensor], Tensor | None]


class _AllSeen(Exception):
    """Ends a forward pass whose remaining layers nobody asked for."""


def find_layers(
    model: nn.Module, names: Sequence[str], *, model_name: str | None = None
) -> dict[str, nn.Module]:
    """The modules called ``names``, in that order.

    Args:
        model: the network.
        names: dotted torch names, as in ``model.named_modules()``.
        model_name: what error messages call the model; its class if not given.

    Raises:
        LayerError: a name is unknown (the nearest one is suggested) or occurs twice, or there is
            none.

    >>> find_layers(nn.Sequential(nn.ReLU(), nn.Flatten()), ["1"])
    {'1': Flatten(start_dim=1, end_dim=-1)}
    """
    if not names:
        raise LayerError("name at least one layer, got none")
    # An alias (the same module under two names) is a name too.
    modules = {name: module for name, module in model.named_modules(remove_duplicate=False) if name}
    found: dict[str, nn.Module] = {}
    for name in names:
        if name not in modules:
            shown = model_name or type(model).__name__
            hint = f"'explgraph layers --model {model_name}' lists them" if model_name else ""
            raise LayerError(_unknown_layer(name, list(modules), shown, hint))
        if name in found or any(modules[name] is other for other in found.values()):
            raise LayerError(f"layers must differ, got {name!r} twice; leave one out")
        found[name] = modules[name]
    return found


def _unknown_layer(name: str, known: list[str], model_name: str, hint: str) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    message = f"{name!r} is no layer of {model_name}"
    if close:
        return f"{message}; did you mean {close[0]!r}? {hint}".rstrip()
    return f"{message}; {hint}" if hint else message


@contextmanager
def watch_layers(
    model: nn.Module,
    names: Sequence[str],
    on_output: OnOutput,
    *,
    stop: bool = False,
    model_name: str | None = None,
) -> Iterator[Callable[..., Any]]:
    """A callable that runs ``model``, and each layer's output the moment it exists.

    While it runs, ``on_output(name, maps)`` is called before anything behind the layer runs, so an
    in-place ReLU has not yet overwritten ``maps`` (n, channels, height, width). It will, so reduce
    or clone what is to be kept. A tensor that ``on_output`` returns takes the output's place,
    ``None`` leaves it. A layer that runs more than once in a forward pass (a shared module) is
    reported at its first run only. The hooks are gone when the context ends, however it ends.

    Args:
        model: the network; gradients, training mode and device are the caller's.
        names: dotted torch names.
        on_output: receives the name and the maps.
        stop: end the pass once every layer was seen, so that the classifier is not computed. The
            yielded callable, which is to be used then, returns None.
        model_name: what error messages call the model.

    Raises:
        LayerError: a name is unknown; it is not certain where the maps of an output are (see
            `explgraph.network.layout`), or there are more or fewer than images; a layer was not
            reached.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Flatten())
    >>> show = lambda name, maps: print(name, tuple(maps.shape))
    >>> with torch.no_grad(), watch_layers(model, ["0"], show, stop=True) as run:
    ...     run(torch.zeros(2, 3, 5, 6))
    0 (2, 4, 3, 4)
    """
    layers = find_layers(model, names, model_name=model_name)
    watch = _Watch(model, tuple(layers), on_output, stop)

    def run(*args: Any, **kwargs: Any) -> Any:
        watch.learn(args)
        try:
            return model(*args, **kwargs)
        except _AllSeen:
            return None

    # The stack takes away what is there, also if a layer in the middle refuses its hook.
    with ExitStack() as hooks:
        hooks.callback(model.register_forward_pre_hook(watch.begin).remove)
        for name, layer in layers.items():
            hooks.callback(layer.register_forward_hook(partial(watch.see, name)).remove)
        hooks.callback(model.register_forward_hook(watch.end).remove)
        yield run


class _Watch:
    """The hooks of one `watch_layers`, and which layers they have seen in this pass."""

    def __init__(
        self, model: nn.Module, names: tuple[str, ...], on_output: OnOutput, stop: bool
    ) -> None:
        self.model, self.names, self.on_output, self.stop = model, names, on_output, stop
        self.seen: set[str] = set()
        self.learning = False
        self.n_images: int | None = None

    def learn(self, args: tuple[Any, ...]) -> None:
        """Find out how the layers hold their maps, in passes that nobody watches."""
        self.learning = True
        try:
            if args and isinstance(args[0], Tensor):
                learn_layouts(self.model, args[0])
        finally:
            self.learning = False

    def begin(self, module: nn.Module, args: Any) -> None:
        self.seen.clear()  # the callable may be run many times
        self.n_images = len(args[0]) if args and isinstance(args[0], Tensor) else None

    def see(self, name: str, module: nn.Module, args: Any, output: Any) -> Tensor | None:
        if name in self.seen or self.learning:
            return None
        self.seen.add(name)
        layout = layout_of(self.model, name, output)
        if self.n_images not in (None, len(output)):
            raise LayerError(
                f"layer {name!r} yields {len(output)} outputs for {self.n_images} images (boxes, "
                "patches, steps); name a layer that yields one for each image"
            )
        replacement = self.on_output(name, layout.maps(output))
        if replacement is not None:
            replacement = layout.output(replacement, output)
        if self.stop and len(self.seen) == len(self.names):
            raise _AllSeen
        return replacement

    def end(self, module: nn.Module, args: Any, output: Any) -> None:
        missing = ", ".join(repr(name) for name in self.names if name not in self.seen)
        if missing and not self.learning:
            message = f"the forward pass does not reach {missing}; name layers on its way"
            raise LayerError(message)


@contextmanager
def forward_errors(name: str, size: tuple[int, int]) -> Iterator[None]:
    """Whatever a foreign forward pass raises, as a NetworkError that names network and input.

    >>> with forward_errors("tiny", (48, 64)):
    ...     raise KeyError("head")
    Traceback (most recent call last):
    explgraph.errors.NetworkError: tiny does not run on an input of 48 x 64 pixels: KeyError('head')
    """
    try:
        yield
    except ExplgraphError:
        raise
    except (Exception, SystemExit) as error:  # sys.exit would end the program without a word
        said = str(error) if isinstance(error, RuntimeError) else repr(error)
        if isinstance(error, TypeError) and "required positional argument" in said:
            said += "; bind its other inputs: explgraph.wrap(model, bind={'NAME': value})"
        raise NetworkError(
            f"{name} does not run on an input of {size[0]} x {size[1]} pixels: {said}"
        ) from error


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Evaluation mode while the context lasts; every module then has its own mode again.

    >>> model = nn.ReLU()
    >>> with evaluation_mode(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    # Each by itself: `train(mode)` would give all modules inside the mode of the outermost.
    training = [module for module in model.modules() if module.training]
    try:
        model.eval()
        yield
    finally:
        for module in training:
            module.training = True


def feature_maps(
    model: nn.Module, images: Tensor, names: Sequence[str], *, model_name: str | None = None
) -> dict[str, Tensor]:
    """Copies of the layers' outputs (n, channels, height, width), in the order of ``names``.

    Gradients flow through the copies where they are enabled. The forward pass ends with the last
    layer asked for.

    Raises:
        LayerError: as `watch_layers`.

    >>> import torch
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    >>> feature_maps(model, torch.zeros(2, 3, 5, 6), ["0"])["0"].shape
    torch.Size([2, 4, 3, 4])
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Tensor) -> None:
        maps[name] = output.clone()

    with watch_layers(model, names, keep, stop=True, model_name=model_name) as run:
        run(images)
    return {name: maps[name] for name in names}
