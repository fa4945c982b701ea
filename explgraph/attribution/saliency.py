"""Saliency: how much each pixel of the input would change the score of a class.

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.1.
"""

from __future__ import annotations

import torch

from explgraph.attribution.attribution import Attribution, Images, differentiable, network_input
from explgraph.attribution.targets import Targets, check_scores, resolve_target
from explgraph.errors import NetworkError
from explgraph.network.network import Network


def saliency(network: Network, images: Images, *, target: int | str | None = None) -> Attribution:
    """Return for each pixel of the network input how strongly the score answers to it: ``M = max_colour |dS_c / dI|``.

    ``S_c`` is the score of the class before the softmax, ``I`` the network input (normalised, so per unit of its standard
    deviation). One backward pass for the whole batch: in evaluation mode no image bears on another's score.

    Args:
        network: a classifier; its parameters need no gradient and get none.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        target: number or name of the class; by default each image's own first choice.

    Raises:
        UsageError: the images are of another kind, or the class is unknown.
        NetworkError: the network yields no scores (n, classes), or no gradient.

    References:
        Simonyan et al. 2014, section 3.1: the class saliency map.
    """
    batch = network_input(network, images)
    with differentiable(network.model):
        image = batch.clone().requires_grad_()
        scores = check_scores(network, network.model(image.clone()), len(image))  # its copy: an in-place layer may come first
        targets = resolve_target(network, target, scores=scores)
        gradient = gradient_of(scores, targets, image)
    if gradient is None:
        raise NetworkError(f"no gradient reaches back from the scores of {network.name}; its forward pass cuts them off")
    maps = gradient.abs().amax(1).float().cpu().numpy()
    return Attribution(maps, targets, "saliency")


def gradient_of(scores: torch.Tensor, targets: Targets, inputs: torch.Tensor) -> torch.Tensor | None:
    """Return dS_c / d ``inputs``, in the shape of ``inputs``, for each image's own class c; None if nothing leads there."""
    picked = scores[torch.arange(len(scores)), targets.indexes.tolist()].sum()
    return torch.autograd.grad(picked, inputs, allow_unused=True)[0] if picked.requires_grad else None
