"""Saliency: how much each pixel of the input would change the score of a class, and its two best-known refinements.

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.1.
Smilkov, Thorat, Kim, Viegas, Wattenberg, "SmoothGrad: removing noise by adding noise", 2017, section 2.2.
Shrikumar, Greenside, Shcherbina, Kundaje, "Not just a black box", 2016: gradient x input.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import Images, ask, differentiable, gradient_of, network_input
from explgraph.attribution.target import Target, Targets
from explgraph.errors import NetworkError, UsageError
from explgraph.network import Network

Views = Literal["one", "mirror", "crops"]
CROP = 0.875  # side of a crop, share of the input: the ten crops of 224 out of 256 pixels that ImageNet networks are tested on
NOISE = 0.15  # of an image's range; Smilkov et al. 2017 recommend 10-20 %


def saliency(
    network: Network,
    images: Images,
    *,
    target: Target = None,
    times_input: bool = False,
    samples: int = 1,
    noise: float = NOISE,
    views: Views = "one",
    seed: int = 0,
) -> Attribution:
    """Return for each pixel of the network input how strongly the score answers to it: ``M = max_colour |dS_c / dI|``.

    ``S_c`` is the score of the class before the softmax, ``I`` the network input (normalised, so per unit of its standard
    deviation). One backward pass for the whole batch: in evaluation mode no image bears on another's score.

    Args:
        network: its parameters need no gradient and get none.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        target: what is asked, see `explgraph.attribution.ask`; by default each image's own first choice.
        times_input: gradient x input instead, ``M = sum_colour I dS_c / dI``, which is signed.
        samples: SmoothGrad if above 1: the gradient is the mean over so many noisy copies of the image.
        noise: their standard deviation, share of the image's range (largest minus smallest value).
        views: "one"; "mirror": the mean of the map and the mirror image's, mirrored back; "crops": that of ten crops (four corners and
            centre, each with its mirror image; CROP of the input each way, enlarged to it), every pixel over the crops that it is in.
        seed: of the noise; the caller's random state is neither used nor changed.

    Raises:
        UsageError: the images are of another kind, the target is unknown, or an option is impossible.
        NetworkError: the network does not yield what the target needs, or no gradient.

    References:
        Simonyan et al. 2014, section 3.1 (class saliency map; averaged over ten crops and reflections, section 3.2).
        Smilkov et al. 2017, section 2.2.
    """
    if samples < 1 or not 0 <= noise < float("inf"):
        raise UsageError(
            f"samples must be at least 1 and noise a share of 0 or more, got {samples} and {noise}"
        )
    if views not in get_args(Views):
        raise UsageError(f"views must be one of {', '.join(get_args(Views))}, got {views!r}")
    batch = network_input(network, images)
    with differentiable(network.model):
        asked, targets = target, None
        if samples > 1 or views != "one":  # every copy is asked for what the image itself answers
            with torch.no_grad():
                targets = ask(network, batch, target).targets
            asked = _each(targets) if target is None else target
        total, weight = torch.zeros_like(batch[:, 0]), torch.zeros_like(batch[:1, 0])
        for view in _views(batch, views):
            seen = view.of(batch)
            gradient, answered = _gradient(network, seen, asked, samples, noise, seed)
            targets = targets or answered
            maps = (gradient * seen).sum(1) if times_input else gradient.abs().amax(1)
            view.add(total, maps)
            view.add(weight, torch.ones_like(maps[:1]))
    assert targets is not None
    return Attribution(
        (total / weight.clamp(min=1e-6)).float(), targets, "saliency", signed=times_input
    )


def _gradient(
    network: Network, batch: Tensor, target: Target, samples: int, noise: float, seed: int
) -> tuple[Tensor, Targets]:
    total: Tensor | None = None
    generator = torch.Generator().manual_seed(seed)
    spread = noise * (batch.amax((1, 2, 3), keepdim=True) - batch.amin((1, 2, 3), keepdim=True))
    for _ in range(samples):
        image = batch.clone()
        if samples > 1:
            image += spread * torch.randn(batch.shape, generator=generator).to(batch)
        image.requires_grad_()
        answer = ask(network, image, target)
        gradient = gradient_of(answer.values, image)
        if gradient is None:
            raise NetworkError(
                f"no gradient reaches back from the scores of {network.name}; its forward pass cuts them off"
            )
        total = gradient if total is None else total + gradient
    assert total is not None
    return total / samples, answer.targets


def _each(targets: Targets) -> Target:
    """Return the function that picks each image's own class from the network's scores."""
    numbers = torch.as_tensor(targets.indexes)
    return lambda scores: scores[torch.arange(len(scores)), numbers.to(scores.device)]


class _View:
    """A part of the input, enlarged to the whole of it, and perhaps mirrored."""

    def __init__(self, top: int, left: int, height: int, width: int, *, mirrored: bool) -> None:
        self.rows, self.cols, self.mirrored = (
            slice(top, top + height),
            slice(left, left + width),
            mirrored,
        )

    def of(self, batch: Tensor) -> Tensor:
        part = batch[:, :, self.rows, self.cols]
        if part.shape != batch.shape:
            part = interpolate(part, batch.shape[2:], mode="bilinear", antialias=True)
        return part.flip(-1) if self.mirrored else part

    def add(self, total: Tensor, maps: Tensor) -> None:
        maps = maps.flip(-1) if self.mirrored else maps
        part = total[:, self.rows, self.cols]
        if part.shape[1:] != maps.shape[1:]:
            maps = interpolate(maps[:, None], part.shape[1:], mode="bilinear", antialias=True)[:, 0]
        part += maps


def _views(batch: Tensor, views: Views) -> Iterator[_View]:
    height, width = batch.shape[2:]
    h, w = (max(1, round(CROP * side)) for side in (height, width))
    bottom, right = height - h, width - w
    corners = {
        "one": [(0, 0, height, width)],
        "mirror": [(0, 0, height, width)],
        "crops": [
            (t, s, h, w)
            for t, s in (
                (0, 0),
                (0, right),
                (bottom, 0),
                (bottom, right),
                (bottom // 2, right // 2),
            )
        ],
    }
    for corner in corners[views]:
        for mirrored in (False,) if views == "one" else (False, True):
            yield _View(*corner, mirrored=mirrored)
