"""Where the maps of a layer lie in its output: channels first, channels last, or as tokens.

Convolutions yield (n, channels, rows, columns). A linear layer yields vectors (n, values), which
are maps of a single cell. Swin yields (n, rows, columns, channels), a vision
transformer (n, tokens, channels), its class token before those of the grid. Shapes alone do not
tell them apart: 7 x 7 x 768 may be a map of 768 columns. So the network is run on a wider image,
and the axis that grows is the columns. Where it does not run on another size, its layer norms say
which axis the channels are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from explgraph.errors import LayerError
from explgraph.network.known import once

MOST_EXTRA = 8  # tokens that belong to no place: class, distillation, registers
_IMAGES = 2  # of the blank batch: the axis of the images is the one of this length

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """How a layer's output holds its maps.

    Args:
        order: of the axes behind that of the images.
        grid: rows and columns of tokens.
        extra: tokens before those of the grid.

    >>> tokens = Layout("tokens", grid=(2, 3), extra=1)
    >>> tokens.maps(torch.zeros(4, 7, 5)).shape
    torch.Size([4, 5, 2, 3])
    """

    order: Literal["channels first", "channels last", "tokens", "vector"] = "channels first"
    grid: tuple[int, int] = (0, 0)
    extra: int = 0

    def maps(self, output: Tensor) -> Tensor:
        """The maps (n, channels, rows, columns): a view of the output."""
        if self.order == "channels last":
            return output.permute(0, 3, 1, 2)
        if self.order == "tokens":
            rows, cols = self.grid
            places = output[:, self.extra :]
            return places.reshape(len(output), rows, cols, -1).permute(0, 3, 1, 2)
        return output[:, :, None, None] if self.order == "vector" else output

    def output(self, maps: Tensor, former: Tensor) -> Tensor:
        """The output with these maps in place of its former ones."""
        if self.order == "channels last":
            return maps.permute(0, 2, 3, 1)
        if self.order == "tokens":
            extra = former[:, : self.extra].expand(len(maps), -1, -1)
            return torch.cat([extra, maps.flatten(2).transpose(1, 2)], 1)
        return maps.flatten(1) if self.order == "vector" else maps


PLAIN = Layout()
VECTOR = Layout("vector")

# By layer and shape, as the module was when it last ran. Hooks read this at every layer of every
# batch, so they do not ask `once`, which prints the whole module first (0.6 ms for ResNet-50).
_KNOWN: WeakKeyDictionary[nn.Module, dict[tuple[str, Shape], Layout]] = WeakKeyDictionary()


def learn_layouts(model: nn.Module, images: Tensor) -> None:
    """Find out the layouts of all layers for inputs of this size, once; in evaluation mode.

    A network without layer norms has its channels first, and is not run.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2), nn.Flatten(2), nn.LayerNorm(6))
    >>> learn_layouts(model, torch.zeros(1, 3, 4, 6))
    >>> layout_of(model, "0", torch.zeros(1, 4, 2, 3)).order
    'channels first'
    """
    if not _is_mixed(model):
        return
    shape = tuple(images.shape[1:])
    parameter = next(model.parameters(), images)
    blank = torch.zeros(_IMAGES, *shape, device=parameter.device, dtype=parameter.dtype)
    found = once(model, ("layouts", shape), lambda: _measure(model, blank))
    known = _KNOWN[model] = once(model, "known layouts", dict)
    known.update({(name, of_one): layout for name, of_one, layout in found})


def layout_of(model: nn.Module, name: str, output: Any) -> Layout:
    """How the layer ``name`` holds its maps in this output.

    Raises:
        LayerError: the output is no tensor, or it is not certain where its maps are.

    >>> layout_of(nn.Sequential(nn.ReLU()), "0", torch.zeros(2, 5, 3, 4)).order
    'channels first'
    """
    if not isinstance(output, Tensor):
        kind = type(output).__name__
        message = f"layer {name!r} must yield one tensor, got a {kind}; name a layer inside it"
        raise LayerError(message)
    if output.ndim == 2 and output.is_floating_point():
        _KNOWN.setdefault(model, {})[name, tuple(output.shape[1:])] = VECTOR
        return VECTOR
    if output.ndim == 4 and not _is_mixed(model):
        return PLAIN
    layout = _KNOWN.get(model, {}).get((name, tuple(output.shape[1:])))
    if layout is None:
        raise LayerError(
            f"layer {name!r} must yield maps (images, channels, height, width) or vectors "
            f"(images, values), got shape {tuple(output.shape)}; "
            "name a convolution or a block of them"
        )
    return layout


def has_plain_maps(model: nn.Module, name: str) -> bool:
    """Whether every output of the layer that was seen so far had its channels first.

    Those of a vector are all that it has.

    >>> has_plain_maps(nn.Sequential(nn.ReLU()), "0")
    True
    """
    return set(_seen(model, name)) <= {PLAIN, VECTOR}


def has_vectors(model: nn.Module, name: str) -> bool:
    """Whether the layer was seen to yield vectors: a neuron of it has no place.

    >>> model = nn.Sequential(nn.Flatten())
    >>> layout_of(model, "0", torch.zeros(2, 5)).order, has_vectors(model, "0")
    ('vector', True)
    """
    return VECTOR in _seen(model, name)


def require_places(model: nn.Module, name: str, maps: Tensor) -> None:
    """Raise LayerError if the layer yields vectors: there is nothing to find a place on.

    >>> require_places(nn.Sequential(nn.Conv2d(3, 4, 3)), "0", torch.zeros(2, 4, 5, 5))
    """
    if has_vectors(model, name):
        raise LayerError(
            f"layer {name!r} yields vectors ({maps.shape[1]} values), which have no places; "
            f"name a convolution, or ask for one value: '{name}:0'"
        )


def _seen(model: nn.Module, name: str) -> list[Layout]:
    return [layout for (layer, _), layout in _KNOWN.get(model, {}).items() if layer == name]


def _is_mixed(model: nn.Module) -> bool:
    return any(isinstance(module, nn.LayerNorm) for module in model.modules())


def _measure(model: nn.Module, blank: Tensor) -> list[tuple[str, Shape, Layout]]:
    shapes = _shapes(model, blank)
    try:
        wider = _shapes(model, torch.cat([blank, blank], -1))
    except Exception:  # whatever a foreign network raises that is bound to its input size
        wider = {}
    found: list[tuple[str, Shape, Layout]] = []
    grid: tuple[int, int] | None = None
    modules = dict(model.named_modules())
    for name, shape in shapes.items():
        if shape[0] != _IMAGES:
            continue  # windows or pairs of tokens, not images
        layout = None
        if len(shape) == 4:
            layout = _of_axis(shape, wider.get(name)) or _of_norms(modules[name], shape)
            if layout is not None and not _is_alike(layout, shape, blank.shape):
                layout = None  # windows, laid side by side
            if layout == PLAIN:
                grid = (shape[2], shape[3])  # a patch embedding, for the tokens that follow
        elif len(shape) == 3 and grid is not None:
            extra = shape[1] - grid[0] * grid[1]
            if 0 <= extra <= MOST_EXTRA:
                layout = Layout("tokens", (grid[0], grid[1]), extra)
        if layout is not None:
            found.append((name, shape[1:], layout))
    return found


def _shapes(model: nn.Module, images: Tensor) -> dict[str, Shape]:
    """The shape that each module yields at its first run, in the order of the pass."""
    shapes: dict[str, Shape] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                shapes.setdefault(name, tuple(output.shape))

        return hook

    hooks = [
        module.register_forward_hook(note(name)) for name, module in model.named_modules() if name
    ]
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return shapes


def _of_axis(shape: Shape, wider: Shape | None) -> Layout | None:
    """By the one axis that is longer for a wider image."""
    if wider is None or len(wider) != 4:
        return None
    grown = [axis for axis in range(1, 4) if wider[axis] != shape[axis]]
    if grown == [3]:
        return PLAIN
    return Layout("channels last") if grown == [2] else None


def _of_norms(module: nn.Module, shape: Shape) -> Layout | None:
    """By the number of channels that its layer norms and convolutions are made for."""
    sizes = {m.normalized_shape[-1] for m in module.modules() if isinstance(m, nn.LayerNorm)}
    sizes |= {m.out_channels for m in module.modules() if isinstance(m, nn.Conv2d)}
    first, last = shape[1] in sizes, shape[3] in sizes
    if first == last:
        return PLAIN if isinstance(module, nn.Conv2d) else None
    return PLAIN if first else Layout("channels last")


def _is_alike(layout: Layout, shape: Shape, images: Shape) -> bool:
    """Whether a map is as long and wide as the image, up to what strides and borders take off."""
    rows, cols = shape[1:3] if layout.order == "channels last" else shape[2:]
    return 0.5 < (rows / cols) / (images[2] / images[3]) < 2
