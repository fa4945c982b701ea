"""The nodes of an explanatory graph as maps: where a layer's patterns are, and what a node looks at.

Zhang, Cao, Shi, Wu, Zhu, "Interpreting CNN knowledge via an explanatory graph", AAAI 2018, figure 5: heat maps of the top 50 % of a
layer's nodes.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from explgraph.errors import UsageError
from explgraph.graph import ExplanatoryGraph, Layer

MARGIN = 0.05  # measured: docs/benchmarks.md
TOP_SHARE = 0.5  # share of a layer's nodes that the published heat maps show


def node_heat_map(
    graph: ExplanatoryGraph,
    layer: str,
    places: ArrayLike,
    scores: ArrayLike,
    *,
    nodes: tuple[str, ...],
    input_size: tuple[int, int],
    top: float = TOP_SHARE,
) -> Tensor:
    """Return where the best nodes of a layer are in each image: ``sum_V S_V N(p; p_V, sigma_V)`` over the ``top`` share by S_V.

    Args:
        graph: holds sigma_V.
        layer: one of its layers.
        places: (n, nodes, 2), (row, column), fractions of the input, as in `explgraph.locations.locator.NodeLocations`.
        scores: (n, nodes), S_V.
        nodes: ids in the order of both.
        input_size: (height, width) of the maps, pixels.
        top: share of the layer's nodes that counts in each image, above 0, at most 1.

    Returns:
        (n, height, width), float32; a node's mass is its score, however wide it is (mass beyond the border is lost).

    Raises:
        GraphError: the graph has no such layer or node.
        UsageError: the shapes do not fit, a place or score is not finite, or an impossible share.
    """
    place, score = np.asarray(places, np.float32), np.asarray(scores, np.float32)
    if score.ndim != 2 or score.shape[1] != len(nodes) or place.shape != (*score.shape, 2):
        raise UsageError(
            f"places and scores must be (n, {len(nodes)}, 2) and (n, {len(nodes)}), got {place.shape} and {score.shape}"
        )
    if not (np.isfinite(place).all() and np.isfinite(score).all()):
        raise UsageError("places and scores must be finite, got NaN or infinity")
    if not 0 < top <= 1:
        raise UsageError(f"top must be a share above 0, at most 1, got {top}")
    graph.layer(layer)
    chosen = [k for k, name in enumerate(nodes) if graph.node(name)["layer"] == layer]
    if not chosen:
        return torch.zeros(len(score), *input_size)
    std = np.array([graph.node(nodes[k])["std"] for k in chosen], np.float32)
    n_best = max(1, round(top * len(chosen)))
    maps = [
        _mixture(place[i, chosen], score[i, chosen], std, n_best, input_size)
        for i in range(len(score))
    ]
    return torch.from_numpy(np.stack(maps)) if maps else torch.zeros(0, *input_size)


def node_box(
    places: ArrayLike, scores: ArrayLike, *, margin: float = MARGIN
) -> tuple[float, float, float, float]:
    """Return the box (x, y, width, height), fractions of the input, that holds the nodes but for the outermost.

    Along each axis from the ``margin`` to the 1 - ``margin`` quantile of the places, weighted by the scores. As a box around the whole
    object it fits as well as Grad-CAM's, without a class being asked for, unless the object is small (measured: docs/benchmarks.md);
    boxes around a heat map's peak do not, for the best nodes crowd on the head.

    Args:
        places: (nodes, 2), (row, column), fractions of the input.
        scores: (nodes,), 0 or more.
        margin: share of the score that is left out at each end, 0 or more and below 0.5.

    Raises:
        UsageError: shapes that do not fit, nothing seen, or an impossible margin.
    """
    place, score = np.asarray(places, np.float64), np.asarray(scores, np.float64)
    if (
        place.shape != (len(score), 2)
        or not np.isfinite(place).all()
        or not (np.isfinite(score).all() and (score >= 0).all())
    ):
        raise UsageError(
            f"places must be finite (nodes, 2) and scores (nodes,) of 0 or more, got {place.shape} and {score.shape}"
        )
    if not 0 <= margin < 0.5 or not score.any():
        raise UsageError(
            f"margin must be 0 or more and below 0.5, and a node be seen, got {margin} and a total score of {score.sum()}"
        )
    limits = []
    for axis in (0, 1):
        order = np.argsort(place[:, axis], kind="stable")
        share = np.cumsum(score[order])
        at = np.searchsorted(share, np.array([margin, 1 - margin]) * share[-1]).clip(
            max=len(order) - 1
        )
        limits.append(place[order[at], axis])
    (top, bottom), (left, right) = limits
    return float(left), float(top), float(right - left), float(bottom - top)


def receptive_field(
    layer: Layer, place: ArrayLike, *, input_size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return the box (x, y, width, height), pixels of the network input, that a layer's cell at ``place`` sees.

    Args:
        layer: its receptive field's extent; unlimited ones see the whole input.
        place: (row, column), fraction of the input.
        input_size: (height, width), pixels; the box is cut off at the border.
    """
    centre = np.asarray(place, np.float64) * input_size
    low, high = (
        np.maximum(centre - np.array(layer.size) / 2, 0),
        np.minimum(centre + np.array(layer.size) / 2, input_size),
    )
    return (
        float(low[1]),
        float(low[0]),
        float(max(high[1] - low[1], 0)),
        float(max(high[0] - low[0], 0)),
    )


def _mixture(
    place: NDArray[np.float32],
    score: NDArray[np.float32],
    std: NDArray[np.float32],
    n_best: int,
    size: tuple[int, int],
) -> NDArray[np.float32]:
    best = np.argsort(-score, kind="stable")[:n_best]
    axes = []
    for axis in (0, 1):
        centres = (np.arange(size[axis], dtype=np.float32) + 0.5) / size[axis]
        distance = (centres - place[best, axis, None]) / std[best, None]
        axes.append(
            np.exp(-(distance**2) / 2) / (std[best, None] * size[axis] * np.sqrt(2 * np.pi))
        )
    mixed: NDArray[np.float32] = ((axes[0] * score[best, None]).T @ axes[1]).astype(
        np.float32
    )  # the Gaussian is separable
    return mixed
