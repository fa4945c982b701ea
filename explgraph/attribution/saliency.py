"""Saliency: how much each pixel of the input would change a score, and its best-known refinements.

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.1.
Smilkov et al., "SmoothGrad: removing noise by adding noise", 2017, section 2.2.
Shrikumar et al., "Not just a black box", 2016: gradient x input.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import differentiable, gradient_at, settled
from explgraph.attribution.shown import Batch, Images, input_size, show
from explgraph.attribution.target import Target
from explgraph.errors import UsageError
from explgraph.images import Boxes
from explgraph.network import Model, Network

Views = Literal["one", "mirror", "crops"]
CROP = 0.875  # of the side: 224 of 256 pixels, the ten crops that ImageNet networks are tested on
NOISE = 0.15  # of an image's range; Smilkov et al. 2017 recommend 10-20 %


def saliency(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    times_input: bool = False,
    samples: int = 1,
    noise: float = NOISE,
    views: Views = "one",
    seed: int = 0,
) -> Attribution:
    """How strongly the score answers to each pixel of the input: ``M = max_colour |dS_c / dI|``.

    ``S_c`` is the score of the class before the softmax. ``I`` is the network input, which is
    normalised, so the gradient is per unit of its standard deviation.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`, which stays as it is.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        target: see `explgraph.attribution.target`; by default each image's own first choice.
        times_input: gradient x input instead, ``M = sum_colour I dS_c / dI``, which is signed.
        samples: SmoothGrad if above 1: the mean gradient over so many noisy copies of the image.
        noise: their standard deviation, share of the image's range (largest less smallest value).
        views: "one"; "mirror": the mean with the mirror image's map, mirrored back; "crops": the
            mean of ten crops (corners and centre, and the mirror image of each), every pixel over
            the crops that show it.
        seed: of the noise; the caller's random state is neither used nor changed.

    Raises:
        UsageError: the images are of another kind, the target is unknown, or an option is
            impossible.
        NetworkError: the network does not yield what the target needs, or no gradient.

    References:
        Simonyan et al. 2014, section 3.1 (map; averaged over ten crops and reflections, 3.2).
        Smilkov et al. 2017, section 2.2.

    >>> saliency(network, x, target="fox").maps.shape
    torch.Size([2, 112, 112])
    """
    if samples < 1 or not 0 <= noise < float("inf"):
        raise UsageError(
            f"samples must be at least 1 and noise a share of 0 or more, got {samples} and {noise}"
        )
    if views not in get_args(Views):
        raise UsageError(f"views must be one of {', '.join(get_args(Views))}, got {views!r}")
    shown = show(model, images, box=box)
    network, batch = shown.network, shown.inputs
    with differentiable(network.model):
        # A noisy or cut copy might have another first choice than the image itself.
        copied = samples > 1 or views != "one"
        asked, targets = settled(network, batch, target) if copied else (target, None)
        total, weight = torch.zeros_like(batch[:, 0]), torch.zeros_like(batch[:1, 0])
        for part in _parts(batch, views):
            crop = part.of(batch)
            if samples > 1:
                gradient = _smooth_gradient(network, crop, asked, samples, noise, seed)
            else:
                gradient, answered = gradient_at(network, crop, asked)
                targets = targets or answered
            maps = (gradient * crop).sum(1) if times_input else gradient.abs().amax(1)
            part.add(total, maps)
            part.add(weight, torch.ones_like(maps[:1]))
    assert targets is not None
    maps = (total / weight.clamp(min=1e-6)).float()
    return Attribution(maps, targets, "saliency", shown, signed=times_input)


def smoothgrad(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    samples: int = 25,
    noise: float = NOISE,
    seed: int = 0,
) -> Attribution:
    """SmoothGrad: `saliency` of the mean gradient over ``samples`` noisy copies of each image.

    References:
        Smilkov et al. 2017, section 2.2.

    >>> smoothgrad(network, x, target="fox", samples=4).maps.shape
    torch.Size([2, 112, 112])
    """
    return saliency(model, images, box=box, target=target, samples=samples, noise=noise, seed=seed)


def _smooth_gradient(
    network: Network, batch: Batch, target: Target, samples: int, noise: float, seed: int
) -> Batch:
    total = torch.zeros_like(batch)
    # On the CPU, whatever the device: the same noise on every machine.
    generator = torch.Generator().manual_seed(seed)
    highest, lowest = (f(batch, (1, 2, 3), keepdim=True) for f in (torch.amax, torch.amin))
    for _ in range(samples):
        drawn = torch.randn(batch.shape, generator=generator).to(batch)
        total += gradient_at(network, batch + noise * (highest - lowest) * drawn, target)[0]
    return total / samples


@dataclass(frozen=True)
class _Part:
    """A part of the input, enlarged to the whole of it, and perhaps mirrored."""

    top: int
    left: int
    height: int
    width: int
    mirrored: bool

    def of(self, batch: Batch) -> Batch:
        part = self._cut(batch)
        if part.shape != batch.shape:
            part = interpolate(part, batch.shape[2:], mode="bilinear", antialias=True)
        return part.flip(-1) if self.mirrored else part

    def add(
        self, total: Float[Tensor, "_ height width"], maps: Float[Tensor, "_ height width"]
    ) -> None:
        """Add maps of the part to what it shows of ``total``."""
        maps = maps.flip(-1) if self.mirrored else maps
        part = self._cut(total)
        if part.shape[1:] != maps.shape[1:]:
            maps = interpolate(maps[:, None], part.shape[1:], mode="bilinear", antialias=True)[:, 0]
        part += maps

    def _cut(self, maps: Tensor) -> Tensor:
        rows, cols = (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )
        return maps[..., rows, cols]


def _parts(batch: Batch, views: Views) -> Iterator[_Part]:
    height, width = input_size(batch)
    corners, extent = [(0, 0)], (height, width)
    if views == "crops":
        extent = max(1, round(CROP * height)), max(1, round(CROP * width))
        bottom, right = height - extent[0], width - extent[1]
        corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    for corner in corners:
        for mirrored in (False,) if views == "one" else (False, True):
            yield _Part(*corner, *extent, mirrored)
