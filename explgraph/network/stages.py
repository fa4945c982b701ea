"""Which layers to mine where nobody says: the last layer of each of the last two stages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from explgraph.errors import LayerError
from explgraph.network.geometry import is_worth_naming
from explgraph.network.layers import evaluation_mode, forward_errors
from explgraph.network.layout import layout_of, learn_layouts
from explgraph.network.network import blank_input
from explgraph.network.wrap import Model, wrap

LEAST = 4  # cells on a side of a map in which places can differ

Size = tuple[int, int]  # (height, width) of a map, cells


def last_stages(model: Model, n: int = 2) -> tuple[str, ...]:
    """The last layer of each of the last ``n`` stages, the top one first: good layers to mine.

    A stage is what has maps of one size: ``layer3`` and ``layer4`` of a ResNet, ``features.21`` and
    ``features.28`` of VGG-16. These are the layers of parts; before, filters answer to edges and
    colours. Left out are maps of the classes themselves (SqueezeNet's last convolution), maps of
    less than 4 cells on a side, and those of a decoder, which are larger than maps before them.

    Args:
        model: a network; or a plain module, see `wrap`, which stays as it is.
        n: how many stages.

    Raises:
        LayerError: no layer has such maps.
        NetworkError: the network does not run on its input.

    >>> last_stages(network)
    ('features.14', 'features.7')
    """
    network = wrap(model)
    sizes = _map_sizes(network)
    if not sizes:
        raise LayerError(f"{network.name} has no layer with maps of {LEAST} x {LEAST} cells")
    modules = dict(network.model.named_modules())
    last: dict[Size, str] = {}
    for name in sorted(_blocks("", sizes, modules), key=list(sizes).index):
        last.pop(sizes[name], None)  # so that the sizes stand in the order of their last layers
        last[sizes[name]] = name
    return tuple(reversed(last.values()))[:n]


def _map_sizes(network: Any) -> dict[str, Size]:
    """The size of the maps of every module that has some, in the order in which they are done."""
    found: dict[str, Size] = {}
    of_classes: list[tuple[str, int]] = []
    model, size = network.model, network.input.size

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            try:
                maps = layout_of(model, name, output).maps(output)
            except LayerError:
                return
            if min(maps.shape[2:]) >= LEAST:
                found.setdefault(name, (maps.shape[2], maps.shape[3]))
            if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
                of_classes.append((name, maps.shape[1]))

        return hook

    x = blank_input(network, size)
    with evaluation_mode(model), torch.no_grad(), forward_errors(network.name, size):
        learn_layouts(model, x)
        with ExitStack() as hooks:
            for name, module in model.named_modules():
                if name and is_worth_naming(module):
                    hooks.callback(module.register_forward_hook(hook_of(name)).remove)
            output = model(x)
    if isinstance(output, Tensor) and output.ndim > 1:
        for name, channels in of_classes:
            if channels == output.shape[1]:
                found.pop(name, None)
    return _narrowing(found)


def _narrowing(sizes: dict[str, Size]) -> dict[str, Size]:
    """Without maps larger than some before them: those of a decoder, which draws the image anew."""
    kept: dict[str, Size] = {}
    for name, size in sizes.items():
        if all(size[0] <= before[0] and size[1] <= before[1] for before in kept.values()):
            kept[name] = size
    return kept


def _blocks(name: str, sizes: dict[str, Size], modules: dict[str, nn.Module]) -> list[str]:
    """The module itself, or the parts that it is a chain of, if their maps differ in size."""
    inside = [one for one in sizes if one.startswith(f"{name}." if name else "") and one != name]
    # Those that no other of them holds: what lies between need not give maps (a backbone's dict).
    parts = [one for one in inside if not any(one.startswith(f"{other}.") for other in inside)]
    chain = not name or len(parts) == 1 or isinstance(modules[name], nn.Sequential)
    # One part may be the whole network in a wrapper, which has chains of its own inside.
    several = len({sizes[part] for part in parts}) > 1 or (not name and bool(parts))
    if not chain or not several:
        return [name]
    return [block for part in parts for block in _blocks(part, sizes, modules)]
