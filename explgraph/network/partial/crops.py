"""What a square changes in a forward pass, without computing again what it cannot change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.network.known import once
from explgraph.network.network import Network, blank_input
from explgraph.network.partial.chain import Chain, Link
from explgraph.network.partial.plan import Square, Stage, plan_stages

Maps = Float[Tensor, "square channel height width"]


class IncrementalPass:
    """Runs a network on one image with squares laid over it, one after the other.

    Building it plans the cuts for these squares. Without ``stages`` there is nothing to gain: run
    the network as it is.

    Args:
        network: the network, in evaluation mode.
        chain: of the network, None if it has none.
        size: (height, width) of the input, pixels.
        squares: (top, left, bottom, right) of each, pixels, inside the input.
        before: the chain is not cut here or later, so that from here on whole maps are computed.

    >>> from explgraph.network.partial import trace_chain
    >>> squares = [(0, 0, 10, 10), (60, 70, 70, 80)]
    >>> plan = IncrementalPass(network, trace_chain(network), size=(112, 112), squares=squares)
    >>> plan.see(x[:1])
    >>> plan.run([0, 1], 0.0).shape
    torch.Size([2, 8])
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
        self.stages: list[Stage] = []
        self._kept: list[Tensor] = []
        if chain is None or not self.squares:
            return

        def plan() -> list[Stage]:
            blank = blank_input(network, size)
            self.stages = plan_stages(network, chain, blank, self.squares, before)
            return self.stages if self.stages and self._runs(blank) else []

        # Planning takes as long as a dozen squares. Plans hold no tensor.
        self.stages = once(network.model, ("plan", size, tuple(self.squares), before), plan)

    def see(self, image: Float[Tensor, "1 channel height width"]) -> None:
        """Keep the maps of the untouched image at the cuts."""
        self._kept = [image]
        for stage in self.stages:
            # A copy, as the first layer behind the cut may work in place.
            self._kept.append(self._between(stage, self._kept[-1].clone()))

    def run(self, numbers: Sequence[int], value: float) -> Any:
        """The network's output on the image, each of the squares ``numbers`` filled with ``value``.

        Only if there are stages; `see` comes first.
        """
        assert self.chain is not None
        return self.chain.run(self._changed(numbers, value), after=self.stages[-1].stop)

    def _between(self, stage: Stage, value: Tensor) -> Tensor:
        assert self.chain is not None
        result: Tensor = self.chain.run(value, after=stage.start, upto=stage.stop)
        return result

    def _changed(self, numbers: Sequence[int], value: float) -> Maps:
        """The maps at the last cut."""
        rows, cols = self.stages[0].spans
        crops = _crops(self._kept[0], self.stages[0], numbers)
        for crop, p in zip(crops, numbers, strict=True):
            top, left, bottom, right = self.squares[p]
            r, c = rows.first[p], cols.first[p]
            top, bottom = max(top - r, 0), max(bottom - r, 0)
            left, right = max(left - c, 0), max(right - c, 0)
            crop[:, top:bottom, left:right] = value
        ahead = [*self.stages[1:], None]
        for stage, following, whole in zip(self.stages, ahead, self._kept[1:], strict=True):
            found = self._between(stage, crops)
            if following is None:  # the rest of the network takes whole maps, one for each square
                crops = whole.expand(len(numbers), -1, -1, -1).clone(memory_format=_layout(whole))
            else:
                crops = _crops(whole, following, numbers)
            _paste(crops, found, stage, following, numbers)
        return crops

    def _runs(self, blank: Tensor) -> bool:
        """Whether the network takes crops: what is laid over a whole map fits no part of it."""
        self.see(blank)
        try:
            self._changed([0], 0.0)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError):
            return False
        return True


def _layout(maps: Tensor) -> torch.memory_format:
    # As `fast_layout` lays out the weights on a CPU; with other layouts each layer would convert.
    return torch.channels_last if maps.device.type == "cpu" else torch.contiguous_format


def _crops(
    maps: Float[Tensor, "1 channel _ _"], stage: Stage, numbers: Sequence[int]
) -> Float[Tensor, "square channel _ _"]:
    """What goes into the stage for each square, cut from the maps of the untouched image."""
    rows, cols = stage.spans
    shape = (len(numbers), maps.shape[1], rows.crop, cols.crop)
    crops = torch.empty(shape, dtype=maps.dtype, device=maps.device, memory_format=_layout(maps))
    for crop, p in zip(crops, numbers, strict=True):
        r, c = rows.first[p], cols.first[p]
        crop.copy_(maps[0, :, r : r + rows.crop, c : c + cols.crop])
    return crops


def _paste(
    crops: Tensor, found: Tensor, stage: Stage, following: Stage | None, numbers: Sequence[int]
) -> None:
    """Put what the stage has found into what goes into the following one, or into whole maps."""
    for k, p in enumerate(numbers):
        target, source = [], []
        for axis, span in enumerate(stage.spans):
            # In cells of the stage's last map: where the crop lies, what came out, what changed.
            origin, size = 0, crops.shape[2 + axis]
            if following is not None:
                origin = following.spans[axis].first[p]
            computed = span.first[p] // span.step
            low = max(span.changed[p], origin)
            high = min(span.changed[p] + span.n_changed, origin + size)
            target.append(slice(low - origin, high - origin))
            source.append(slice(low - computed, high - computed))
        crops[k, :, target[0], target[1]] = found[k, :, source[0], source[1]]
