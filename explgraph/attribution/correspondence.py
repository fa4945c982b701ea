"""Correspondence: whether a network changes in the same way when the same part is hidden in different images.

Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.4 of arXiv 1311.2901.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from explgraph.attribution.forward import Images, network_input
from explgraph.errors import UsageError
from explgraph.network import Network, evaluation_mode, feature_maps

_BLOCK = 2**16  # dimensions multiplied at a time: the float copies of the signs stay small

Signs = NDArray[np.int8]
Extents = NDArray[np.int64]  # (n, 4): left, top, width, height in whole pixels


@dataclass(frozen=True)
class Correspondence:
    """How differently a layer answers to hiding one part in different images, and to hiding what is no part.

    Args:
        layer: dotted torch name.
        part: what was hidden.
        n_images: images in which it could be hidden.
        pairs: pairs of these images.
        mean: distance of a pair, mean over the pairs; 0 where all images change alike.
        std: its standard deviation over the pairs. Pairs share images, so std / sqrt(pairs) understates the error of the mean.
        random_mean: the mean distance when boxes of the same sizes are hidden at random places instead.
        random_error: its standard deviation from one repetition to another; NaN if there is but one.
        shuffled_mean: the mean distance when every image gets the box of another image: the part's places without the part.
        shuffled_error: as ``random_error``.
    """

    layer: str
    part: str
    n_images: int
    pairs: int
    mean: float
    std: float
    random_mean: float
    random_error: float
    shuffled_mean: float
    shuffled_error: float


def correspondence(
    network: Network,
    images: Images,
    masks: Mapping[str, ArrayLike],
    layers: Sequence[str],
    *,
    window: int | None = None,
    n_random: int = 5,
    seed: int = 0,
    batch_size: int = 32,
) -> list[Correspondence]:
    """Return for each part and layer the mean distance between the changes that hiding the part makes in two images.

    ``eps_i = x_i - x~_i`` is the change of the layer when the part is hidden in image i, and the distance of a pair is
    ``H(sign eps_i, sign eps_j)``: the share of the layer's units whose signs (+, 0, -) differ. The lower, the more the
    network relates the part of one image to that of the other. What is hidden turns grey: the mean colour of the network, 0
    of its input.

    Signs are compared unit by unit, and units have places. Over whole maps most units are 0 in both images, and the distance
    tells how far the masks overlap and how much of them lies at the border, whatever they hide: below ``random_mean`` is not
    yet correspondence, below ``shuffled_mean`` is. A ``window`` that moves with the mask takes the places out. Measured on the
    heads of 60 zebras, SqueezeNet's features.10: .098, .145 random, .098 shuffled; in a window of 1: .288, .313, .311;
    their legs, and heads and legs of lions, come no nearer there than shuffled boxes.

    Args:
        network: its layers must yield maps.
        images: RGB, uint8 (n, height, width, 3); or the network's input itself, floating point (n, 3, height, width). Turn them
            to one facing first.
        masks: part -> (n, 4), one box (x, y, width, height) per image, in pixels of the network input; NaN where the image does
            not show the part, which leaves the image out for this part. The pixels whose centres lie inside are hidden.
        layers: dotted torch names, of layers that yield maps.
        window: compare only the cells up to so many away from the one at the centre of the mask, cells beyond the map as
            unchanged; None compares whole maps, as the paper does.
        n_random: repetitions of each control. In the random one, every image has a box as large as its part's at a place drawn
            evenly from all that lie inside the input, on the part or off it.
        seed: of the controls; a part's do not depend on the other parts.
        batch_size: images per forward pass.

    Raises:
        UsageError: boxes of another shape or outside of the input, fewer than two images with a part, or impossible numbers.
        LayerError: a layer is unknown or yields no maps.

    References:
        Zeiler and Fergus 2014, section 4.4 (their Delta sums the distances over the pairs; table 1 gives means).
    """
    if n_random < 1 or batch_size < 1 or (window is not None and window < 0):
        raise UsageError(
            f"n_random and batch_size must be at least 1, window 0 or more, got {n_random}, {batch_size} and {window}"
        )
    if not masks:
        raise UsageError("name at least one part and its masks, got none")
    height, width = network_input(network, images[:1]).shape[2:]
    extents = {
        part: _extents(part, boxes, len(images), height, width) for part, boxes in masks.items()
    }
    ask = _Asking(network, layers, window, batch_size)
    table = []
    for part, (shown, own) in extents.items():
        rng = np.random.default_rng(seed)
        random = [_scatter(own, height, width, rng) for _ in range(n_random)]
        shuffled = [_deal_anew(own, rng) for _ in range(n_random)]
        distances = [_distances(ask, images[shown], hidden) for hidden in (own, *random, *shuffled)]
        table += [
            _record(layer, part, len(shown), [x[layer] for x in distances]) for layer in layers
        ]
    return table


def pair_distances(signs: Signs) -> NDArray[np.float64]:
    """Return the share of dimensions in which two rows differ, for all pairs i < j, (n (n - 1) / 2,).

    With s the signs and a = |s|, a pair differs in ``sum a_i + sum a_j - (3 a_i . a_j + s_i . s_j) / 2`` dimensions: all that
    are not 0 in one of them, less those equal in both. Two matrix products, exact in whole numbers.

    Args:
        signs: (n, dimensions), each -1, 0 or 1.

    >>> pair_distances(np.array([[1, 0, -1, 1], [1, 0, 1, 0], [1, 0, -1, 1]], np.int8)).tolist()
    [0.5, 0.0, 0.5]
    """
    n, dimensions = signs.shape
    both, agreed = np.zeros((n, n)), np.zeros((n, n))
    for start in range(0, dimensions, _BLOCK):
        block = signs[:, start : start + _BLOCK].astype(np.float32)  # counts up to 65,536 are exact
        agreed += block @ block.T
        both += (size := np.abs(block)) @ size.T
    changed = both.diagonal()
    differing = changed[:, None] + changed - (3 * both + agreed) / 2
    shares: NDArray[np.float64] = differing[np.triu_indices(n, 1)] / dimensions
    return shares


def hide(inputs: torch.Tensor, extents: Extents) -> torch.Tensor:
    """Return a copy of the network inputs (n, 3, height, width) that is 0, the mean colour, inside the ``extents``."""
    left, top, width, height = torch.as_tensor(extents, device=inputs.device).T[:, :, None]
    rows, cols = (torch.arange(size, device=inputs.device) for size in inputs.shape[2:])
    inside = ((rows >= top) & (rows < top + height))[:, None, :, None] & (
        (cols >= left) & (cols < left + width)
    )[:, None, None]
    return inputs.clone().masked_fill_(
        inside, 0.0
    )  # of one memory layout with ``inputs``, see `_signs`


@dataclass(frozen=True)
class _Asking:
    network: Network
    layers: Sequence[str]
    window: int | None
    batch_size: int


def _distances(ask: _Asking, images: Images, extents: Extents) -> dict[str, NDArray[np.float64]]:
    """Return layer -> (pairs,); the signs of one set of masks are held at a time, a byte per unit and image."""
    batches = [
        slice(start, start + ask.batch_size) for start in range(0, len(images), ask.batch_size)
    ]
    with evaluation_mode(ask.network.model), torch.no_grad():
        parts = [_signs(ask, network_input(ask.network, images[x]), extents[x]) for x in batches]
    return {
        layer: pair_distances(np.concatenate([part[layer] for part in parts]))
        for layer in ask.layers
    }


def _signs(ask: _Asking, inputs: torch.Tensor, extents: Extents) -> dict[str, Signs]:
    """Return layer -> (n, units): sign(x - x~), of the cells asked for."""
    # Two passes of one shape and layout: units that the mask does not reach come out equal to the last bit, and their sign is 0.
    whole, masked = (
        feature_maps(ask.network.model, x, ask.layers, model_name=ask.network.name)
        for x in (inputs, hide(inputs, extents))
    )
    signs = {layer: (whole[layer] - masked[layer]).sign().to(torch.int8) for layer in ask.layers}
    if ask.window is not None:
        centres = (extents[:, [1, 0]] + extents[:, [3, 2]] / 2) / tuple(inputs.shape[2:])
        signs = {layer: _cut_out(maps, centres, ask.window) for layer, maps in signs.items()}
    return {layer: maps.flatten(1).cpu().numpy() for layer, maps in signs.items()}


def _cut_out(maps: torch.Tensor, centres: NDArray[np.float64], reach: int) -> torch.Tensor:
    """Return (n, 2 reach + 1, 2 reach + 1, channels): the cells about ``centres`` (n, 2), (row, column) in fractions."""
    padded = torch.nn.functional.pad(maps, (reach,) * 4)
    first = torch.as_tensor(
        (centres * tuple(maps.shape[2:])).astype(np.int64), device=maps.device
    )  # after padding
    steps = torch.arange(2 * reach + 1, device=maps.device)
    rows, cols = first[:, :1] + steps, first[:, 1:] + steps
    return padded.permute(0, 2, 3, 1)[
        torch.arange(len(maps), device=maps.device)[:, None, None], rows[:, :, None], cols[:, None]
    ]


def _record(
    layer: str, part: str, n_images: int, distances: list[NDArray[np.float64]]
) -> Correspondence:
    """Return the record of the part's own distances, those of the random controls, and those of as many shuffled ones."""
    own, controls = distances[0], [float(x.mean()) for x in distances[1:]]
    half = len(controls) // 2
    means = [float(np.mean(x)) for x in (controls[:half], controls[half:])]
    errors = [
        float(np.std(x, ddof=1)) if half > 1 else float("nan")
        for x in (controls[:half], controls[half:])
    ]
    return Correspondence(
        layer,
        part,
        n_images,
        len(own),
        float(own.mean()),
        float(own.std()),
        means[0],
        errors[0],
        means[1],
        errors[1],
    )


def _deal_anew(extents: Extents, rng: np.random.Generator) -> Extents:
    """Return the same boxes, each at another image: along a random ring through all of them."""
    dealt, ring = np.empty_like(extents), rng.permutation(len(extents))
    dealt[ring] = extents[np.roll(ring, 1)]
    return dealt


def _scatter(extents: Extents, height: int, width: int, rng: np.random.Generator) -> Extents:
    """Return boxes of the same sizes at random places inside the input."""
    sizes = extents[:, 2:]
    return np.concatenate([rng.integers(0, (width, height) - sizes, endpoint=True), sizes], axis=1)


def _extents(
    part: str, boxes: ArrayLike, n: int, height: int, width: int
) -> tuple[NDArray[np.int64], Extents]:
    """Return the numbers of the images that show the part, and what of it lies in the input, in whole pixels."""
    values = np.asarray(boxes, dtype=np.float64)
    if values.shape != (n, 4):
        raise UsageError(
            f"masks of {part!r} must be one (x, y, width, height) per image, shape {(n, 4)}, got {values.shape}; "
            "give NaN for images without the part"
        )
    if np.isinf(values).any():
        raise UsageError(
            f"masks of {part!r} must be finite, or NaN for images without the part, got infinity"
        )
    shown = np.flatnonzero(~np.isnan(values).any(1))
    if len(shown) < 2:
        raise UsageError(
            f"{part!r} must be in at least 2 images to be compared, got {len(shown)}; give more, or leave it out"
        )
    # A pixel's centre is at index + 0.5, see explgraph.images.frame.
    corners = np.stack([values[shown, :2], values[shown, :2] + values[shown, 2:]])
    first, last = np.ceil(np.clip(corners, 0, (width, height)) - 0.5).astype(np.int64)
    if (empty := (last <= first).any(1)).any():
        raise UsageError(
            f"each mask must cover a pixel of the {width} x {height} input, but that of {part!r} in image {shown[empty][0]} "
            f"is {tuple(values[shown[empty][0]].tolist())}; give pixels of the network input, NaN where the part is missing"
        )
    return shown, np.concatenate([first, last - first], axis=1)
