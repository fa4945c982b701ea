"""Correspondence: does a network change alike when the same part is hidden in different images?

Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, section 4.4 of
arXiv 1311.2901.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import numpy as np
import torch
from jaxtyping import Float, Int, Int8
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from explgraph.attribution.shown import Batch, input_size, network_input
from explgraph.attribution.target import is_single
from explgraph.errors import UsageError
from explgraph.network import Model, Network, evaluation_mode, feature_maps, wrap

_BLOCK = 2**16  # units multiplied at a time: the float copies of the signs stay small

Arrays = Tensor | NDArray[np.uint8]
Signs = Int8[np.ndarray, "image unit"]
Extents = Int[np.ndarray, "image 4"]  # left, top, width, height in whole pixels
Distances = Float[np.ndarray, " pair"]


@dataclass(frozen=True)
class Correspondence:
    """How differently a layer answers to hiding one part in different images.

    Args:
        layer: dotted torch name.
        part: what was hidden.
        n_images: images in which it could be hidden.
        pairs: pairs of these images.
        mean: distance of a pair, mean over the pairs; 0 where all images change alike.
        std: its standard deviation over the pairs. Pairs share images, so std / sqrt(pairs)
            understates the error of the mean.
        random_mean: the mean distance when boxes of the same sizes are hidden at random places.
        random_error: its standard deviation from one repetition to another; NaN if there is one.
        shuffled_mean: the mean distance when every image gets the box of another image: the part's
            places without the part.
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
    model: Model,
    images: Arrays,
    masks: Mapping[str, ArrayLike],
    layers: Sequence[str],
    *,
    window: int | None = None,
    n_random: int = 5,
    seed: int = 0,
    batch_size: int = 32,
) -> list[Correspondence]:
    """For each part and layer, the mean distance of the changes that hiding the part makes.

    ``eps_i = x_i - x~_i`` is the change of the layer when the part is hidden in image i. The
    distance of two images is ``H(sign eps_i, sign eps_j)``: the share of the layer's units whose
    signs (+, 0, -) differ. The lower, the more the network relates the part of one image to that
    of the other. What is hidden turns grey: the mean colour of the network, 0 of its input.

    Signs are compared unit by unit, and units have places. Over whole maps most units are 0 in
    both images. The distance then tells how far the masks overlap and how much of them lies at the
    border, whatever they hide: below ``random_mean`` is not yet correspondence, below
    ``shuffled_mean`` is. A ``window`` that moves with the mask takes the places out. Measured on
    the heads of 60 zebras, SqueezeNet's features.10: .098, .145 random, .098 shuffled; in a window
    of 1: .288, .313, .311. Their legs, and heads and legs of lions, come no nearer there than
    shuffled boxes.

    Args:
        model: a network or a module; its layers must yield maps, or vectors (the paper's l = 7).
        images: see `explgraph.attribution.network_input`; turn them to one facing first.
        masks: part -> (n, 4), one box (x, y, width, height) per image, in pixels of the network
            input; NaN where the image does not show the part, which leaves the image out for this
            part. The pixels whose centres lie inside are hidden.
        layers: dotted torch names, of layers that yield maps or vectors.
        window: compare only the cells up to so many away from the one at the centre of the mask,
            cells beyond the map as unchanged; None compares whole maps, as the paper does.
        n_random: repetitions of each control. In the random one, every image has a box as large as
            its part's at a place drawn evenly from all that lie inside the input.
        seed: of the controls; a part's do not depend on the other parts.
        batch_size: images per forward pass.

    Raises:
        UsageError: boxes of another shape or outside of the input, fewer than two images with a
            part, or impossible numbers.
        LayerError: a layer is unknown or yields no maps.

    References:
        Zeiler and Fergus 2014, section 4.4 (their Delta sums the distances over the pairs; table 1
        gives means).

    >>> head = [(40, 20, 24, 24), (44, 18, 24, 24)]
    >>> (one,) = correspondence(network, x, {"head": head}, ["features.14"], n_random=2)
    >>> one.part, one.pairs
    ('head', 1)
    """
    if n_random < 1 or batch_size < 1 or (window is not None and window < 0):
        raise UsageError(
            "n_random and batch_size must be at least 1, window 0 or more, "
            f"got {n_random}, {batch_size} and {window}"
        )
    if not masks:
        raise UsageError("name at least one part and its masks, got none")
    network = wrap(model)
    size = input_size(network_input(network, images[:1]))
    extents = {part: _extents(part, boxes, len(images), size) for part, boxes in masks.items()}
    hiding = _Hiding(network, layers, window, batch_size)
    table = []
    for part, (shown, own) in extents.items():
        # The same draws for every part: a part's figures do not depend on the others asked for.
        rng = np.random.default_rng(seed)
        # Two controls. Random places tell what any square does; boxes of other images tell what the
        # places in which this part mostly lies do.
        random = [_scatter(own, size, rng) for _ in range(n_random)]
        shuffled = [_deal_anew(own, rng) for _ in range(n_random)]
        found = [hiding.distances(images[shown], hidden) for hidden in (own, *random, *shuffled)]
        table += [_record(layer, part, len(shown), [x[layer] for x in found]) for layer in layers]
    return table


def pair_distances(signs: Signs) -> Distances:
    """The share of units in which two images differ, for all pairs i < j.

    With s the signs and a = |s|, a pair differs in
    ``sum a_i + sum a_j - (3 a_i . a_j + s_i . s_j) / 2`` units: all that are not 0 in one of them,
    less those equal in both. Two matrix products, exact in whole numbers.

    Args:
        signs: each -1, 0 or 1.

    >>> pair_distances(np.array([[1, 0, -1, 1], [1, 0, 1, 0], [1, 0, -1, 1]], np.int8)).tolist()
    [0.5, 0.0, 0.5]
    """
    n, n_units = signs.shape
    both, agreed = np.zeros((n, n)), np.zeros((n, n))
    for start in range(0, n_units, _BLOCK):
        # float32 counts up to 65,536 exactly.
        block = signs[:, start : start + _BLOCK].astype(np.float32)
        changed = np.abs(block)
        agreed += block @ block.T
        both += changed @ changed.T
    n_changed = both.diagonal()
    differing = n_changed[:, None] + n_changed - (3 * both + agreed) / 2
    shares: NDArray[np.float64] = differing[np.triu_indices(n, 1)] / n_units
    return shares


def hide(inputs: Batch, extents: Extents) -> Batch:
    """A copy of the network inputs that is 0, the mean colour, inside the ``extents``."""
    left, top, width, height = torch.as_tensor(extents, device=inputs.device).T[:, :, None]
    rows, cols = (torch.arange(size, device=inputs.device) for size in inputs.shape[2:])
    down = (rows >= top) & (rows < top + height)
    across = (cols >= left) & (cols < left + width)
    inside = down[:, None, :, None] & across[:, None, None]
    return inputs.clone().masked_fill_(inside, 0.0)  # keeps the memory layout, see `signs`


@dataclass(frozen=True)
class _Hiding:
    """What is compared, in which layers."""

    network: Network
    layers: Sequence[str]
    window: int | None
    batch_size: int

    def distances(self, images: Arrays, extents: Extents) -> dict[str, Distances]:
        """Of each layer. The signs of one set of masks are held, a byte per unit and image."""
        signs: dict[str, list[Signs]] = {layer: [] for layer in self.layers}
        with evaluation_mode(self.network.model), torch.no_grad():
            for start in range(0, len(images), self.batch_size):
                some = slice(start, start + self.batch_size)
                found = self.signs(network_input(self.network, images[some]), extents[some])
                for layer in self.layers:
                    signs[layer].append(found[layer])
        return {layer: pair_distances(np.concatenate(parts)) for layer, parts in signs.items()}

    def signs(self, inputs: Batch, extents: Extents) -> dict[str, Signs]:
        """sign(x - x~) of each layer, of the cells asked for."""
        model, name = self.network.model, self.network.name
        # Two passes of one shape and layout: units that the mask does not reach come out equal to
        # the last bit, and their sign is 0.
        whole, masked = (
            feature_maps(model, x, self.layers, model_name=name)
            for x in (inputs, hide(inputs, extents))
        )
        size = input_size(inputs)
        centres = (extents[:, [1, 0]] + extents[:, [3, 2]] / 2) / size
        found = {}
        for layer in self.layers:
            signs = (whole[layer] - masked[layer]).sign().to(torch.int8)
            if self.window is not None:
                if is_single(signs):
                    raise UsageError(
                        f"layer {layer!r} has no places for a window to lie at; leave it out"
                    )
                signs = _cut_out(signs, centres, self.window)
            found[layer] = signs.flatten(1).cpu().numpy()
        return found


def _cut_out(
    maps: Int8[Tensor, "image channel rows columns"],
    centres: Float[np.ndarray, "image 2"],
    reach: int,
) -> Int8[Tensor, "image side side channel"]:
    """The cells up to ``reach`` away from ``centres``, (row, column) in fractions."""
    padded = torch.nn.functional.pad(maps, (reach,) * 4)
    # The first cell of the window after padding is its centre before it.
    first = (centres * tuple(maps.shape[2:])).astype(np.int64)
    first_row, first_col = torch.as_tensor(first, device=maps.device).T[:, :, None]
    steps = torch.arange(2 * reach + 1, device=maps.device)
    images = torch.arange(len(maps), device=maps.device)[:, None, None]
    rows, cols = (first_row + steps)[:, :, None], (first_col + steps)[:, None]
    return padded.permute(0, 2, 3, 1)[images, rows, cols]


def _record(layer: str, part: str, n_images: int, distances: list[Distances]) -> Correspondence:
    """From the part's own distances, those of the random controls, then as many shuffled ones."""
    own, controls = distances[0], [float(one.mean()) for one in distances[1:]]
    half = len(controls) // 2
    random, shuffled = controls[:half], controls[half:]
    # One draw has no spread: NaN, and not 0.
    error = lambda means: float(np.std(means, ddof=1)) if half > 1 else nan
    return Correspondence(
        layer=layer,
        part=part,
        n_images=n_images,
        pairs=len(own),
        mean=float(own.mean()),
        std=float(own.std()),
        random_mean=float(np.mean(random)),
        random_error=error(random),
        shuffled_mean=float(np.mean(shuffled)),
        shuffled_error=error(shuffled),
    )


def _deal_anew(extents: Extents, rng: np.random.Generator) -> Extents:
    """The same boxes, each at another image: along a random ring through all of them."""
    # A ring gives each image another's box, which a plain permutation does not.
    dealt, ring = np.empty_like(extents), rng.permutation(len(extents))
    dealt[ring] = extents[np.roll(ring, 1)]
    return dealt


def _scatter(extents: Extents, size: tuple[int, int], rng: np.random.Generator) -> Extents:
    """Boxes of the same sizes at random places inside the input of ``size``."""
    # The same sizes, for a larger square changes more units and so more pairs.
    sizes = extents[:, 2:]
    room = size[::-1] - sizes
    return np.concatenate([rng.integers(0, room, endpoint=True), sizes], axis=1)


def _extents(
    part: str, boxes: ArrayLike, n: int, size: tuple[int, int]
) -> tuple[NDArray[np.int64], Extents]:
    """The numbers of the images that show the part, and its whole pixels inside the input."""
    values, (height, width) = np.asarray(boxes, dtype=np.float64), size
    if values.shape != (n, 4):
        raise UsageError(
            f"masks of {part!r} must be one (x, y, width, height) per image, shape {(n, 4)}, "
            f"got {values.shape}; give NaN for images without the part"
        )
    if np.isinf(values).any():
        raise UsageError(
            f"masks of {part!r} must be finite, or NaN for images without the part, got infinity"
        )
    shown = np.flatnonzero(~np.isnan(values).any(1))
    if len(shown) < 2:
        raise UsageError(
            f"{part!r} must be in at least 2 images to be compared, got {len(shown)}; "
            "give more, or leave it out"
        )
    # A pixel's centre is at index + 0.5, see `explgraph.images.Frame`.
    corners = np.stack([values[shown, :2], values[shown, :2] + values[shown, 2:]])
    first, last = np.ceil(np.clip(corners, 0, (width, height)) - 0.5).astype(np.int64)
    empty = (last <= first).any(1)
    if empty.any():
        number = shown[empty][0]
        raise UsageError(
            f"each mask must cover a pixel of the {width} x {height} input, "
            f"but that of {part!r} in image {number} is {tuple(values[number].tolist())}; "
            "give pixels of the network input, NaN where the part is missing"
        )
    return shown, np.concatenate([first, last - first], axis=1)
