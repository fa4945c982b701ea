"""What semantic parts are built on: the places of all nodes, and the pose that they tell."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from explgraph.errors import GraphError
from explgraph.graph import LOADINGS, ExplanatoryGraph
from explgraph.images import mirror

POSE_RIDGE = 1e-3  # of the mean eigenvalue: only keeps the normal equations regular


@dataclass(frozen=True)
class SeenNodes:
    """Where the nodes of a graph are on a set of objects; mirrored objects are turned back.

    Args:
        place: (row, column), fractions of the network input; nodes in the order of `NodeTraits`.
        score: 0..1.
        mirrored: which objects were turned.
        sureness: how probable it is that this was right, 0.5 to 1; NaN where no facing was told,
            None where nothing is known of it.

    >>> seen = SeenNodes(np.zeros((3, 2, 2)), np.ones((3, 2)), np.zeros(3, bool))
    >>> len(seen), len(seen.objects([0, 2]))
    (3, 2)
    """

    place: Float[np.ndarray, "object node 2"]
    score: Float[np.ndarray, "object node"]
    mirrored: Bool[np.ndarray, " object"]
    sureness: Float[np.ndarray, " object"] | None = None

    def __post_init__(self) -> None:
        """Check the shapes; raises ValueError."""
        objects, nodes = self.score.shape
        if self.place.shape != (objects, nodes, 2) or self.mirrored.shape != (objects,):
            raise ValueError(
                "expected place (object, node, 2), score (object, node) and mirrored (object,),"
                f" got {self.place.shape}, {self.score.shape} and {self.mirrored.shape}"
            )

    def __len__(self) -> int:
        return len(self.score)

    @cached_property
    def relative(self) -> Float[np.ndarray, "object node"]:
        """Scores over the object's mean score: a dim photograph counts like a bright one."""
        # No score at all: the division gives 0, not NaN.
        relative: Float[np.ndarray, "object node"] = self.score / np.maximum(
            self.score.mean(1, keepdims=True), 1e-9
        )
        return relative

    @cached_property
    def trust(self) -> Float[np.ndarray, " object"]:
        """How probable it is that left is left: the sureness, or 1 where no facing was told."""
        if self.sureness is None:
            return np.ones(len(self))
        return np.where(np.isnan(self.sureness), 1.0, self.sureness)

    def objects(self, which: Any) -> SeenNodes:
        """The same for some of the objects."""
        sureness = None if self.sureness is None else self.sureness[which]
        return SeenNodes(self.place[which], self.score[which], self.mirrored[which], sureness)


def turn(
    place: Float[np.ndarray, "object ... 2"], mirrored: Bool[np.ndarray, " object"]
) -> Float[np.ndarray, "object ... 2"]:
    """The places in the resolved facing: 1 - column where mirrored; twice is out of it again.

    >>> turn(np.array([[0.2, 0.3], [0.2, 0.3]]), np.array([False, True])).tolist()
    [[0.2, 0.3], [0.2, 0.7]]
    """
    return mirror(place, mirrored.reshape(-1, *[1] * (place.ndim - 2)))


@dataclass(frozen=True)
class NodeTraits:
    """The nodes of a graph as arrays.

    Args:
        names: ids, layer by layer from the top.
        mean: mean place.
        std: the range within which the node is looked for (its deformation range).
        strength: mean score over the node's best images, 0 for texture.
        loadings: how the node sways with the pose.

    >>> known.traits.pose(known.seen).shape[0]
    48
    """

    names: tuple[str, ...]
    mean: Float[np.ndarray, "node 2"]
    std: Float[np.ndarray, " node"]
    strength: Float[np.ndarray, " node"]
    loadings: Float[np.ndarray, "node 2 pose"]

    @cached_property
    def _projector(self) -> Float[np.ndarray, "coordinate pose"]:
        """From displacements (2 node) to pose, least squares; axes as `pose` scales them."""
        q = self.loadings.shape[2]
        # Over its deviation: a node that is placed vaguely has less to say about the pose.
        design = (self.loadings / self.std[:, None, None]).reshape(2 * len(self.std), q)
        normal = design.T @ design
        normal += np.eye(q) * (POSE_RIDGE * np.trace(normal) / max(q, 1) + 1e-12)
        to_pose = np.linalg.solve(normal, (design / np.repeat(self.std, 2)[:, None]).T).T
        # Distances of poses are those that the nodes move, the strong ones first.
        movement = np.einsum("v,vaq,vap->qp", self.strength, self.loadings, self.loadings)
        value, vector = np.linalg.eigh(movement)
        share = np.sqrt(np.maximum(value, 0) / max(value.sum(), 1e-12))
        projector: Float[np.ndarray, "coordinate pose"] = to_pose @ vector * share
        return projector

    def pose(self, seen: SeenNodes) -> Float[np.ndarray, "object pose"]:
        """The pose of every object, by least squares of its nodes' places on their loadings.

        Scaled so that half the squared distance of two objects is 1 in the mean. A graph without
        loadings has no pose dimension.
        """
        pose: Float[np.ndarray, "object pose"] = (seen.place - self.mean).reshape(
            len(seen), -1
        ) @ self._projector
        return pose


def node_traits(graph: ExplanatoryGraph) -> NodeTraits:
    """The nodes of a graph, in the order in which `explgraph.locations.Locator` answers.

    Raises:
        GraphError: the graph has no node.

    >>> node_traits(graph).mean.shape == (len(graph), 2)
    True
    """
    names = graph.ordered_nodes()
    if not names:
        raise GraphError(
            "the graph has no nodes, no part can be built on it; mine more images or other layers"
        )
    nodes = [graph.nodes[name] for name in names]
    column = lambda key: np.array([node[key] for node in nodes], np.float64)
    own = [np.array(node.get(LOADINGS, ()), np.float64).reshape(2, -1) for node in nodes]
    # Nodes of a layer that knows fewer dimensions do not sway with the others.
    loadings = np.zeros((len(nodes), 2, max(one.shape[1] for one in own)))
    for i, one in enumerate(own):
        loadings[i, :, : one.shape[1]] = one
    # Zero strength is how texture is told from here on (`parts.fit.weigh_nodes`).
    part_like = np.array([node["kind"] == "part" for node in nodes])
    mean = np.stack([column("row"), column("col")], -1)
    return NodeTraits(names, mean, column("std"), column("score") * part_like, loadings)
