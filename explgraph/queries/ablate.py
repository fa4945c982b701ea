"""Filters and nodes taken away for good, and what that does to the network's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from explgraph.attribution import Activation, PlacedNode, ablated, class_names, find_class
from explgraph.attribution.view import NodeView, View
from explgraph.errors import SourceError, UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.images import Source
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.locate import locate_batches
from explgraph.queries.node_views import views_of
from explgraph.workspace import Workspace


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
            graph.node(name)
            removed.append(name)
        else:
            raise UsageError(
                f"--ablate takes LAYER:CHANNEL such as features.12:7, or a node such as features.12:7:0; got {name!r}"
            )
    return removed


def placed_removals(
    removed: Sequence[str | Activation], view: NodeView
) -> list[Activation | PlacedNode]:
    """Return what to remove from one view: channels as they are, nodes where they were found."""
    return [view.placed(one) if isinstance(one, str) else one for one in removed]


def classify(
    network: Network,
    views: Iterable[View],
    removed: Callable[[Any], Sequence[Activation | PlacedNode]],
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
    graph = workspace.graph
    removed = parse_removed(graph, names)
    known: dict[str, int] = {}
    for obj in source.objects:
        label = target or obj.label
        if label is None:
            raise UsageError(
                f"{obj.file_name} has no class; put the images into subfolders named after their classes, or give --target"
            )
        known.setdefault(label, find_class(network, label))
    counts = {"images": 0, "before": 0, "after": 0}
    changed: list[dict[str, str]] = []

    for one in locate_batches(workspace, source, network=network, report=report):
        views = list(views_of(graph, one))
        choices = classify(network, views, lambda view: placed_removals(removed, view))
        for view, (before, after) in zip(views, choices, strict=True):
            wanted = known[target or view.obj.label or ""]
            counts["images"] += 1
            counts["before"] += before == wanted
            counts["after"] += after == wanted
            if before != after:
                classes = class_names(network, [wanted, before, after])
                choice = dict(zip(("wanted", "before", "after"), classes, strict=True))
                changed.append({"image": view.obj.file_name, **choice})
    if not counts["images"]:
        raise SourceError("not one image could be classified")
    return Repair(tuple(names), counts["images"], counts["before"], counts["after"], tuple(changed))
