"""Photographs as the graph understands them: the network input in the resolved facing, with the place of every node in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from explgraph.attribution.view import NodeView
from explgraph.errors import Skipped
from explgraph.graph import ExplanatoryGraph
from explgraph.images import ImageObject, Source, mirror
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.locate import LocatedBatch, locate_batches
from explgraph.workspace import Workspace


def node_views(
    workspace: Workspace,
    network: Network,
    images: Sequence[Path],
    *,
    target: int | str | None = None,
    report: Report = silent,
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
    graph = workspace.graph
    objects = tuple(ImageObject(k, k, path.name, path) for k, path in enumerate(images, 1))
    source = Source(Path(), "folder", objects, ())
    found: dict[int, NodeView] = {}
    failed: list[Skipped] = []
    for one in locate_batches(workspace, source, network=network, report=report):
        for view in views_of(graph, one, target=target):
            found[view.obj.annotation_id] = view
        failed += one.skipped
    skipped = iter(failed)
    for obj in objects:
        view_or_none = found.pop(obj.annotation_id, None)
        yield view_or_none or Skipped(str(obj.path), next(skipped).reason)


def views_of(
    graph: ExplanatoryGraph, located: LocatedBatch, *, target: int | str | None = None
) -> Iterator[NodeView]:
    """Yield the views of one batch in its order."""
    found, batch = located.locations, located.batch
    for i, obj in enumerate(located.objects):
        mirrored = bool(found.mirrored[i])
        pixels = (
            np.ascontiguousarray(batch.images[i][:, ::-1]) if mirrored else batch.images[i].copy()
        )
        yield NodeView(
            obj=obj,
            pixels=pixels,
            frame=batch.frames[i],
            size=batch.sizes[i],
            mirrored=mirrored,
            target=target,
            graph=graph,
            nodes=found.nodes,
            places=mirror(found.place[i], mirrored),
            scores=found.score[i],
        )


def with_node(view: NodeView | Skipped, node: str) -> NodeView | Skipped:
    """Return the view with the node, where it was found, as what is asked; raises GraphError if it is unknown."""
    return view if isinstance(view, Skipped) else replace(view, target=view.placed(node))
