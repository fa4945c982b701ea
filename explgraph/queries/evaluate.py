"""`evaluate`: a workspace's nodes, or its semantic parts, against annotated landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from explgraph.errors import SourceError, UsageError
from explgraph.evaluation import (
    FewShotScore,
    LayerScore,
    PurityScore,
    Split,
    SplitScore,
    at_rest,
    facing_accuracy,
    landmark_errors,
    landmarks_in_boxes,
    read_splits,
    score_layer,
    score_purity,
    score_split,
    summarise_splits,
)
from explgraph.files import check_place, whole_file
from explgraph.graph import Layer, Shares, layer_of
from explgraph.images import ImageObject, clip_box, read_source
from explgraph.locations import Locator
from explgraph.parts import KnownObjects, Mark, check_marks, fit_marks, locate_part
from explgraph.peaks import read_layer
from explgraph.queries.result import Result
from explgraph.queries.show import explained_shares
from explgraph.workspace import Workspace

Array = NDArray[np.float64]
Objects = dict[int, ImageObject]  # by annotation id


@dataclass(frozen=True)
class Evaluation(Result):
    """Figures per layer, of the nodes and of the raw filters beside them.

    A raw filter is found at its channel's strongest peak in the photograph.

    Args:
        objects: how many were scored.
        facing: share of clearly sideways objects whose facing is right.
        nodes: of the graph.
        raw_filters: with the facing of the nodes, so that landmark errors compare like with like.
        raw_filters_as_photographed: without any facing.
        explained: how much of the filters' activation the graph explains; see `explained_shares`.
        purity: layer -> "nodes", "raw_filters", and the nodes "at_rest" (the control,
            `explgraph.evaluation.at_rest`) -> whether their best patches show one landmark.
        explained_images: the same of each object: annotation_id, image, part, texture, nothing;
            empty where the graph cannot tell.
    """

    objects: int
    facing: float | None
    nodes: dict[str, LayerScore]
    raw_filters: dict[str, LayerScore]
    raw_filters_as_photographed: dict[str, LayerScore]
    explained: dict[str, dict[str, Any]]
    purity: dict[str, dict[str, PurityScore]] = field(default_factory=dict)
    explained_images: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class FewShotEvaluation:
    """Figures of parts that were fitted from a few annotations.

    Args:
        out: file of the predictions.
        scores: by number of annotations.
    """

    out: Path
    scores: tuple[FewShotScore, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "out": str(self.out),
            "shots": {str(score.shots): score.to_dict() for score in self.scores},
        }


def evaluate_workspace(workspace: Workspace, dataset: str | Path) -> Evaluation:
    """Score the nodes' places on the workspace's own objects against their landmarks.

    Args:
        workspace: mined from ``dataset``.
        dataset: the COCO keypoints file.

    Raises:
        SourceError: the data set is not a COCO file, has no landmarks, or shares no object (id,
            image and box) with the workspace.

    >>> scored = evaluate_workspace(workspace, coco)
    >>> scored.objects, [(name, score.landmark_ratio < 1) for name, score in scored.nodes.items()]
    (48, [('features.14', True), ('features.11', True)])
    """
    objects, names = _shared_objects(workspace, dataset)
    boxes = _boxes(objects)
    marks = landmarks_in_boxes([one.landmarks for one in objects], boxes, names)
    photographs = np.array([one.image_id for one in objects])
    # In fractions of the box an error weighs the same on a near and on a far object.
    in_boxes = lambda place: (place - boxes[:, None, :2]) / boxes[:, None, 2:]
    graph, found = workspace.graph, workspace.locations()
    row_of = {one.id: row for row, one in enumerate(workspace.objects_read)}
    rows = [row_of[one.annotation_id] for one in objects]
    place, score, mirrored = found.points[rows], found.score[rows], found.mirrored[rows]
    layer_of_node = np.array([layer_of(node) for node in graph.ordered_nodes()])
    nodes, raw, as_photographed, purity = {}, {}, {}, {}
    for layer in graph.layers:
        here = layer_of_node == layer.name
        if not here.any():
            continue
        of_objects = (marks, mirrored, photographs)
        nodes[layer.name] = score_layer(in_boxes(place[:, here]), score[:, here], *of_objects)
        peak, value = raw_filters(workspace, layer, rows)
        scored = score_layer(in_boxes(peak), value, *of_objects)
        found_at = in_boxes(place[:, here])
        purity[layer.name] = {
            "nodes": score_purity(found_at, score[:, here], marks),
            "at_rest": score_purity(at_rest(found_at, mirrored), score[:, here], marks),
            "raw_filters": score_purity(in_boxes(peak), value, marks),
        }
        raw[layer.name] = scored
        # Facing does not enter the instability, only the regression.
        unturned = (marks, np.zeros_like(mirrored), photographs)
        error, constant = landmark_errors(in_boxes(peak), value, *unturned)
        as_photographed[layer.name] = replace(scored, landmark_error=error, constant_error=constant)
    facing = facing_accuracy(marks, mirrored)
    explained, each = explained_shares(graph), _explained_images(workspace, objects, rows)
    scores = (len(objects), facing, nodes, raw, as_photographed)
    return Evaluation(*scores, explained, purity, each)


def evaluate_few_shot(
    workspace: Workspace, dataset: str | Path, splits: str | Path, out: Path
) -> FewShotEvaluation:
    """Fit a part on each split and search it; write the predictions, and score them.

    Of the landmarks of a split only those of its ``fit`` objects are used to fit; nothing is
    stored in the workspace.

    Args:
        workspace: mined from ``dataset``.
        dataset: the COCO file with the landmarks.
        splits: see `explgraph.evaluation.read_splits`.
        out: for the predictions, Parquet: split, annotation_id, x, y, score, expected_error.

    Raises:
        SourceError: the splits or the data set cannot be read.
        UsageError: a split names objects or landmarks that are not there.

    >>> splits = [{"split": 0, "part": "head", "fit": [1, 2, 3], "test": [4, 5, 6, 7]}]
    >>> from explgraph.files import write_json
    >>> file = write_json(splits, out / "splits.json")
    >>> few = evaluate_few_shot(workspace, coco, file, out / "found.parquet")
    >>> [(score.shots, score.splits) for score in few.scores]
    [(3, 1)]
    """
    check_place(out, suffixes=(".parquet",))  # before the work, not after it
    # From the cached locations: no network runs.
    known = workspace.known_objects()
    objects = {one.annotation_id: one for one in read_source(dataset, allow_outside=True).objects}
    chosen = read_splits(splits, Path(dataset).stem)  # one file may hold those of many data sets
    tables, scores = [], []
    for split in chosen:
        xy, score, expected = _locate_split(split, objects, known)
        columns = {
            "split": [split.number] * len(split.test),
            "annotation_id": split.test,
            "x": xy[:, 0],
            "y": xy[:, 1],
            "score": score,
            "expected_error": expected,
        }
        tables.append(pa.table(columns))
        scores.append(_score_split(split, objects, xy, score))
    with whole_file(out) as temporary:
        pq.write_table(pa.concat_tables(tables), temporary)
    return FewShotEvaluation(out, tuple(summarise_splits(chosen, scores)))


def _shared_objects(
    workspace: Workspace, dataset: str | Path
) -> tuple[list[ImageObject], list[str]]:
    """The objects of the data set that were mined, by id, and the names of their landmarks."""
    expected = "expected the COCO keypoints file that the workspace was mined from"
    # No image is opened here: what was mined is read from the workspace.
    source = read_source(dataset, allow_outside=True)
    if source.kind != "coco":
        raise SourceError(f"{dataset} has no landmarks; {expected}")
    file_of = workspace.file_of_object()
    read = {one.id: one for one in workspace.objects_read}
    shared = []
    for obj in source.objects:
        # An id alone proves nothing: another file may number its objects alike.
        if file_of.get(obj.annotation_id) == obj.file_name and obj.box is not None:
            mined = read[obj.annotation_id]
            if clip_box(obj.box, mined.width, mined.height) == mined.box:
                shared.append(obj)
    if not shared:
        raise SourceError(f"{dataset} shares no object with the workspace; {expected}")
    shown = {name for obj in shared for name in obj.landmarks}
    names = [name for name in source.landmarks if name in shown]
    if not names:
        raise SourceError(f"{dataset} has no landmarks; {expected}")
    return sorted(shared, key=lambda obj: obj.annotation_id), names


def raw_filters(workspace: Workspace, layer: Layer, rows: Sequence[int]) -> tuple[Array, Array]:
    """Each channel's strongest peak on some of the workspace's objects.

    Returns:
        Places (object, channel, 2) in pixels, and values (object, channel).

    >>> place, value = raw_filters(workspace, workspace.graph.layers[0], [0, 1])
    >>> place.shape, value.shape
    ((2, 96, 2), (2, 96))
    """
    numbers = [one.index for one in workspace.objects_read]
    # Facing 0 is the photograph as it was taken.
    peaks = read_layer(workspace.peak_files(), layer, images=numbers, n_peaks=1, n_facings=1)
    cells = torch.stack([peaks.row[0, :, 0], peaks.col[0, :, 0]], -1).numpy()  # channel, image, 2
    place = np.stack([workspace.frames[i].to_image(cells[:, i]) for i in rows])
    return place, peaks.value[0, :, 0].numpy().astype(float)[:, list(rows)].T


def _explained_images(
    workspace: Workspace, objects: list[ImageObject], rows: list[int]
) -> tuple[dict[str, Any], ...]:
    """The shares of each object that was scored, from the peaks that it was mined from."""
    job, files = workspace.job, workspace.peak_files()
    facings = 2 if job.mirror else 1
    numbers = [one.index for one in workspace.objects_read]
    peaks = {
        one.name: read_layer(files, one, images=numbers, n_peaks=job.n_peaks, n_facings=facings)
        for one in workspace.graph.layers
    }
    locator, found = Locator(workspace.graph), list[Shares]()
    for start in range(0, len(numbers), 64):  # in bounded memory
        here = slice(start, start + 64)
        located = locator.locate({name: one.images(here) for name, one in peaks.items()})
        if located.explained is None:
            return ()
        found += [Shares(*shares.tolist()) for shares in located.explained]
    return tuple(
        {"annotation_id": one.annotation_id, "image": one.file_name} | found[row].to_dict()
        for one, row in zip(objects, rows, strict=True)
    )


def _locate_split(
    split: Split, objects: Objects, known: KnownObjects
) -> tuple[Array, Array, Array]:
    """Where the part is on the test objects: pixels, score, expected error."""
    marks = [Mark(i, *_landmark(objects, i, split)) for i in split.fit]
    part = fit_marks(split.part, check_marks(split.part, marks, known), known)
    positions = [known.require(i) for i in split.test]
    found = locate_part(part, known.seen.objects(positions), known.traits)
    xy = [
        known.frames[p].to_image(at, mirrored=known.seen.mirrored[p])
        for p, at in zip(positions, found.place, strict=True)
    ]
    return np.array(xy), found.score, found.expected_error


def _score_split(split: Split, objects: Objects, xy: Array, score: Array) -> SplitScore:
    # The rival knows the mean place of the annotations that the part was fitted from.
    found = _in_boxes(split, split.test, objects, xy)
    truth = _in_boxes(split, split.test, objects)
    usual = _in_boxes(split, split.fit, objects).mean(0)
    return score_split(found, truth, usual, score)


def _in_boxes(split: Split, ids: Sequence[int], objects: Objects, xy: Array | None = None) -> Array:
    """Points (pixels; the part's landmarks if not given) as fractions of the objects' boxes."""
    for number in ids:
        if objects[number].box is None:
            raise UsageError(
                f"object {number} has no box; few-shot splits need a COCO file with boxes"
            )
    points = [_landmark(objects, i, split) for i in ids] if xy is None else xy.tolist()
    marks = [{split.part: (x, y)} for x, y in points]
    return landmarks_in_boxes(marks, _boxes([objects[i] for i in ids]), [split.part])[:, 0]


def _landmark(objects: Objects, number: int, split: Split) -> tuple[float, float]:
    if number not in objects or split.part not in objects[number].landmarks:
        raise UsageError(
            f"split {split.number}: object {number} has no landmark {split.part!r} in the data "
            "set; give its own splits"
        )
    return objects[number].landmarks[split.part]


def _boxes(objects: Sequence[ImageObject]) -> Array:
    return np.array([one.box for one in objects], float)
