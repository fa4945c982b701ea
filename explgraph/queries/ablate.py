"""Filters and nodes taken away for good, and what that does to the network's answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from explgraph.attribution import Activation, NodeView, ablated, class_names
from explgraph.errors import Skipped, SourceError, UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.images import Source
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.labels import Classes, class_numbers
from explgraph.queries.locate import locate_batches
from explgraph.queries.node_views import views_of
from explgraph.queries.result import Result
from explgraph.workspace import Workspace

Removed = str | Activation  # a node's id, or a channel


@dataclass(frozen=True)
class ChangedAnswer(Result):
    """An image for which the network's first choice is another one."""

    image: str
    wanted: str
    before: str
    after: str


@dataclass(frozen=True)
class Repair(Result):
    """What a network gains and loses without some of its filters or nodes, over a data set."""

    removed: tuple[str, ...]  # LAYER:CHANNEL or node ids
    images: int  # how many were classified
    correct_before: int  # of them
    correct_after: int
    changed: tuple[ChangedAnswer, ...]
    skipped: tuple[Skipped, ...] = ()  # images that could not be used


def parse_removed(graph: ExplanatoryGraph, names: Sequence[str]) -> list[Removed]:
    """Node ids as they are, and LAYER:CHANNEL as the channel.

    Raises:
        UsageError: a name is neither.
        GraphError: the graph has no such node.

    >>> parse_removed(ExplanatoryGraph(), ["features.12:7"])
    [Activation(layer='features.12', channel=7, cell=None)]
    """
    removed: list[Removed] = []
    for name in names:
        # LAYER:CHANNEL has one colon, a node's id two.
        layer, _, channel = name.rpartition(":")
        if layer and channel.isdecimal() and len(channel) <= 18 and ":" not in layer:
            removed.append(Activation(layer, int(channel)))
        elif name.count(":") == 2:
            graph.node(name)  # an unknown one is refused before the network runs
            removed.append(name)
        else:
            raise UsageError(
                "--ablate takes LAYER:CHANNEL such as features.12:7, "
                f"or a node such as features.12:7:0; got {name!r}"
            )
    return removed


def classify(network: Network, view: NodeView, removed: Sequence[Removed]) -> tuple[int, int]:
    """The network's first choice, and that without ``removed``; nodes go where they were found."""
    placed = [view.placed(one) if isinstance(one, str) else one for one in removed]
    batch = network.preprocess(torch.from_numpy(view.pixels[None]))
    with torch.no_grad():
        before = network.model(batch.clone())  # an in-place first layer would change the batch
        with ablated(network, placed):
            after = network.model(batch.clone())
    return int(before.argmax(1)), int(after.argmax(1))


def try_repair(
    workspace: Workspace,
    network: Network,
    source: Source,
    names: Sequence[str],
    *,
    target: str | None = None,
    classes: Classes | None = None,
    report: Report = silent,
) -> Repair:
    """What removing filters or nodes does to the accuracy on a labelled source.

    Args:
        network: a classifier whose classes are known.
        source: objects whose label (subfolder, or COCO category) is a class's name or number, or
            ImageNet's wnid; see `explgraph.queries.class_numbers`.
        names: LAYER:CHANNEL, or node ids; a node is removed where it is found in each image.
        target: the class of all objects, if their labels do not say.
        classes: label -> class, where the labels are no names of classes.

    Raises:
        UsageError: no label, or one that is no class; a name is neither channel nor node.
        SourceError: not one image could be read.

    >>> from explgraph.images import read_source
    >>> foxes = read_source(pictures, limit=2)
    >>> repair = try_repair(workspace, network, foxes, ["features.14:0"], target="fox")
    >>> repair.images, repair.correct_before
    (2, 2)
    """
    removed = parse_removed(workspace.graph, names)
    if target is not None and classes is not None:
        raise UsageError(
            "--target says that all images are of one class, --classes what their labels mean: "
            "give one of them"
        )
    numbers = class_numbers(network, source.objects, target=target, classes=classes)
    changed: list[ChangedAnswer] = []
    skipped = list(source.skipped)
    images = correct_before = correct_after = 0
    for one in locate_batches(workspace, source, network=network, report=report):
        skipped += one.skipped
        for view in views_of(workspace.graph, one):
            wanted = numbers[target or view.obj.label or ""]
            before, after = classify(network, view, removed)
            images += 1
            correct_before += before == wanted
            correct_after += after == wanted
            if before != after:
                said = class_names(network, [wanted, before, after])
                changed.append(ChangedAnswer(view.obj.file_name, *said))
    if not images:
        raise SourceError("not one image could be classified")
    named = tuple(dict.fromkeys(skipped))  # a broken photograph of several objects once
    return Repair(tuple(names), images, correct_before, correct_after, tuple(changed), named)
