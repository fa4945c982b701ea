"""Pictures of a workspace: contact sheets of nodes, and the places of nodes on images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from explgraph.errors import ImageError, WorkspaceError
from explgraph.graph import layer_of
from explgraph.images import DecodedBatch, Source, load_image, read_source
from explgraph.locations import NodeLocations
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
            f"the photographs are no longer where they were ({workspace.run().config['job']['source']}); put them back"
        )
    return save_figure(contact_sheet(rows, titles, captions=captions), out)


class DrawLocations:
    """Draws the best nodes of every object on its image; give it to `locate_to_file` or `locate_source`.

    Args:
        source: the objects that are located.
        folder: where the pictures go, made if missing.
        n: nodes per image.
    """

    def __init__(self, source: Source, folder: Path, *, n: int = N_DRAWN) -> None:
        self.source, self.folder, self.n = source, folder, n
        self.paths: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, found: NodeLocations, batch: DecodedBatch) -> None:
        """Draw one batch."""
        from explgraph.figures.nodes import node_figure, save_figure

        for i, number in enumerate(batch.indices.tolist()):
            obj = self.source.objects[number]
            best = np.argsort(-found.score[i], kind="stable")[: self.n]
            layers = [layer_of(found.nodes[k]) for k in best]
            places = batch.frames[i].to_image(found.place[i, best])
            title = f"{obj.file_name}" + ("  (faces the other way)" if found.mirrored[i] else "")
            figure = node_figure(
                [load_image(obj)],
                [places],
                [found.score[i, best]],
                [layers],
                title=title,
                cell=5.0,
                columns=1,
            )
            name = f"{Path(obj.file_name).with_suffix('').as_posix().replace('/', '-')}-{obj.annotation_id}.png"
            self.paths.append(save_figure(figure, self.folder / name))


def _source(workspace: Workspace) -> Source:
    job = workspace.run().config["job"]
    return read_source(job["source"], images=job["images"], limit=job["limit"])
