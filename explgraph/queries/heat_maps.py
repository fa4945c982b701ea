"""The registry of heat-map methods: the options of each, and how it draws one view.

A new method is its module in `explgraph.attribution` and one registration here; its command,
flags, help and documentation are generated from the registration. This module is read for
``--help``, so whatever loads torch or matplotlib is imported inside the functions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from explgraph.queries.heat_map_method import METHODS as METHODS
from explgraph.queries.heat_map_method import HeatMap, heat_map_method
from explgraph.queries.options import option

if TYPE_CHECKING:
    from torch import Tensor

    from explgraph.attribution import NodeView, View
    from explgraph.figures import Panel
    from explgraph.graph import Layer
    from explgraph.images import Box
    from explgraph.network import Network
    from explgraph.progress import Report

SALIENCY_QUANTILE = 0.99  # a few single pixels outshine all others; colours end at this quantile
PATCH = 70  # pixels of the network input, the patches' side in Zhang et al. (AAAI 2018)

SEGMENT = "add the GraphCut segmentation and its box"


@dataclass(frozen=True)
class SaliencyOptions:
    """Options of `draw_saliency`."""

    times_input: bool = option(False, "gradient x input, signed")
    samples: int = option(1, "SmoothGrad over N noisy copies; 1: none", metavar="N", least=1)
    noise: float = option(
        0.15, "their noise, share of the image's range", metavar="SHARE", least=0, most=1
    )
    views: Literal["one", "mirror", "crops"] = option(
        "one", "average over the mirror image, or over ten crops"
    )
    segment: bool = option(False, SEGMENT)


@heat_map_method(
    SaliencyOptions,
    name="saliency",
    summary="Draw which pixels a score depends on: max over colours of |dS/dI|.",
    examples=(
        "photo.jpg --model resnet50 --views crops --segment --out maps",
        "photo.jpg --workspace ws --node features.12:7:0 --out maps",
    ),
)
def draw_saliency(
    network: Network, view: View, options: SaliencyOptions, report: Report
) -> HeatMap:
    """The gradient of the score, pixel by pixel."""
    from explgraph.attribution import saliency
    from explgraph.figures import Panel

    found = saliency(
        network,
        view.pixels[None],
        target=view.target,
        times_input=options.times_input,
        samples=options.samples,
        noise=options.noise,
        views=options.views,
    )
    title = "SmoothGrad" if options.samples > 1 else "saliency"
    title = "gradient x input" if options.times_input else title
    panel = Panel(
        view.on_image(found.maps[0]),
        title,
        signed=options.times_input,
        quantile=SALIENCY_QUANTILE,
    )
    boxes, more = segmentation_of(view, found.maps[0]) if options.segment else ([], [])
    return HeatMap(found=found, panels=[panel, *more], boxes=boxes)


@dataclass(frozen=True)
class GradcamOptions:
    """Options of `draw_gradcam`."""

    layer: str | None = option(
        None, "layer to look at; default: the last one with maps", metavar="NAME"
    )
    weighting: Literal["gradcam", "gradcam++", "layercam"] = option("gradcam", "of the channels")
    signed: bool = option(False, "also show what speaks against the class")
    guided: bool = option(False, "add guided Grad-CAM")
    segment: bool = option(False, SEGMENT)


@heat_map_method(
    GradcamOptions,
    name="gradcam",
    summary="Draw which regions speak for a class: Grad-CAM, Grad-CAM++, LayerCAM.",
    examples=(
        "photo.jpg --model resnet50 --out maps",
        "*.jpg --workspace ws --target zebra --guided --out maps",
    ),
)
def draw_gradcam(network: Network, view: View, options: GradcamOptions, report: Report) -> HeatMap:
    """Grad-CAM with boxes; guided Grad-CAM and the segmentation beside it, if asked for."""
    from explgraph.attribution import boxes_of, gradcam, guided_gradcam
    from explgraph.figures import Panel

    images, signed = view.pixels[None], options.signed
    found = gradcam(
        network,
        images,
        layer=options.layer,
        target=view.target,
        signed=signed,
        weighting=options.weighting,
    )
    boxes = boxes_of(found.maps[0], frame=view.frame, mirrored=view.mirrored)
    names = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}
    title = f"{names[options.weighting]}, {found.layer.name if found.layer else ''}"
    panels = [Panel(view.on_image(found.maps[0]), title, signed=signed, boxes=boxes[:1])]
    if options.guided:
        fine = guided_gradcam(network, images, layer=found.layer, target=view.target)
        panels.append(colour_panel(view, fine.colours, "guided Grad-CAM"))
    if options.segment:
        boxes, more = segmentation_of(view, found.maps[0])
        panels += more
    return HeatMap(found=found, panels=panels, boxes=boxes)


@dataclass(frozen=True)
class DeconvOptions:
    """Options of `draw_deconv`."""

    layer: str | None = option(
        None,
        "layer whose strongest activations are projected; default: the last one with maps",
        metavar="NAME",
    )
    channel: int | None = option(None, "only activations of this channel of --layer", metavar="N")
    strongest: int = option(3, "how many activations", metavar="N", least=1)
    guided: bool = option(False, "guided backpropagation instead of DeconvNet")


@heat_map_method(
    DeconvOptions,
    name="deconv",
    summary="Draw which structure in the image made an activation: "
    "DeconvNet, guided backpropagation.",
    examples=(
        "photo.jpg --model vgg16 --layer features.28 --strongest 3 --out maps",
        "photo.jpg --model vgg16 --layer features.28 --channel 7 --guided --out maps",
    ),
    targets=("class", "node"),
    target_help="class index or name; default: the strongest activations of --layer",
)
def draw_deconv(network: Network, view: View, options: DeconvOptions, report: Report) -> HeatMap:
    """The projection of the target, or of a layer's strongest activations, one panel each."""
    from explgraph.attribution import deconvnet, guided_backprop

    project = guided_backprop if options.guided else deconvnet
    if view.target is None:
        return _strongest_projected(network, view, options, project)
    found = project(network, view.pixels[None], target=view.target)
    name = "guided backpropagation" if options.guided else "DeconvNet"
    return HeatMap(found=found, panels=[colour_panel(view, found.colours, name)])


def _strongest_projected(
    network: Network, view: View, options: DeconvOptions, project: Any
) -> HeatMap:
    import numpy as np

    from explgraph.attribution import Activation, last_layer, strongest_activations

    images, layer = view.pixels[None], options.layer or last_layer(network)
    many = strongest_activations(
        network, images, layer, n=options.strongest, channel=options.channel
    )
    channels = np.concatenate([np.asarray(one.channel) for one in many])
    cells = np.concatenate([np.asarray(one.cell) for one in many])
    # The same image once for each activation: one batch.
    copies = np.repeat(images, len(many), axis=0)
    found = project(network, copies, target=Activation(layer, channels, cells))
    panels, listed = [], []
    for k, (channel, (row, col)) in enumerate(zip(channels.tolist(), cells.tolist(), strict=True)):
        value = float(found.targets.scores[k])
        listed.append({"channel": channel, "row": row, "col": col, "activation": value})
        title = f"channel {channel}: {value:.3g}"
        panels.append(colour_panel(view, found.colours[k : k + 1], title))
    together = replace(found, maps=found.maps.amax(0, keepdim=True))
    extra = {"layer": layer, "activations": listed}
    return HeatMap(found=together, panels=panels, extra=extra)


@dataclass(frozen=True)
class OcclusionOptions:
    """Options of `draw_occlusion`."""

    size: int = option(48, "side of the square in the input", metavar="PIXELS", least=1)
    stride: int = option(16, "distance of two squares", metavar="PIXELS", least=1)
    layer: str | None = option(
        None, "also show the total activation of this layer's strongest map", metavar="NAME"
    )
    channel: int | None = option(None, "of this map of --layer instead", metavar="N")
    batch_size: int = option(32, "squares per forward pass", metavar="N", least=1)


@heat_map_method(
    OcclusionOptions,
    name="occlusion",
    summary="Draw what the network says when a grey square hides each part of the image.",
    examples=("photo.jpg --model vgg16 --size 48 --stride 16 --layer features.28 --out maps",),
    targets=("class", "node"),
)
def draw_occlusion(
    network: Network, view: View, options: OcclusionOptions, report: Report
) -> HeatMap:
    """The drop, the class's probability, the winning class, and a feature map's activation."""
    from explgraph.attribution import Activation, occlusion
    from explgraph.figures import Panel

    images, feature = view.pixels[None], None
    if options.layer is not None:
        channel = options.channel
        if channel is None:
            channel = _strongest_map(network, images, options.layer)
        feature = Activation(options.layer, channel)
    found = occlusion(
        network,
        images,
        target=view.target,
        feature=feature,
        size=options.size,
        stride=options.stride,
        batch_size=options.batch_size,
        report=report,
    )
    panels = [Panel(view.on_image(found.maps[0]), "drop of the score", signed=True)]

    def add(grid: Tensor, title: str) -> None:
        panels.append(Panel(view.on_image(found.on_input(grid)[0]), title, ranged=True))

    if not found.probability.isnan().any():
        add(found.probability, f"probability of {found.targets.names[0]}")
    if bool((found.winner >= 0).all()):
        panels.append(_winner_panel(network, view, found))
    extra = {
        "size": list(found.size),
        "stride": options.stride,
        "squares": int(found.values[0].numel()),
    }
    if feature is not None:
        add(found.activation, f"total activation of {feature.name}")
        extra["feature"] = feature.name
    return HeatMap(found=found, panels=panels, extra=extra)


def _winner_panel(network: Network, view: View, found: Any) -> Panel:
    import numpy as np

    from explgraph.attribution import class_names
    from explgraph.figures import Panel

    winner = found.on_input(found.winner, nearest=True)[0].float()
    numbers = found.winner.unique().tolist()
    names = dict(zip(numbers, class_names(network, numbers), strict=True))
    return Panel(np.rint(view.on_image(winner)), "winning class", names=names)


def _strongest_map(network: Network, images: Any, layer: str) -> int:
    """The channel of the largest total activation, as in Zeiler and Fergus (2014, figure 7b)."""
    import torch

    from explgraph.network import feature_maps

    batch = network.preprocess(torch.from_numpy(images))
    with torch.no_grad():
        maps = feature_maps(network.model, batch, [layer], model_name=network.name)[layer]
    return int(maps[0].relu().sum((1, 2)).argmax())


@dataclass(frozen=True)
class NodemapOptions:
    """Options of `draw_nodemap`."""

    node: str | None = option(
        None, "draw this node: gradient, receptive field, patch", metavar="ID"
    )
    layer: str | None = option(None, "only this layer; default: all of the graph", metavar="NAME")
    top: float = option(
        0.5, "share of a layer's nodes that counts", metavar="SHARE", least=0, most=1
    )
    segment: bool = option(False, "add the GraphCut segmentation that each map seeds")


@heat_map_method(
    NodemapOptions,
    name="nodemap",
    summary="Draw where the best nodes of each layer are in an image, beside Grad-CAM; "
    "or what one node looks at.",
    examples=(
        "photo.jpg --workspace ws --out maps",
        "photo.jpg --workspace ws --node features.12:7:0 --out maps",
    ),
    targets=("class",),
    target_help="class of Grad-CAM; default: the network's own first choice",
    needs_nodes=True,
)
def draw_nodemap(
    network: Network, view: NodeView, options: NodemapOptions, report: Report
) -> HeatMap:
    """The heat map of each layer's best nodes with Grad-CAM beside it, or one node."""
    if options.node is not None:
        return _one_node(network, view, options.node)
    graph = view.graph
    layers = graph.layers if options.layer is None else [graph.layer(options.layer)]
    drawn = {layer.name: _layer_of_nodes(network, view, layer, options) for layer in layers}
    first = next(iter(drawn.values()))
    node_boxes = {name: [list(box) for box in one.boxes] for name, one in drawn.items()}
    return HeatMap(
        found=first.found,
        panels=[panel for one in drawn.values() for panel in one.panels],
        boxes=first.boxes,
        extra={"node_boxes": node_boxes},
    )


def _layer_of_nodes(
    network: Network, view: NodeView, layer: Layer, options: NodemapOptions
) -> HeatMap:
    import numpy as np

    from explgraph.attribution import Attribution, gradcam, node_box, node_heat_map
    from explgraph.figures import Panel
    from explgraph.graph import layer_of

    height, width = view.pixels.shape[:2]
    maps = node_heat_map(
        view.graph,
        layer.name,
        view.places[None],
        view.scores[None],
        nodes=view.nodes,
        input_size=(height, width),
        top=options.top,
    )
    cam = gradcam(network, view.pixels[None], layer=layer.name, target=view.target)
    here = np.array([layer_of(name) == layer.name for name in view.nodes])
    boxes: list[Box] = []
    if view.scores[here].any():
        x, y, w, h = node_box(view.places[here], view.scores[here])
        boxes = [_on_image(view, (x * width, y * height, w * width, h * height))]
    title = f"best {options.top:.0%} of the nodes, {layer.name}"
    panels = [
        Panel(view.on_image(maps[0]), title, boxes=boxes),
        Panel(view.on_image(cam.maps[0]), f"Grad-CAM, {layer.name}"),
    ]
    if options.segment:
        boxes, more = segmentation_of(view, maps[0])
        panels += more
    found = Attribution(maps, cam.targets, "nodemap", layer=cam.layer)
    return HeatMap(found=found, panels=panels, boxes=boxes)


def _one_node(network: Network, view: NodeView, node: str) -> HeatMap:
    """The gradient of the node's score, its receptive field, and the patch about its place."""
    from explgraph.attribution import receptive_field, saliency
    from explgraph.figures import Panel, cut_patch
    from explgraph.images import load_image

    placed = view.placed(node)
    found = saliency(network, view.pixels[None], target=placed)
    height, width = view.pixels.shape[:2]
    field = receptive_field(placed.layer_geometry, placed.place, input_size=(height, width))
    field = _on_image(view, field)
    row, col = placed.place * (height, width)
    patch = _on_image(view, (col - PATCH / 2, row - PATCH / 2, PATCH, PATCH))
    x, y, w, h = patch
    side = max(8, round((w * h) ** 0.5))
    panels = [
        Panel(
            view.on_image(found.maps[0]),
            "gradient; receptive field and patch",
            boxes=[field, patch],
            quantile=SALIENCY_QUANTILE,
        ),
        Panel(
            picture=cut_patch(load_image(view.obj), x + w / 2, y + h / 2, side),
            title="its patch",
        ),
    ]
    score = float(view.scores[view.nodes.index(node)])
    extra = {"node": node, "node_score": score, "receptive_field": list(field)}
    return HeatMap(found=found, panels=panels, boxes=[patch], extra=extra)


def segmentation_of(view: View, map: Tensor) -> tuple[list[Box], list[Panel]]:
    """The box of the GraphCut segmentation that the map seeds, if any, and a panel of it."""
    import numpy as np

    from explgraph.attribution import segment
    from explgraph.figures import Panel

    cut = segment(view.pixels, map, frame=view.frame, mirrored=view.mirrored)
    boxes = [cut.box] if cut.box else []
    mask = np.rint(view.on_image(cut.mask))
    return boxes, [Panel(mask, "GraphCut segmentation", boxes=boxes, names={1: "object"})]


def colour_panel(view: View, colours: Tensor | None, title: str) -> Panel:
    """A panel that shows the first of an attribution's maps by colour."""
    from explgraph.figures import Panel

    assert colours is not None
    return Panel(picture=view.picture_of(colours[0]), title=title)


def _on_image(view: View, box: Box) -> Box:
    """A box of the network input in pixels of the image."""
    import numpy as np

    x, y, width, height = box
    corners = np.array([[y, x], [y + height, x + width]]) / view.pixels.shape[:2]
    places = view.frame.to_image(corners, mirrored=view.mirrored)
    (left, top), (right, bottom) = places.min(0).tolist(), places.max(0).tolist()
    return left, top, right - left, bottom - top
