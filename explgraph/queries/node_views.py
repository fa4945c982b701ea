"""Photographs as the graph understands them: the network input with all nodes in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from explgraph.attribution import NodeView, Target
from explgraph.errors import Skipped
from explgraph.graph import ExplanatoryGraph
from explgraph.images import mirror
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.asked import Photographs, asked_source
from explgraph.queries.locate import LocatedBatch, locate_batches
from explgraph.workspace import Workspace


def node_views(
    workspace: Workspace,
    network: Network,
    images: Photographs,
    *,
    target: Target = None,
    node: str | None = None,
    report: Report = silent,
) -> Iterator[NodeView | Skipped]:
    """The images in their order, mirrored if they face the other way, with all nodes in them.

    Args:
        network: from `Workspace.network`.
        images: files, each one object; or what else `asked_source` takes.
        target: what will be asked of them.
        node: id of the node that will be asked instead, where it is found.

    Yields:
        what the network is shown of an image, or why that cannot be.

    Raises:
        GraphError: the graph has no such node.
        SourceError: not one image could be read.

    >>> (view,) = node_views(workspace, network, [pictures / "00001.jpg"])
    >>> view.pixels.shape, len(view.nodes) == len(graph)
    ((112, 112, 3), True)
    """
    graph = workspace.graph
    if node is not None:
        graph.node(node)  # an unknown one is refused before the network runs
    source = asked_source(images)
    for one in locate_batches(workspace, source, network=network, report=report):
        numbers, views = one.batch.indices.tolist(), views_of(graph, one)
        answers: dict[int, NodeView | Skipped] = dict(zip(numbers, views, strict=True))
        # A broken image keeps its turn, so that answers go with the images that were given.
        for k, reason in one.batch.skipped:
            answers[k] = Skipped(str(source.objects[k].path), reason)
        for k in sorted(answers):
            view = answers.pop(k)  # so that no view is held longer than it is looked at
            if isinstance(view, NodeView):
                view = replace(view, target=target if node is None else view.placed(node))
            yield view


def views_of(graph: ExplanatoryGraph, located: LocatedBatch) -> Iterator[NodeView]:
    """The views of one batch, in its order.

    >>> from explgraph.images import read_source
    >>> (batch,) = locate_batches(workspace, read_source(pictures), network=network)
    >>> [view.obj.file_name for view in views_of(graph, batch)][:2]
    ['00001.jpg', '00002.jpg']
    """
    found, batch = located.locations, located.batch
    sureness = [math.nan] * len(found.mirrored) if found.sureness is None else found.sureness
    for i, obj in enumerate(located.objects):
        mirrored, pixels = bool(found.mirrored[i]), batch.images[i]
        if mirrored:
            pixels = pixels[:, ::-1]
        yield NodeView(
            obj=obj,
            pixels=pixels.copy(),  # not a window of the whole batch, which it would keep alive
            frame=batch.frames[i],
            size=batch.sizes[i],
            mirrored=mirrored,
            sureness=None if math.isnan(sureness[i]) else float(sureness[i]),
            graph=graph,
            nodes=found.nodes,
            places=mirror(found.place[i], mirrored),
            scores=found.score[i],
            explained=found.shares(i),
        )
