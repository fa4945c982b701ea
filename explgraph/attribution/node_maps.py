"""The nodes of an explanatory graph as maps: where a layer's patterns are, what a node looks at.

Zhang, Cao, Shi, Wu, Zhu, "Interpreting CNN knowledge via an explanatory graph", AAAI 2018, figure
5: heat maps of the top 50 % of a layer's nodes.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from explgraph.errors import UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.images import Box

MARGIN = 0.05  # measured: docs/benchmarks.md
TOP_SHARE = 0.5  # of a layer's nodes, as the published heat maps show


def node_heat_map(
    graph: ExplanatoryGraph,
    layer: str,
    places: ArrayLike,
    scores: ArrayLike,
    *,
    nodes: tuple[str, ...],
    input_size: tuple[int, int],
    top: float = TOP_SHARE,
) -> Float[Tensor, "image height width"]:
    """Where a layer's best nodes are in each image: ``sum_V S_V N(p; p_V, sigma_V)``.

    The sum is over the ``top`` share by S_V. A node's mass is its score, however wide it is; mass
    beyond the border is lost.

    Args:
        graph: holds sigma_V.
        layer: one of its layers.
        places: (n, nodes, 2), (row, column), fractions of the input, as in
            `explgraph.locations.NodeLocations`.
        scores: (n, nodes), S_V.
        nodes: ids in the order of both.
        input_size: (height, width) of the maps, pixels.
        top: share of the layer's nodes that counts in each image, above 0, at most 1.

    Raises:
        GraphError: the graph has no such layer or node.
        UsageError: the shapes do not fit, a place or score is not finite, or an impossible share.

    >>> from explgraph.locations import locate_images
    >>> found = locate_images(network, x, graph)
    >>> size, layer = network.input.size, graph.layers[0].name
    >>> node_heat_map(
    ...     graph, layer, found.place, found.score, nodes=found.nodes, input_size=size
    ... ).shape
    torch.Size([2, 112, 112])
    """
    place, score = np.asarray(places, np.float32), np.asarray(scores, np.float32)
    if score.ndim != 2 or score.shape[1] != len(nodes) or place.shape != (*score.shape, 2):
        raise UsageError(
            f"places and scores must be (n, {len(nodes)}, 2) and (n, {len(nodes)}), "
            f"got {place.shape} and {score.shape}"
        )
    if not (np.isfinite(place).all() and np.isfinite(score).all()):
        raise UsageError("places and scores must be finite, got NaN or infinity")
    if not 0 < top <= 1:
        raise UsageError(f"top must be a share above 0, at most 1, got {top}")
    # Raises if there is none: a layer without nodes is no error, and has a map of zeros.
    graph.layer(layer)
    attributes = [graph.node(name) for name in nodes]
    chosen = [k for k, one in enumerate(attributes) if one["layer"] == layer]
    maps = np.zeros((len(score), *input_size), np.float32)
    if chosen:
        std = np.array([attributes[k]["std"] for k in chosen], np.float32)
        # A share, not a number: layers have from tens to thousands of nodes.
        n_best = max(1, round(top * len(chosen)))
        for k in range(len(score)):
            best = np.argsort(-score[k, chosen], kind="stable")[:n_best]
            at = np.array(chosen)[best]
            maps[k] = _mixture(place[k, at], score[k, at], std[best], input_size)
    return torch.from_numpy(maps)


def node_box(places: ArrayLike, scores: ArrayLike, *, margin: float = MARGIN) -> Box:
    """The box (x, y, width, height), fractions of the input, of all but the outermost nodes.

    Along each axis from the ``margin`` to the 1 - ``margin`` quantile of the places, weighted by
    the scores. As a box around the whole object it fits as well as Grad-CAM's, without a class
    being asked for, unless the object is small (measured: docs/benchmarks.md). Boxes around a heat
    map's peak do not, for the best nodes crowd on the head.

    Args:
        places: (nodes, 2), (row, column), fractions of the input.
        scores: (nodes,), 0 or more.
        margin: share of the score that is left out at each end, 0 or more and below 0.5.

    Raises:
        UsageError: shapes that do not fit, a total score of 0, or an impossible margin.

    >>> node_box([[0.25, 0.5], [0.75, 0.625], [0.9, 0.9]], [1.0, 1.0, 0.0])
    (0.5, 0.25, 0.125, 0.5)
    """
    place, score = np.asarray(places, np.float64), np.asarray(scores, np.float64)
    finite = np.isfinite(place).all() and np.isfinite(score).all()
    if place.shape != (len(score), 2) or not finite or (score < 0).any():
        raise UsageError(
            "places must be finite (nodes, 2) and scores (nodes,) of 0 or more, "
            f"got {place.shape} and {score.shape}"
        )
    if not 0 <= margin < 0.5 or not score.any():
        raise UsageError(
            "margin must be 0 or more and below 0.5, and a score above 0, "
            f"got {margin} and a total score of {score.sum()}"
        )
    # Quantiles and not the outermost: a single node found in the background would stretch the box.
    limits = []
    for axis in (0, 1):
        order = np.argsort(place[:, axis], kind="stable")
        share = np.cumsum(score[order])
        wanted = np.array([margin, 1 - margin]) * share[-1]
        # The last one may be missed by rounding of the sum.
        at = np.searchsorted(share, wanted).clip(max=len(order) - 1)
        limits.append(place[order[at], axis])
    return _box(*np.stack(limits, axis=1))


def receptive_field(layer: Layer, place: ArrayLike, *, input_size: tuple[int, int]) -> Box:
    """The box (x, y, width, height), pixels of the network input, that a cell at ``place`` sees.

    Args:
        layer: its receptive field's extent; unlimited ones see the whole input.
        place: (row, column), fraction of the input.
        input_size: (height, width), pixels; the box is cut off at the border.

    >>> layer = Layer("conv", 8, 4, 6, (8.0, 8.0), (4.0, 4.0), (12.0, 12.0))
    >>> receptive_field(layer, (0.5, 0.0), input_size=(32, 48))
    (0.0, 10.0, 6.0, 12.0)
    """
    centre, half = np.asarray(place, np.float64) * input_size, np.array(layer.size) / 2
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, input_size)
    return _box(low, np.maximum(high, low))


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    """From two corners, (row, column)."""
    (top, left), (height, width) = low.tolist(), (high - low).tolist()
    return left, top, width, height


def _mixture(
    place: Float[np.ndarray, "node 2"],
    score: Float[np.ndarray, " node"],
    std: Float[np.ndarray, " node"],
    size: tuple[int, int],
) -> Float[np.ndarray, "height width"]:
    # The Gaussian is separable: a product of one factor per axis.
    factors = []
    for axis in (0, 1):
        centres = (np.arange(size[axis], dtype=np.float32) + 0.5) / size[axis]
        distance = (centres - place[:, axis, None]) / std[:, None]
        # Of mass 1: a node of wide spread is fainter, not stronger.
        norm = std[:, None] * size[axis] * np.sqrt(2 * np.pi)
        factors.append(np.exp(-(distance**2) / 2) / norm)
    mixed: NDArray[np.float32] = ((factors[0] * score[:, None]).T @ factors[1]).astype(np.float32)
    return mixed
