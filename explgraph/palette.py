"""The colours of layers, the same in every figure and every graph file; those of heat maps."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

# Okabe and Ito's palette, told apart by colour-blind readers; without black, and yellow last as it
# is faint on white.
PALETTE = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def colour_each(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the palette's order; after the last it starts again.

    >>> colour_each(["conv5", "conv4"])
    {'conv5': '#e69f00', 'conv4': '#0072b2'}
    """
    return dict(zip(names, cycle(PALETTE), strict=False))


# Black to pale yellow, as matplotlib's inferno; blue over white to red, as its RdBu_r.
_STRENGTH = ("#000004", "#420a68", "#932667", "#dd513a", "#fca50a", "#fcffa4")
_FOR_AND_AGAINST = ("#053061", "#4393c3", "#f7f7f7", "#d6604d", "#67001f")


def overlay(
    picture: NDArray[np.uint8], map: NDArray[np.float32], *, signed: bool = False
) -> NDArray[np.uint8]:
    """A heat map over a picture: opaque where the map is strong, no colour where it is zero.

    Args:
        picture: (height, width, 3), RGB.
        map: (height, width).
        signed: blue where it is below zero, red above; else what is below zero counts as zero.

    >>> overlay(np.full((1, 2, 3), 200, np.uint8), np.float32([[0, 1]])).tolist()
    [[[200, 200, 200], [242, 244, 171]]]
    """
    strength = np.abs(map) if signed else np.maximum(map, 0)
    strength = strength / (strength.max() or 1)
    stops = _FOR_AND_AGAINST if signed else _STRENGTH
    at = (1 + np.sign(map) * strength) / 2 if signed else strength
    table = np.array([[int(one[k : k + 2], 16) for k in (1, 3, 5)] for one in stops])
    steps = np.linspace(0, 1, len(stops))
    colours = np.stack([np.interp(at, steps, column) for column in table.T], -1)
    share = np.clip(1.6 * strength, 0, 0.8)[..., None]
    mixed: NDArray[np.uint8] = np.rint(share * colours + (1 - share) * picture).astype(np.uint8)
    return mixed
