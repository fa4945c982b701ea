"""The best objects of every node, kept while batches of locations pass by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from explgraph.images import Frame
from explgraph.locations import NodeLocations
from explgraph_storage import TopPlaces

N_TOP = 20  # objects of each node that the database keeps


class BestPlaces:
    """Keeps the N_TOP best objects of each node."""

    def __init__(self, n_nodes: int) -> None:
        self.n_objects = 0
        # (node, rank, 4): score, number of the object, x, y in pixels of its photograph.
        self.best = np.zeros((n_nodes, 0, 4))

    def add(self, found: NodeLocations, frames: Sequence[Frame]) -> None:
        """Take in where the nodes are on the next objects, each of which fills its frame."""
        pairs = zip(frames, found.place, strict=True)
        xy = np.stack([frame.to_image(place) for frame, place in pairs], 1)
        score = found.score.T[..., None]
        number = self.n_objects + np.arange(len(frames))
        self.n_objects += len(frames)
        numbers = np.broadcast_to(number[:, None], score.shape)
        rows = np.concatenate([self.best, np.concatenate([score, numbers, xy], -1)], 1)
        # Stable: of equal scores the earlier object stays, however large the batches are.
        order = np.argsort(-rows[..., 0], axis=1, kind="stable")[:, :N_TOP]
        self.best = np.take_along_axis(rows, order[..., None], 1)

    def places(self, position: Sequence[int], ids: Sequence[int]) -> TopPlaces:
        """The best places; objects on which a node has no evidence are left out.

        Args:
            position: of each node in the graph.
            ids: of the objects, in the order in which they were added.
        """
        seen = self.best[..., 0] > 0
        node = np.repeat(np.asarray(position), seen.sum(1))
        score, number, x, y = self.best[seen].T
        return TopPlaces(node, np.asarray(ids)[number.astype(np.int64)], x, y, score)
