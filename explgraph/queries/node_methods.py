"""What is drawn of an image in which the nodes of a graph were found: one node, or all nodes of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from explgraph.attribution import (
    Attribution,
    gradcam,
    node_box,
    node_heat_map,
    receptive_field,
    saliency,
)
from explgraph.attribution.node_maps import TOP
from explgraph.attribution.view import NodeView, View
from explgraph.figures.nodes import Panel, cut_patch
from explgraph.graph import layer_of
from explgraph.images import Box, load_image
from explgraph.network import Network
from explgraph.queries.map_files import Drawn
from explgraph.queries.map_methods import SALIENCY_QUANTILE, segmentation_of

PATCH = 70  # pixels of the network input, the side of the patches shown by Zhang et al. (AAAI 2018)


def draw_node(network: Network, view: NodeView, *, node: str) -> Drawn:
    """Return what a node looks at: the gradient of its score, its receptive field, and the patch of 70 pixels about its place."""
    placed = view.placed(node)
    found = saliency(network, view.pixels[None], target=placed)
    size = (view.pixels.shape[0], view.pixels.shape[1])
    field = _on_image(view, receptive_field(placed.layer_geometry, placed.place, input_size=size))
    row, col = placed.place * size
    patch = _on_image(view, (col - PATCH / 2, row - PATCH / 2, PATCH, PATCH))
    around = cut_patch(
        load_image(view.obj),
        patch[0] + patch[2] / 2,
        patch[1] + patch[3] / 2,
        max(8, round((patch[2] * patch[3]) ** 0.5)),
    )
    panels = [
        Panel(
            view.on_image(found.maps[0]),
            "gradient; receptive field and patch",
            boxes=[field, patch],
            quantile=SALIENCY_QUANTILE,
        ),
        Panel(picture=around, title="its patch"),
    ]
    sure = float(view.scores[view.nodes.index(node)])
    return Drawn(
        found=found,
        panels=panels,
        boxes=[patch],
        extra={"node": node, "node_score": sure, "receptive_field": list(field)},
    )


def draw_node_maps(
    network: Network,
    view: NodeView,
    *,
    top: float = TOP,
    layers: Sequence[str] = (),
    segmented: bool = False,
) -> Drawn:
    """Return the heat map of each layer's best nodes, and Grad-CAM of the same layers beside them.

    All layers of the graph unless some are named; ``segmented`` adds the GraphCut segmentation that each heat map seeds.
    """
    panels: list[Panel] = []
    found: list[Attribution] = []
    boxes: dict[str, list[Box]] = {}
    size = (view.pixels.shape[0], view.pixels.shape[1])
    for layer in [view.graph.layer(name) for name in layers] or view.graph.layers:
        maps = node_heat_map(
            view.graph,
            layer.name,
            view.places[None],
            view.scores[None],
            nodes=view.nodes,
            input_size=size,
            top=top,
        )
        cam = gradcam(network, view.pixels[None], layer=layer.name, target=view.target)
        of_layer = np.array([layer_of(name) == layer.name for name in view.nodes])
        boxes[layer.name] = []
        if view.scores[of_layer].any():
            x, y, width, height = node_box(view.places[of_layer], view.scores[of_layer])
            boxes[layer.name] = [
                _on_image(view, (x * size[1], y * size[0], width * size[1], height * size[0]))
            ]
        panels += [
            Panel(
                view.on_image(maps[0]),
                f"best {top:.0%} of the nodes, {layer.name}",
                boxes=boxes[layer.name][:1],
            ),
            Panel(view.on_image(cam.maps[0]), f"Grad-CAM, {layer.name}"),
        ]
        found.append(Attribution(maps, cam.targets, "nodemap", layer=cam.layer))
        if segmented:
            boxes[layer.name], more = segmentation_of(view, maps[0])
            panels += more
    extra: dict[str, Any] = {
        "node_boxes": {name: [list(box) for box in some] for name, some in boxes.items()}
    }
    return Drawn(found=found[0], panels=panels, boxes=next(iter(boxes.values())), extra=extra)


def _on_image(view: View, box: Box) -> Box:
    """Return a box of the network input in pixels of the image."""
    x, y, width, height = box
    size = (view.pixels.shape[0], view.pixels.shape[1])
    corners = view.frame.to_image(
        np.array([[y, x], [y + height, x + width]]) / size, mirrored=view.mirrored
    )
    low, high = corners.min(0), corners.max(0)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])
