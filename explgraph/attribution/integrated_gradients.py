"""Integrated gradients: what each pixel adds to a score on the way from a baseline to the image.

Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks", ICML 2017.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import differentiable, gradient_at, settled
from explgraph.attribution.shown import Images, show
from explgraph.attribution.target import Target
from explgraph.errors import UsageError
from explgraph.images import Boxes
from explgraph.network import Model, wide_dtype
from explgraph.progress import Report, silent

Baseline = Literal["black", "mean"]


def integrated_gradients(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    steps: int = 50,
    baseline: Baseline = "black",
    report: Report = silent,
) -> Attribution:
    """How much each pixel adds to the score between the baseline B and the image I.

    ``M = sum_colour (I - B) mean_a dS_c / dI at B + a (I - B)``, a in [0, 1]. The maps of a
    network that is differentiable almost everywhere sum to ``S_c(I) - S_c(B)``, the closer the
    more steps there are.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`, which stays as it is.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        target: see `explgraph.attribution.target`; by default each image's own first choice.
        steps: the mean is taken at the centres of so many equal parts of the way, one forward
            and backward pass each; the paper finds 20 to 300 enough.
        baseline: "black", as in the paper; "mean": the mean colour, 0 of the network's input.
        report: progress.

    Raises:
        UsageError: the images are of another kind, the target is unknown, or an option is
            impossible.
        NetworkError: the network does not yield what the target needs, or no gradient.

    References:
        Sundararajan et al. 2017, equations 1 and 3, and proposition 1 (completeness).

    >>> found = integrated_gradients(network, x, target="fox", steps=20, baseline="mean")
    >>> found.signed, found.maps.shape
    (True, torch.Size([2, 112, 112]))
    """
    if steps < 1 or baseline not in get_args(Baseline):
        known = " or ".join(get_args(Baseline))
        raise UsageError(
            f"steps must be at least 1 and baseline {known}, got {steps} and {baseline!r}"
        )
    shown = show(model, images, box=box)
    network, batch = shown.network, shown.inputs
    start = torch.zeros_like(batch)
    # In the network's units: zero would be the mean colour, which is a grey.
    if baseline == "black":
        black = torch.zeros(1, *batch.shape[2:], batch.shape[1], dtype=torch.uint8)
        start += network.preprocess(black)
    total = torch.zeros_like(batch)
    with differentiable(network.model):
        asked, targets = settled(network, batch, target)
        for k in range(steps):
            # The middle of each step: the error falls with the square of the number of steps.
            between = torch.lerp(start, batch, (k + 0.5) / steps)
            total += gradient_at(network, between, asked)[0]
            report("integrated gradients", k + 1, steps)
    # Summed at least in float32, and rounded once.
    each = ((batch - start) * total / steps).to(wide_dtype(batch.dtype))
    maps, colours = each.sum(1).float(), each.float()
    return Attribution(maps, targets, "integrated-gradients", shown, signed=True, colours=colours)
