"""What a workspace's photographs show of its nodes: patches, and the mean of typical objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from explgraph.errors import ImageError, SourceError
from explgraph.images import load_image, load_input
from explgraph.workspace import Workspace

Pixels = NDArray[np.uint8]
PATCH = 70 / 224  # side of a patch, share of the object's box [paper: 70 of 224 pixels]
N_PATCHES = 10  # of a node in a contact sheet
N_MEAN = 16  # typical objects, of which the mean is drawn; that of more is a blur


class Album:
    """The photographs of a workspace's objects, as far as they are still where they were.

    >>> album = Album(workspace)
    >>> album.mean_object(list(graph)[:3]).shape[1:]
    (112, 3)
    """

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self._open: tuple[int | None, Pixels | None] = (None, None)
        self.stored = {one.id: one for one in workspace.store.read_objects()}
        try:
            self.objects = {one.annotation_id: one for one in workspace.job.read_source().objects}
        except SourceError:
            self.objects = {}

    def patches(self, node: str, n: int) -> list[tuple[Pixels, float]]:
        """The patches about a node in its ``n`` best objects, in the common facing, with scores."""
        best = self.workspace.store.read_node(node).top_places[:n]
        cut = [(self.patch(one.object_id, one.x, one.y), one.score) for one in best]
        return [(patch, score) for patch, score in cut if patch is not None]

    def patch(self, object_id: int, x: float, y: float) -> Pixels | None:
        """The patch about a point of a photograph, in the common facing; None without it."""
        from explgraph.figures import cut_patch

        # Of neighbouring calls for one object the photograph is read once.
        if self._open[0] != object_id:
            try:
                self._open = object_id, load_image(self.objects[object_id])
            except (KeyError, ImageError):  # no longer in the source, or no longer readable
                self._open = object_id, None
        if (image := self._open[1]) is None:
            return None
        seen = self.stored[object_id]
        # As large a share of a far object as of a near one; fewer pixels show nothing.
        size = max(8, round(PATCH * (seen.box[2] * seen.box[3]) ** 0.5))
        patch = cut_patch(image, x, y, size)
        return patch[:, ::-1] if seen.mirrored else patch

    def mean_object(self, nodes: Sequence[str]) -> Pixels | None:
        """The mean of the network inputs of typical objects in the common facing.

        Typical are those on which most of ``nodes`` are at their best: the mean of all objects, in
        all their poses, is a blur. None if no photograph is where it was.
        """
        job = self.workspace.job
        height, width = self.workspace.identity.input.size
        read = self.workspace.store.read_node
        often = Counter(best.object_id for node in nodes for best in read(node).top_places)
        known = [one for one, _ in often.most_common() if one in self.objects]
        some = [self.stored[one] for one in known[:N_MEAN]]
        inputs = []
        for one in some:
            with suppress(ImageError):
                pixels, _, _ = load_input(
                    self.objects[one.id], height=height, width=width, fit=job.fit
                )
                inputs.append(pixels[:, ::-1] if one.mirrored else pixels)
        if not inputs:
            return None
        # Grey, so that coloured patches stand out; stretched, as means are pale.
        grey = np.mean(inputs, axis=(0, 3))
        low, high = np.quantile(grey, (0.01, 0.99))
        grey = np.clip((grey - low) / max(high - low, 1) * 255, 0, 255).astype(np.uint8)
        mean: Pixels = np.repeat(grey[..., None], 3, axis=2)
        if job.fit != "stretch":
            return mean
        # The network sees each box stretched to its input; here it gets its usual shape back.
        aspect = float(np.median([one.box[3] / one.box[2] for one in some]))
        picture = Image.fromarray(mean).resize((width, max(round(width * aspect), 1)))
        resized: Pixels = np.asarray(picture)
        return resized
