"""The best objects of every node, kept while batches of locations pass by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from explgraph.images import Frame
from explgraph.locations import NodeLocations
from explgraph_storage import TopPlaces

N_TOP = 20  # objects of each node that the database keeps


class BestPlaces:
    """Keeps the N_TOP best objects of each of ``n_nodes`` nodes; arrays are (node, object)."""

    def __init__(self, n_nodes: int) -> None:
        self.score: NDArray[np.float32] = np.zeros((n_nodes, 0), np.float32)
        self.object: NDArray[np.int64] = np.zeros((n_nodes, 0), np.int64)
        self.xy: NDArray[np.float64] = np.zeros((n_nodes, 0, 2))

    def add(self, found: NodeLocations, ids: Sequence[int], frames: Sequence[Frame]) -> None:
        """Take in a batch: where the nodes are on the objects ``ids``, each in its frame."""
        places = zip(frames, found.place, strict=True)
        xy = np.stack([frame.to_image(place) for frame, place in places], 1)
        objects = np.broadcast_to(np.asarray(ids, np.int64), found.score.T.shape)
        score = np.concatenate([self.score, found.score.T], 1)
        best = np.argsort(-score, axis=1, kind="stable")[:, :N_TOP]
        self.score = np.take_along_axis(score, best, 1)
        self.object = np.take_along_axis(np.concatenate([self.object, objects], 1), best, 1)
        self.xy = np.take_along_axis(np.concatenate([self.xy, xy], 1), best[..., None], 1)

    def places(self, position: Sequence[int]) -> TopPlaces:
        """The best objects; ``position`` is each node's in the graph. None without evidence."""
        node = np.repeat(np.asarray(position, np.int64)[:, None], self.score.shape[1], 1)
        seen = self.score > 0
        x, y = np.moveaxis(self.xy[seen], -1, 0)
        return TopPlaces(node[seen], self.object[seen], x, y, self.score[seen])
