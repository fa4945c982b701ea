"""Every heat map written out once more, slowly, from its paper: nothing of explgraph is called.

Plain autograd, hooks on a named layer, loops, and stand-ins for ``F.relu`` and its like while the
forward pass runs. `explgraph.attribution` follows other ways: rules at the recorded operations, one
pass for a batch, crops instead of whole images. Both must come to the same.

``score`` yields one number for each image from the network's output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Score = Callable[[Any], Tensor]
Size = tuple[int, int]


def gradient(model: nn.Module, images: Tensor, score: Score) -> Tensor:
    """dS / dI."""
    image = images.clone().requires_grad_()
    score(model(image)).sum().backward()
    assert image.grad is not None
    return image.grad


def saliency(model: nn.Module, images: Tensor, score: Score) -> Tensor:
    """Simonyan et al. 2014, section 3.1."""
    return gradient(model, images, score).abs().max(1).values


def gradient_times_input(model: nn.Module, images: Tensor, score: Score) -> Tensor:
    """Shrikumar et al. 2016."""
    return (images * gradient(model, images, score)).sum(1)


def smoothgrad(
    model: nn.Module, images: Tensor, score: Score, noise: Sequence[Tensor], share: float
) -> Tensor:
    """Smilkov et al. 2017, section 2.2, with this noise."""
    total = torch.zeros_like(images)
    for drawn in noise:
        noisy = torch.stack(
            [x + share * (x.max() - x.min()) * z for x, z in zip(images, drawn, strict=True)]
        )
        total += gradient(model, noisy, score)
    return (total / len(noise)).abs().max(1).values


def integrated_gradients(
    model: nn.Module, images: Tensor, score: Score, baseline: Tensor, steps: int
) -> Tensor:
    """Sundararajan et al. 2017, equation 3, at the middle of each step."""
    start = baseline.expand_as(images)
    total = torch.zeros_like(images)
    for step in range(steps):
        share = (step + 0.5) / steps
        total += gradient(model, (1 - share) * start + share * images, score)
    return ((images - start) * total / steps).sum(1)


def occlusion(
    model: nn.Module, images: Tensor, score: Score, size: int, stride: int, value: float = 0.0
) -> Tensor:
    """Zeiler and Fergus 2014, section 4.2: the mean drop over the squares that cover a pixel."""
    height, width = images.shape[2:]
    starts = [[0], [0]]
    for of_axis, extent in zip(starts, (height, width), strict=True):
        while of_axis[-1] + size < extent:
            of_axis.append(of_axis[-1] + stride)
    drops, covered = torch.zeros_like(images[:, 0]), torch.zeros_like(images[0, 0])
    with torch.no_grad():
        untouched = score(model(images.clone()))
        for top in starts[0]:
            for left in starts[1]:
                hidden = images.clone()
                hidden[:, :, top : top + size, left : left + size] = value
                drop = untouched - score(model(hidden))
                drops[:, top : top + size, left : left + size] += drop[:, None, None]
                covered[top : top + size, left : left + size] += 1
    return drops / covered


# DeconvNet and guided backpropagation


class _Relu(torch.autograd.Function):
    """A ReLU, or one that is cut off above, whose way back follows a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, top: float, rule: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.top, ctx.rule = top, rule
        return x.clamp(0, top)

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        (x,), (signal,) = ctx.saved_tensors, above
        signal = signal.clamp(min=0)
        # Zeiler and Fergus 2014, section 2.1; Springenberg et al. 2015, figure 1.
        if ctx.rule == "guided":
            signal = signal * ((x > 0) & (x < ctx.top))
        return signal, None, None


class _Passed(torch.autograd.Function):
    """A contrast normalisation that the signal passes as it comes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, normalised: Tensor) -> Tensor:
        return normalised.clone()

    @staticmethod
    def backward(ctx: Any, *above: Any) -> Any:
        return above[0], None


class _Rules(TorchFunctionMode):
    """While it is on, ReLUs of any spelling and contrast normalisations are the ones above."""

    def __init__(self, rule: str) -> None:
        super().__init__()
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in ("relu", "relu_"):
            return _Relu.apply(args[0], float("inf"), self.rule)
        if name == "relu6":
            return _Relu.apply(args[0], 6.0, self.rule)
        if name == "hardtanh":
            assert kwargs["min_val"] == 0
            return _Relu.apply(args[0], float(kwargs["max_val"]), self.rule)
        if name == "local_response_norm" and self.rule == "deconv":
            normalised = func(*args, **kwargs).detach()
            return _Passed.apply(args[0], normalised)
        return func(*args, **kwargs)


def projection(model: nn.Module, images: Tensor, score: Score, rule: str) -> Tensor:
    """The signal at the pixels, by "deconv" or "guided"."""
    image = images.clone().requires_grad_()
    with _Rules(rule):
        value = score(model(image)).sum()
    value.backward()
    assert image.grad is not None
    return image.grad


# Grad-CAM and its kin

Maps = Callable[[Tensor], Tensor]  # a layer's output as (n, channels, rows, columns)


def channels_first(output: Tensor) -> Tensor:
    return output


def tokens(grid: Size, extra: int) -> Maps:
    """The maps of a transformer: its tokens but for the first, as a grid."""

    def maps(output: Tensor) -> Tensor:
        n, _, channels = output.shape
        found = torch.empty(n, channels, *grid, dtype=output.dtype)
        for row in range(grid[0]):
            for col in range(grid[1]):
                found[:, :, row, col] = output[:, extra + row * grid[1] + col]
        return found

    return maps


def layer_and_gradient(
    model: nn.Module, images: Tensor, score: Score, layer: str, maps: Maps = channels_first
) -> tuple[Tensor, Tensor]:
    """The maps A of a layer, and dS / dA."""
    held: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        held.append(output.detach().clone().requires_grad_())
        return held[0].clone()  # a ReLU in place may follow

    hook = model.get_submodule(layer).register_forward_hook(keep)
    try:
        score(model(images.clone())).sum().backward()
    finally:
        hook.remove()
    assert held[0].grad is not None
    return maps(held[0].detach()), maps(held[0].grad)


def gradcam(activation: Tensor, slope: Tensor) -> Tensor:
    """Selvaraju et al. 2017, equations 1 and 2."""
    found = torch.zeros_like(activation[:, 0])
    for n in range(len(activation)):
        for k in range(activation.shape[1]):
            found[n] += slope[n, k].mean() * activation[n, k]
    return found.clamp(min=0)


def gradcam_plus_plus(activation: Tensor, slope: Tensor) -> Tensor:
    """Chattopadhay et al. 2018, equations 10, 11 and 19, of the exponential of the score."""
    found = torch.zeros_like(activation[:, 0])
    for n in range(len(activation)):
        for k in range(activation.shape[1]):
            g = slope[n, k]
            below = 2 * g**2 + activation[n, k].sum() * g**3
            share = torch.where(below == 0, torch.zeros_like(g), g**2 / below)
            found[n] += (share * g.clamp(min=0)).sum() * activation[n, k]
    return found.clamp(min=0)


def layercam(activation: Tensor, slope: Tensor) -> Tensor:
    """Jiang et al. 2021, equations 6 and 7."""
    found = torch.zeros_like(activation[:, 0])
    for k in range(activation.shape[1]):
        found += slope[:, k].clamp(min=0) * activation[:, k]
    return found.clamp(min=0)


def spread(
    cells: Tensor, size: Size, first: tuple[float, float], stride: tuple[float, float]
) -> NDArray[np.float64]:
    """The cells at every pixel: linear between their centres along each axis, held beyond them."""
    result = []
    for one in cells.numpy():
        rows, cols = (
            np.array(first)[axis] + np.array(stride)[axis] * np.arange(one.shape[axis])
            for axis in (0, 1)
        )
        across = np.array([np.interp(np.arange(size[1]) + 0.5, cols, line) for line in one])
        down = [np.interp(np.arange(size[0]) + 0.5, rows, line) for line in across.T]
        result.append(np.array(down).T)
    return np.array(result)
