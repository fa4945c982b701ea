"""From a map to the whole object: colours learned where the map is high and where it is low, and a minimum cut between them.

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.2;
Boykov, Jolly, "Interactive graph cuts for optimal boundary and region segmentation of objects in N-D images", ICCV 2001.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from explgraph.attribution.boxes import boxes_of
from explgraph.attribution.resample import resample
from explgraph.errors import UsageError
from explgraph.images import Box, Frame

COMPONENTS = 5  # per mixture; Rother et al. 2004 (GrabCut), as neither Simonyan et al. nor Boykov and Jolly say
SMOOTHNESS = 5.0  # lambda, not published; 50 (Rother et al.) cuts off all but the most distinct colours, measured in `segment`
SIDE = 112  # 160 and 224 find .01 and .02 more boxes in two and four times the time; measured as in `segment`
_OFFSETS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}
_COLOUR_NOISE = (
    2 / 255
) ** 2  # variance added to each colour axis, so that a flat region's mixture stays finite
_CAPACITY = 2**29  # of all edges together: flows and residuals of scipy are int32


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The object that a map points at.

    Args:
        mask: (height, width), bool, in the network input as it was given: the largest connected component of the foreground.
        box: (x, y, width, height) around it, in pixels of the image if a frame was given, else of the network input; None if
            the mask is empty.
    """

    mask: NDArray[np.bool_]
    box: Box | None


class Links(NamedTuple):
    """Pairs of neighbouring pixels: their numbers in reading order, and what it costs to part them; arrays of equal length."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    weight: NDArray[np.float64]


def segment(
    image: ArrayLike,
    map: ArrayLike | torch.Tensor,
    *,
    foreground: float = 0.95,
    background: float = 0.30,
    components: int = COMPONENTS,
    smoothness: float = SMOOTHNESS,
    connectivity: int = 8,
    hard_seeds: bool = False,
    side: int = SIDE,
    frame: Frame | None = None,
    mirrored: bool = False,
    seed: int = 0,
) -> Segmentation:
    """Return the mask, and the box around it, of the object that the map's highest values lie on.

    The colours c of the pixels at or above the ``foreground`` quantile of the map give one Gaussian mixture, those at or
    below the ``background`` quantile another. The foreground F is the set of pixels that minimises

        E(F) = sum_{p in F} -log P(c_p | fg) + sum_{p not in F} -log P(c_p | bg) + sum_{pq parted} V_pq

    exactly, by a minimum cut (`contrast_links` gives V). The mask is its largest connected component. A map without
    contrast between the two quantiles (a constant one) seeds nothing: the mask is empty and there is no box.

    Measured with the saliency of SqueezeNet for the known class on 560 photographs of one zebra, lion or panda each, stretched to
    224 x 224; share of boxes with IoU >= 0.5, mean of the classes (standard error 0.02): whole photograph .62, box around all
    pixels above the .95 quantile .75, `segment` .73, with hard seeds .72, with ``foreground`` .90 .76, with both .77; Grad-CAM's
    own boxes .70 at 0.15 of the maximum, .80 at 0.10. A fifth of them with ``smoothness`` 50: .39 (5: .71).

    Args:
        image: (height, width, 3), uint8 RGB, the network input.
        map: (height, width), for the same pixels; any map that is high on the object.
        foreground: quantile of the map from which on a pixel's colour is the object's.
        background: quantile of the map up to which a pixel's colour is not.
        components: Gaussians in each mixture; fewer where the seeds have fewer colours.
        smoothness: lambda, the cost of parting two neighbours of equal colour, in nats; 0 judges every pixel by itself.
        connectivity: 4 or 8 neighbours of a pixel.
        hard_seeds: also fix the seeds' labels (Boykov and Jolly); by default they give the colours only (Simonyan et al.).
        side: pixels of the longest side at which the cut is made; larger inputs are averaged down, the mask is brought back.
        frame: the way to the image; with it, the padding of a letterbox is left out.
        mirrored: whether image and map are mirrored left to right; the box is then given as the photograph has it.
        seed: of the mixtures' start.

    Raises:
        UsageError: an impossible option, or image, map and frame do not fit each other.

    References:
        Simonyan et al. 2014, section 3.2 (quantiles, mixtures); Boykov and Jolly 2001, equations 1-3 (the cut).
    """
    _check(foreground, background, components, smoothness, connectivity, side)
    pixels, values = _checked(image, map, frame)
    left, top, width, height = frame.content if frame else (0, 0, values.shape[1], values.shape[0])
    shown = slice(top, top + height), slice(left, left + width)
    colours, low = _reduce(pixels[shown], values[shown], side)
    mask: NDArray[np.bool_] = np.zeros(values.shape, np.bool_)
    seeds = _seeds(low, foreground, background)
    if seeds is not None:
        unary = _unary(colours, *seeds, components, seed)
        links = contrast_links(colours, smoothness=smoothness, connectivity=connectivity)
        if hard_seeds:
            unary = np.where(seeds[0], np.inf, np.where(seeds[1], -np.inf, unary))
        mask[shown] = _largest(
            _resized(minimum_cut(unary, links).astype(np.float32), (height, width)) >= 0.5
        )
    boxes = boxes_of(mask, threshold=1, frame=frame, mirrored=mirrored)
    return Segmentation(mask, boxes[0] if boxes else None)


def contrast_links(
    colours: NDArray[np.float64], *, smoothness: float = SMOOTHNESS, connectivity: int = 8
) -> Links:
    """Return what it costs to part neighbouring pixels: ``V_pq = lambda exp(-|c_p - c_q|^2 / (2 sigma^2)) / |p - q|``.

    ``sigma^2`` is the mean of ``|c_p - c_q|^2`` over all pairs of neighbours of the image.

    Args:
        colours: (height, width, channels).
        smoothness: lambda.
        connectivity: 4 or 8.

    References:
        Boykov and Jolly 2001, section 3 (B_pq); sigma as in Rother, Kolmogorov, Blake 2004 ("GrabCut"), equation 5.
    """
    height, width = colours.shape[:2]
    numbers = np.arange(height * width).reshape(height, width)
    pairs = []
    for down, across in _OFFSETS[connectivity]:
        first = numbers[: height - down, max(0, -across) : width - max(0, across)].ravel()
        pairs.append(
            (first, first + down * width + across, np.full(len(first), np.hypot(down, across)))
        )
    one, other, distance = (np.concatenate(x) for x in zip(*pairs, strict=True))
    flat = colours.reshape(height * width, -1)
    contrast = ((flat[one] - flat[other]) ** 2).sum(1)
    variance = contrast.mean() if contrast.any() else 1.0
    return Links(one, other, smoothness * np.exp(-contrast / (2 * variance)) / distance)


def minimum_cut(unary: NDArray[np.float64], links: Links) -> NDArray[np.bool_]:
    """Return the foreground F that minimises ``sum_{p not in F} u_p + sum_{pq parted} V_pq``; of several the smallest.

    Args:
        unary: (height, width), u: what it costs to call a pixel background rather than foreground; infinite where the
            label is fixed.
        links: V >= 0, of neighbouring pixels; any pairs will do.

    References:
        Boykov and Jolly 2001, section 3. The flow is Dinic's; measured: 20 to 60 ms for 112 x 112 pixels of 8 neighbours.
    """
    n = unary.size
    source, sink = n, n + 1
    parting = np.bincount(links.first, links.weight, n) + np.bincount(links.second, links.weight, n)
    # A pixel whose preference outweighs all its links has its label anyway, so the limit changes no minimum.
    bounded = np.clip(unary.ravel(), -parting - 1, parting + 1)
    scale = _CAPACITY / (np.abs(bounded).sum() + links.weight.sum() or 1.0)
    pixels = np.arange(n)
    wanted, unwanted = bounded > 0, bounded < 0
    rows = np.concatenate(
        [links.first, links.second, np.full(wanted.sum(), source), pixels[unwanted]]
    )
    cols = np.concatenate(
        [links.second, links.first, pixels[wanted], np.full(unwanted.sum(), sink)]
    )
    costs = np.concatenate([links.weight, links.weight, bounded[wanted], -bounded[unwanted]])
    edges = sparse.coo_matrix(
        (np.rint(costs * scale).astype(np.int32), (rows, cols)), shape=(n + 2, n + 2)
    )
    graph = sparse.csr_matrix(edges)
    residual = graph - maximum_flow(graph, source, sink, method="dinic").flow
    reached = breadth_first_order(residual > 0, source, return_predecessors=False)
    label: NDArray[np.bool_] = np.zeros(n + 2, np.bool_)
    label[reached] = True
    return label[:n].reshape(unary.shape)


def _seeds(
    map: NDArray[np.float32], foreground: float, background: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
    high, low = np.quantile(map, [foreground, background])
    # Inclusive, as a map of few values (a rectified one) may have its quantile at its maximum or minimum; never both.
    above = (map >= high) & (map > low)
    return (above, map <= low) if above.any() else None


def _unary(
    colours: NDArray[np.float64],
    above: NDArray[np.bool_],
    below: NDArray[np.bool_],
    components: int,
    seed: int,
) -> NDArray[np.float64]:
    """Return (height, width): log P(c | foreground) - log P(c | background)."""
    flat = colours.reshape(-1, 3)
    log_p = [
        _mixture(colours[where], components, seed).score_samples(flat) for where in (above, below)
    ]
    difference: NDArray[np.float64] = (log_p[0] - log_p[1]).reshape(above.shape)
    return difference


def _mixture(colours: NDArray[np.float64], components: int, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # takes as long to import as all else here
    from sklearn.mixture import GaussianMixture

    distinct = len(np.unique(colours, axis=0))
    mixture = GaussianMixture(min(components, distinct), reg_covar=_COLOUR_NOISE, random_state=seed)
    with warnings.catch_warnings():
        # Colours that are almost the same, and an EM that still creeps: the mixture is good enough as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(np.repeat(colours, 2, axis=0) if len(colours) == 1 else colours)


def _reduce(
    image: NDArray[np.uint8], map: NDArray[np.float32], side: int
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return the colours (height, width, 3) in 0..1 and the map, averaged down to at most ``side`` pixels each way."""
    stack: NDArray[np.float32] = np.concatenate(
        [np.moveaxis(image, -1, 0).astype(np.float32) / 255, map[None]]
    )
    if (pitch := max(map.shape) / side) > 1:
        stack = _resized(
            stack, (max(round(map.shape[0] / pitch), 1), max(round(map.shape[1] / pitch), 1))
        )
    return np.moveaxis(stack[:3], 0, -1).astype(np.float64), stack[3]


def _resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return ``maps`` (..., height, width) with ``size`` pixels of equal steps, by the half-pixel rule of the frames."""
    rows, cols = (maps.shape[axis - 2] / size[axis] for axis in (0, 1))
    down, across = (np.arange(size[0]) + 0.5) * rows - 0.5, (np.arange(size[1]) + 0.5) * cols - 0.5
    return resample(maps, down, across, spread=(rows, cols))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    counts = np.bincount(labels[mask], minlength=1)
    largest: NDArray[np.bool_] = mask & (labels == counts.argmax())
    return largest


def _checked(
    image: ArrayLike, map: ArrayLike | torch.Tensor, frame: Frame | None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    pixels = np.asarray(image)
    values = np.asarray(
        map.detach().cpu() if isinstance(map, torch.Tensor) else map, dtype=np.float32
    )
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UsageError(
            f"image must be uint8 (height, width, 3), the network input, got {pixels.dtype} {pixels.shape}"
        )
    if values.shape != pixels.shape[:2]:
        raise UsageError(
            f"map must have a value for each pixel of the image, {pixels.shape[:2]}, got {values.shape}"
        )
    if frame is not None and values.shape != (frame.height, frame.width):
        raise UsageError(
            f"the frame is of an input {(frame.height, frame.width)}, got {values.shape}; give this image's frame"
        )
    if not np.isfinite(values).all():
        raise UsageError("map must be finite, got NaN or infinity; check the network's weights")
    return pixels, values


def _check(
    foreground: float,
    background: float,
    components: int,
    smoothness: float,
    connectivity: int,
    side: int,
) -> None:
    if not 0 <= background < foreground <= 1:
        raise UsageError(
            f"quantiles must be 0 <= background < foreground <= 1, got {background} and {foreground}"
        )
    if components < 1 or side < 1:
        raise UsageError(f"components and side must be at least 1, got {components} and {side}")
    if connectivity not in _OFFSETS or not 0 <= smoothness < np.inf:
        raise UsageError(
            f"connectivity must be 4 or 8, smoothness 0 or more and finite, got {connectivity} and {smoothness}"
        )
