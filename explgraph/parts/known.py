"""The objects that a graph was mined from, and where every node is on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float

from explgraph.errors import UsageError
from explgraph.images import Frame, ImageObject
from explgraph.parts.nodes import NodeTraits, SeenNodes


@dataclass(frozen=True)
class KnownObjects:
    """The objects that a graph was mined from, in the source's order.

    Args:
        traits: the graph's nodes.
        seen: where they are on every object.
        ids: annotation id of each object.
        files: their photographs, as the source names them.
        root: the folder of these.
        frames: how each object's box fills the network input.
        sizes: (width, height) of each photograph, pixels.

    >>> known.ids[:3], known.sizes[0], known.require(3)
    ((1, 2, 3), (240, 180), 2)
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

    @cached_property
    def boxes(self) -> list[tuple[float, float, float, float]]:
        """Box of every object, pixels."""
        return [frame.box for frame in self.frames]

    def require(self, number: int) -> int:
        """The position of the object with this annotation id.

        Raises:
            UsageError: the workspace has no such object.
        """
        if number not in self.position:
            raise UsageError(
                f"object {number} is not in the workspace; its {len(self.ids)} objects have ids "
                f"{min(self.ids)} to {max(self.ids)}, see the table 'objects' of graph.db"
            )
        return self.position[number]

    def find(self, obj: ImageObject, root: Path) -> int | None:
        """The position of another source's object if it is the same box of the same file."""
        # All must agree: ids start at 1 in every folder, and file names repeat between folders.
        i = self.position.get(obj.annotation_id)
        if i is None or self.files[i] != obj.file_name or root.resolve() != self.root:
            return None
        return i if obj.box is None or np.allclose(obj.box, self.boxes[i]) else None

    def resolved(
        self, positions: Sequence[int], points: Sequence[tuple[float, float]]
    ) -> Float[np.ndarray, "point 2"]:
        """Points (x, y) of photographs as (row, column) of their objects' resolved input."""
        mirrored = self.seen.mirrored
        places = [
            self.frames[i].to_input(xy, mirrored=mirrored[i])
            for i, xy in zip(positions, points, strict=True)
        ]
        return np.array(places).reshape(-1, 2)
