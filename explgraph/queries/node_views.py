"""Photographs as the graph understands them: the network input in the resolved facing, with the place of every node in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from explgraph.attribution.view import NodeView
from explgraph.errors import Skipped
from explgraph.graph import ExplanatoryGraph
from explgraph.images import DecodedBatch, ImageObject, Source, mirror
from explgraph.locations import NodeLocations
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.locate import locate_source
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
    found: dict[int, NodeView] = {}

    def keep(locations: NodeLocations, batch: DecodedBatch) -> None:
        for view in views_of(graph, objects, locations, batch, target=target):
            found[view.obj.annotation_id] = view

    skipped = iter(
        locate_source(
            workspace,
            Source(Path(), "folder", objects, ()),
            network=network,
            on_batch=keep,
            report=report,
        )
    )
    for obj in objects:
        yield (
            found.pop(obj.annotation_id)
            if obj.annotation_id in found
            else _named(next(skipped), obj)
        )


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
        pixels = (
            np.ascontiguousarray(batch.images[i][:, ::-1]) if mirrored else batch.images[i].copy()
        )
        yield NodeView(
            obj=objects[number],
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
