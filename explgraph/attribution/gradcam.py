"""Grad-CAM: which cells of a layer carry the channels that speak for a class, and its kin.

Selvaraju et al., "Grad-CAM: visual explanations from deep networks", ICCV 2017.
Chattopadhay et al., "Grad-CAM++", WACV 2018. Jiang et al., "LayerCAM", IEEE TIP 2021.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from explgraph.attribution.attribution import EMPTY, Attribution, reasons
from explgraph.attribution.boxes import resample
from explgraph.attribution.deconv import guided_signal
from explgraph.attribution.forward import ask, differentiable, gradient_of, run_model
from explgraph.attribution.shown import Images, Shown, input_size, show
from explgraph.attribution.target import Activation, LayerMaps, PlacedNode, Target, is_single
from explgraph.errors import LayerError, UsageError
from explgraph.graph import Layer
from explgraph.images import Boxes
from explgraph.network import (
    Model,
    Network,
    blank_input,
    feature_maps,
    layout_of,
    learn_layouts,
    measure_geometry,
    once,
    wrap,
)

Weighting = Literal["gradcam", "gradcam++", "layercam"]
Cells = Float[Tensor, "image rows columns"]


def gradcam(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    layer: str | Layer | None = None,
    signed: bool = False,
    weighting: Weighting = "gradcam",
) -> Attribution:
    """Where a layer speaks for a class: ``L = ReLU(sum_k a_k A_k)``, ``a_k = mean_ij dS_c/dA_kij``.

    ``A_k`` is channel k of the layer, ``S_c`` the score before the softmax. ``cells`` of the result
    is L itself. ``maps`` is L in the network input, bilinear between the measured centres of the
    cells' receptive fields and held beyond the outermost. The gradient is taken no further back
    than the layer.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`, which stays as it is.
        images: see `explgraph.attribution.network_input`.
        box: in a photograph, see `explgraph.attribution.show`.
        target: see `explgraph.attribution.target`; by default each image's own first choice.
        layer: dotted torch name, or its measured geometry; by default the target's own, or else
            `last_layer`, behind the ReLU that follows it where that is a function (DenseNet). Of a
            neuron the last maps before its layer.
        signed: leave the ReLU out; what is below zero speaks against the class.
        weighting: with ``g = dS_c / dA``, "gradcam" as above;
            "gradcam++": ``a_k = sum_ij w_kij ReLU(g_kij)``,
            ``w = g^2 / (2 g^2 + g^3 sum_ij A_k)``;
            "layercam": ``L = ReLU(sum_k ReLU(g_k) A_k)``, cell by cell.

    Raises:
        UsageError: the images are of another kind, or the target or weighting is unknown.
        LayerError: the layer is unknown, yields no maps, or does not bear on the scores.
        NetworkError: the network yields no scores (n, classes).

    References:
        Selvaraju et al. 2017, equations 1 and 2. Chattopadhay et al. 2018, equations 10, 11 and 19
        (for a score whose derivatives of second and third order are those of its exponential).
        Jiang et al. 2021, equations 6 and 7.

    >>> found = gradcam(network, sorted(pictures.iterdir())[0], target="fox")
    >>> found.layer.name, found.cells.shape, found.on_image().shape
    ('features', torch.Size([1, 14, 14]), (180, 240))
    """
    if weighting not in get_args(Weighting):
        known = ", ".join(get_args(Weighting))
        raise UsageError(f"weighting must be one of {known}, got {weighting!r}")
    shown = show(model, images, box=box)
    return _class_activation(shown, target, layer, signed, weighting).single()


def _class_activation(
    shown: Shown,
    target: Target,
    layer: str | Layer | None,
    signed: bool = False,
    weighting: Weighting = "gradcam",
) -> Attribution:
    """`gradcam` in the precision of the network."""
    network, batch = shown.network, shown.inputs
    size = input_size(batch)
    rectified = False
    if layer is None:
        asked = target.layer if isinstance(target, Activation | PlacedNode) else None
        layer, rectified = _last_maps(network, size, asked)
    name = layer.name if isinstance(layer, Layer) else layer
    # Cells of another input size look elsewhere: the map would be shifted, and nobody would see it.
    if isinstance(layer, Layer) and layer.input_size != size:
        measured = " x ".join(map(str, layer.input_size))
        raise LayerError(
            f"layer {name!r} was measured for an input of {measured} pixels, "
            f"got {size[0]} x {size[1]}; measure it for this size"
        )
    with differentiable(network.model):
        answer = ask(network, batch, target, cut=name, rectified=rectified)
        assert answer.cut is not None
        gradient = gradient_of(answer.values, answer.cut)
    if gradient is None:
        raise LayerError(
            f"no gradient leads from the scores of {network.name} to layer {name!r}; "
            "name a layer on their way"
        )
    cells = _weighted(answer.cut.detach(), gradient, weighting)
    empty = reasons(() if signed else _only_against(cells, answer.targets.names, name))
    # The ReLU of equation 2: what speaks for another class is left out.
    cells = cells if signed else cells.relu()
    if isinstance(layer, str):
        layer = measure_geometry(network, [layer], input_size=size)[layer]
    maps = _on_input(cells, layer, size)
    return Attribution(
        maps, answer.targets, weighting, shown, signed=signed, layer=layer, cells=cells, empty=empty
    )


def gradcam_plus_plus(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    layer: str | Layer | None = None,
) -> Attribution:
    """Grad-CAM++: `gradcam` with weights that count each cell which speaks for the class.

    References:
        Chattopadhay et al. 2018, equations 10, 11 and 19.

    >>> gradcam_plus_plus(network, x, target="fox").method
    'gradcam++'
    """
    return gradcam(model, images, box=box, target=target, layer=layer, weighting="gradcam++")


def layercam(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    layer: str | Layer | None = None,
) -> Attribution:
    """LayerCAM: `gradcam` weighted cell by cell, so that it also works for early layers.

    References:
        Jiang et al. 2021, equations 6 and 7.

    >>> layercam(network, x, target="fox", layer="features.7").cells.shape
    torch.Size([2, 28, 28])
    """
    return gradcam(model, images, box=box, target=target, layer=layer, weighting="layercam")


def guided_gradcam(
    model: Model,
    images: Images,
    *,
    box: Boxes | None = None,
    target: Target = None,
    layer: str | Layer | None = None,
) -> Attribution:
    """Guided backpropagation times Grad-CAM, pixel by pixel: fine structure where a class is.

    Arguments and errors as `gradcam` and `explgraph.attribution.guided_backprop`.

    References:
        Selvaraju et al. 2017, section 3.2.

    >>> guided_gradcam(network, x).colours.shape
    torch.Size([2, 3, 112, 112])
    """
    shown = show(model, images, box=box)
    coarse = _class_activation(shown, target, layer)
    fine = guided_signal(shown, target)
    assert fine.colours is not None
    colours = fine.colours * coarse.maps[:, None]
    return Attribution(
        colours.abs().amax(1),
        coarse.targets,
        "guided-gradcam",
        coarse.shown,
        layer=coarse.layer,
        cells=coarse.cells,
        colours=colours,
        empty=reasons(coarse.why_empty(k) or fine.why_empty(k) for k in range(len(coarse))),
    ).single()


def last_layer(model: Model, *, input_size: tuple[int, int] | None = None) -> str:
    """The name of the last layer whose map still has the resolution of the last convolution.

    Measured on one blank image: the last layer with parameters that yields more than one cell gives
    the resolution, and what follows it before any pooling belongs to it. So it is ``features.29``
    (the ReLU) of VGG-16, ``layer4`` of ResNet-50, ``permute`` of Swin. Of a vision transformer it
    is the last one whose patches still bear on the class token.

    Args:
        model: a network; or a plain module, see `explgraph.wrap`, which stays as it is.
        input_size: (height, width) in pixels; the network's own if not given.

    Raises:
        LayerError: no convolution yields a map of more than one cell.
        NetworkError: the network does not run on this size of input.

    >>> last_layer(network)
    'features'
    """
    network = wrap(model)
    return _last_maps(network, input_size or network.input.size)[0]


def _last_maps(
    network: Network, size: tuple[int, int], asked: str | None = None
) -> tuple[str, bool]:
    """`last_layer`, and whether a function rectifies its output at once (DenseNet's F.relu).

    Of a layer that is asked for itself, or the last maps before it where it has no places.
    """

    def measure() -> tuple[str, bool]:
        blank = blank_input(network, size)
        with differentiable(network.model), torch.no_grad():
            if asked is not None:
                maps = feature_maps(network.model, blank, [asked], model_name=network.name)
                if not is_single(maps[asked]):
                    return asked, False
        name = _last_layer(network, size, asked)
        with differentiable(network.model), torch.no_grad():
            answer = ask(network, blank, _nothing, cut=name, rectified=True)
        return name, answer.cut is not None

    return once(network.model, ("last maps", size, asked), measure)


def _nothing(output: Any) -> Tensor:
    """A target that any network answers."""
    return torch.zeros(1)


def _last_layer(network: Network, size: tuple[int, int], before: str | None) -> str:
    model, outputs = network.model, defaultdict[str, list[Tensor]](list)  # in the pass's order
    asked: list[Any] = []
    stop = None if before is None else network.find_layers([before])[before]

    def note(name: str, module: nn.Module, args: Any, output: Any) -> None:
        if module is stop:
            asked.append(output)
        if asked:
            return
        with suppress(LayerError):  # a tuple
            if layout_of(model, name, output).maps(output)[0, 0].numel() > 1:
                outputs[name].append(output)

    modules = {name: module for name, module in model.named_modules() if name}
    blank = blank_input(network, size).requires_grad_()
    with ExitStack() as hooks, differentiable(model):
        learn_layouts(model, blank)
        for name, module in modules.items():
            hooks.callback(module.register_forward_hook(partial(note, name)).remove)
        asked.append(run_model(network, model, blank))
    # A single cell is a gate or a pooled vector, no map; a module that runs twice has no one map.
    found = {name: runs[0] for name, runs in outputs.items() if len(runs) == 1}
    layouts = {name: layout_of(model, name, output) for name, output in found.items()}
    sizes = {name: tuple(layouts[name].maps(one).shape[2:]) for name, one in found.items()}
    own = [
        name for name in sizes if next(modules[name].parameters(recurse=False), None) is not None
    ]
    if not own:
        raise LayerError(f"{network.name} has no convolution that yields maps; name a layer")
    same = [name for name in sizes if sizes[name] == sizes[own[-1]]]
    if layouts[same[-1]].order != "tokens" or not isinstance(asked[0], Tensor):
        return same[-1]
    # Behind its last attention a transformer looks at the class token alone.
    alike = [name for name in same if layouts[name].order == "tokens"]
    gradients = torch.autograd.grad(
        asked[0].sum(), [found[name] for name in alike], allow_unused=True
    )
    bearing = [
        name
        for name, gradient in zip(alike, gradients, strict=True)
        if gradient is not None and layouts[name].maps(gradient).any()
    ]
    return (bearing or alike)[-1]


def _weighted(maps: LayerMaps, gradient: LayerMaps, weighting: Weighting) -> Cells:
    """sum_k a_k A_k."""
    if weighting == "layercam":
        return (gradient.relu() * maps).sum(1)
    weights = gradient.mean((2, 3))
    if weighting == "gradcam++":
        square = gradient**2
        below = 2 * square + gradient**3 * maps.sum((2, 3), keepdim=True)
        # Where the gradient is zero, both are: the cell has no weight.
        share = torch.where(below != 0, square / below, 0.0)
        weights = (share * gradient.relu()).sum((2, 3))
    return torch.einsum("nkij,nk->nij", maps, weights)


def _only_against(cells: Cells, names: tuple[str, ...], layer: str) -> tuple[str, ...]:
    """Why nothing is seen once what speaks against has been left out; "" where something is."""
    highest, strongest = (one.flatten(1).amax(1).tolist() for one in (cells, cells.abs()))
    said = "nothing in layer {} speaks for {}"
    more = ", every cell speaks against it (--signed shows that)"
    return tuple(
        "" if high > EMPTY * most else said.format(layer, name) + (more if most else "")
        for high, most, name in zip(highest, strongest, names, strict=True)
    )


def _on_input(
    cells: Cells, layer: Layer, size: tuple[int, int]
) -> Float[Tensor, "image height width"]:
    """The cells' values at the centre of every pixel of the input."""
    rows, cols = (
        (np.arange(size[axis]) + 0.5 - layer.first[axis]) / layer.stride[axis] for axis in (0, 1)
    )
    return resample(cells, rows, cols)
