"""The registry of heat-map methods: the options of each, and how it answers a question.

A new method is its module in `explgraph.attribution` and one registration here; its command,
flags, help and documentation are generated from the registration. This module is read for
``--help``, so whatever loads torch is imported inside the functions.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, cast

from explgraph.errors import LayerError, UsageError
from explgraph.queries.heat_map_method import METHODS as METHODS
from explgraph.queries.heat_map_method import HeatMap, Question, found_record, heat_map_method
from explgraph.queries.options import COUNT, SHARE, option

if TYPE_CHECKING:
    from explgraph.attribution import Activation, NodeView, Shown, Targets
    from explgraph.figures import Panel
    from explgraph.graph import Layer
    from explgraph.images import Box

SALIENCY_QUANTILE = 0.99  # a few single pixels outshine all others; colours end at this quantile
PATCH = 70  # pixels of the network input, the patches' side in Zhang et al. (AAAI 2018)
SEGMENT = "add the GraphCut segmentation and its box"


@dataclass(frozen=True)
class SaliencyOptions:
    """Options of `draw_saliency`."""

    times_input: bool = option(False, "gradient x input, signed")
    samples: int = option(1, "SmoothGrad over N noisy copies; 1: none", **COUNT)
    noise: float = option(0.15, "their noise, share of the image's range", **SHARE)
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
def draw_saliency(question: Question, options: SaliencyOptions) -> HeatMap:
    """The gradient of the score, pixel by pixel."""
    from explgraph.attribution import saliency

    found = question.ask(
        saliency,
        times_input=options.times_input,
        samples=options.samples,
        noise=options.noise,
        views=options.views,
    )
    title = "SmoothGrad" if options.samples > 1 else "saliency"
    title = "gradient x input" if options.times_input else title
    # A gradient alone has no sign: the maximum over colours of its size is drawn.
    signed, quantile = options.times_input, SALIENCY_QUANTILE
    scale = "adds to the score" if signed else "score change per pixel change"
    panel = question.panel(found.maps[0], title, signed=signed, quantile=quantile, scale=scale)
    boxes, more = question.segmentation(found.maps[0]) if options.segment else ([], [])
    return HeatMap(found=found, panels=[panel, *more], boxes=boxes)


@dataclass(frozen=True)
class GradcamOptions:
    """Options of `draw_gradcam`.

    >>> GradcamOptions(weighting="layercam").signed
    False
    """

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
def draw_gradcam(question: Question, options: GradcamOptions) -> HeatMap:
    """Grad-CAM with boxes; guided Grad-CAM and the segmentation beside it, if asked for."""
    from explgraph.attribution import THRESHOLD, boxes_of, gradcam, guided_gradcam

    view = question.view
    found = question.ask(
        gradcam, layer=options.layer, signed=options.signed, weighting=options.weighting
    )
    boxes = boxes_of(found.maps[0], frame=view.frame, mirrored=view.mirrored)
    boxes = [] if found.why_empty() else boxes
    names = {"gradcam": "Grad-CAM", "gradcam++": "Grad-CAM++", "layercam": "LayerCAM"}
    title = f"{names[options.weighting]}, {found.layer.name if found.layer else ''}"
    panels = [
        question.panel(
            found.maps[0],
            title,
            signed=options.signed,
            boxes=boxes[:1],
            box_names=(f"largest region above {THRESHOLD:.0%} of the strongest",),
            scale="speaks for the class",
        )
    ]
    if options.guided:
        # Of the layer that was found, so that both look at the same one where none was named.
        fine = question.ask(guided_gradcam, layer=found.layer)
        panels.append(question.picture(fine, "guided Grad-CAM"))
    if options.segment:
        boxes, more = question.segmentation(found.maps[0])
        panels += more
    return HeatMap(found=found, panels=panels, boxes=boxes)


@dataclass(frozen=True)
class IntegratedGradientsOptions:
    """Options of `draw_integrated_gradients`."""

    steps: int = option(50, "points on the way from the baseline to the image", **COUNT)
    baseline: Literal["black", "mean"] = option(
        "black", "where the way begins: a black image, or one of the mean colour"
    )
    segment: bool = option(False, SEGMENT)


@heat_map_method(
    IntegratedGradientsOptions,
    name="integrated-gradients",
    summary="Draw what each pixel adds to a score on the way from a black image to this one.",
    examples=("photo.jpg --model resnet50 --steps 100 --out maps",),
)
def draw_integrated_gradients(question: Question, options: IntegratedGradientsOptions) -> HeatMap:
    """The gradient along the way from a baseline, pixel by pixel."""
    from explgraph.attribution import integrated_gradients

    steps, baseline, report = options.steps, options.baseline, question.report
    found = question.ask(integrated_gradients, steps=steps, baseline=baseline, report=report)
    title, quantile = f"integrated gradients, {options.steps} steps", SALIENCY_QUANTILE
    scale = "adds to the score"
    panel = question.panel(found.maps[0], title, signed=True, quantile=quantile, scale=scale)
    # What speaks for the class seeds the object; what speaks against it is no part of it.
    boxes, more = question.segmentation(found.maps[0].relu()) if options.segment else ([], [])
    return HeatMap(found=found, panels=[panel, *more], boxes=boxes)


@dataclass(frozen=True)
class DeconvOptions:
    """Options of `draw_deconv`."""

    layer: str | None = option(
        None,
        "layer whose strongest activations are projected; default: the last one with maps",
        metavar="NAME",
    )
    channel: int | None = option(None, "only activations of this channel of --layer", metavar="N")
    strongest: int = option(3, "how many activations", **COUNT)
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
def draw_deconv(question: Question, options: DeconvOptions) -> HeatMap:
    """The projection of the target, or of a layer's strongest activations, one panel each."""
    from explgraph.attribution import deconvnet, guided_backprop

    project = guided_backprop if options.guided else deconvnet
    if question.view.target is None:
        return _strongest_projected(question, options, project)
    if options.layer is not None or options.channel is not None:
        raise UsageError(
            "--layer and --channel ask for activations, --target and --node for a class and a "
            "node: give one of them"
        )
    found = question.ask(project)
    name = "guided backpropagation" if options.guided else "DeconvNet"
    return HeatMap(found=found, panels=[question.picture(found, name)])


def _strongest_projected(question: Question, options: DeconvOptions, project: Any) -> HeatMap:
    from explgraph.attribution import Activation, last_layer, strongest_activations

    network, images = question.network, question.images
    # Without a target there is no class to ask: the units that answer most are shown.
    layer, n = options.layer or last_layer(network), options.strongest
    many: Any = strongest_activations(network, images, layer, n=n, channel=options.channel)
    channels = [int(channel) for one in many for channel in one.channel]
    cells = [cell.tolist() for one in many for cell in one.cell]
    # The same image once for each activation: one batch.
    found = project(
        network, images.repeat(len(many), axis=0), target=Activation(layer, channels, cells)
    )
    panels, listed = [], []
    for k, (channel, (row, col)) in enumerate(zip(channels, cells, strict=True)):
        value = float(found.targets.scores[k])
        listed.append({"channel": channel, "row": row, "col": col, "activation": value})
        panels.append(
            question.picture(found, f"channel {channel}, activation {value:.3g}", number=k)
        )
    # The file holds one map: the strongest of the projections at each pixel.
    why = [found.why_empty(k) for k in range(len(found))]
    empty = (why[0],) if all(why) else None
    together = replace(found, maps=found.maps.amax(0, keepdim=True), empty=empty)
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
    batch_size: int = option(32, "squares per forward pass", **COUNT)


@heat_map_method(
    OcclusionOptions,
    name="occlusion",
    summary="Draw what the network says when a grey square hides each part of the image.",
    examples=("photo.jpg --model vgg16 --size 48 --stride 16 --layer features.28 --out maps",),
    targets=("class", "node"),
)
def draw_occlusion(question: Question, options: OcclusionOptions) -> HeatMap:
    """The drop, the class's probability, the winning class, and a feature map's activation."""
    from explgraph.attribution import class_names, is_classifier, occlusion

    feature = _watched(question, options)
    # Without a class the feature itself is what is asked.
    if question.view.target is None and feature is not None and not is_classifier(question.network):
        question = replace(question, view=replace(question.view, target=feature))
    found = question.ask(
        occlusion,
        feature=feature,
        size=options.size,
        stride=options.stride,
        batch_size=options.batch_size,
        report=question.report,
    )
    hidden = "where the square hides the image"
    ranged = lambda grid, title, limits=None: question.panel(
        found.on_input(grid)[0], title, ranged=True, limits=limits, scale=hidden
    )
    panels = [question.panel(found.maps[0], "drop of the score", signed=True, scale=hidden)]
    # Neither a channel nor a node has a probability; outputs of another kind have no winner.
    if not found.probability.isnan().any():
        # From 0 to 1, or the colours would make much of 99.98% beside 99.99%.
        title = f"probability of {found.targets.names[0]}"
        panels.append(ranged(found.probability, title, (0.0, 1.0)))
    if bool((found.winner >= 0).all()):
        winner = found.on_input(found.winner, nearest=True)[0].float()  # no number in between
        numbers = found.winner.unique().tolist()
        names = dict(zip(numbers, class_names(question.network, numbers), strict=True))
        panels.append(question.panel(winner, "winning class", names=names))
    n_squares = int(found.values[0].numel())
    extra = {"size": list(found.size), "stride": options.stride, "squares": n_squares}
    if feature is not None:
        panels.append(ranged(found.activation, f"total activation of {feature.name}"))
        extra["feature"] = feature.name
    return HeatMap(found=found, panels=panels, extra=extra)


def _watched(question: Question, options: OcclusionOptions) -> Activation | None:
    """The feature map to watch, by default the strongest of the layer.

    That is the one of the largest total activation (Zeiler and Fergus 2014, figure 7b).
    """
    import torch

    from explgraph.attribution import Activation
    from explgraph.network import feature_maps

    layer, channel, network = options.layer, options.channel, question.network
    if layer is None:
        return None
    if channel is None:
        batch = network.preprocess(torch.from_numpy(question.images))
        with torch.no_grad():
            maps = feature_maps(network.model, batch, [layer], model_name=network.name)[layer]
        # Of what the ReLU behind lets through.
        channel = int(maps[0].relu().sum((1, 2)).argmax())
    return Activation(layer, channel)


@dataclass(frozen=True)
class NodemapOptions:
    """Options of `draw_nodemap`.

    >>> NodemapOptions(layer="features.14").top
    0.5
    """

    node: str | None = option(
        None, "draw this node: gradient, receptive field, patch", metavar="ID"
    )
    layer: str | None = option(None, "only this layer; default: all of the graph", metavar="NAME")
    top: float = option(0.5, "share of a layer's nodes that counts", **SHARE)
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
def draw_nodemap(question: Question, options: NodemapOptions) -> HeatMap:
    """The heat map of each layer's best nodes with Grad-CAM beside it, or one node."""
    if options.node is not None:
        return _one_node(question, options.node)
    graph = cast("NodeView", question.view).graph
    layers = graph.layers if options.layer is None else [graph.layer(options.layer)]
    drawn = {layer.name: _layer_of_nodes(question, layer, options) for layer in layers}
    first = next(iter(drawn.values()))  # the top layer, whose map is written
    node_boxes = {name: [list(box) for box in one.boxes] for name, one in drawn.items()}
    return HeatMap(
        found=first.found,
        panels=[panel for one in drawn.values() for panel in one.panels],
        boxes=first.boxes,
        extra={
            "node_boxes": node_boxes,
            "nodes_found": {name: one.extra["nodes_found"] for name, one in drawn.items()},
        },
    )


def _layer_of_nodes(question: Question, layer: Layer, options: NodemapOptions) -> HeatMap:
    import torch

    from explgraph.attribution import Attribution, node_box, node_heat_map
    from explgraph.graph import layer_of
    from explgraph.locations import FOUND

    view = cast("NodeView", question.view)
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
    # The box is about this layer's nodes alone, as its map is.
    here = [layer_of(name) == layer.name for name in view.nodes]
    boxes: list[Box] = []
    why, best = "", view.scores[here].max(initial=0.0)
    if best < FOUND:  # nothing to draw, nor to put a box about
        why = f"no node of {layer.name} was found: the best score is {best:.2g}, below {FOUND}"
        maps = torch.zeros_like(maps)
    else:
        x, y, w, h = node_box(view.places[here], view.scores[here])
        boxes = [question.box_on_image((x * width, y * height, w * width, h * height))]
    targets, shown, cam = _class_beside(question, layer, float(view.scores[here].mean()))
    panels = [
        question.panel(
            maps[0],
            f"best {options.top:.0%} of the nodes, {layer.name}",
            boxes=boxes,
            box_names=("about the nodes, without the outermost",) if boxes else (),
            scale="density of the nodes",
            empty=why,
        ),
        *cam,
    ]
    if options.segment and not why:
        boxes, more = question.segmentation(maps[0])
        panels += more
    empty = (why,) if why else None
    found = Attribution(maps, targets, "nodemap", shown, layer=layer, empty=empty)
    n_found = int((view.scores[here] >= FOUND).sum())
    return HeatMap(found=found, panels=panels, boxes=boxes, extra={"nodes_found": n_found})


def _class_beside(
    question: Question, layer: Layer, score: float
) -> tuple[Targets, Shown, list[Panel]]:
    """What was asked, of what, and its Grad-CAM; the nodes' mean score where there is no class."""
    import numpy as np

    from explgraph.attribution import Targets, gradcam, is_classifier, show

    cam = None
    if question.view.target is not None or is_classifier(question.network):
        # What is asked may lie below this layer: a node of another one.
        with suppress(LayerError):
            cam = question.ask(gradcam, layer=layer.name)
    if cam is None:
        named, numbers = (f"nodes of {layer.name}",), np.array([[score], [np.nan]], np.float32)
        shown = show(question.network, question.images)
        return Targets(np.array([-1]), named, *numbers), shown, []
    panel = question.panel(cam.maps[0], f"Grad-CAM, {layer.name}", scale="speaks for the class")
    return cam.targets, cam.shown, [panel]


def _one_node(question: Question, node: str) -> HeatMap:
    """The gradient of the node's score, its receptive field, and the patch about its place."""
    import torch

    from explgraph.attribution import receptive_field, saliency
    from explgraph.figures import Panel, cut_patch
    from explgraph.images import load_image
    from explgraph.locations import FOUND

    view = cast("NodeView", question.view)
    placed = view.placed(node)
    found = saliency(question.network, question.images, target=placed)
    if view.score_of(node) < FOUND:  # a patch of wherever it was looked for would say nothing
        why = f"{node} was not found: its score is {view.score_of(node):.2g}, below {FOUND}"
        nothing = replace(found, maps=torch.zeros_like(found.maps), empty=(why,))
        extra = {"receptive_field": None, **found_record(view, node)}
        panel = question.panel(nothing.maps[0], "what the node depends on")
        return HeatMap(found=nothing, panels=[panel], extra=extra)
    height, width = view.pixels.shape[:2]
    seen = receptive_field(placed.layer_geometry, placed.place, input_size=(height, width))
    row, col = (placed.place * (height, width)).tolist()
    field = question.box_on_image(seen)
    patch = question.box_on_image((col - PATCH / 2, row - PATCH / 2, PATCH, PATCH))
    # In the photograph a patch of the input may be no square: the square of the same area is cut.
    x, y, w, h = patch
    around = cut_patch(load_image(view.obj), x + w / 2, y + h / 2, max(8, round((w * h) ** 0.5)))
    panels = [
        question.panel(
            found.maps[0],
            "what the node depends on",
            boxes=[patch, field],
            box_names=("its patch", "all that it can look at (receptive field)"),
            quantile=SALIENCY_QUANTILE,
            scale="score change per pixel change",
        ),
        Panel(picture=around, title="its patch"),
    ]
    extra = {"receptive_field": list(field), **found_record(view, node)}
    return HeatMap(found=found, panels=panels, boxes=[patch], extra=extra)
