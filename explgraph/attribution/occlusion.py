"""Occlusion sensitivity: what the network says when a grey square hides a part of the image.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy.typing import NDArray
from torch import Tensor

from explgraph.attribution.attribution import Attribution, Targets, reasons
from explgraph.attribution.boxes import resample
from explgraph.attribution.forward import ask, watching, worth
from explgraph.attribution.head import as_scores, probabilities
from explgraph.attribution.shown import Batch, Images, input_size, show
from explgraph.attribution.target import Activation, PlacedNode, Target
from explgraph.errors import UsageError
from explgraph.images import Boxes
from explgraph.network import Model, Network, evaluation_mode, has_plain_maps, wide_dtype
from explgraph.network.partial import IncrementalPass, Square, trace_chain
from explgraph.progress import Report, silent

# Pixels of a 224-pixel input; as wide as the squares in Zeiler and Fergus 2014, figure 7.
SQUARE_SIZE, SQUARE_STRIDE = 48, 16
_ALIKE = 1e-3  # relative, of both ways of computing a square: float32 alone gives 1e-5

Grid = Float[Tensor, "image down across"]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Occlusion(Attribution):
    """What hiding each part of the image does.

    ``maps`` is the mean drop of the value over the squares that cover a pixel. The other grids
    have a value for each square.

    Args:
        values: what was asked.
        probability: of the class; NaN if no class was asked for.
        winner: number of the class that wins; -1 if the network yields no class scores.
        activation: total activation of the feature map watched; NaN without one.
        tops: upper edges of the squares, pixels of the network input.
        lefts: left edges.
        size: (height, width) of a square; at the far border it may reach over.
        incremental: whether what the square cannot change was left out of the computation.
    """

    values: Grid
    probability: Grid
    winner: Int[Tensor, "image down across"]
    activation: Grid
    tops: Int[np.ndarray, " down"]
    lefts: Int[np.ndarray, " across"]
    size: tuple[int, int]
    incremental: Bool[np.ndarray, " image"]

    def on_input(
        self, values: Shaped[Tensor, "image down across"], *, nearest: bool = False
    ) -> Shaped[Tensor, "image height width"]:
        """Grid values at every pixel of the input; a square's value is at its centre.

        Args:
            values: one of the grids above.
            nearest: take the nearest square's value (for class numbers) instead of bilinear ones.
        """
        at = []
        for axis, starts in enumerate((self.tops, self.lefts)):
            step = starts[1] - starts[0] if len(starts) > 1 else 1
            centres = np.arange(self.maps.shape[1 + axis]) + 0.5
            at.append((centres - starts[0] - self.size[axis] / 2) / step)
        if not nearest:
            return resample(values, *at)
        limits = [n - 1 for n in values.shape[1:]]
        # The border beyond the outermost centres takes their values, as in `resample`.
        rows, cols = (
            np.clip(np.rint(one), 0, limit).astype(int)
            for one, limit in zip(at, limits, strict=True)
        )
        return values[:, rows][:, :, cols]


def occlusion(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    feature: Activation | None = None,
    size: int | tuple[int, int] = SQUARE_SIZE,
    stride: int | tuple[int, int] = SQUARE_STRIDE,
    value: float = 0.0,
    batch_size: int = 32,
    report: Report = silent,
) -> Occlusion:
    """What the network says with a grey square over every place of a grid.

    ``maps = mean over the squares that cover a pixel of S_c - S_c(hidden)``. Squares begin at 0,
    ``stride``, 2 ``stride``, ... until the far border is covered. What a square cannot change is
    taken from the untouched image where that is cheaper (see `explgraph.network.partial`). A few
    squares of each image are computed both ways; if they differ, because something in the network
    looks at the whole map, that image is computed whole.

    Args:
        model: a classifier, or any network that yields what the target needs; or a module.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        target: see `explgraph.attribution.target`; by default each image's own first choice, as it
            is untouched.
        feature: a channel whose total activation is asked for in the same passes (Zeiler and
            Fergus: that of the strongest map).
        size: side of the square, or (height, width), pixels of the network input.
        stride: distance of neighbouring squares, or (down, across).
        value: what fills the square, in units of the network input; 0 is the mean colour.
        batch_size: squares per forward pass.
        report: progress, in squares.

    Raises:
        UsageError: the images are of another kind, the target is unknown, or the square is empty
            or larger than the input.
        NetworkError: the network does not yield what the target needs.

    References:
        Zeiler and Fergus 2014, section 4.2 and figure 7: b (feature map), d (class probability),
        e (winning label).

    >>> found = occlusion(network, x[:1], target="fox", size=28, stride=28)
    >>> found.values.shape, found.maps.shape
    (torch.Size([1, 4, 4]), torch.Size([1, 112, 112]))
    """
    shown = show(model, images, box=box)
    network, batch = shown.network, shown.inputs
    over = _Squares(input_size(batch), _pair("size", size), _pair("stride", stride))
    if batch_size < 1 or not isfinite(value):
        raise UsageError(
            f"batch_size must be at least 1 and value finite, got {batch_size} and {value}"
        )
    if feature is not None and not isinstance(feature, Activation):
        raise UsageError(f"feature must be an Activation, the channel to watch, got {feature!r}")
    squares = over.boxes
    answers, incremental = [], []
    with evaluation_mode(network.model), torch.no_grad():
        untouched = ask(network, batch, target)
        if feature is not None:
            ask(network, batch, feature)  # refused here if it is not there
        plan = _plan(network, batch, squares, (target, feature))
        for k, image in enumerate(batch.split(1)):
            asked = _of_image(target, untouched.targets, k)
            watched = None if feature is None else feature.of_image(k)
            one = _Hiding(network, image, (asked, watched), plan, value)
            rows = []
            # Image by image: what is kept of the untouched one is held for one image only.
            for start in range(0, len(squares), batch_size):
                some = range(start, min(start + batch_size, len(squares)))
                rows.append(one.answer(some))
                report("occlusion", k * len(squares) + some.stop, len(batch) * len(squares))
            answers.append(torch.cat(rows, 1))
            incremental.append(one.incremental)
    grid = (len(over.tops), len(over.lefts))
    found = torch.stack(answers, 1).unflatten(2, grid)
    before = untouched.values.to(found.dtype)
    drop = before[:, None, None] - found[0]
    # Less than float32 can tell from nothing.
    alike = drop.abs().amax((1, 2)) <= 1e-6 * before.abs()
    values, probability, winner, activation = found.float()
    unmoved = "no square over the image changes what was asked for"
    return Occlusion(
        maps=torch.stack([over.spread(one.flatten()) for one in drop]).float(),
        targets=untouched.targets,
        method="occlusion",
        shown=shown,
        signed=True,
        cells=drop.float(),
        empty=reasons(unmoved if one else "" for one in alike.tolist()),
        values=values,
        probability=probability,
        winner=winner.long(),
        activation=activation,
        tops=over.tops,
        lefts=over.lefts,
        size=over.size,
        incremental=np.array(incremental),
    )


@dataclass(frozen=True)
class _Squares:
    """A grid of squares over the input; pairs are (down, across), pixels."""

    extent: tuple[int, int]  # of the input
    size: tuple[int, int]
    stride: tuple[int, int]

    def __post_init__(self) -> None:
        if self.size[0] > self.extent[0] or self.size[1] > self.extent[1]:
            raise UsageError(
                f"the square must fit the input of {self.extent[0]} x {self.extent[1]} pixels, "
                f"got {self.size[0]} x {self.size[1]}"
            )

    @cached_property
    def tops(self) -> Int[np.ndarray, " down"]:
        return self._starts(0)

    @cached_property
    def lefts(self) -> Int[np.ndarray, " across"]:
        return self._starts(1)

    @cached_property
    def boxes(self) -> list[Square]:
        """(top, left, bottom, right) of each, row by row, cut off at the far border."""
        (height, width), (bottom, right) = self.size, self.extent
        return [
            (top, left, min(top + height, bottom), min(left + width, right))
            for top in self.tops.tolist()
            for left in self.lefts.tolist()
        ]

    def spread(self, drop: Float[Tensor, " square"]) -> Float[Tensor, "height width"]:
        """The mean of ``drop`` over the squares that cover each pixel."""
        total = torch.zeros(2, *self.extent, device=drop.device, dtype=drop.dtype)
        for one, (top, left, bottom, right) in zip(drop, self.boxes, strict=True):
            total[0, top:bottom, left:right] += one
            total[1, top:bottom, left:right] += 1
        return total[0] / total[1].clamp(min=1)  # a stride beyond the size leaves gaps

    def _starts(self, axis: int) -> NDArray[np.int64]:
        rest, step = self.extent[axis] - self.size[axis], self.stride[axis]
        # One more than fit, if they leave a rest: the last square then reaches over the border.
        return step * np.arange(-(-rest // step) + 1)


class _Hiding:
    """One image with squares over it: value, probability, winner, activation for any of them."""

    def __init__(
        self,
        network: Network,
        image: Batch,
        asked: tuple[Target, Activation | None],
        plan: IncrementalPass,
        value: float,
    ) -> None:
        self.network, self.image, self.plan, self.value = network, image, plan, value
        self.target, self.feature = asked
        self.incremental = False
        if plan.stages:
            # Three squares both ways: something in the network may look at the whole map, so that
            # even a far square changes it, and the plan cannot know.
            plan.see(image)
            some = sorted({0, len(plan.squares) // 2, len(plan.squares) - 1})
            whole = self.answer(some)
            self.incremental = True
            found = self.answer(some)
            alike = torch.isclose(found, whole, rtol=_ALIKE, atol=1e-7, equal_nan=True)
            self.incremental = bool(alike.all())

    def answer(self, numbers: Sequence[int]) -> Float[Tensor, "4 square"]:
        """The four answers for the squares ``numbers``, from one forward pass."""
        with watching(self.network, self.target, self.feature) as seen:
            run = self._incrementally if self.incremental else self._whole
            output = run(numbers)
        n = len(numbers)
        nothing = torch.full((n,), float("nan"), device=self.image.device)
        values = worth(self.network, self.target, output, seen, n)
        probability, winner = nothing, torch.full_like(nothing, -1)
        if isinstance(output, Tensor) and output.ndim == 2:
            scores = as_scores(self.network, output.float())
            winner = scores.argmax(1)
            if isinstance(self.target, int):
                probability = probabilities(self.network, scores)[:, self.target]
        activation = seen.get(1, nothing)
        # Drops are small differences of large values: halves would lose them.
        wide = wide_dtype(self.image.dtype)
        return torch.stack([row.to(wide) for row in (values, probability, winner, activation)])

    def _incrementally(self, numbers: Sequence[int]) -> Any:
        return self.plan.run(numbers, self.value)

    def _whole(self, numbers: Sequence[int]) -> Any:
        # The clone keeps the layout: channels-last takes a third less time
        # (docs/benchmarks/speed.md).
        copies = self.image.expand(len(numbers), -1, -1, -1)
        batch = copies.clone(memory_format=torch.preserve_format)
        for one, number in zip(batch, numbers, strict=True):
            top, left, bottom, right = self.plan.squares[number]
            one[:, top:bottom, left:right] = self.value
        return self.network.model(batch)


def _of_image(target: Target, targets: Targets, number: int) -> Target:
    """What is asked of one image: the class that the untouched one is asked for."""
    if isinstance(target, Activation | PlacedNode):
        return target.of_image(number)
    index = int(targets.indexes[number])
    return index if index >= 0 else target


def _plan(
    network: Network, batch: Batch, squares: list[Square], asked: Sequence[object]
) -> IncrementalPass:
    """The plan for all images; it has no stages where a layer that is asked for is in a block."""
    chain = trace_chain(network)
    # An activation is read from whole maps, so the chain is not cut at its layer or later.
    before = None
    if chain is not None:
        layers = {one.layer for one in asked if isinstance(one, Activation | PlacedNode)}
        links = [chain.link(layer) for layer in layers]
        found = [link for link in links if link is not None]
        # Between two links the chain holds outputs as they are, tokens for instance.
        if len(found) < len(links) or not all(has_plain_maps(network.model, at) for at in layers):
            chain = None
        before = min(found, key=lambda link: link.position, default=None)
    size = input_size(batch)
    return IncrementalPass(network, chain, size=size, squares=squares, before=before)


def _pair(what: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value, value)
    # True is an int in Python, and would be a square of one pixel.
    whole = [isinstance(v, int | np.integer) and not isinstance(v, bool) for v in pair]
    if len(pair) != 2 or not all(whole) or min(pair) < 1:
        raise UsageError(
            f"{what} must be a whole number of pixels of at least 1, or (down, across), "
            f"got {value!r}"
        )
    return int(pair[0]), int(pair[1])
