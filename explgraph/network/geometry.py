"""Where the cells of a layer's map look at in the network input, measured by running the network.

Size ratios mislead: a map of 13 rows on an input of 224 suggests a stride of 17.2 where it is 16,
and paddings and ceil modes shift the first cell. So the receptive fields themselves are measured
(see `explgraph.network.receptive`), and stride and first centre are read off the cells whose field
lies wholly inside the input. Where no field does at the network's input size, the input is enlarged
along the axis measured.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from explgraph.errors import LayerError, NetworkError
from explgraph.graph import Layer
from explgraph.network.known import once
from explgraph.network.layers import evaluation_mode, forward_errors
from explgraph.network.layout import layout_of, learn_layouts, require_places
from explgraph.network.network import Network, blank_input
from explgraph.network.receptive import Dependence, any_channel, coordinates
from explgraph.network.wrap import Model, wrap

# Pixels by which the input grows if it is too small for a whole receptive field: multiples of every
# total stride up to 8 but 7, and of 10, 12, 16, 32, 64, so that paddings which depend on the input
# size (TensorFlow's "same") keep their phase.
_ENLARGE = (960, 3840)

Size = tuple[int, int]  # (height, width), pixels
Line = tuple[float, float, float]  # stride, first centre, extent of a field: pixels


@dataclass(frozen=True)
class _Sweep:
    """What one pass along one axis tells of one layer.

    Args:
        shape: of its maps.
        low: first pixel of each cell's field.
        high: last pixel of each cell's field.
    """

    shape: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def measure_geometry(
    model: Model, names: Sequence[str], *, input_size: Size | None = None
) -> dict[str, Layer]:
    """The geometry of the layers called ``names``, in that order.

    For cells i whose receptive field [a_i, b_i] lies inside the input: size = b_i - a_i + 1,
    centre_i = (a_i + b_i) / 2 + 0.5, stride = centre_{i+1} - centre_i and
    first = centre_i - i * stride. Exact for every network whose cells are alike.

    Args:
        model: a network; or a plain module, see `wrap`, which stays as it is.
        names: dotted torch names.
        input_size: (height, width) in pixels; by default the network's own, see `wrap`.

    Raises:
        LayerError: a name is unknown, or yields no maps or vectors, which have no places.
        NetworkError: the network does not run on this size of input.

    >>> convolution = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2))
    >>> layer = measure_geometry(convolution, ["0"], input_size=(20, 30))["0"]
    >>> layer.stride, layer.first, layer.size
    ((2.0, 2.0), (2.5, 2.5), (5.0, 5.0))
    """
    network = wrap(model)
    size = input_size or network.input.size
    wanted = "geometry", tuple(names), size
    return dict(once(network.model, wanted, lambda: _measure(network, names, size)))


def _measure(network: Network, names: Sequence[str], size: Size) -> dict[str, Layer]:
    model = network.model
    modules = dict(model.named_modules(remove_duplicate=False))
    with evaluation_mode(model), torch.no_grad():
        # An axis at a time: an element holds one coordinate.
        rows, cols = (_sweep(network, names, size, axis) for axis in (0, 1))
        row_lines = _fit_axis(network, rows, size, axis=0)
        col_lines = _fit_axis(network, cols, size, axis=1)
    geometry = {}
    for name in names:
        _, channels, height, width = rows[name].shape
        stride, first, field = zip(row_lines[name], col_lines[name], strict=True)
        kind = type(modules[name]).__name__
        geometry[name] = Layer(name, channels, height, width, stride, first, field, kind, size)
    return geometry


def list_layers(model: Model, *, input_size: Size | None = None) -> list[Layer]:
    """Every layer worth naming, in the order of the forward pass: convolutions and their blocks.

    A block is a module with children that yields maps (``features.10`` of SqueezeNet, ``layer3``
    and ``layer3.2`` of ResNet). Left out are maps of a single cell (gates) and modules that run
    more than once.

    Args:
        model: a network; or a plain module, see `wrap`, which stays as it is.
        input_size: (height, width) in pixels; by default the network's own, see `wrap`.

    Raises:
        NetworkError: the network does not run on this size of input.

    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3))
    >>> [layer.name for layer in list_layers(model, input_size=(20, 30))]
    ['0', '2']
    """
    network = wrap(model)
    model, size = network.model, input_size or network.input.size
    with evaluation_mode(model), torch.no_grad():
        names = _forward_order(network, size)
    return list(measure_geometry(network, names, input_size=size).values()) if names else []


def list_vectors(model: Model, *, input_size: Size | None = None) -> dict[str, int]:
    """The layers that yield vectors, with the number of their neurons, in the pass's order.

    They are those with weights of their own, mostly linear ones, that run once.

    >>> list_vectors(nn.Sequential(nn.Flatten(), nn.Linear(27, 5)), input_size=(3, 3))
    {'1': 5}
    """
    network = wrap(model)
    model, size = network.model, input_size or network.input.size
    found: dict[str, list[int]] = {}

    def note(name: str, module: nn.Module, args: Any, output: Any) -> None:
        one = isinstance(output, Tensor) and output.ndim == 2 and len(output) == 1
        found.setdefault(name, []).append(output.shape[1] if one else 0)

    with ExitStack() as hooks, evaluation_mode(model), torch.no_grad():
        for name, module in model.named_modules():
            if name and next(module.parameters(recurse=False), None) is not None:
                hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        with forward_errors(network.name, size):
            model(blank_input(network, size))
    return {name: values[0] for name, values in found.items() if len(values) == 1 and values[0]}


def _sweep(network: Network, names: Sequence[str], size: Size, axis: int) -> dict[str, _Sweep]:
    sweeps: dict[str, _Sweep] = {}

    def keep(name: str, maps: Tensor) -> None:
        if not isinstance(maps, Dependence):
            raise NetworkError(
                f"layer {name!r} does not depend on the input, as far as that can be followed; "
                "name another, or ask the part of the network that holds it (.backbone)"
            )
        require_places(network.model, name, maps)
        # The cells of a row look at the same rows, but for borders: the widest stands for all.
        reach = any_channel(maps.as_subclass(Tensor)).amax((1, 3 - axis))
        high, low = reach.cpu().double().numpy()
        sweeps[name] = _Sweep(tuple(maps.shape), -low, high)

    with network.watch(names, keep, stop=True) as run:
        _run(run, network, size, axis)
    return sweeps


def _run(run: Callable[..., Any], network: Network, size: Size, axis: int) -> None:
    model, channels = network.model, network.input.channels
    device = next((p.device for p in model.parameters()), None)
    with forward_errors(model._get_name(), size):
        run(coordinates(size, axis, channels=channels, device=device))


def _fit_axis(
    network: Network, sweeps: dict[str, _Sweep], size: Size, axis: int
) -> dict[str, Line]:
    lines = {name: line for name, sweep in sweeps.items() if (line := _fit(sweep, size[axis]))}
    finite = [name for name, sweep in sweeps.items() if np.isfinite(sweep.high).any()]
    for extra in _ENLARGE:
        pending = [name for name in finite if name not in lines]
        if not pending:
            break
        larger = (size[0] + extra, size[1]) if axis == 0 else (size[0], size[1] + extra)
        try:
            enlarged = _sweep(network, pending, larger, axis)
        except NetworkError:
            break  # bound to its input size
        for name in pending:
            line = _fit(enlarged[name], larger[axis])
            more_cells = len(enlarged[name].low) - len(sweeps[name].low)
            # A map that does not grow with the input (adaptive pooling) has other cells than it has
            # at the true size.
            if line and abs(more_cells * line[0] - extra) < 0.5 * line[0]:
                lines[name] = line
    for name, sweep in sweeps.items():
        if name not in lines:  # perhaps all pixels: as if the cells were tiles
            stride = size[axis] / len(sweep.low)
            lines[name] = stride, stride / 2, float("inf")
    return lines


def _fit(sweep: _Sweep, extent: int) -> Line | None:
    """The line through the centres of the cells that see no border; None if fewer than two do."""
    size = sweep.high - sweep.low + 1
    inside = (sweep.low > 0) & (sweep.high < extent - 1) & (size > 0)
    # A border may clip a field without the field touching it, if the last pixels are seen by no
    # cell at all (strides that do not divide, ceil mode). Clipped fields are smaller.
    cells = np.flatnonzero(inside & (size == size.max(initial=0, where=inside)))
    if len(cells) < 2:
        return None
    centre = (sweep.low[cells] + sweep.high[cells]) / 2 + 0.5
    stride = float((centre[-1] - centre[0]) / (cells[-1] - cells[0]))
    first = float(centre[0] - stride * cells[0])
    return (stride, first, float(size[cells[0]])) if stride > 0 else None


def _forward_order(network: Network, size: Size) -> list[str]:
    model = network.model
    runs: Counter[str] = Counter()
    maps: set[str] = set()

    def hook_of(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            runs[name] += 1  # of a module that runs twice only the first run is measured
            try:
                found = layout_of(model, name, output).maps(output)
            except LayerError:
                return
            if isinstance(output, Dependence) and found[0, 0].numel() > 1:
                maps.add(name)

        return hook

    learn_layouts(model, blank_input(network, size))
    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name and is_worth_naming(module):
                hooks.callback(module.register_forward_hook(hook_of(name)).remove)
        _run(model, network, size, 0)
    return [name for name, n_runs in runs.items() if name in maps and n_runs == 1]


def is_worth_naming(module: nn.Module) -> bool:
    """Whether it is a convolution, or a block that holds one, or attention."""
    if any(parameter.ndim == 4 for parameter in module.parameters()):
        return True
    norms = any(isinstance(one, nn.LayerNorm) for one in module.modules())
    return norms and not isinstance(module, nn.LayerNorm)
