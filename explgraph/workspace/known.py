"""The objects of a workspace, read from its cached locations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import WorkspaceError
from explgraph.images import Frame
from explgraph.parts import KnownObjects, SeenNodes, node_traits, turn
from explgraph.workspace.workspace import Workspace


def read_known(workspace: Workspace) -> KnownObjects:
    """Return what the workspace knows of its own objects; a tenth of a second for 250 objects and 4,000 nodes.

    Raises:
        WorkspaceError: the cached locations do not belong to the graph.
    """
    traits = node_traits(workspace.graph)
    read = workspace.objects_read()
    run = workspace.run().config
    size, fit, job = run["identity"]["input"], workspace.settings().fit, run["job"]
    frames = tuple(Frame(o.box, size["height"], size["width"], fit) for o in read)
    images = {image.id: image.path for image in workspace.store.read_images()}
    files = {o.id: images[o.image_id] for o in workspace.store.read_objects()}
    source = Path(job["source"])
    root = Path(job["images"]) if job["images"] else source if source.is_dir() else source.parent
    points, score, mirrored = _read_locations(workspace, [o.id for o in read], len(traits.names))
    place = np.stack([frame.to_input(xy) for frame, xy in zip(frames, points, strict=True)])
    return KnownObjects(
        traits=traits,
        seen=SeenNodes(turn(place, mirrored), score, mirrored),
        ids=tuple(o.id for o in read),
        files=tuple(files[o.id] for o in read),
        root=root.resolve(),
        frames=frames,
        sizes=tuple((o.width, o.height) for o in read),
    )


def _read_locations(
    workspace: Workspace, ids: list[int], n_nodes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return points (object, node, 2) in pixels, scores (object, node) and mirrored (object,), in the order of ``ids``."""
    columns: dict[str, list[NDArray[np.float64]]] = {
        name: [] for name in ("annotation_id", "x", "y", "score", "mirrored")
    }
    for table in workspace.locations():
        for name, chunks in columns.items():
            chunks.append(table[name].to_numpy())
    joined = {
        name: np.concatenate(chunks) if chunks else np.zeros(0) for name, chunks in columns.items()
    }
    if len(joined["x"]) != len(ids) * n_nodes:
        raise WorkspaceError(
            f"{workspace.folder}/locations holds {len(joined['x'])} places, expected {len(ids)} objects x {n_nodes} nodes; "
            "run the same 'explgraph mine' command again"
        )
    by_object = {name: values.reshape(len(ids), n_nodes) for name, values in joined.items()}
    row = {int(number): i for i, number in enumerate(by_object["annotation_id"][:, 0])}
    if row.keys() != set(ids):
        raise WorkspaceError(
            f"{workspace.folder}/locations are of other objects; run the same 'explgraph mine' command again"
        )
    order = [row[number] for number in ids]
    points = np.stack([by_object["x"], by_object["y"]], -1)[order].astype(float)
    return (
        points,
        by_object["score"][order].astype(float),
        by_object["mirrored"][order, 0].astype(bool),
    )
