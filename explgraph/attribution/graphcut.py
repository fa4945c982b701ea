"""From a map to the whole object: a minimum cut between the colours where it is high and low.

Simonyan, Vedaldi, Zisserman, "Deep inside convolutional networks", ICLR workshop 2014, section 3.2;
Boykov, Jolly, "Interactive graph cuts for optimal boundary and region segmentation of objects in
N-D images", ICCV 2001.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from explgraph.attribution.attribution import OneLine
from explgraph.attribution.boxes import AnyMap, boxes_of, checked_map, resample
from explgraph.errors import UsageError
from explgraph.images import Box, Frame

# Per mixture; Rother et al. 2004 (GrabCut), as neither Simonyan et al. nor Boykov and Jolly say.
COMPONENTS = 5
# lambda, not published; 50 (Rother et al.) cuts off all but the most distinct colours, measured in
# `segment`.
SMOOTHNESS = 5.0
SIDE = 112  # 160 and 224 find .01 and .02 more boxes in two and four times the time, as below
_OFFSETS = {4: ((0, 1), (1, 0)), 8: ((0, 1), (1, 0), (1, 1), (1, -1))}
# Variance added to each colour axis, so that a flat region's mixture stays finite.
_COLOUR_NOISE = (2 / 255) ** 2
_CAPACITY = 2**29  # of all edges together: flows and residuals of scipy are int32

Mask = Bool[np.ndarray, "height width"]
Colours = Float[np.ndarray, "height width 3"]
Values = Float[np.ndarray, "height width"]
Map = Float[np.ndarray, "height width"]


@dataclass(frozen=True, eq=False, repr=False)
class Segmentation(OneLine):
    """The object that a map points at.

    Args:
        mask: in the network input as it was given: the largest connected component of the
            foreground.
        box: (x, y, width, height) around it, in pixels of the photograph if a frame was given, else
            of the network input; None if the mask is empty.
    """

    mask: Mask
    box: Box | None


class Links(NamedTuple):
    """Pairs of neighbouring pixels.

    Args:
        first: numbers of one pixel of each, in reading order.
        second: of the other.
        weight: what it costs to part them.
    """

    first: Int[np.ndarray, " link"]
    second: Int[np.ndarray, " link"]
    weight: Float[np.ndarray, " link"]


def segment(
    image: ArrayLike,
    map: AnyMap,
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
    """The mask, and the box around it, of the object that the map's highest values lie on.

    The colours c of the pixels at or above the ``foreground`` quantile of the map give one
    Gaussian mixture, those at or below the ``background`` quantile another. The foreground F is the
    set of pixels that minimises

        E(F) = sum_{p in F} -log P(c_p | fg) + sum_{p not in F} -log P(c_p | bg)
               + sum_{pq parted} V_pq

    exactly, by a minimum cut (`contrast_links` gives V). The mask is its largest connected
    component. A map without contrast between the two quantiles (a constant one) seeds nothing: the
    mask is empty and there is no box.

    Measured with the saliency of SqueezeNet for the known class on 560 photographs of one zebra,
    lion or panda each, stretched to 224 x 224; share of boxes with IoU >= 0.5, mean of the classes
    (standard error 0.02): whole photograph .62, box around all pixels above the .95 quantile .75,
    `segment` .73, with hard seeds .72, with ``foreground`` .90 .76, with both .77; Grad-CAM's own
    boxes .70 at 0.15 of the maximum, .80 at 0.10. A fifth of them with ``smoothness`` 50: .39
    (5: .71).

    Args:
        image: (height, width, 3), uint8 RGB, the network input.
        map: (height, width), for the same pixels; any map that is high on the object.
        foreground: quantile of the map from which on a pixel's colour is the object's.
        background: quantile of the map up to which a pixel's colour is not.
        components: number of Gaussians in each mixture; fewer where the seeds have fewer colours.
        smoothness: lambda, the cost of parting two neighbours of equal colour, in nats; 0 judges
            every pixel by itself.
        connectivity: 4 or 8 neighbours of a pixel.
        hard_seeds: also fix the seeds' labels (Boykov and Jolly); by default they give the colours
            only (Simonyan et al.).
        side: pixels of the longest side at which the cut is made; larger inputs are averaged down,
            the mask is brought back.
        frame: the way to the photograph; with it, the padding of a letterbox is left out.
        mirrored: whether image and map are mirrored left to right; the box is then given as the
            photograph has it.
        seed: of the mixtures' start.

    Raises:
        UsageError: an impossible option, or image, map and frame do not fit each other.

    References:
        Simonyan et al. 2014, section 3.2 (quantiles, mixtures); Boykov and Jolly 2001, equations
        1-3 (the cut).

    >>> image = np.zeros((16, 16, 3), np.uint8)
    >>> image[4:12, 4:12] = 255
    >>> map = np.zeros((16, 16), np.float32)
    >>> map[6:10, 6:10] = 1
    >>> segment(image, map).box
    (4.0, 4.0, 8.0, 8.0)
    """
    if not 0 <= background < foreground <= 1:
        raise UsageError(
            "quantiles must be 0 <= background < foreground <= 1, "
            f"got {background} and {foreground}"
        )
    if components < 1 or side < 1:
        raise UsageError(f"components and side must be at least 1, got {components} and {side}")
    if connectivity not in _OFFSETS or not 0 <= smoothness < np.inf:
        raise UsageError(
            "connectivity must be 4 or 8, smoothness 0 or more and finite, "
            f"got {connectivity} and {smoothness}"
        )
    pixels, values = _checked(image, map, frame)
    left, top, width, height = frame.content if frame else (0, 0, values.shape[1], values.shape[0])
    shown = slice(top, top + height), slice(left, left + width)
    colours, low = _reduce(pixels[shown], values[shown], side)
    mask: Mask = np.zeros(values.shape, np.bool_)
    seeds = _seeds(low, foreground, background)
    if seeds is not None:
        unary = _unary(colours, seeds, components, seed)
        links = contrast_links(colours, smoothness=smoothness, connectivity=connectivity)
        if hard_seeds:
            unary = np.where(seeds[0], np.inf, np.where(seeds[1], -np.inf, unary))
        cut = minimum_cut(unary, links).astype(np.float32)
        mask[shown] = _largest(_resized(cut, (height, width)) >= 0.5)
    boxes = boxes_of(mask, threshold=1, frame=frame, mirrored=mirrored)
    return Segmentation(mask, boxes[0] if boxes else None)


def contrast_links(
    colours: Float[np.ndarray, "height width channel"],
    *,
    smoothness: float = SMOOTHNESS,
    connectivity: int = 8,
) -> Links:
    """The cost of parting neighbours: ``V_pq = lambda exp(-|c_p-c_q|^2 / (2 sigma^2)) / |p-q|``.

    ``sigma^2`` is the mean of ``|c_p - c_q|^2`` over all pairs of neighbours of the image.

    Args:
        colours: of every pixel.
        smoothness: lambda.
        connectivity: 4 or 8.

    References:
        Boykov and Jolly 2001, section 3 (B_pq); sigma as in Rother, Kolmogorov, Blake 2004
        ("GrabCut"), equation 5.

    >>> contrast_links(np.array([[[0.0], [0.0], [1.0]]]), smoothness=1, connectivity=4).weight
    array([1.        , 0.36787944])
    """
    height, width = colours.shape[:2]
    numbers = np.arange(height * width).reshape(height, width)
    firsts, seconds, distances = [], [], []
    for down, across in _OFFSETS[connectivity]:
        columns = slice(max(0, -across), width - max(0, across))
        first = numbers[: height - down, columns].ravel()
        firsts.append(first)
        seconds.append(first + down * width + across)
        distances.append(np.full(len(first), np.hypot(down, across)))
    one, other, distance = (np.concatenate(parts) for parts in (firsts, seconds, distances))
    flat = colours.reshape(height * width, -1)
    contrast = ((flat[one] - flat[other]) ** 2).sum(1)
    variance = contrast.mean() if contrast.any() else 1.0
    return Links(one, other, smoothness * np.exp(-contrast / (2 * variance)) / distance)


def minimum_cut(unary: Values, links: Links) -> Mask:
    """The smallest F that minimises ``sum_{p not in F} u_p + sum_{pq parted} V_pq``.

    Args:
        unary: u, what it costs to call a pixel background rather than foreground; infinite where
            the label is fixed.
        links: of neighbouring pixels, V >= 0; any pairs will do.

    References:
        Boykov and Jolly 2001, section 3. The flow is Dinic's; measured: 20 to 60 ms for 112 x 112
        pixels of 8 neighbours.

    >>> links = Links(np.array([0, 1]), np.array([1, 2]), np.array([5.0, 0.1]))
    >>> minimum_cut(np.array([[2.0, -1.0, -1.0]]), links)
    array([[ True,  True, False]])
    """
    n = unary.size
    source, sink = n, n + 1
    one, other, cost = links
    parting = np.bincount(one, cost, n) + np.bincount(other, cost, n)
    # A pixel whose preference outweighs all its links has its label anyway, so the limit changes no
    # minimum.
    bounded = np.clip(unary.ravel(), -parting - 1, parting + 1)
    scale = _CAPACITY / (np.abs(bounded).sum() + cost.sum() or 1.0)
    wanted, unwanted = np.flatnonzero(bounded > 0), np.flatnonzero(bounded < 0)
    rows = np.concatenate([one, other, np.full(len(wanted), source), unwanted])
    cols = np.concatenate([other, one, wanted, np.full(len(unwanted), sink)])
    costs = np.concatenate([cost, cost, bounded[wanted], -bounded[unwanted]])
    capacities = np.rint(costs * scale).astype(np.int32)
    edges = sparse.coo_matrix((capacities, (rows, cols)), shape=(n + 2, n + 2))
    graph = sparse.csr_matrix(edges)
    residual = graph - maximum_flow(graph, source, sink, method="dinic").flow
    reached = breadth_first_order(residual > 0, source, return_predecessors=False)
    label: NDArray[np.bool_] = np.zeros(n + 2, np.bool_)
    label[reached] = True
    return label[:n].reshape(unary.shape)


def _seeds(map: Map, foreground: float, background: float) -> tuple[Mask, Mask] | None:
    """Where the map is high and where it is low."""
    high, low = np.quantile(map, [foreground, background])
    # Inclusive, as a map of few values (a rectified one) may have its quantile at its maximum or
    # minimum; never both.
    above = (map >= high) & (map > low)
    return (above, map <= low) if above.any() else None


def _unary(colours: Colours, seeds: tuple[Mask, Mask], components: int, seed: int) -> Values:
    """log P(c | foreground) - log P(c | background)."""
    flat = colours.reshape(-1, 3)
    fore, back = (_mixture(colours[where], components, seed).score_samples(flat) for where in seeds)
    difference: Values = (fore - back).reshape(colours.shape[:2])
    return difference


def _mixture(colours: Float[np.ndarray, "pixel 3"], components: int, seed: int) -> Any:
    from sklearn.exceptions import ConvergenceWarning  # takes as long to import as all else here
    from sklearn.mixture import GaussianMixture

    distinct = len(np.unique(colours, axis=0))
    mixture = GaussianMixture(min(components, distinct), reg_covar=_COLOUR_NOISE, random_state=seed)
    if len(colours) == 1:
        colours = np.repeat(colours, 2, axis=0)  # scikit-learn asks for two samples
    with warnings.catch_warnings():
        # Colours that are almost the same, and an EM that still creeps: good enough as it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return mixture.fit(colours)


def _reduce(image: UInt8[np.ndarray, "height width 3"], map: Map, side: int) -> tuple[Colours, Map]:
    """Colours in 0..1 and the map, averaged down to at most ``side`` pixels each way."""
    planes = np.moveaxis(image, -1, 0).astype(np.float32) / 255
    stack: NDArray[np.float32] = np.concatenate([planes, map[None]])
    pitch = max(map.shape) / side
    if pitch > 1:
        height, width = (max(round(extent / pitch), 1) for extent in map.shape)
        stack = _resized(stack, (height, width))
    return np.moveaxis(stack[:3], 0, -1).astype(np.float64), stack[3]


def _resized(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """``maps`` (..., height, width) with ``size`` pixels, by the half-pixel rule of the frames."""
    rows, cols = (maps.shape[axis - 2] / size[axis] for axis in (0, 1))
    down, across = (np.arange(size[0]) + 0.5) * rows - 0.5, (np.arange(size[1]) + 0.5) * cols - 0.5
    return resample(maps, down, across, spread=(rows, cols))


def _largest(mask: Mask) -> Mask:
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    counts = np.bincount(labels[mask], minlength=1)
    largest: Mask = mask & (labels == counts.argmax())
    return largest


def _checked(
    image: ArrayLike, map: AnyMap, frame: Frame | None
) -> tuple[UInt8[np.ndarray, "height width 3"], Map]:
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise UsageError(
            "image must be uint8 (height, width, 3), the network input, "
            f"got {pixels.dtype} {pixels.shape}"
        )
    values = checked_map(map, None)
    if values.shape != pixels.shape[:2]:
        raise UsageError(
            "map must have a value for each pixel of the image, "
            f"{pixels.shape[:2]}, got {values.shape}"
        )
    if frame is not None and values.shape != (frame.height, frame.width):
        raise UsageError(
            f"the frame is of an input {(frame.height, frame.width)}, got {values.shape}; "
            "give this image's frame"
        )
    return pixels, values
