"""Grad-CAM: which cells of a layer carry the channels that speak for a class.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from explgraph.attribution.attribution import Attribution, Images, differentiable, network_input
from explgraph.attribution.resample import resample
from explgraph.attribution.saliency import gradient_of
from explgraph.attribution.targets import check_scores, resolve_target
from explgraph.errors import LayerError
from explgraph.network.geometry import LayerGeometry, measure_geometry
from explgraph.network.network import Network


def gradcam(
    network: Network,
    images: Images,
    *,
    layer: str | LayerGeometry | None = None,
    target: int | str | None = None,
    signed: bool = False,
) -> Attribution:
    """Return where the layer's channels speak for the class: ``L = ReLU(sum_k a_k A_k)``, ``a_k = mean_ij dS_c / dA_kij``.

    ``A_k`` is channel k of the layer, ``S_c`` the score before the softmax. ``cells`` of the result is L itself; ``maps`` is L
    in the network input, bilinear between the measured centres of the cells' receptive fields and held beyond the outermost.

    Args:
        network: a classifier; its parameters need no gradient and get none.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        layer: dotted torch name; or its measured geometry, which saves measuring for every batch; by default `last_layer`.
        target: number or name of the class; by default each image's own first choice.
        signed: leave the ReLU out; what is below zero speaks against the class.

    Raises:
        UsageError: the images are of another kind, or the class is unknown.
        LayerError: the layer is unknown, yields no maps, or does not bear on the scores.
        NetworkError: the network yields no scores (n, classes).

    References:
        Selvaraju et al. 2017, equations 1 and 2.
    """
    batch = network_input(network, images)
    name = layer.name if isinstance(layer, LayerGeometry) else layer or last_layer(network, input_size=_size(batch))
    if isinstance(layer, LayerGeometry) and layer.input_size != _size(batch):
        raise LayerError(
            f"layer {name!r} was measured for an input of {layer.input_size[0]} x {layer.input_size[1]} pixels, "
            f"got {batch.shape[2]} x {batch.shape[3]}; measure it for this size"
        )
    held: list[torch.Tensor] = []

    def cut(_: str, output: torch.Tensor) -> torch.Tensor:
        held.append(output.detach().requires_grad_())
        return held[0].clone()  # an in-place ReLU behind the layer overwrites this copy

    with differentiable(network.model):
        with network.watch([name], cut) as run:
            scores = check_scores(network, run(batch.clone()), len(batch))
        targets = resolve_target(network, target, scores=scores)
        gradient = gradient_of(scores, targets, held[0])
    if gradient is None:
        raise LayerError(f"no gradient leads from the scores of {network.name} to layer {name!r}; name a layer on their way")
    cells = np.einsum("nkij,nk->nij", *(x.float().cpu().numpy() for x in (held[0].detach(), gradient.mean((2, 3)))))
    if not signed:
        cells = np.maximum(cells, 0)
    geometry = layer if isinstance(layer, LayerGeometry) else measure_geometry(network, [name], input_size=_size(batch))[name]
    return Attribution(_spread(cells, geometry, _size(batch)), targets, "gradcam", signed, geometry, cells)


def last_layer(network: Network, *, input_size: tuple[int, int] | None = None) -> str:
    """Return the name of the last layer whose map still has the resolution of the last convolution.

    Measured on one black image: the last convolution that yields more than one cell gives the resolution, and what follows
    it before any pooling belongs to it. So it is ``features.29`` (the ReLU) of VGG-16, ``layer4`` of ResNet-50.

    Args:
        network: any that yields maps.
        input_size: (height, width) in pixels; the network's own if not given.

    Raises:
        LayerError: no convolution yields a map of more than one cell.
    """
    outputs: dict[str, list[tuple[int, ...]]] = {}
    modules = {name: module for name, module in network.model.named_modules() if name}

    def hook_of(name: str) -> Any:
        return lambda module, args, output: outputs.setdefault(name, []).append(tuple(getattr(output, "shape", ())))

    hooks = [module.register_forward_hook(hook_of(name)) for name, module in modules.items()]
    try:
        with differentiable(network.model), torch.no_grad():
            network.model(torch.zeros(1, 3, *(input_size or network.input.size), device=network.device))
    finally:
        for hook in hooks:
            hook.remove()
    maps = {name: shapes[0][2:] for name, shapes in outputs.items() if len(shapes) == 1 and _is_map(shapes[0])}
    convolved = [size for name, size in maps.items() if isinstance(modules[name], nn.Conv2d)]
    if not convolved:
        raise LayerError(f"{network.name} has no convolution that yields maps; name a layer")
    return [name for name, size in maps.items() if size == convolved[-1]][-1]


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _size(batch: torch.Tensor) -> tuple[int, int]:
    return int(batch.shape[2]), int(batch.shape[3])


def _spread(cells: NDArray[np.float32], geometry: LayerGeometry, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return ``cells`` (n, rows, columns) at every pixel's centre of the input (n, height, width)."""
    rows, cols = ((np.arange(size[axis]) + 0.5 - geometry.first[axis]) / geometry.stride[axis] for axis in (0, 1))
    return resample(cells, rows, cols)
