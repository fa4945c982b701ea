"""Occlusion sensitivity: what the network says when a grey square hides a part of the image.

Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import Images, ask, network_input, watching, worth
from explgraph.attribution.resample import resample
from explgraph.attribution.target import Activation, PlacedNode, Target
from explgraph.errors import UsageError
from explgraph.network import Network, evaluation_mode
from explgraph.network.partial import IncrementalPass, Square, trace_chain

SQUARE_SIZE, SQUARE_STRIDE = (
    48,
    16,
)  # pixels of a 224-pixel input, as wide as the squares in Zeiler and Fergus 2014, figure 7
_ALIKE = 1e-3  # relative, of both ways of computing a square: float32 alone gives 1e-5


@dataclass(frozen=True, eq=False, kw_only=True)
class Occlusion(Attribution):
    """What hiding each part of the image does; ``maps`` is the mean drop of the value over the squares that cover a pixel.

    Args:
        values: (n, rows, columns), what was asked, with the square at each place.
        probability: (n, rows, columns), of the class; NaN if no class was asked for.
        winner: (n, rows, columns), int64, number of the class that wins; -1 if the network yields no class scores.
        activation: (n, rows, columns), total activation of the feature map watched; NaN without one.
        tops: (rows,), upper edges of the squares, pixels of the network input.
        lefts: (columns,), left edges.
        size: (height, width) of a square; at the far border it may reach over.
        incremental: (n,), whether what the square cannot change was left out of the computation.
    """

    values: Tensor
    probability: Tensor
    winner: Tensor
    activation: Tensor
    tops: NDArray[np.int64]
    lefts: NDArray[np.int64]
    size: tuple[int, int]
    incremental: NDArray[np.bool_]

    def on_input(self, values: Tensor, *, nearest: bool = False) -> Tensor:
        """Return grid values (n, rows, columns) at every pixel of the input (n, height, width), a square's at its centre.

        Args:
            values: one of the grids above.
            nearest: take the nearest square's value (for class numbers) instead of bilinear ones.
        """
        at = []
        for axis, (starts, extent) in enumerate(
            zip((self.tops, self.lefts), self.maps.shape[1:], strict=True)
        ):
            step = starts[1] - starts[0] if len(starts) > 1 else 1
            at.append((np.arange(extent) + 0.5 - starts[0] - self.size[axis] / 2) / step)
        if not nearest:
            return resample(values, *at)
        rows, cols = (
            np.clip(np.rint(a), 0, n - 1).astype(int)
            for a, n in zip(at, values.shape[1:], strict=True)
        )
        return values[:, rows][:, :, cols]


def occlusion(
    network: Network,
    images: Images,
    *,
    target: Target = None,
    feature: Activation | None = None,
    size: int | tuple[int, int] = SQUARE_SIZE,
    stride: int | tuple[int, int] = SQUARE_STRIDE,
    value: float = 0.0,
    batch_size: int = 32,
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> Occlusion:
    """Return how the network answers with a grey square over every place of a grid: ``maps = mean over squares of S_c - S_c(hidden)``.

    Squares begin at 0, ``stride``, 2 ``stride``, ... until the far border is covered. What a square cannot change is taken from the
    untouched image where that is cheaper (see `explgraph.network.partial.crops`); a few of each image are computed both ways,
    and if they differ, because something in the network looks at the whole map, that image is computed whole.

    Args:
        network: a classifier, or any network that yields what the target needs.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        target: what is asked, see `explgraph.attribution.ask`; by default each image's own first choice, as it is untouched.
        feature: a channel whose total activation is asked for in the same passes (Zeiler and Fergus: that of the strongest map).
        size: side of the square, or (height, width), pixels of the network input.
        stride: distance of neighbouring squares, or (down, across).
        value: what fills the square, in units of the network input; 0 is the mean colour.
        batch_size: squares per forward pass.
        report: progress: stage, squares done, squares in all.

    Raises:
        UsageError: the images are of another kind, the target is unknown, or the square is empty or larger than the input.
        NetworkError: the network does not yield what the target needs.

    References:
        Zeiler and Fergus 2014, section 4.2 and figure 7: b (feature map), d (class probability), e (winning label).
    """
    batch = network_input(network, images)
    sides, steps = _pair("size", size), _pair("stride", stride)
    if any(side > extent for side, extent in zip(sides, batch.shape[2:], strict=True)):
        raise UsageError(
            f"the square must fit the input of {batch.shape[2]} x {batch.shape[3]} pixels, got {sides[0]} x {sides[1]}"
        )
    if batch_size < 1 or not isfinite(value):
        raise UsageError(
            f"batch_size must be at least 1 and value finite, got {batch_size} and {value}"
        )
    if feature is not None and not isinstance(feature, Activation):
        raise UsageError(f"feature must be an Activation, the channel to watch, got {feature!r}")
    tops, lefts = (_starts(int(batch.shape[2 + axis]), sides[axis], steps[axis]) for axis in (0, 1))
    height, width = batch.shape[2:]
    squares = [
        (t, s, min(t + sides[0], height), min(s + sides[1], width))
        for t in tops.tolist()
        for s in lefts.tolist()
    ]
    with evaluation_mode(network.model), torch.no_grad():
        untouched = ask(network, batch, target)
        if feature is not None:
            ask(network, batch, feature)  # refused here if it is not there
        plan = _plan(
            network,
            batch,
            squares,
            {x.layer for x in (target, feature) if isinstance(x, Activation | PlacedNode)},
        )
        answers, incremental = [], []
        for i, index in enumerate(untouched.targets.indexes.tolist()):
            asked = (
                target.of_image(i)
                if isinstance(target, Activation | PlacedNode)
                else index
                if index >= 0
                else target
            )
            one = _Image(
                network,
                batch[i : i + 1],
                asked,
                None if feature is None else feature.of_image(i),
                squares,
                value,
                plan,
            )
            rows = []
            for start in range(0, len(squares), batch_size):
                rows.append(one.answer(range(start, min(start + batch_size, len(squares)))))
                report(
                    "occlusion",
                    i * len(squares) + min(start + batch_size, len(squares)),
                    len(batch) * len(squares),
                )
            answers.append(torch.cat(rows, 1))
            incremental.append(one.incremental)
    values, probability, winner, activation = torch.stack(answers, 1).unflatten(
        2, (len(tops), len(lefts))
    )
    drop = untouched.values.float()[:, None, None] - values
    maps = torch.stack([_spread(one.flatten(), squares, batch.shape[2:]) for one in drop])
    return Occlusion(
        maps=maps,
        targets=untouched.targets,
        method="occlusion",
        signed=True,
        cells=drop,
        values=values,
        probability=probability,
        winner=winner.long(),
        activation=activation,
        tops=tops,
        lefts=lefts,
        size=sides,
        incremental=np.array(incremental),
    )


class _Image:
    """One image with squares over it: the four answers (value, probability, winner, activation) for any of them."""

    def __init__(
        self,
        network: Network,
        image: Tensor,
        target: Target,
        feature: Activation | None,
        squares: list[Square],
        value: float,
        plan: IncrementalPass,
    ) -> None:
        self.network, self.image, self.target, self.feature = network, image, target, feature
        self.squares, self.value, self.plan = squares, value, plan
        self.incremental = False
        if plan.stages:
            plan.see(image)
            some = sorted({0, len(squares) // 2, len(squares) - 1})
            whole = self.answer(some)
            self.incremental = True
            self.incremental = bool(
                torch.isclose(
                    self.answer(some), whole, rtol=_ALIKE, atol=1e-7, equal_nan=True
                ).all()
            )

    def answer(self, numbers: Sequence[int]) -> Tensor:
        """Return (4, squares) for the squares ``numbers``, from one forward pass."""
        with watching(self.network, self.target, self.feature) as seen:
            output = (
                self.plan.run(numbers, self.value)
                if self.incremental
                else self.network.model(self._hidden(numbers))
            )
        nothing = torch.full((len(numbers),), float("nan"), device=self.image.device)
        scores = output.float() if isinstance(output, Tensor) and output.ndim == 2 else None
        values = worth(self.network, self.target, output, seen, len(numbers))
        probability = (
            scores.softmax(1)[:, self.target]
            if isinstance(self.target, int) and scores is not None
            else nothing
        )
        winner = nothing.new_full((len(numbers),), -1) if scores is None else scores.argmax(1)
        activation = nothing if self.feature is None else seen[self.feature.layer][-1]
        return torch.stack([row.float() for row in (values, probability, winner, activation)])

    def _hidden(self, numbers: Sequence[int]) -> Tensor:
        batch = self.image.expand(len(numbers), -1, -1, -1).clone(
            memory_format=torch.preserve_format
        )
        for one, number in zip(batch, numbers, strict=True):
            top, left, bottom, right = self.squares[number]
            one[:, top:bottom, left:right] = self.value
        return batch


def _plan(
    network: Network, batch: Tensor, squares: list[Square], watched: set[str]
) -> IncrementalPass:
    """Return the plan for all images; it has no stages where a layer that is asked for is inside a block."""
    chain = trace_chain(network)
    links = [chain.link(layer) for layer in watched] if chain is not None else []
    size = (int(batch.shape[2]), int(batch.shape[3]))
    if chain is None or None in links:
        return IncrementalPass(network, None, size=size, squares=squares)
    first = min(
        (link for link in links if link is not None), key=lambda link: link.position, default=None
    )
    return IncrementalPass(network, chain, size=size, squares=squares, before=first)


def _spread(drop: Tensor, squares: list[Square], size: Sequence[int]) -> Tensor:
    """Return the mean of ``drop`` (squares,) over the squares that cover each pixel, (height, width)."""
    total = torch.zeros(2, *size, device=drop.device)
    for one, (top, left, bottom, right) in zip(drop, squares, strict=True):
        total[0, top:bottom, left:right] += one
        total[1, top:bottom, left:right] += 1
    return total[0] / total[1].clamp(min=1)


def _starts(extent: int, side: int, step: int) -> NDArray[np.int64]:
    return np.arange(0, max(extent - side, 0) + step, step)[: -(-max(extent - side, 0) // step) + 1]


def _pair(what: str, value: int | tuple[int, int]) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, Sequence | np.ndarray) else (value, value)
    if len(pair) != 2 or not all(
        isinstance(v, int | np.integer) and not isinstance(v, bool) and v >= 1 for v in pair
    ):
        raise UsageError(
            f"{what} must be a whole number of pixels of at least 1, or (down, across), got {value!r}"
        )
    return int(pair[0]), int(pair[1])
