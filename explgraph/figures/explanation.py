"""An explanation as a picture: where the nodes are, what each is worth, and what the network says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from explgraph.attribution import Explanation, NodeEvidence, View
from explgraph.figures.canvas import (
    FAINT,
    PALETTE,
    TEXT,
    Pixels,
    add_title,
    check_image,
    new_figure,
    show_image,
)
from explgraph.figures.nodes import cut_patch

_HALO = (patheffects.withStroke(linewidth=2.5, foreground="white"),)
_PATCH = 70 / 224  # side of a patch, share of the network input


def explain_figure(
    image: Pixels, explanation: Explanation, view: View, *, layers: Sequence[str], title: str = ""
) -> Figure:
    """Return the image with its nodes numbered by rank, their patches with the drop of each, and the first classes.

    Args:
        image: (height, width, 3), RGB, the whole photograph.
        explanation: what to show.
        view: how the network was shown the photograph.
        layers: of the graph, in the order of the palette.
        title: stands above all.
    """
    image = check_image(image)
    nodes = explanation.nodes
    figure = new_figure(12, 4.6)
    colour = {layer: PALETTE[k % len(PALETTE)] for k, layer in enumerate(layers)}
    grid = figure.add_gridspec(
        1, 3, width_ratios=(5, 4.4, 2.2), wspace=0.28, left=0.02, right=0.98, top=0.86, bottom=0.1
    )
    points = view.frame.to_image(
        np.array([(one.row, one.col) for one in nodes]).reshape(-1, 2), mirrored=view.mirrored
    )
    _draw_places(figure.add_subplot(grid[0]), image, nodes, points, colour)
    _draw_drops(figure, grid[1], image, explanation, view, points, colour)
    _draw_classes(figure.add_subplot(grid[2]), explanation)
    mirrored = ", seen through its mirror image" if view.mirrored else ""
    add_title(figure, title or f"Why {explanation.name}? ({explanation.probability:.1%}{mirrored})")
    return figure


def _draw_places(
    axes: Axes,
    image: Pixels,
    nodes: Sequence[NodeEvidence],
    points: np.ndarray,
    colour: dict[str, str],
) -> None:
    show_image(axes, image)
    for rank, (one, (x, y)) in reversed(list(enumerate(zip(nodes, points, strict=True), 1))):
        above = 3 + len(nodes) - rank  # the better node hides the other, disc and number
        axes.plot(
            x,
            y,
            "o",
            zorder=above,
            markersize=11,
            color=colour[one.layer],
            markeredgecolor="white",
            markeredgewidth=1,
            alpha=0.9,
        )
        axes.text(
            x,
            y,
            str(rank),
            zorder=above,
            ha="center",
            va="center_baseline",
            fontsize=6.5,
            color="black",
            path_effects=_HALO,
        )
    for k, (layer, shade) in enumerate(colour.items()):
        axes.text(
            k / len(colour),
            -0.04,
            f"\u25cf {layer}",
            transform=axes.transAxes,
            color=shade,
            fontsize=9,
            va="top",
        )


def _draw_drops(
    figure: Figure,
    place: object,
    image: Pixels,
    explanation: Explanation,
    view: View,
    points: np.ndarray,
    colour: dict[str, str],
) -> None:
    nodes = explanation.nodes
    axes = figure.add_subplot(place)  # type: ignore[call-overload]
    drops = [one.drop for one in nodes]
    axes.barh(range(len(nodes)), drops, color=[colour[one.layer] for one in nodes], height=0.62)
    axes.set_yticks([])
    axes.set_ylim(max(len(nodes), 1) - 0.4, -0.6)
    widest = max(drops, default=1.0)
    axes.set_xlim(0, 1.95 * widest)
    side = _PATCH * (view.frame.region[2] * view.frame.region[3]) ** 0.5
    for k, (one, (x, y)) in enumerate(zip(nodes, points, strict=True)):
        inset = axes.inset_axes((-0.115, 1 - (k + 0.97) / len(nodes), 0.1, 0.94 / len(nodes)))
        show_image(inset, cut_patch(image, x, y, max(8, round(side))))
        part = f"  {one.part}" if one.part else ""
        axes.text(
            0, k, f" {k + 1}", va="center_baseline", fontsize=8, color="black", path_effects=_HALO
        )
        axes.text(one.drop, k, f"  {one.drop:.2f}", va="center_baseline", fontsize=8, color=TEXT)
        axes.text(
            1.2 * widest, k, f"{one.node}{part}", va="center_baseline", fontsize=7, color=FAINT
        )
    axes.set_title(
        f"the score {explanation.score:.2f} loses without the node", fontsize=9, color=TEXT
    )
    _bare(axes)


def _draw_classes(axes: Axes, explanation: Explanation) -> None:
    names = [name for _, name, _ in explanation.classes]
    shares = [share for _, _, share in explanation.classes]
    axes.barh(
        range(len(names)),
        shares,
        color=[FAINT if i != explanation.index else PALETTE[1] for i, _, _ in explanation.classes],
        height=0.4,
    )
    for k, (name, share) in enumerate(zip(names, shares, strict=True)):
        axes.text(
            0,
            k - 0.27,
            f"{name}  {share:.1%}",
            va="bottom",
            fontsize=8,
            color=TEXT,
            parse_math=False,
        )
    axes.set_yticks([])
    axes.set_ylim(len(names) - 0.4, -0.7)
    axes.set_xlim(0, 1)
    said = [("without these", explanation.without), ("without others", explanation.without_random)]
    lines = [
        f"{what}: score {score:.2f}, {share:.1%}"
        for what, (score, share) in said
        if not np.isnan(score)
    ]
    axes.set_title("the network says", fontsize=9, color=TEXT)
    axes.set_xlabel(
        "\n".join([f"{len(explanation.nodes)} nodes removed together", *lines]),
        fontsize=8,
        color=TEXT,
    )
    _bare(axes)


def _bare(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=8, colors=TEXT, length=2)
