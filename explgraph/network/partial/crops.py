"""What a square changes in a forward pass, without computing again what it cannot change.

A cell whose receptive field misses the square keeps its value. So in each stage of the network (see `explgraph.network.partial.chain`) only
a
crop around the changed cells is computed, with the margin that its receptive fields need, and pasted into the map of the untouched
image; once most of the map has changed, the rest runs whole. Where to cut is planned by counting operations. The same idea, layer by
layer, is Nakandala, Kumar, Papakonstantinou, "Incremental and approximate inference for faster occlusion-based deep CNN
explanations", SIGMOD 2019, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from explgraph.errors import ExplgraphError
from explgraph.graph import Layer
from explgraph.network.geometry import measure_geometry
from explgraph.network.network import Network, blank_input
from explgraph.network.partial.chain import Chain, Link

# A number that is copied costs about as much time as so many operations of a convolution (measured on a CPU: 100 GFLOP/s, 5 GB/s).
_COPY = 200
Square = tuple[int, int, int, int]  # top, left, bottom, right


@dataclass(frozen=True)
class _Grid:
    """One axis of the maps behind one link: cell i is centred at first + stride * i and sees ``size`` pixels."""

    cells: int
    stride: float
    first: float
    size: float

    def changed(self, start: int, stop: int) -> tuple[int, int]:
        """Return the cells [low, high) that see any of the pixels [start, stop)."""
        low = ceil((start - self.size / 2 - self.first) / self.stride)
        high = floor((stop + self.size / 2 - self.first) / self.stride) + 1
        return min(max(low, 0), self.cells), max(min(high, self.cells), 0)


@dataclass(frozen=True)
class _Span:
    """Along one axis, for every square: ``crop`` cells from ``first[p]`` on go in, ``n_changed`` from ``changed[p]`` on come out.

    Cells that come out are counted in the next map, those that go in in this one.
    """

    crop: int
    first: NDArray[np.int64]
    n_changed: int
    changed: NDArray[np.int64]
    step: int  # cells of this map per cell of the next


@dataclass(frozen=True)
class _Stage:
    start: Link | None
    stop: Link
    rows: _Span
    cols: _Span


# Plans of the networks that are still in use: planning takes as long as a dozen squares. They hold no tensor.
_PLANS: WeakKeyDictionary[nn.Module, dict[Any, list[_Stage]]] = WeakKeyDictionary()


class IncrementalPass:
    """Runs a network on one image with squares laid over it; building it plans the cuts for these squares.

    Args:
        network: the network; it must be in evaluation mode for the result to mean anything.
        chain: of the network, None if it has none.
        size: (height, width) of the input.
        squares: (top, left, bottom, right) of each, pixels of the input, inside it.
        before: the chain is not cut here or later, so that from here on whole maps are computed.
    """

    def __init__(
        self,
        network: Network,
        chain: Chain | None,
        *,
        size: tuple[int, int],
        squares: Sequence[Square],
        before: Link | None = None,
    ) -> None:
        self.chain, self.squares = chain, list(squares)
        self.stages: list[_Stage] = []
        self._kept: list[Tensor] = []
        if chain is not None and self.squares:
            modules = tuple((name, type(module)) for name, module in network.model.named_modules())
            known, key = (
                _PLANS.setdefault(network.model, {}),
                (size, tuple(self.squares), before, modules),
            )
            if key not in known:
                blank = blank_input(network, size)
                self.stages = _plan(network, chain, blank, self.squares, before)
                if self.stages and not self._runs(blank):
                    self.stages = []
                known[key] = self.stages
            self.stages = known[key]

    def see(self, image: Tensor) -> None:
        """Keep the maps of the untouched image (1, 3, height, width) at the cuts."""
        self._kept, start = [image], None
        for stage in self.stages:
            assert self.chain is not None
            self._kept.append(self.chain.run(self._kept[-1].clone(), after=start, upto=stage.stop))
            start = stage.stop

    def run(self, numbers: Sequence[int], value: float) -> Any:
        """Return the network's output on the image with the squares ``numbers`` filled with ``value``, one after the other.

        Only if there are stages; `see` comes first.
        """
        assert self.chain is not None
        return self.chain.run(self._changed(numbers, value), after=self.stages[-1].stop)

    def _changed(self, numbers: Sequence[int], value: float) -> Tensor:
        """Return the maps at the last cut, (squares, channels, rows, columns)."""
        assert self.chain is not None
        first = self.stages[0]
        crops = _crops(self._kept[0], first, numbers)
        for crop, p in zip(crops, numbers, strict=True):
            top, left, bottom, right = self.squares[p]
            r, c = first.rows.first[p], first.cols.first[p]
            crop[:, max(top - r, 0) : max(bottom - r, 0), max(left - c, 0) : max(right - c, 0)] = (
                value
            )
        for k, stage in enumerate(self.stages):
            found = self.chain.run(crops, after=stage.start, upto=stage.stop)
            following = self.stages[k + 1] if k + 1 < len(self.stages) else None
            whole = self._kept[k + 1]
            crops = _crops(whole, following, numbers) if following else _repeat(whole, len(numbers))
            _paste(crops, found, stage, following, numbers)
        return crops

    def _runs(self, blank: Tensor) -> bool:
        """Return whether the network takes crops; what is laid over a whole map (encoded places) fits no part of it."""
        self.see(blank)
        try:
            self._changed([0], 0.0)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return False
        return True


def _crops(maps: Tensor, stage: _Stage, numbers: Sequence[int]) -> Tensor:
    """Return what goes into the stage for each square, cut from the maps (1, channels, rows, columns) of the untouched image."""
    rows, cols = stage.rows, stage.cols
    parts = [
        maps[0, :, r : r + rows.crop, c : c + cols.crop]
        for r, c in zip(rows.first[list(numbers)], cols.first[list(numbers)], strict=True)
    ]
    out = torch.empty((len(numbers), *parts[0].shape), dtype=maps.dtype, device=maps.device)
    out = out.contiguous(memory_format=torch.channels_last) if maps.device.type == "cpu" else out
    for one, part in zip(out, parts, strict=True):
        one.copy_(part)
    return out


def _repeat(maps: Tensor, n: int) -> Tensor:
    return maps.expand(n, -1, -1, -1).clone(
        memory_format=torch.channels_last if maps.device.type == "cpu" else torch.contiguous_format
    )


def _paste(
    crops: Tensor, found: Tensor, stage: _Stage, following: _Stage | None, numbers: Sequence[int]
) -> None:
    """Put the changed cells that the stage has found into what goes into the following one, or into whole maps."""
    for k, p in enumerate(numbers):
        target, source = [], []
        for axis, span in enumerate((stage.rows, stage.cols)):
            ahead = (following.rows, following.cols)[axis] if following else None
            origin, limit = (ahead.first[p], ahead.crop) if ahead else (0, crops.shape[2 + axis])
            low, high = (
                max(span.changed[p], origin),
                min(span.changed[p] + span.n_changed, origin + limit),
            )
            target.append(slice(low - origin, high - origin))
            before = span.first[p] // span.step
            source.append(slice(low - before, high - before))
        crops[k, :, target[0], target[1]] = found[k, :, source[0], source[1]]


# Planning


def _plan(
    network: Network, chain: Chain, sample: Tensor, squares: Sequence[Square], before: Link | None
) -> list[_Stage]:
    """Return the cheapest stages, none if nothing is cheaper than whole passes: shortest path over the links."""
    probes = _probes(squares)
    reached = _reached(chain, sample, probes)
    links = [
        link
        for link in chain.links
        if link.name in reached and (before is None or link.position < before.position)
    ]
    flops = np.cumsum(chain.flops(sample.clone()))
    try:
        geometry = measure_geometry(
            network,
            [link.name for link in links],
            input_size=(int(sample.shape[2]), int(sample.shape[3])),
        )
    except ExplgraphError:  # no cuts, or receptive fields cannot be followed
        return []
    points: list[tuple[Link | None, int, tuple[_Grid, _Grid]]] = [(None, 3, _input_grid(sample))]
    for link in links:
        g = geometry[link.name]
        if not (isfinite(g.size[0]) and isfinite(g.size[1])):
            break
        grids = _grid(g, 0), _grid(g, 1)
        if not _is_local(reached[link.name], grids, probes):
            break
        points.append((link, g.channels, grids))
    best: list[tuple[float, list[_Stage]]] = [(0.0, [])]
    position = [0 if link is None else link.position for link, _, _ in points]
    for b in range(1, len(points)):
        options = []
        for a in range(b):
            stage = _stage(points[a], points[b], squares)
            if stage is not None and best[a][0] < float("inf"):
                options.append(
                    (
                        best[a][0]
                        + _cost(stage, points[a], flops[position[b]] - flops[position[a]]),
                        [*best[a][1], stage],
                    )
                )
        best.append(min(options, key=lambda option: option[0]) if options else (float("inf"), []))
    totals = [
        cost
        + float(flops[-1] - flops[position[k]])
        + (_COPY * points[k][1] * _area(points[k][2]) if k else 0.0)
        for k, (cost, _) in enumerate(best)
    ]
    return best[int(np.argmin(totals))][1]


def _probes(squares: Sequence[Square]) -> list[Square]:
    """Return the squares at the four corners and in the middle, which stand for all: borders are where cells differ."""
    rows, cols = np.array([square[:2] for square in squares]).T
    corners = {
        int(np.argmin(down * rows + across * cols)) for down in (-1, 1) for across in (-1, 1)
    }
    return [squares[p] for p in sorted(corners | {len(squares) // 2})]


def _reached(chain: Chain, sample: Tensor, squares: Sequence[Square]) -> dict[str, Tensor]:
    """Return module -> (squares, rows, columns), which of its cells look at each square, of those that yield maps.

    The measured geometry takes gates and normalisations as pointwise and knows no border that wraps around. But what is not a number
    spreads to all that looks at it.
    """
    images = sample.repeat(len(squares), 1, 1, 1)
    for image, (top, left, bottom, right) in zip(images, squares, strict=True):
        image[:, top:bottom, left:right] = float("nan")
    reached: dict[str, Tensor] = {}

    def note(name: str, output: Any) -> None:
        if (
            isinstance(output, Tensor)
            and output.ndim == 4
            and output.shape[2] * output.shape[3] > 1
        ):
            reached.setdefault(name, output.isnan().any(1))

    # cudnn's fast convolutions reckon neighbouring cells together, so that they would all be not a number.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        chain.run(images, on_module=note)
    return reached


def _is_local(reached: Tensor, grids: tuple[_Grid, _Grid], squares: Sequence[Square]) -> bool:
    """Return whether no cell looks at a square but those that the geometry says."""
    beyond = reached.clone()
    for one, square in zip(beyond, squares, strict=True):
        (top, bottom), (left, right) = (
            grid.changed(square[axis], square[axis + 2]) for axis, grid in enumerate(grids)
        )
        one[top:bottom, left:right] = False
    return not bool(beyond.any())


def _input_grid(sample: Tensor) -> tuple[_Grid, _Grid]:
    return _Grid(sample.shape[2], 1.0, 0.5, 1.0), _Grid(sample.shape[3], 1.0, 0.5, 1.0)


def _grid(geometry: Layer, axis: int) -> _Grid:
    return _Grid(
        (geometry.height, geometry.width)[axis],
        geometry.stride[axis],
        geometry.first[axis],
        geometry.size[axis],
    )


def _stage(
    start: tuple[Any, int, Any], stop: tuple[Any, int, Any], squares: Sequence[Square]
) -> _Stage | None:
    spans = [
        _span(
            start[2][axis], stop[2][axis], [(square[axis], square[axis + 2]) for square in squares]
        )
        for axis in (0, 1)
    ]
    return (
        None
        if spans[0] is None or spans[1] is None
        else _Stage(start[0], stop[0], spans[0], spans[1])
    )


def _span(here: _Grid, there: _Grid, intervals: Sequence[tuple[int, int]]) -> _Span | None:
    """Return what goes in and comes out along one axis; None where the strides do not divide or nothing would be left out."""
    step = round(there.stride / here.stride)
    if step < 1 or abs(there.stride - step * here.stride) > 1e-6 or there.cells < 2:
        return None
    ranges = np.array([there.changed(*interval) for interval in intervals])
    n_changed = int(max((ranges[:, 1] - ranges[:, 0]).max(), 1))
    changed = np.clip(ranges[:, 0], 0, there.cells - n_changed)
    margin = (there.size / here.stride - here.size / here.stride) / 2
    centre = (there.first - here.first + there.stride * changed) / here.stride
    low = np.floor(centre - margin)
    high = np.ceil(centre + (n_changed - 1) * step + margin) + 1
    first = np.maximum(np.floor(low / step) * step, 0)
    crop = int((np.minimum(high, here.cells) - first).max())
    crop += (
        here.cells - crop
    ) % step  # so that a crop at the far border begins at a multiple of the step
    if crop >= here.cells:
        return _Span(
            here.cells,
            np.zeros(len(intervals), np.int64),
            n_changed,
            changed.astype(np.int64),
            step,
        )
    return _Span(
        crop,
        np.minimum(first, here.cells - crop).astype(np.int64),
        n_changed,
        changed.astype(np.int64),
        step,
    )


def _cost(stage: _Stage, start: tuple[Any, int, tuple[_Grid, _Grid]], flops: float) -> float:
    cells = stage.rows.crop * stage.cols.crop
    return float(flops) * cells / _area(start[2]) + _COPY * start[1] * cells


def _area(grids: tuple[_Grid, _Grid]) -> int:
    return grids[0].cells * grids[1].cells
