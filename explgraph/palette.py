"""The colours of layers, the same in every figure and every graph file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

# Okabe and Ito's palette, told apart by colour-blind readers; without black, and yellow last as it
# is faint on white.
PALETTE = ("#e69f00", "#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


def colour_each(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, in the palette's order; after the last it starts again.

    >>> colour_each(["conv5", "conv4"])
    {'conv5': '#e69f00', 'conv4': '#0072b2'}
    """
    return dict(zip(names, cycle(PALETTE), strict=False))
