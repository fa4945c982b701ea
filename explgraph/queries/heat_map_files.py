"""Heat maps of image files: an overlay to look at, the raw map, and a record, for each image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.attribution import NodeView, PlacedNode, Target, View, read_views
from explgraph.errors import Skipped, SourceError, UsageError
from explgraph.files import make_folder, whole_file, write_json
from explgraph.images import AnyPath, Box, Boxes, Fit, ImageObject, Source, load_image
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.asked import (
    Photographs,
    asked_source,
    box_hint,
    object_names,
    object_record,
)
from explgraph.queries.heat_map_method import HeatMap, Question, found_record
from explgraph.queries.heat_maps import METHODS
from explgraph.queries.node_views import node_views
from explgraph.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class DrawnHeatMap:
    """The heat map of one object, as it was written."""

    obj: ImageObject
    method: str
    name: str  # of the class, the channel or the node that was asked
    index: int | None  # number of the class; None if no class was asked
    probability: float | None  # of the class; None if no class was asked
    score: float
    layer: str | None  # the layer looked at, if there is one
    boxes: tuple[Box, ...]  # in pixels of the photograph, best first
    overlay: Path  # file of the picture
    map: Path  # file of the raw map, float32, as large as the photograph
    empty: str | None  # why the map shows nothing; None if it shows something
    extra: Mapping[str, Any]  # what else the method says

    @property
    def image(self) -> Path:
        """The photograph."""
        return self.obj.path

    def to_dict(self) -> dict[str, Any]:
        """The record: plain values for JSON."""
        return {
            **object_record(self.obj),
            "method": self.method,
            "class": self.name,
            "class_index": self.index,
            "probability": self.probability,
            "score": self.score,
            "layer": self.layer,
            "boxes": [list(box) for box in self.boxes],
            "overlay": str(self.overlay),
            "map": str(self.map),
            "empty": self.empty,
            **self.extra,
        }

    def said(self, digits: int = 1) -> str:
        """What was asked, with its probability, or else its score."""
        if not self.extra.get("found", True):
            return f"{self.name} not found (score {self.extra['node_score']:.2g})"
        if self.probability is None:
            return f"{self.name} ({self.score:.3g})"
        return f"{self.name} ({self.probability:.{digits}%})"


@dataclass(frozen=True)
class HeatMaps:
    """The answer of `draw_heat_maps`: one result per object that could be read."""

    results: tuple[DrawnHeatMap, ...]
    skipped: tuple[Skipped, ...]
    hint: str | None = None  # what is doubtful about the question

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "results": [one.to_dict() for one in self.results],
            "hint": self.hint,
            "skipped": [one.to_dict() for one in self.skipped],
        }


def draw_heat_maps(
    method: str,
    network: Network,
    images: Photographs,
    out: AnyPath,
    *,
    box: Boxes | None = None,
    options: Any = None,
    target: Target = None,
    node: str | None = None,
    workspace: Workspace | None = None,
    fit: Fit | None = None,
    report: Report = silent,
) -> HeatMaps:
    """Write overlay, raw map and record of each object: NAME.METHOD.png, .npy and .json.

    Args:
        method: a name in `explgraph.queries.heat_maps.METHODS`.
        network: a classifier.
        images: image files; or a folder, a COCO file, a source.
        out: folder, made if missing.
        box: the objects in an image, see `explgraph.read_source`.
        options: of the method (`Method.options`); by default its defaults.
        target: what is asked, see `explgraph.attribution.Target`.
        node: id of a node of the workspace's graph; asked where it is found in each image.
        fit: how a picture becomes the network input; by default boxes that a workspace's network
            is asked about as it was mined, all else "letterbox". With nodes, as it was mined.

    Raises:
        SourceError: not one image could be read.
        UsageError: the method, target or an option is unknown; nodes without a workspace.

    >>> from explgraph.queries import GradcamOptions
    >>> options = GradcamOptions(layer="features.14", weighting="layercam")
    >>> drawn = draw_heat_maps("gradcam", network, [pictures / "00001.jpg"], out, options=options)
    >>> drawn.results[0].name, sorted(path.name for path in out.iterdir())
    ('fox', ['00001.gradcam.json', '00001.gradcam.npy', '00001.gradcam.png'])
    """
    if method not in METHODS:
        raise UsageError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    kind = METHODS[method]
    if options is None:
        options = kind.options()
    source, out, hint = asked_source(images, box=box), Path(out), None
    objects, fit = source.objects, fit or _usual_fit(source, workspace)
    # Both are read while they are drawn: any number of images fits into memory.
    views = read_views(network, objects, target=target, fit=fit)
    if kind.needs_nodes or node is not None:
        if workspace is None:
            raise UsageError("--node is a node of a mined graph; say with --workspace which")
        views = node_views(workspace, network, source, target=target, node=node, report=report)
        hint = box_hint(workspace, objects)
    make_folder(out)  # after the checks: a refused call leaves no folder
    results: list[DrawnHeatMap] = []
    skipped = list(source.skipped)
    report(method, 0, len(objects))
    for k, (view, name) in enumerate(zip(views, object_names(objects), strict=True), 1):
        if isinstance(view, Skipped):
            skipped.append(view)
        else:
            drawn = kind.draw(Question(network, view, report), options)
            results.append(_write(drawn, view, method, out / name))
        report(method, k, len(objects))
    # One good image is enough: the others are named in the answer.
    if not results:
        why = f"{skipped[0].path}: {skipped[0].reason}" if skipped else "no image given"
        raise SourceError(f"none of the {len(objects)} images could be read: {why}")
    return HeatMaps(tuple(results), tuple(skipped), hint)


def _usual_fit(source: Source, workspace: Workspace | None) -> Fit:
    boxed = any(one.box is not None for one in source.objects)
    return workspace.job.fit if workspace is not None and boxed else "letterbox"


def _write(drawn: HeatMap, view: View, method: str, stem: Path) -> DrawnHeatMap:
    from explgraph.figures import maps_figure, save_figure

    # On the image itself the first box of each name: with many layers the best layer's.
    named: dict[str, Box] = {}
    for panel in drawn.panels:
        for name, box in zip(panel.box_names, panel.boxes, strict=False):
            named.setdefault(name, box)
    found, asked = drawn.found, drawn.found.targets
    # Only a class has a number and a probability; elsewhere they are -1 and NaN.
    index, probability = int(asked.indexes[0]), float(asked.probabilities[0])
    record = DrawnHeatMap(
        obj=view.obj,
        method=method,
        name=asked.names[0],
        index=index if index >= 0 else None,
        probability=probability if isfinite(probability) else None,
        score=float(asked.scores[0]),
        layer=found.layer.name if found.layer else None,
        boxes=tuple(drawn.boxes),
        overlay=Path(f"{stem}.{method}.png"),
        map=Path(f"{stem}.{method}.npy"),
        empty=found.why_empty() or None,
        extra={**_asked_node(view), **drawn.extra},
    )
    panels = list(drawn.panels)
    if panels and not panels[0].empty:  # the method may have said it of each panel
        panels[0] = replace(panels[0], empty=record.empty or "")
    figure = maps_figure(
        load_image(view.obj),
        panels,
        title=_title(record, view),
        boxes=list(named.values()),
        box_names=list(named),
        box=None if view.obj.box is None else view.frame.box,
    )
    save_figure(figure, record.overlay)
    with whole_file(record.map) as temporary:
        np.save(temporary, view.on_image(found.maps[0]))
    write_json(record.to_dict(), f"{stem}.{method}.json")
    return record


def _asked_node(view: View) -> dict[str, Any]:
    """What the record says of the node that is asked, if it is one."""
    if isinstance(view, NodeView) and isinstance(view.target, PlacedNode):
        return found_record(view, view.target.name)
    return {}


def _title(record: DrawnHeatMap, view: View) -> str:
    """What was asked, and how sure the network is of it."""
    score = f"{record.score:,.0f}" if abs(record.score) >= 100 else f"{record.score:.3g}"
    said = f"{record.name}, score {score}"
    if not record.extra.get("found", True):
        said = record.said()
    if record.probability is not None:
        said = f"{record.name}, probability {record.probability:.0%}"
    return said + (", the network was shown the mirror image" if view.mirrored else "")
