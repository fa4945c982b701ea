"""The maps that an attribution yields, and the state of the network in which gradients are taken."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from explgraph.attribution.targets import Targets
from explgraph.errors import UsageError
from explgraph.network.geometry import LayerGeometry
from explgraph.network.network import Network

Images = torch.Tensor | NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each place of the network input speaks for the class asked for, image by image.

    Args:
        maps: (n, height, width), float32, one value per pixel of the network input.
        targets: the class of each image, its score and its probability.
        method: "saliency" or "gradcam".
        signed: whether values below zero mean evidence against the class.
        layer: the layer looked at and where its cells are; None for the input itself.
        cells: (n, rows, columns), float32, the map of that layer as it was computed; None without a layer.
    """

    maps: NDArray[np.float32]
    targets: Targets
    method: str
    signed: bool = False
    layer: LayerGeometry | None = None
    cells: NDArray[np.float32] | None = None


def network_input(network: Network, images: Images) -> torch.Tensor:
    """Return a copy of the images as the network takes them, (n, 3, height, width) on its device.

    Args:
        network: normalises uint8 images.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).

    Raises:
        UsageError: another dtype or shape, or no image.
    """
    batch = torch.as_tensor(images)
    if batch.dtype == torch.uint8 and batch.ndim == 4 and batch.shape[3] == 3:
        batch = network.preprocess(batch)
    elif not (batch.is_floating_point() and batch.ndim == 4 and batch.shape[1] == 3):
        raise UsageError(
            "images must be uint8 (n, height, width, 3), or floating point (n, 3, height, width) as the network takes them; "
            f"got {str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
        )
    if batch.numel() == 0:
        raise UsageError(f"give at least one image of at least one pixel, got shape {tuple(batch.shape)}")
    # A copy of its own, so that no gradient is asked for from the caller's tensor.
    return batch.detach().to(network.device).clone()


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients for the length of the context, whatever the caller's modes; all are put back."""
    training = [module for module in model.modules() if module.training]
    with torch.inference_mode(False), torch.enable_grad():
        try:
            model.eval()
            yield
        finally:
            for module in training:
                module.training = True
