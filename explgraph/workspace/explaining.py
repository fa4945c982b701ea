"""Questions about single photographs to a workspace: the nodes found in them, and why the network answers as it does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explgraph.attribution import Activation, Explanation, PlacedNode, ablated, explain, find_class
from explgraph.errors import SourceError, UsageError
from explgraph.export.map_files import View, unique_names
from explgraph.export.node_methods import NodeView
from explgraph.graph import ExplanatoryGraph
from explgraph.images import DecodedBatch, ImageObject, Skipped, Source, load_image
from explgraph.inference import NodeLocations
from explgraph.network import Network
from explgraph.workspace.locating import locate_source
from explgraph.workspace.mining_job import Report, silent
from explgraph.workspace.workspace import Workspace


def node_views(
    workspace: Workspace, network: Network, images: Sequence[Path], *, target: int | str | None = None, report: Report = silent
) -> Iterator[NodeView | Skipped]:
    """Yield each image as the graph understood it, mirrored if it faces the other way, with the places of all nodes in that input.

    Args:
        workspace: holds the graph.
        network: from `Workspace.network`.
        images: files; each is one object.
        target: what will be asked of them.
        report: progress.

    Raises:
        SourceError: not one image could be read.
    """
    graph = workspace.store.load_graph()
    objects = tuple(ImageObject(k, k, path.name, path) for k, path in enumerate(images, 1))
    found: dict[int, NodeView] = {}

    def keep(locations: NodeLocations, batch: DecodedBatch) -> None:
        for view in views_of(graph, objects, locations, batch, target=target):
            found[view.obj.annotation_id] = view

    skipped = iter(locate_source(workspace, Source(Path(), "folder", objects, ()), network=network, on_batch=keep, report=report))
    for obj in objects:
        yield found.pop(obj.annotation_id) if obj.annotation_id in found else _named(next(skipped), obj)


def _named(skipped: Skipped, obj: ImageObject) -> Skipped:
    return Skipped(str(obj.path), skipped.reason)


def views_of(
    graph: ExplanatoryGraph,
    objects: Sequence[ImageObject],
    found: NodeLocations,
    batch: DecodedBatch,
    *,
    target: int | str | None = None,
) -> Iterator[NodeView]:
    """Yield the views of one batch in its order."""
    for i, number in enumerate(batch.indices.tolist()):
        mirrored = bool(found.mirrored[i])
        places = found.place[i].astype(np.float64)
        if mirrored:
            places = np.stack([places[:, 0], 1 - places[:, 1]], -1)
        pixels = np.ascontiguousarray(batch.images[i][:, ::-1]) if mirrored else batch.images[i].copy()
        yield NodeView(
            obj=objects[number],
            pixels=pixels,
            frame=batch.frames[i],
            size=batch.sizes[i],
            mirrored=mirrored,
            target=target,
            graph=graph,
            nodes=found.nodes,
            places=places,
            scores=found.score[i],
        )


def with_node(view: NodeView | Skipped, node: str) -> NodeView | Skipped:
    """Return the view with the node, where it was found, as what is asked; raises GraphError if it is unknown."""
    return view if isinstance(view, Skipped) else replace(view, target=view.placed(node))


@dataclass(frozen=True)
class Explained:
    """What is said of one image: a record of plain values and a text, or why it was skipped."""

    record: dict[str, Any]
    text: str
    skipped: Skipped | None = None


def explain_images(
    workspace: Workspace,
    network: Network,
    images: Sequence[Path],
    *,
    target: int | str | None = None,
    ablate: Sequence[str] = (),
    out: Path | None = None,
    report: Report = silent,
    **options: Any,
) -> Iterator[Explained]:
    """Yield for each image why the network answers as it does; see `explgraph.attribution.explain` for ``options``.

    Args:
        workspace: holds the graph.
        network: from `Workspace.network`.
        images: files; each is one object.
        target: class by number or name; by default each image's own first choice.
        ablate: LAYER:CHANNEL or node ids; the record and the text also say what the network answers without all of them.
        out: folder for NAME.explain.png and NAME.explain.json, made if missing.
        report: progress.

    Raises:
        SourceError: not one image could be read.
        UsageError: the class or a name is unknown.
    """
    removed = parse_removed(workspace.store.load_graph(), ablate)
    if target is not None:
        find_class(network, target)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    views = node_views(workspace, network, images, target=target, report=report)
    for view, stem in zip(views, unique_names(images), strict=True):
        if isinstance(view, Skipped):
            yield Explained({}, "", view)
            continue
        explanation = explain(
            network, view.pixels[None], view.graph, nodes=view.nodes, places=view.places, scores=view.scores,
            target=target, report=report, **options,
        )  # fmt: skip
        record, text = explanation_record(explanation, view), f"{view.obj.path}\n{explanation.to_text()}"
        if view.mirrored:
            text += "\nThe object faces the other way: the network was shown its mirror image."
        if removed:
            ((_, after),) = classify(network, [view], lambda view: placed_removals(removed, view))
            name = network.classes[after] if network.classes else f"class {after}"
            record["ablated"] = {"removed": list(ablate), "class_index": after, "class": name}
            text += f"\nWithout {', '.join(ablate)} the network says: {name}."
        if out is not None:
            record["figure"] = str(draw_explanation(explanation, view, out / f"{stem}.explain.png"))
            (out / f"{stem}.explain.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        yield Explained(record, text)


def explanation_record(explanation: Explanation, view: View) -> dict[str, Any]:
    """Return the explanation as plain values; x and y are pixels of the photograph."""
    nodes = []
    for one in explanation.nodes:
        x, y = view.frame.to_image([one.row, one.col], mirrored=view.mirrored).tolist()
        nodes.append({**asdict(one), "x": x, "y": y})
    pair = lambda values: {"score": _number(values[0]), "probability": _number(values[1])}
    return {
        "image": str(view.obj.path),
        "mirrored": view.mirrored,
        "classes": [{"index": i, "name": name, "probability": p} for i, name, p in explanation.classes],
        "class": explanation.name,
        "class_index": explanation.index,
        "score": explanation.score,
        "probability": explanation.probability,
        "nodes_tested": explanation.n_tested,
        "nodes": nodes,
        "without_these": pair(explanation.without),
        "without_others": pair(explanation.without_random),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def draw_explanation(explanation: Explanation, view: NodeView, out: Path) -> Path:
    """Write the explanation's figure and return its path."""
    from explgraph.export.canvas import save_figure
    from explgraph.export.explain_figure import explain_figure  # matplotlib, which few commands need

    layers = [layer.name for layer in view.graph.layers]
    return save_figure(explain_figure(load_image(view.obj), explanation, view, layers=layers), out)


# Ablation for good


@dataclass(frozen=True)
class Repair:
    """What a network gains and loses without some of its filters or nodes, over a data set.

    Args:
        removed: what was taken away, LAYER:CHANNEL or node ids.
        images: how many were classified.
        correct_before: of them, right; correct_after: right without what was removed.
        changed: images whose first choice is another one: file, class wanted, first choice before, and after.
    """

    removed: tuple[str, ...]
    images: int
    correct_before: int
    correct_after: int
    changed: tuple[dict[str, str], ...]


def parse_removed(graph: ExplanatoryGraph, names: Sequence[str]) -> list[str | Activation]:
    """Return node ids as they are, and LAYER:CHANNEL as the channel.

    Raises:
        UsageError: neither; GraphError: no such node.
    """
    removed: list[str | Activation] = []
    for name in names:
        layer, _, channel = name.rpartition(":")
        if layer and channel.isdecimal() and ":" not in layer:
            removed.append(Activation(layer, int(channel)))
        elif name.count(":") == 2:
            graph.part(name)
            removed.append(name)
        else:
            raise UsageError(
                f"--ablate takes LAYER:CHANNEL such as features.12:7, or a node such as features.12:7:0; got {name!r}"
            )
    return removed


def placed_removals(removed: Sequence[str | Activation], view: NodeView) -> list[Activation | PlacedNode]:
    """Return what to remove from one view: channels as they are, nodes where they were found."""
    return [view.placed(one) if isinstance(one, str) else one for one in removed]


def classify(
    network: Network, views: Iterable[View], removed: Callable[[Any], Sequence[Activation | PlacedNode]]
) -> Iterator[tuple[int, int]]:
    """Yield the network's first choice for each view, and that without what ``removed`` says."""
    for view in views:
        batch = network.preprocess(torch.from_numpy(view.pixels[None]))
        with torch.no_grad():
            before = int(network.model(batch.clone()).argmax(1))
            with ablated(network, removed(view)):
                yield before, int(network.model(batch.clone()).argmax(1))


def try_repair(
    workspace: Workspace,
    network: Network,
    source: Source,
    names: Sequence[str],
    *,
    target: str | None = None,
    report: Report = silent,
) -> Repair:
    """Return what removing filters or nodes does to the accuracy on a labelled source.

    Args:
        workspace: holds the graph.
        network: a classifier whose classes are known.
        source: objects whose label (subfolder, or COCO category) is a class's name or number.
        names: LAYER:CHANNEL, or node ids; a node is removed from each image where it is found there.
        target: the class of all objects, if their labels do not say.
        report: progress.

    Raises:
        UsageError: no label, or one that is no class; a name is neither.
        SourceError: not one image could be read.
    """
    graph = workspace.store.load_graph()
    removed = parse_removed(graph, names)
    known: dict[str, int] = {}
    for obj in source.objects:
        label = target or obj.label
        if label is None:
            raise UsageError(
                f"{obj.file_name} has no class; put the images into subfolders named after their classes, or give --target"
            )
        known.setdefault(label, find_class(network, label))
    name_of = lambda i: network.classes[i] if network.classes else str(i)
    counts = {"images": 0, "before": 0, "after": 0}
    changed: list[dict[str, str]] = []

    def on_batch(found: NodeLocations, batch: DecodedBatch) -> None:
        views = list(views_of(graph, source.objects, found, batch))
        for view, (before, after) in zip(
            views, classify(network, views, lambda view: placed_removals(removed, view)), strict=True
        ):
            wanted = known[target or view.obj.label or ""]
            counts["images"] += 1
            counts["before"] += before == wanted
            counts["after"] += after == wanted
            if before != after:
                names = {"wanted": name_of(wanted), "before": name_of(before), "after": name_of(after)}
                changed.append({"image": view.obj.file_name, **names})

    locate_source(workspace, source, network=network, on_batch=on_batch, report=report)
    if not counts["images"]:
        raise SourceError("not one image could be classified")
    return Repair(tuple(names), counts["images"], counts["before"], counts["after"], tuple(changed))
