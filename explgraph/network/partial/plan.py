"""Where to cut a chain so that a square changes little: stages, and the crops that go through them.

The planning is a shortest path over the chain's cuts. The cost of a stage is its operations on
crops instead of whole maps, plus the cells that are copied into the crops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, inf, isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from explgraph.errors import ExplgraphError
from explgraph.graph import Layer
from explgraph.network.geometry import measure_geometry
from explgraph.network.network import Network
from explgraph.network.partial.chain import Chain, Link

# A number that is copied costs about as much time as so many operations of a convolution (measured
# on a CPU: 100 GFLOP/s, 5 GB/s).
_COPY = 200

Square = tuple[int, int, int, int]  # top, left, bottom, right: pixels of the input
Starts = Int[np.ndarray, " square"]


@dataclass(frozen=True)
class Span:
    """What goes into a stage and comes out of it along one axis, for every square.

    Args:
        crop: cells that go in, of the stage's first map.
        first: the first of them.
        n_changed: cells that come out, of the stage's last map.
        changed: the first of them.
        step: cells of the first map per cell of the last.
    """

    crop: int
    first: Starts
    n_changed: int
    changed: Starts
    step: int


@dataclass(frozen=True)
class Stage:
    """The steps between two cuts.

    Args:
        start: the first cut; None = the network's input.
        stop: the second.
        spans: along rows and columns.
    """

    start: Link | None
    stop: Link
    spans: tuple[Span, Span]


@dataclass(frozen=True)
class _Grid:
    """One axis of the maps at a cut: cell i is centred at first + stride * i, sees size pixels."""

    cells: int
    stride: float
    first: float
    size: float

    def changed(self, start: int, stop: int) -> tuple[int, int]:
        """The cells [low, high) that see any of the pixels [start, stop)."""
        low = ceil((start - self.size / 2 - self.first) / self.stride)
        high = floor((stop + self.size / 2 - self.first) / self.stride) + 1
        return min(max(low, 0), self.cells), max(min(high, self.cells), 0)


@dataclass(frozen=True)
class _Cut:
    """A place where the chain may be cut, and the maps there."""

    link: Link | None
    channels: int
    grids: tuple[_Grid, _Grid]

    @classmethod
    def of(cls, link: Link, layer: Layer) -> _Cut:
        axes = zip((layer.height, layer.width), layer.stride, layer.first, layer.size, strict=True)
        rows, cols = (_Grid(*axis) for axis in axes)
        return cls(link, layer.channels, (rows, cols))

    @property
    def position(self) -> int:
        return 0 if self.link is None else self.link.position

    @property
    def area(self) -> int:
        return self.grids[0].cells * self.grids[1].cells


def plan_stages(
    network: Network,
    chain: Chain,
    blank: Float[Tensor, "1 channel height width"],
    squares: Sequence[Square],
    before: Link | None,
) -> list[Stage]:
    """The cheapest stages, none if nothing is cheaper than whole passes.

    Args:
        network: the network.
        chain: of the network.
        blank: an input of the size wanted.
        squares: what is to change, one at a time.
        before: no cut is made here or later.
    """
    cuts = _find_cuts(network, chain, blank, squares, before)
    flops = np.cumsum(chain.flops(blank.clone()))
    done = [float(flops[cut.position]) for cut in cuts]
    # The cheapest way to a cut is the same whatever follows: each is found once, from those before.
    best: list[tuple[float, list[Stage]]] = [(0.0, [])]  # the way to each cut
    for b in range(1, len(cuts)):
        ways: list[tuple[float, list[Stage]]] = [(inf, [])]
        for a in range(b):
            stage = _stage(cuts[a], cuts[b], squares)
            if stage is not None:
                before_it, stages = best[a]
                cost = _cost(stage, cuts[a], done[b] - done[a])
                ways.append((before_it + cost, [*stages, stage]))
        best.append(min(ways, key=lambda way: way[0]))
    totals = []  # of stopping at each cut, with what the network costs behind it
    for cut, (cost, _), behind in zip(cuts, best, float(flops[-1]) - np.array(done), strict=True):
        # Behind the last cut every square needs whole maps of its own.
        copied = _COPY * cut.channels * cut.area if cut.link else 0.0
        totals.append(cost + behind + copied)
    return best[int(np.argmin(totals))][1]


def _find_cuts(
    network: Network,
    chain: Chain,
    blank: Tensor,
    squares: Sequence[Square],
    before: Link | None,
) -> list[_Cut]:
    """The network's input, and the cuts up to which a square reaches what the geometry says."""
    height, width = blank.shape[2:]
    cuts = [
        _Cut(
            None,
            network.input.channels,
            (_Grid(height, 1.0, 0.5, 1.0), _Grid(width, 1.0, 0.5, 1.0)),
        )
    ]
    probes = _probes(squares)
    reached = _reached(chain, blank, probes)
    links = [link for link in chain.links if link.name in reached]
    if before is not None:
        links = [link for link in links if link.position < before.position]
    names = [link.name for link in links]
    try:
        geometry = measure_geometry(network, names, input_size=(height, width))
    except ExplgraphError:  # no cuts, or receptive fields cannot be followed
        return cuts
    for link in links:
        cut = _Cut.of(link, geometry[link.name])
        # A cell that looks at everything looks at every square, and so do all behind it.
        if not all(isfinite(grid.size) for grid in cut.grids):
            break
        if not _is_local(reached[link.name], cut.grids, probes):
            break
        cuts.append(cut)
    return cuts


def _probes(squares: Sequence[Square]) -> list[Square]:
    """Squares that stand for all: corners and middle, as borders are where cells differ."""
    rows, cols = np.array([square[:2] for square in squares]).T
    ways = [(down, across) for down in (-1, 1) for across in (-1, 1)]
    corners = {int(np.argmin(down * rows + across * cols)) for down, across in ways}
    return [squares[p] for p in sorted(corners | {len(squares) // 2})]


def _reached(
    chain: Chain, blank: Tensor, squares: Sequence[Square]
) -> dict[str, Bool[Tensor, "square row col"]]:
    """Which cells of each module that yields maps look at each square.

    The measured geometry takes gates and normalisations as pointwise and knows no border that wraps
    around. But what is not a number spreads to all that looks at it.
    """
    images = blank.repeat(len(squares), 1, 1, 1)
    for image, (top, left, bottom, right) in zip(images, squares, strict=True):
        image[:, top:bottom, left:right] = float("nan")
    reached: dict[str, Tensor] = {}

    def note(name: str, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output[0, 0].numel() > 1:
            reached.setdefault(name, output.isnan().any(1))

    # cudnn's fast convolutions reckon neighbouring cells together, so that they would all be not a
    # number.
    with torch.no_grad(), torch.backends.cudnn.flags(enabled=False):
        chain.run(images, on_module=note)
    return reached


def _is_local(
    reached: Bool[Tensor, "square row col"],
    grids: tuple[_Grid, _Grid],
    squares: Sequence[Square],
) -> bool:
    """Whether no cell looks at a square but those that the geometry says."""
    rows, cols = grids
    beyond = reached.clone()
    for one, (top, left, bottom, right) in zip(beyond, squares, strict=True):
        one[slice(*rows.changed(top, bottom)), slice(*cols.changed(left, right))] = False
    return not bool(beyond.any())


def _stage(start: _Cut, stop: _Cut, squares: Sequence[Square]) -> Stage | None:
    spans = []
    for axis in (0, 1):
        intervals = [(square[axis], square[axis + 2]) for square in squares]
        spans.append(_span(start.grids[axis], stop.grids[axis], intervals))
    rows, cols = spans
    if rows is None or cols is None or stop.link is None:
        return None
    return Stage(start.link, stop.link, (rows, cols))


def _span(here: _Grid, there: _Grid, intervals: Sequence[tuple[int, int]]) -> Span | None:
    """What goes in and comes out along one axis; None where the strides do not divide."""
    step = round(there.stride / here.stride)
    if step < 1 or abs(there.stride - step * here.stride) > 1e-6 or there.cells < 2:
        return None
    starts, stops = np.array([there.changed(*interval) for interval in intervals]).T
    # As many cells for every square, so that the crops of many squares are one batch.
    n_changed = int(max((stops - starts).max(), 1))
    changed = np.clip(starts, 0, there.cells - n_changed)
    # What the cells that come out look at, beyond what those that go in do.
    margin = (there.size / here.stride - here.size / here.stride) / 2
    centre = (there.first - here.first + there.stride * changed) / here.stride
    low = np.floor(centre - margin)
    high = np.ceil(centre + (n_changed - 1) * step + margin) + 1
    # A crop begins at a multiple of the step, or its cells would lie between those of the map.
    first = np.maximum(np.floor(low / step) * step, 0)
    crop = int((np.minimum(high, here.cells) - first).max())
    # So that a crop at the far border begins at a multiple of the step.
    crop = min(crop + (here.cells - crop) % step, here.cells)
    first = np.minimum(first, here.cells - crop)
    return Span(crop, first.astype(np.int64), n_changed, changed.astype(np.int64), step)


def _cost(stage: Stage, start: _Cut, flops: float) -> float:
    cells = stage.spans[0].crop * stage.spans[1].crop
    return flops * cells / start.area + _COPY * start.channels * cells
