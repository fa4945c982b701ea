"""What a workspace knows of its own objects: where every node is on them, read from the cached locations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import UsageError, WorkspaceError
from explgraph.images import Frame, ImageObject
from explgraph.parts import NodeTraits, SeenNodes, node_traits, turn
from explgraph.workspace.workspace import Workspace


@dataclass(frozen=True)
class KnownObjects:
    """The objects that a graph was mined from, in the source's order.

    Args:
        traits: the graph's nodes.
        seen: where they are on every object.
        ids: (object,), annotation ids; files: their photographs, as the source names them; root: the folder of these.
        frames: how each object's box fills the network input; sizes: (width, height) of each photograph, pixels.
    """

    traits: NodeTraits
    seen: SeenNodes
    ids: tuple[int, ...]
    files: tuple[str, ...]
    root: Path
    frames: tuple[Frame, ...]
    sizes: tuple[tuple[int, int], ...]

    @cached_property
    def position(self) -> dict[int, int]:
        """Annotation id -> position of the object."""
        return {number: i for i, number in enumerate(self.ids)}

    def require(self, number: int) -> int:
        """Return the position of the object with this annotation id.

        Raises:
            UsageError: the workspace has no such object.
        """
        if number not in self.position:
            raise UsageError(
                f"object {number} is not in the workspace; its {len(self.ids)} objects have ids {min(self.ids)} to {max(self.ids)}, "
                "see the table 'objects' of graph.db"
            )
        return self.position[number]

    def find(self, obj: ImageObject, root: Path) -> int | None:
        """Return the position of an object of another source if it is the same box of the same file, else None."""
        i = self.position.get(obj.annotation_id)
        if i is None or self.files[i] != obj.file_name or root.resolve() != self.root:
            return None
        return i if obj.box is None or np.allclose(obj.box, self.boxes[i]) else None

    @cached_property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Box of every object, pixels."""
        return [frame.box for frame in self.frames]

    def resolved(
        self, positions: Sequence[int], points: Sequence[tuple[float, float]]
    ) -> NDArray[np.float64]:
        """Return points (x, y) of photographs as places (row, column) of their objects' resolved network input."""
        pairs = zip(positions, points, strict=True)
        return np.array(
            [self.frames[i].to_input(xy, mirrored=self.seen.mirrored[i]) for i, xy in pairs]
        ).reshape(-1, 2)


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
