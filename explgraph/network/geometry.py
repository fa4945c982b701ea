"""Where the cells of a layer's map look at in the network input, measured by running the network on coordinates.

Size ratios mislead: a map of 13 rows on an input of 224 suggests a stride of 17.2 where it is 16, and paddings and ceil
modes shift the first cell. So the receptive fields themselves are measured (see `explgraph.network.receptive`), and
stride and first centre are read off the cells whose field lies wholly inside the input. Where no field does at
the network's input size, the input is enlarged along the axis measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from explgraph.errors import ExplgraphError, NetworkError
from explgraph.graph import Layer
from explgraph.network.layers import evaluation_mode, watch_layers
from explgraph.network.network import Network
from explgraph.network.receptive import Dependence, any_channel, coordinates

# Pixels by which the input grows if it is too small for a whole receptive field: multiples of every total stride up to 8
# but 7, and of 10, 12, 16, 32, 64, so that paddings which depend on the input size (TensorFlow's "same") keep their phase.
_ENLARGE = (960, 3840)


@dataclass(frozen=True)
class _Sweep:
    """What one pass along one axis tells of one layer: its shape and, per cell, the first and last pixel of the field."""

    shape: tuple[int, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def measure_geometry(
    network: Network | nn.Module, names: Sequence[str], *, input_size: tuple[int, int] | None = None
) -> dict[str, Layer]:
    """Return the geometry of the layers called ``names``, in that order.

    For cells i whose receptive field [a_i, b_i] lies inside the input: size = b_i - a_i + 1, centre_i = (a_i + b_i) / 2 + 0.5,
    stride = centre_{i+1} - centre_i and first = centre_i - i * stride. Exact for every network whose cells are alike.

    Args:
        network: a network, or any module in whatever mode, that takes three channels.
        names: dotted torch names.
        input_size: (height, width) in pixels; the network's own if not given.

    Raises:
        LayerError: a name is unknown or yields no maps.
        NetworkError: the network does not run on this size of input.
    """
    model, size, model_name = _resolve(network, input_size)
    kinds = {
        name: type(module).__name__ for name, module in model.named_modules(remove_duplicate=False)
    }
    with evaluation_mode(model), torch.no_grad():
        sweeps = [_sweep(model, names, size, axis, model_name=model_name) for axis in (0, 1)]
        lines = [_fit_axis(model, sweeps[axis], size, axis) for axis in (0, 1)]
    geometry = {}
    for name in names:
        (_, channels, height, width), (row, col) = (
            sweeps[0][name].shape,
            (lines[0][name], lines[1][name]),
        )
        stride, first, extent = ((row[i], col[i]) for i in range(3))
        geometry[name] = Layer(
            name, channels, height, width, stride, first, extent, kinds[name], size
        )
    return geometry


def list_layers(
    network: Network | nn.Module, *, input_size: tuple[int, int] | None = None
) -> list[Layer]:
    """Return every layer worth naming, in the order of the forward pass: convolutions and the blocks that they make up.

    A block is a module with children that yields maps (``features.10`` of SqueezeNet, ``layer3`` and ``layer3.2`` of
    ResNet). Left out are maps of a single cell (gates) and modules that run more than once.

    Args:
        network: a network, or any module that takes three channels.
        input_size: (height, width) in pixels; the network's own if not given.

    Raises:
        NetworkError: the network does not run on this size of input.
    """
    model, size, _ = _resolve(network, input_size)
    with evaluation_mode(model), torch.no_grad():
        names = _forward_order(model, size)
    return list(measure_geometry(network, names, input_size=size).values()) if names else []


def _resolve(
    network: Network | nn.Module, input_size: tuple[int, int] | None
) -> tuple[nn.Module, tuple[int, int], str | None]:
    if isinstance(network, Network):
        return network.model, input_size or network.input.size, network.name
    if input_size is None:
        raise TypeError("a plain module has no input size; pass input_size=(height, width)")
    return network, input_size, None


def _sweep(
    model: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    axis: int,
    *,
    model_name: str | None = None,
) -> dict[str, _Sweep]:
    sweeps: dict[str, _Sweep] = {}

    def keep(name: str, maps: torch.Tensor) -> None:
        if not isinstance(maps, Dependence):
            raise NetworkError(f"layer {name!r} does not depend on the input; name another")
        top = any_channel(maps.as_subclass(torch.Tensor)).amax((1, 3 - axis)).cpu().double().numpy()
        sweeps[name] = _Sweep(tuple(maps.shape), -top[1], top[0])

    with watch_layers(model, names, keep, stop=True, model_name=model_name) as run:
        _run(run, model, size, axis)
    return sweeps


def _run(run: Any, model: nn.Module, size: tuple[int, int], axis: int) -> None:
    device = next((p.device for p in model.parameters()), None)
    try:
        run(coordinates(size, axis, device=device))
    except ExplgraphError:
        raise
    except Exception as error:  # whatever the forward pass of a foreign model raises
        raise NetworkError(
            f"{type(model).__name__} does not run on an input of {size[0]} x {size[1]} pixels: {error}"
        ) from error


Line = tuple[float, float, float]  # stride, first centre, extent


def _fit_axis(
    model: nn.Module, sweeps: dict[str, _Sweep], size: tuple[int, int], axis: int
) -> dict[str, Line]:
    lines = {name: line for name, sweep in sweeps.items() if (line := _fit(sweep, size[axis]))}
    for extra in _ENLARGE:
        pending = [
            name
            for name, sweep in sweeps.items()
            if name not in lines and np.isfinite(sweep.high).any()
        ]
        if not pending:
            break
        larger = (size[0] + extra, size[1]) if axis == 0 else (size[0], size[1] + extra)
        try:
            enlarged = _sweep(model, pending, larger, axis)
        except NetworkError:
            break  # bound to its input size
        for name in pending:
            line = _fit(enlarged[name], larger[axis])
            # A map that does not grow with the input (adaptive pooling) has other cells than it has at the true size.
            if (
                line
                and abs((len(enlarged[name].low) - len(sweeps[name].low)) * line[0] - extra)
                < 0.5 * line[0]
            ):
                lines[name] = line
    return {
        name: lines.get(name) or _tiles(size[axis], len(sweep.low))
        for name, sweep in sweeps.items()
    }


def _fit(sweep: _Sweep, extent: int) -> Line | None:
    """Return the line through the centres of the cells that see no border; None if fewer than two are so."""
    size = sweep.high - sweep.low + 1
    inside = (sweep.low > 0) & (sweep.high < extent - 1) & (size > 0)
    # A border may clip a field without the field touching it, if the last pixels are seen by no cell at all (strides that
    # do not divide, ceil mode). Clipped fields are smaller.
    cells = np.flatnonzero(inside & (size == size.max(initial=0, where=inside)))
    if len(cells) < 2:
        return None
    centre = (sweep.low[cells] + sweep.high[cells]) / 2 + 0.5
    stride = float((centre[-1] - centre[0]) / (cells[-1] - cells[0]))
    return (
        (stride, float(centre[0] - stride * cells[0]), float(size[cells[0]]))
        if stride > 0
        else None
    )


def _tiles(extent: int, cells: int) -> Line:
    return extent / cells, extent / cells / 2, float("inf")


def _forward_order(model: nn.Module, size: tuple[int, int]) -> list[str]:
    runs: dict[str, int] = {}
    maps: set[str] = set()

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            runs[name] = runs.get(name, 0) + 1
            if (
                isinstance(output, Dependence)
                and output.ndim == 4
                and output.shape[2] * output.shape[3] > 1
            ):
                maps.add(name)

        return hook

    layers = {name: module for name, module in model.named_modules() if name and _is_layer(module)}
    hooks = [module.register_forward_hook(hook_of(name)) for name, module in layers.items()]
    try:
        _run(model, model, size, 0)
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name, n_runs in runs.items() if name in maps and n_runs == 1]


def _is_layer(module: nn.Module) -> bool:
    return any(parameter.ndim == 4 for parameter in module.parameters())
