"""Pictures of a workspace: contact sheets of nodes, and the places of nodes on images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explgraph.errors import ImageError, WorkspaceError
from explgraph.graph import layer_of
from explgraph.images import Source, load_image, read_source
from explgraph.queries.locate import LocatedBatch
from explgraph.workspace import Workspace

PATCH = 70 / 224  # side of a patch, share of the object's box [paper: 70 of 224 pixels]
N_PATCHES = 10
N_DRAWN = 20  # nodes drawn on an image


def draw_nodes(workspace: Workspace, nodes: Sequence[str], out: Path) -> Path:
    """Write a contact sheet: one row per node, the patches around its place in its best images, turned to the common facing.

    Raises:
        WorkspaceError: none of the photographs is where it was when it was mined.
        GraphError: a node is unknown.
    """
    from explgraph.figures.nodes import (
        contact_sheet,
        cut_patch,
        save_figure,
    )  # matplotlib, which few commands need

    objects = {o.annotation_id: o for o in _source(workspace).objects}
    facing = {o.id: (bool(o.mirrored), o.box) for o in workspace.store.read_objects()}
    rows, titles, captions = [], [], []
    for name in nodes:
        record = workspace.store.read_node(name)
        patches, scores = [], []
        for place in record.top_places[:N_PATCHES]:
            mirrored, box = facing[place.object_id]
            try:
                image = load_image(objects[place.object_id])
            except (KeyError, ImageError):
                continue
            patch = cut_patch(
                image, place.x, place.y, max(8, round(PATCH * (box[2] * box[3]) ** 0.5))
            )
            patches.append(np.ascontiguousarray(patch[:, ::-1]) if mirrored else patch)
            scores.append(f"{place.score:.2f}")
        rows.append(patches)
        captions.append(scores)
        titles.append(
            f"{name}   score {record.attributes['score']:.2f}, std {record.attributes['std']:.3f}"
        )
    if not any(rows):
        raise WorkspaceError(
            f"the photographs are no longer where they were ({workspace.job.source}); put them back"
        )
    return save_figure(contact_sheet(rows, titles, captions=captions), out)


def draw_located(found: LocatedBatch, folder: Path, *, n: int = N_DRAWN) -> list[Path]:
    """Draw the ``n`` best nodes of every object of a batch on its image; return the pictures.

    Args:
        found: from `locate_batches`.
        folder: where the pictures go, made if missing.
        n: nodes per image.
    """
    from explgraph.figures.nodes import node_figure, save_figure

    folder.mkdir(parents=True, exist_ok=True)
    locations, paths = found.locations, []
    for i, obj in enumerate(found.objects):
        best = np.argsort(-locations.score[i], kind="stable")[:n]
        figure = node_figure(
            [load_image(obj)],
            [found.batch.frames[i].to_image(locations.place[i, best])],
            [locations.score[i, best]],
            [[layer_of(locations.nodes[k]) for k in best]],
            title=obj.file_name + ("  (faces the other way)" if locations.mirrored[i] else ""),
            cell=5.0,
            columns=1,
        )
        stem = Path(obj.file_name).with_suffix("").as_posix().replace("/", "-")
        paths.append(save_figure(figure, folder / f"{stem}-{obj.annotation_id}.png"))
    return paths


def _source(workspace: Workspace) -> Source:
    job = workspace.job
    return read_source(job.source, images=job.images, limit=job.limit)
