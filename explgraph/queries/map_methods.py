"""What each method draws of one image; `explgraph.queries.map_files` writes it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explgraph.attribution import (
    Activation,
    boxes_of,
    class_names,
    deconvnet,
    gradcam,
    guided_backprop,
    guided_gradcam,
    last_layer,
    occlusion,
    saliency,
    segment,
    strongest_activations,
)
from explgraph.attribution.attribution import Attribution
from explgraph.attribution.forward import Target
from explgraph.attribution.gradcam import Weighting
from explgraph.attribution.occlusion import SIZE, STRIDE
from explgraph.attribution.saliency import NOISE, Views
from explgraph.attribution.view import View, read_views
from explgraph.errors import Skipped, UsageError
from explgraph.figures.heat_maps import Panel
from explgraph.images import Box, Fit
from explgraph.network import Network, feature_maps
from explgraph.progress import Report, silent
from explgraph.queries.map_files import Drawn, draw_maps

SALIENCY_QUANTILE = 0.99  # a few single pixels outshine all others; colours end at this quantile


def draw_heat_maps(
    method: str,
    network: Network,
    images: list[Path],
    out: Path,
    *,
    target: Target = None,
    fit: Fit = "letterbox",
    report: Report = silent,
    **options: Any,
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Write overlay, raw map and record of each image; see `explgraph.queries.map_files.draw_maps`.

    Args:
        method: "saliency", "gradcam", "deconv" or "occlusion".
        network: a classifier.
        images: image files.
        out: folder, made if missing.
        target: what is asked, see `explgraph.attribution.forward.ask`.
        fit: how a picture becomes the network input.
        report: progress.
        options: of the method, see `method_of`.

    Raises:
        SourceError: not one image could be read.
        UsageError: the method, target or an option is unknown.
    """
    views = read_views(network, images, target=target, fit=fit)
    if method == "occlusion":
        options["report"] = report
    return draw_maps(
        method, views, images, out, method_of(method, network, **options), report=report
    )


def method_of(method: str, network: Network, **options: Any) -> Callable[[View], Drawn]:
    """Return the function that draws a method's maps of one view.

    Raises:
        UsageError: the method is unknown.
    """
    methods: dict[str, Callable[..., Drawn]] = {
        "saliency": draw_saliency,
        "gradcam": draw_gradcam,
        "deconv": draw_deconv,
        "occlusion": draw_occlusion,
    }
    if method not in methods:
        raise UsageError(f"method must be one of {', '.join(methods)}, got {method!r}")
    return partial(methods[method], network, **options)


def draw_saliency(
    network: Network,
    view: View,
    *,
    times_input: bool = False,
    samples: int = 1,
    noise: float = NOISE,
    views: Views = "one",
    segmented: bool = False,
) -> Drawn:
    """Return the saliency map; ``segmented`` adds the GraphCut segmentation that it seeds."""
    found = saliency(
        network,
        view.pixels[None],
        target=view.target,
        times_input=times_input,
        samples=samples,
        noise=noise,
        views=views,
    )
    title = "gradient x input" if times_input else "SmoothGrad" if samples > 1 else "saliency"
    panel = Panel(
        view.on_image(found.maps[0]), title, signed=times_input, quantile=SALIENCY_QUANTILE
    )
    boxes, more = segmentation_of(view, found.maps[0]) if segmented else ([], [])
    return Drawn(found=found, panels=[panel, *more], boxes=boxes)


def draw_gradcam(
    network: Network,
    view: View,
    *,
    layer: str | None = None,
    signed: bool = False,
    weighting: Weighting = "gradcam",
    guided: bool = False,
    segmented: bool = False,
) -> Drawn:
    """Return Grad-CAM with boxes; ``guided`` adds guided Grad-CAM, ``segmented`` the GraphCut segmentation."""
    found = gradcam(
        network,
        view.pixels[None],
        layer=layer,
        target=view.target,
        signed=signed,
        weighting=weighting,
    )
    boxes = boxes_of(found.maps[0], frame=view.frame, mirrored=view.mirrored)
    name = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}[weighting]
    title = f"{name}, {found.layer.name if found.layer else ''}"
    panels = [Panel(view.on_image(found.maps[0]), title, signed=signed, boxes=boxes[:1])]
    if guided:
        fine = guided_gradcam(network, view.pixels[None], layer=found.layer, target=view.target)
        assert fine.colours is not None
        panels.append(Panel(picture=view.picture_of(fine.colours[0]), title="guided Grad-CAM"))
    if segmented:
        boxes, more = segmentation_of(view, found.maps[0])
        panels += more
    return Drawn(found=found, panels=panels, boxes=boxes)


def draw_deconv(
    network: Network,
    view: View,
    *,
    layer: str | None = None,
    channel: int | None = None,
    strongest: int = 3,
    guided: bool = False,
) -> Drawn:
    """Return the projection of the view's target, or else of the strongest activations of a layer, one panel each."""
    project = guided_backprop if guided else deconvnet
    name = "guided backpropagation" if guided else "DeconvNet"
    if view.target is not None:
        found = project(network, view.pixels[None], target=view.target)
        assert found.colours is not None
        return Drawn(
            found=found, panels=[Panel(picture=view.picture_of(found.colours[0]), title=name)]
        )
    layer = layer or last_layer(network)
    many = strongest_activations(network, view.pixels[None], layer, n=strongest, channel=channel)
    channels, cells = (
        np.concatenate([np.asarray(getattr(one, key)) for one in many])
        for key in ("channel", "cell")
    )
    asked = Activation(layer, channels, cells)
    found = project(network, np.repeat(view.pixels[None], len(many), axis=0), target=asked)
    assert found.colours is not None
    listed = [
        {"channel": int(c), "row": int(cell[0]), "col": int(cell[1]), "activation": float(value)}
        for c, cell, value in zip(channels, cells, found.targets.scores, strict=True)
    ]
    panels = [
        Panel(
            picture=view.picture_of(colours),
            title=f"channel {one['channel']}: {one['activation']:.3g}",
        )
        for colours, one in zip(found.colours, listed, strict=True)
    ]
    together = Attribution(
        found.maps.amax(0, keepdim=True), found.targets, found.method, colours=found.colours
    )
    return Drawn(found=together, panels=panels, extra={"layer": layer, "activations": listed})


def draw_occlusion(
    network: Network,
    view: View,
    *,
    layer: str | None = None,
    channel: int | None = None,
    size: int = SIZE,
    stride: int = STRIDE,
    batch_size: int = 32,
    report: Report = silent,
) -> Drawn:
    """Return the drop, the class probability, the winning label and, with a layer, the activation of its strongest map."""
    images = view.pixels[None]
    feature = None
    if layer is not None:
        feature = Activation(
            layer, channel if channel is not None else _strongest_map(network, images, layer)
        )
    found = occlusion(
        network,
        images,
        target=view.target,
        feature=feature,
        size=size,
        stride=stride,
        batch_size=batch_size,
        report=report,
    )
    panels = [Panel(view.on_image(found.maps[0]), "drop of the score", signed=True)]
    if not torch.isnan(found.probability).any():
        panels.append(
            Panel(
                view.on_image(found.on_input(found.probability)[0]),
                f"probability of {found.targets.names[0]}",
                ranged=True,
            )
        )
    if bool((found.winner >= 0).all()):
        winners = view.on_image(found.on_input(found.winner, nearest=True)[0].float())
        panels.append(
            Panel(np.rint(winners), "winning class", names=_class_names(network, found.winner))
        )
    extra: dict[str, Any] = {
        "size": list(found.size),
        "stride": stride,
        "squares": int(found.values[0].numel()),
    }
    if feature is not None:
        panels.append(
            Panel(
                view.on_image(found.on_input(found.activation)[0]),
                f"total activation of {feature.name}",
                ranged=True,
            )
        )
        extra["feature"] = feature.name
    return Drawn(found=found, panels=panels, extra=extra)


def segmentation_of(view: View, map: torch.Tensor) -> tuple[list[Box], list[Panel]]:
    """Return the box of the GraphCut segmentation that the map seeds, if any, and a panel that shows it."""
    cut = segment(view.pixels, map, frame=view.frame, mirrored=view.mirrored)
    boxes = [cut.box] if cut.box else []
    return boxes, [
        Panel(
            np.rint(view.on_image(cut.mask)),
            "GraphCut segmentation",
            boxes=boxes,
            names={1: "object"},
        )
    ]


def _strongest_map(network: Network, images: Any, layer: str) -> int:
    """Return the channel with the largest total activation, the one that Zeiler and Fergus (2014, figure 7b) watch."""
    batch = network.preprocess(torch.from_numpy(images))
    with torch.no_grad():
        maps = feature_maps(network.model, batch, [layer], model_name=network.name)[layer]
    return int(maps[0].relu().sum((1, 2)).argmax())


def _class_names(network: Network, winner: torch.Tensor) -> dict[int, str]:
    numbers = winner.unique().tolist()
    return dict(zip(numbers, class_names(network, numbers), strict=True))
