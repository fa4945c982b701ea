"""Numbered discs at places of a picture, moved apart so that none hides another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike, NDArray

from explgraph.figures.canvas import halo

_SIZE = 12.0  # diameter of a disc, points
_ROUNDS = 300  # 40 places in one spot are apart after 100
_GOLDEN = np.pi * (3 - 5**0.5)  # angles by which places in one spot leave it


def draw_markers(axes: Axes, places: ArrayLike, colours: Sequence[str]) -> None:
    """Draw a disc with its number for each place; one that had to move has a line to its place.

    Args:
        axes: with its picture and its final place in the figure.
        places: (n, 2), (x, y) in data coordinates.
        colours: of the discs.

    >>> from explgraph.figures.canvas import new_figure
    >>> axes = new_figure(2, 2).add_axes((0, 0, 1, 1))
    >>> draw_markers(axes, [(0.5, 0.5), (0.5, 0.5)], ["red", "blue"])
    >>> [text.get_text() for text in axes.texts]
    ['1', '2']
    """
    at = np.asarray(places, np.float64).reshape(-1, 2)
    axes.apply_aspect()  # or the scale would be that of the box before it fits the picture
    assert axes.figure is not None
    points_per_pixel = 72 / axes.figure.dpi
    on_paper = axes.transData.transform(at) * points_per_pixel
    corner = np.asarray(axes.bbox.min) * points_per_pixel
    far = np.asarray(axes.bbox.max) * points_per_pixel
    apart = move_apart(on_paper - corner, _SIZE + 1, size=far - corner) + corner
    discs = axes.transData.inverted().transform(apart / points_per_pixel)
    moved = np.linalg.norm(apart - on_paper, axis=1) > _SIZE / 4
    for k, (place, disc, colour) in enumerate(zip(at, discs, colours, strict=True)):
        if moved[k]:
            (line,) = axes.plot(*np.transpose([place, disc]), color=colour, linewidth=1.3)
            line.set(path_effects=halo("white", 3), zorder=3)
            (dot,) = axes.plot(*place, "o", color=colour, markersize=4.5, zorder=4)
            dot.set(markeredgecolor="white", markeredgewidth=0.8)
        (drawn,) = axes.plot(*disc, "o", color=colour, markersize=_SIZE - 1, zorder=5)
        drawn.set(markeredgecolor="white", markeredgewidth=1)
        number = axes.text(disc[0], disc[1], str(k + 1), fontsize=6.5, color="black", zorder=6)
        number.set(ha="center", va="center_baseline", path_effects=halo("white", 2))


def move_apart(places: ArrayLike, distance: float, *, size: ArrayLike) -> NDArray[np.float64]:
    """The places, each moved as little as need be to lie ``distance`` from all others.

    Pairs that are too near push each other away, a few rounds over. Where so many places do not
    fit, they stay as even as they got.

    Args:
        places: (n, 2).
        distance: in the places' unit.
        size: (width, height) within which they stay, half a distance from the border.

    >>> move_apart([(5, 5), (5, 6)], 4, size=(20, 20)).round(1).tolist()
    [[5.0, 3.5], [5.0, 7.5]]
    """
    at = np.array(places, np.float64).reshape(-1, 2)
    turn = _GOLDEN * np.arange(len(at))
    # Two places in one spot have no direction to leave by; a hair of a spiral gives them one.
    hair = 1e-5 * distance * np.arange(len(at))[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)
    at += hair
    low = np.minimum(distance / 2, np.asarray(size) / 2)
    for _ in range(_ROUNDS):
        step = at[:, None] - at[None]
        far = np.linalg.norm(step, axis=2)
        np.fill_diagonal(far, np.inf)
        lacking = np.maximum(distance - far, 0)
        inside = np.clip(at, low, np.asarray(size) - low)
        if lacking.max(initial=0) < 1e-3 * distance and (inside == at).all():
            break
        push = step * (lacking / np.maximum(far, 1e-12) / 2)[..., None]
        # Many pushes at once would throw a place across the picture.
        crowd = np.maximum((lacking > 0).sum(1), 2)[:, None] / 2
        at = np.clip(at + push.sum(1) / crowd + hair, low, np.asarray(size) - low)
    return at
