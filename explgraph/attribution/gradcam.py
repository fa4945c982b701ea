"""Grad-CAM: which cells of a layer carry the channels that speak for a class; with Grad-CAM++, LayerCAM and guided Grad-CAM.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based localization", ICCV 2017.
Chattopadhay et al., "Grad-CAM++", WACV 2018. Jiang et al., "LayerCAM", IEEE TIP 2021.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from explgraph.attribution.attribution import Attribution
from explgraph.attribution.deconv import guided_backprop
from explgraph.attribution.forward import (
    Images,
    ask,
    differentiable,
    gradient_of,
    network_input,
    run_model,
)
from explgraph.attribution.resample import resample
from explgraph.attribution.target import Activation, PlacedNode, Target
from explgraph.errors import LayerError, UsageError
from explgraph.graph import Layer
from explgraph.network import Network, blank_input, measure_geometry

Weighting = Literal["gradcam", "gradcam++", "layercam"]


def gradcam(
    network: Network,
    images: Images,
    *,
    layer: str | Layer | None = None,
    target: Target = None,
    signed: bool = False,
    weighting: Weighting = "gradcam",
) -> Attribution:
    """Return where the layer's channels speak for the class: ``L = ReLU(sum_k a_k A_k)``, ``a_k = mean_ij dS_c / dA_kij``.

    ``A_k`` is channel k of the layer, ``S_c`` the score before the softmax. ``cells`` of the result is L itself; ``maps`` is L
    in the network input, bilinear between the measured centres of the cells' receptive fields and held beyond the outermost.
    The gradient is taken no further back than the layer.

    Args:
        network: its parameters need no gradient and get none.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width).
        layer: dotted torch name; or its measured geometry, which saves measuring for every batch; by default the target's own, or
            else `last_layer`.
        target: what is asked, see `explgraph.attribution.ask`; by default each image's own first choice.
        signed: leave the ReLU out; what is below zero speaks against the class.
        weighting: with ``g = dS_c / dA``, "gradcam" as above; "gradcam++": ``a_k = sum_ij w_kij ReLU(g_kij)``,
            ``w = g^2 / (2 g^2 + g^3 sum_ij A_k)``; "layercam": ``L = ReLU(sum_k ReLU(g_k) A_k)``, cell by cell.

    Raises:
        UsageError: the images are of another kind, or the target or weighting is unknown.
        LayerError: the layer is unknown, yields no maps, or does not bear on the scores.
        NetworkError: the network yields no scores (n, classes).

    References:
        Selvaraju et al. 2017, equations 1 and 2. Chattopadhay et al. 2018, equations 10, 11 and 19 (for a score whose derivatives
        of second and third order are those of its exponential). Jiang et al. 2021, equations 6 and 7 (LayerCAM).
    """
    if weighting not in get_args(Weighting):
        raise UsageError(
            f"weighting must be one of {', '.join(get_args(Weighting))}, got {weighting!r}"
        )
    batch = network_input(network, images)
    name = layer.name if isinstance(layer, Layer) else layer
    if name is None:
        name = (
            target.layer
            if isinstance(target, Activation | PlacedNode)
            else last_layer(network, input_size=_size(batch))
        )
    if isinstance(layer, Layer) and layer.input_size != _size(batch):
        raise LayerError(
            f"layer {name!r} was measured for an input of {layer.input_size[0]} x {layer.input_size[1]} pixels, "
            f"got {batch.shape[2]} x {batch.shape[3]}; measure it for this size"
        )
    with differentiable(network.model):
        answer = ask(network, batch, target, cut=name)
        assert answer.cut is not None
        gradient = gradient_of(answer.values, answer.cut)
    if gradient is None:
        raise LayerError(
            f"no gradient leads from the scores of {network.name} to layer {name!r}; name a layer on their way"
        )
    cells = _weighted(answer.cut.detach(), gradient, weighting).float()
    if not signed:
        cells = cells.relu()
    geometry = (
        layer
        if isinstance(layer, Layer)
        else measure_geometry(network, [name], input_size=_size(batch))[name]
    )
    return Attribution(
        _spread(cells, geometry, _size(batch)), answer.targets, weighting, signed, geometry, cells
    )


def guided_gradcam(
    network: Network,
    images: Images,
    *,
    layer: str | Layer | None = None,
    target: Target = None,
) -> Attribution:
    """Return guided backpropagation times Grad-CAM, pixel by pixel: fine structure, but only where the class is spoken for.

    Args and errors as `gradcam` and `explgraph.attribution.guided_backprop`.

    References:
        Selvaraju et al. 2017, section 3.2.
    """
    coarse = gradcam(network, images, layer=layer, target=target)
    fine = guided_backprop(network, images, target=target)
    assert fine.colours is not None
    colours = fine.colours * coarse.maps[:, None]
    return Attribution(
        colours.abs().amax(1),
        coarse.targets,
        "guided-gradcam",
        layer=coarse.layer,
        cells=coarse.cells,
        colours=colours,
    )


def _weighted(maps: Tensor, gradient: Tensor, weighting: Weighting) -> Tensor:
    """Return sum_k a_k A_k, (n, rows, columns)."""
    if weighting == "layercam":
        return (gradient.relu() * maps).sum(1)
    weights = gradient.mean((2, 3))
    if weighting == "gradcam++":
        square = gradient**2
        below = 2 * square + gradient**3 * maps.sum((2, 3), keepdim=True)
        weights = (torch.where(below != 0, square / below, 0.0) * gradient.relu()).sum((2, 3))
    return torch.einsum("nkij,nk->nij", maps, weights)


def last_layer(network: Network, *, input_size: tuple[int, int] | None = None) -> str:
    """Return the name of the last layer whose map still has the resolution of the last convolution.

    Measured on one black image: the last convolution that yields more than one cell gives the resolution, and what follows
    it before any pooling belongs to it. So it is ``features.29`` (the ReLU) of VGG-16, ``layer4`` of ResNet-50.

    Args:
        network: any that yields maps.
        input_size: (height, width) in pixels; the network's own if not given.

    Raises:
        LayerError: no convolution yields a map of more than one cell.
        NetworkError: the network does not run on this size of input.
    """
    outputs: dict[str, list[tuple[int, ...]]] = {}
    modules = {name: module for name, module in network.model.named_modules() if name}

    def hook_of(name: str) -> Any:
        return lambda module, args, output: outputs.setdefault(name, []).append(
            tuple(getattr(output, "shape", ()))
        )

    hooks = [module.register_forward_hook(hook_of(name)) for name, module in modules.items()]
    try:
        with differentiable(network.model), torch.no_grad():
            run_model(
                network, network.model, blank_input(network, input_size or network.input.size)
            )
    finally:
        for hook in hooks:
            hook.remove()
    maps = {
        name: shapes[0][2:]
        for name, shapes in outputs.items()
        if len(shapes) == 1 and _is_map(shapes[0])
    }
    convolved = [size for name, size in maps.items() if isinstance(modules[name], nn.Conv2d)]
    if not convolved:
        raise LayerError(f"{network.name} has no convolution that yields maps; name a layer")
    return [name for name, size in maps.items() if size == convolved[-1]][-1]


def _is_map(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] * shape[3] > 1


def _size(batch: torch.Tensor) -> tuple[int, int]:
    return int(batch.shape[2]), int(batch.shape[3])


def _spread(cells: Tensor, geometry: Layer, size: tuple[int, int]) -> Tensor:
    """Return ``cells`` (n, rows, columns) at every pixel's centre of the input (n, height, width)."""
    rows, cols = (
        (np.arange(size[axis]) + 0.5 - geometry.first[axis]) / geometry.stride[axis]
        for axis in (0, 1)
    )
    return resample(cells, rows, cols)
