"""Scoring a workspace against annotated landmarks, beside the raw filters of the same maps."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from explgraph.errors import SourceError
from explgraph.graph import Layer, layer_of
from explgraph.images import Box, clip_box, read_source
from explgraph.peaks import ReadObject, read_layer
from explgraph.queries.describe import describe_explained
from explgraph.workspace import Workspace

if TYPE_CHECKING:
    from explgraph.evaluation import (
        LayerScore,
    )  # loads scikit-learn: half of the start of a command that needs none of it

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Figures per layer of the nodes and, beside them, of the raw filters: each channel's strongest peak in the photograph.

    Args:
        objects: how many were scored.
        facing: share of clearly sideways objects whose facing is right.
        nodes: of the graph.
        raw_filters: given the same facing flags as the nodes, so that landmark errors compare like with like.
        raw_filters_as_photographed: without any facing.
        explained: per layer and for the "network", how much of the filters' activation the graph explains.
    """

    objects: int
    facing: float | None
    nodes: dict[str, LayerScore]
    raw_filters: dict[str, LayerScore]
    raw_filters_as_photographed: dict[str, LayerScore]
    explained: dict[str, dict[str, float]]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        plain = lambda scores: {name: score.to_dict() for name, score in scores.items()}
        return {
            "objects": self.objects,
            "facing": self.facing,
            "nodes": plain(self.nodes),
            "raw_filters": plain(self.raw_filters),
            "raw_filters_as_photographed": plain(self.raw_filters_as_photographed),
            "explained": self.explained,
        }


def evaluate_workspace(workspace: Workspace, dataset: str | Path) -> Evaluation:
    """Score the nodes' places on the workspace's own objects against the landmarks of ``dataset`` (a COCO file).

    Raises:
        SourceError: the data set is no COCO file, has no landmarks, or shares no object (id, image and box) with the workspace.
    """
    from explgraph.evaluation import (
        facing_accuracy,
        landmark_errors,
        landmarks_in_boxes,
        score_layer,
    )

    source = read_source(dataset)
    if source.kind != "coco":
        raise SourceError(
            f"{dataset} has no landmarks; expected the COCO keypoints file that the workspace was mined from"
        )
    row_of = {one.id: row for row, one in enumerate(workspace.objects_read)}
    file_of = workspace.file_of_object()
    same = lambda o: (
        file_of.get(o.annotation_id) == o.file_name
        and _same_box(o.box, workspace.objects_read[row_of[o.annotation_id]])
    )
    objects = [o for o in source.objects if same(o)]
    names = _declared_landmarks(dataset, {name for o in objects for name in o.landmarks})
    if not objects or not names:
        what = "has no landmarks" if objects else "shares no object with the workspace"
        raise SourceError(
            f"{dataset} {what}; expected the COCO keypoints file that the workspace was mined from"
        )
    objects.sort(key=lambda o: o.annotation_id)
    boxes = np.array([o.box for o in objects], float)
    marks = landmarks_in_boxes([o.landmarks for o in objects], boxes, names)
    photographs = np.array([o.image_id for o in objects])
    in_boxes = lambda place: (place - boxes[:, None, :2]) / boxes[:, None, 2:]
    graph, found = workspace.graph, workspace.locations()
    rows = [row_of[o.annotation_id] for o in objects]
    place, score, mirrored = found.points[rows], found.score[rows], found.mirrored[rows]
    layers = [layer_of(node) for node in graph.ordered_nodes()]
    nodes, raw, as_photographed = {}, {}, {}
    for name in dict.fromkeys(layers):
        here = np.array([layer == name for layer in layers])
        nodes[name] = score_layer(
            in_boxes(place[:, here]), score[:, here], marks, mirrored, photographs
        )
        filter_place, value = _raw_filters(workspace, graph.layer(name), rows)
        raw[name] = score_layer(in_boxes(filter_place), value, marks, mirrored, photographs)
        # Facing does not enter the instability, only the regression.
        error, constant = landmark_errors(
            in_boxes(filter_place), value, marks, np.zeros_like(mirrored), photographs
        )
        as_photographed[name] = replace(raw[name], landmark_error=error, constant_error=constant)
    facing = facing_accuracy(marks, mirrored)
    return Evaluation(len(objects), facing, nodes, raw, as_photographed, describe_explained(graph))


def _same_box(box: Box | None, read: ReadObject) -> bool:
    return box is not None and clip_box(box, read.width, read.height) == read.box


def _declared_landmarks(dataset: str | Path, names: set[str]) -> list[str]:
    """Return the landmark names in the order in which the data set's categories declare them."""
    with open(dataset, encoding="utf-8") as file:
        categories = json.load(file).get("categories", ())
    declared = dict.fromkeys(
        name for category in categories for name in category.get("keypoints", ())
    )
    return [name for name in declared if name in names]


def _raw_filters(workspace: Workspace, layer: Layer, rows: list[int]) -> tuple[Array, Array]:
    """Return place (object, channel, 2) in pixels and value (object, channel) of each channel's
    strongest peak on some of the workspace's objects."""
    numbers = [one.index for one in workspace.objects_read]
    peaks = read_layer(workspace.peak_files(), layer, images=numbers, n_peaks=1, n_facings=1)
    cells = torch.stack([peaks.row[0, :, 0], peaks.col[0, :, 0]], -1).numpy()  # channel, image, 2
    place = np.stack([workspace.frames[i].to_image(cells[:, i]) for i in rows])
    return place, peaks.value[0, :, 0].numpy().astype(float)[:, rows].T
