"""What semantic parts are built on: the places of all nodes in the resolved facing, and the pose that they tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import GraphError
from explgraph.graph import LOADINGS, ExplanatoryGraph
from explgraph.images import mirror

Array = NDArray[np.float64]
POSE_RIDGE = 1e-3  # of the mean eigenvalue: only keeps the normal equations regular


@dataclass(frozen=True)
class SeenNodes:
    """Where the nodes of a graph are on a set of objects, in the resolved facing: mirrored objects are turned back.

    Args:
        place: (object, node, 2), (row, column), fractions of the network input; nodes in the order of `NodeTraits`.
        score: (object, node), 0..1.
        mirrored: (object,) bool, which objects were turned.
    """

    place: Array
    score: Array
    mirrored: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check the shapes; raises ValueError."""
        if (
            self.place.shape != (*self.score.shape, 2)
            or self.mirrored.shape != self.score.shape[:1]
        ):
            raise ValueError(
                f"expected place (object, node, 2), score (object, node) and mirrored (object,), got {self.place.shape}, "
                f"{self.score.shape} and {self.mirrored.shape}"
            )

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def relative(self) -> Array:
        """(object, node): scores over the object's mean score, so that a dim photograph counts like a bright one."""
        relative: Array = self.score / np.maximum(self.score.mean(1, keepdims=True), 1e-9)
        return relative

    def objects(self, which: Any) -> SeenNodes:
        """Return some of the objects."""
        return SeenNodes(self.place[which], self.score[which], self.mirrored[which])


def turn(place: Array, mirrored: NDArray[np.bool_]) -> Array:
    """Return places (object, ..., 2) with 1 - column where the object is mirrored: into the resolved facing, and out of it.

    >>> turn(np.array([[0.2, 0.3], [0.2, 0.3]]), np.array([False, True])).tolist()
    [[0.2, 0.3], [0.2, 0.7]]
    """
    return mirror(place, mirrored.reshape(-1, *[1] * (place.ndim - 2)))


@dataclass(frozen=True)
class NodeTraits:
    """The nodes of a graph as arrays.

    Args:
        names: ids, layer by layer from the top.
        mean: (node, 2), mean place; std: (node,), the range within which the node is looked for (its deformation range).
        strength: (node,), mean score over the node's best images, 0 for texture.
        loadings: (node, 2, q), how the node sways with the pose.
    """

    names: tuple[str, ...]
    mean: Array
    std: Array
    strength: Array
    loadings: Array

    @cached_property
    def _projector(self) -> Array:
        """(2 node, q): places minus means -> pose coordinates, in which a distance is that of the nodes as the pose moves them."""
        q = self.loadings.shape[2]
        design = (self.loadings / self.std[:, None, None]).reshape(2 * len(self.std), q)
        normal = design.T @ design
        normal += np.eye(q) * (POSE_RIDGE * np.trace(normal) / max(q, 1) + 1e-12)
        to_pose = np.linalg.solve(normal, (design / np.repeat(self.std, 2)[:, None]).T).T
        movement = np.einsum("v,vaq,vap->qp", self.strength, self.loadings, self.loadings)
        value, vector = np.linalg.eigh(movement)
        share = np.sqrt(np.maximum(value, 0) / max(value.sum(), 1e-12))
        projector: Array = to_pose @ vector * share
        return projector

    def pose(self, seen: SeenNodes) -> Array:
        """Return the pose of every object, (object, q), by least squares of its nodes' places on their loadings.

        Scaled so that half the squared distance of two objects is 1 in the mean; (object, 0) for a graph without pose.
        """
        pose: Array = (seen.place - self.mean).reshape(len(seen), -1) @ self._projector
        return pose


def node_traits(graph: ExplanatoryGraph) -> NodeTraits:
    """Return the nodes of a graph, in the order in which `explgraph.locations.locator.Locator` answers.

    Raises:
        GraphError: the graph has no node.
    """
    names = graph.ordered_nodes()
    if not names:
        raise GraphError(
            "the graph has no nodes, no part can be built on it; mine more images or other layers"
        )
    nodes = [graph.nodes[name] for name in names]
    column = lambda key: np.array([node[key] for node in nodes], np.float64)
    part = np.array([node["kind"] == "part" for node in nodes])
    q = max(len(node.get(LOADINGS, ())) // 2 for node in nodes)
    loadings = np.zeros((len(nodes), 2, q))
    for i, node in enumerate(nodes):
        own = np.array(node.get(LOADINGS, ()), np.float64).reshape(2, -1)
        loadings[i, :, : own.shape[1]] = own
    return NodeTraits(
        names,
        np.stack([column("row"), column("col")], -1),
        column("std"),
        column("score") * part,
        loadings,
    )
