"""Correspondence analysis of a data set: the same part hidden in many objects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explgraph.attribution import correspondence
from explgraph.attribution.view import NodeView, View, plain_views
from explgraph.errors import SourceError, UsageError
from explgraph.images import Box, Source, decode_batches
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.locate import locate_batches
from explgraph.queries.node_views import views_of
from explgraph.workspace import Workspace

SIDE = 0.25  # of the network input, each way: about a head


def correspondence_table(
    network: Network,
    source: Source,
    layers: Sequence[str],
    *,
    workspace: Workspace | None = None,
    landmarks: Sequence[str] = (),
    nodes: Sequence[str] = (),
    boxes: Mapping[str, Box] | None = None,
    side: float = SIDE,
    window: int | None = None,
    n_random: int = 5,
    seed: int = 0,
    batch_size: int = 16,
    report: Report = silent,
) -> list[dict[str, Any]]:
    """Return one record per layer and part; see `explgraph.attribution.correspondence`.

    Args:
        network: its layers must yield maps.
        source: objects; with a workspace they are turned to the facing in which its graph understands them.
        layers: dotted torch names.
        workspace: its nodes and facing.
        landmarks: parts given by the landmarks of a COCO file: a square about each.
        nodes: parts given by nodes of the workspace's graph: a square about each where it is found.
        boxes: parts given by a box (x, y, width, height) each, fractions of the object, the same in all.
        side: of the squares, fraction of the network input.
        window: compare only the cells so far about the mask's centre.
        n_random: repetitions of the controls.
        seed: of the controls.
        batch_size: images per forward pass.
        report: progress.

    Raises:
        UsageError: no part, or one that fewer than two objects show; nodes without a workspace.
        SourceError: not one image could be read.
    """
    if not (landmarks or nodes or boxes):
        raise UsageError(
            "name at least one part: --landmark of a COCO file, --node of the workspace, or --box NAME=x,y,w,h"
        )
    if nodes and workspace is None:
        raise UsageError("nodes are those of a mined graph; say with --workspace which")
    if not 0 < side <= 1:
        raise UsageError(
            f"the side of a square must be a fraction of the input, above 0, at most 1, got {side}"
        )
    height, width = network.input.size
    images, places = _inputs(
        network, source, workspace, tuple(landmarks), tuple(nodes), batch_size, report
    )
    masks = {name: _squares(place, side, height, width) for name, place in places.items()}
    for name, (x, y, w, h) in (boxes or {}).items():
        masks[name] = np.tile(
            np.array([x * width, y * height, w * width, h * height]), (len(images), 1)
        )
    report("correspondence", 0, 0)
    found = correspondence(
        network,
        images,
        masks,
        layers,
        window=window,
        n_random=n_random,
        seed=seed,
        batch_size=batch_size,
    )
    return [asdict(one) for one in found]


def _inputs(
    network: Network,
    source: Source,
    workspace: Workspace | None,
    landmarks: Sequence[str],
    nodes: Sequence[str],
    batch_size: int,
    report: Report,
) -> tuple[NDArray[np.uint8], dict[str, NDArray[np.float64]]]:
    """Return the network inputs (n, height, width, 3), and of every part its places (n, 2), (row, column), NaN where it is not shown."""
    views: list[View] = []
    if workspace is not None:
        graph = workspace.graph
        for name in nodes:
            graph.node(name)
        for one in locate_batches(
            workspace, source, network=network, batch_size=batch_size, report=report
        ):
            views.extend(views_of(graph, one))
    else:
        height, width = network.input.size
        for batch in decode_batches(
            source.objects, height=height, width=width, batch_size=batch_size
        ):
            views.extend(plain_views(source.objects, batch))
    if not views:
        raise SourceError(f"none of the {len(source.objects)} images could be read")
    places = {name: [_landmark(view, name) for view in views] for name in landmarks}
    for name in nodes:
        places[name] = [
            view.places[view.nodes.index(name)] for view in views if isinstance(view, NodeView)
        ]
    return np.stack([view.pixels for view in views]), {
        name: np.stack(of_part) for name, of_part in places.items()
    }


def _landmark(view: View, name: str) -> NDArray[np.float64]:
    """Return the place (row, column) of a landmark in the input as it is shown, NaN where it is not annotated."""
    point = view.obj.landmarks.get(name)
    return (
        np.full(2, np.nan) if point is None else view.frame.to_input(point, mirrored=view.mirrored)
    )


def _squares(
    place: NDArray[np.float64], side: float, height: int, width: int
) -> NDArray[np.float64]:
    """Return boxes (n, 4) in pixels about the places, moved inside the input; NaN where a place is, or lies outside."""
    size = np.array([side * height, side * width])
    inside = ((place >= 0) & (place <= 1)).all(1, keepdims=True)
    corner = np.clip(place * (height, width) - size / 2, 0, (height, width) - size)
    corner = np.where(inside, corner, np.nan)
    boxes: NDArray[np.float64] = np.column_stack(
        [corner[:, 1], corner[:, 0], np.full((len(place), 2), size[::-1])]
    )
    return np.where(inside, boxes, np.nan)


def parse_box(text: str) -> tuple[str, Box]:
    """Return (name, box) from ``NAME=x,y,width,height``, fractions of the object.

    Raises:
        UsageError: another form, or a box outside of the object.
    """
    name, _, numbers = text.partition("=")
    try:
        x, y, width, height = (float(number) for number in numbers.split(","))
    except ValueError:
        x = y = width = height = -1.0
    if not name or not (0 <= x < x + width <= 1 and 0 <= y < y + height <= 1):
        raise UsageError(
            f"--box must be NAME=x,y,width,height in fractions of the object, inside it, got {text!r}"
        )
    return name, (x, y, width, height)
