"""An explanation as a picture: where the nodes are, what each is worth, the network's answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from explgraph.figures.canvas import (
    FAINT,
    TEXT,
    Pixels,
    add_title,
    check_image,
    halo,
    new_figure,
    show_image,
)
from explgraph.figures.patches import cut_patch
from explgraph.palette import PALETTE, colour_each

if TYPE_CHECKING:
    from explgraph.attribution import Explanation, NodeEvidence, NodeView

_HALO = halo("white", 2.5)
_PATCH = 70 / 224  # side of a patch, share of the network input


def explain_figure(image: Pixels, explanation: Explanation, view: NodeView) -> Figure:
    """The image with its nodes numbered by rank, their patches and drops, and the first classes.

    Args:
        image: (height, width, 3), RGB, the whole photograph.
        explanation: What to show.
        view: How the network was shown the photograph.
    """
    image = check_image(image)
    nodes = explanation.nodes
    colours = colour_each(layer.name for layer in view.graph.layers)
    inputs = np.array([(one.row, one.col) for one in nodes]).reshape(-1, 2)
    points = view.frame.to_image(inputs, mirrored=view.mirrored)
    region = view.frame.region
    side = max(8, round(_PATCH * (region[2] * region[3]) ** 0.5))
    patches = [cut_patch(image, x, y, side) for x, y in points]
    figure = new_figure(12, 4.6)
    grid = figure.add_gridspec(1, 3, width_ratios=(5, 4.4, 2.2), wspace=0.28)
    grid.update(left=0.02, right=0.98, top=0.86, bottom=0.1)
    places, drops, classes = (figure.add_subplot(grid[k]) for k in range(3))
    show_image(places, image)
    _draw_places(places, nodes, points, colours)
    _draw_drops(drops, nodes, patches, colours)
    _draw_classes(classes, explanation)
    said = f"the score {explanation.score:.2f} loses without the node"
    drops.set_title(said, fontsize=9, color=TEXT)
    classes.set_title("the network says", fontsize=9, color=TEXT)
    mirrored = ", seen through its mirror image" if view.mirrored else ""
    add_title(figure, f"Why {explanation.name}? ({explanation.probability:.1%}{mirrored})")
    return figure


def _draw_places(
    axes: Axes,
    nodes: tuple[NodeEvidence, ...],
    points: NDArray[np.float64],
    colours: dict[str, str],
) -> None:
    for rank, (one, (x, y)) in enumerate(zip(nodes, points, strict=True), 1):
        above = 3 + len(nodes) - rank  # the better node hides the other, disc and number
        (disc,) = axes.plot(x, y, "o", color=colours[one.layer], markersize=11, zorder=above)
        disc.set(markeredgecolor="white", markeredgewidth=1, alpha=0.9)
        number = axes.text(x, y, str(rank), fontsize=6.5, color="black", zorder=above)
        number.set(ha="center", va="center_baseline", path_effects=_HALO)
    for k, (layer, shade) in enumerate(colours.items()):
        place = (k / len(colours), -0.04)
        name = axes.text(*place, f"\u25cf {layer}", color=shade, fontsize=9, va="top")
        name.set_transform(axes.transAxes)


def _draw_drops(
    axes: Axes,
    nodes: tuple[NodeEvidence, ...],
    patches: list[Pixels],
    colours: dict[str, str],
) -> None:
    drops = [one.drop for one in nodes]
    axes.barh(range(len(nodes)), drops, color=[colours[one.layer] for one in nodes], height=0.62)
    _set_bare(axes)
    axes.set_ylim(max(len(nodes), 1) - 0.4, -0.6)
    widest = max(drops, default=1.0)
    axes.set_xlim(0, 1.95 * widest)
    for k, (one, patch) in enumerate(zip(nodes, patches, strict=True)):
        place = (-0.115, 1 - (k + 0.97) / len(nodes), 0.1, 0.94 / len(nodes))
        show_image(axes.inset_axes(place), patch)
        said = f"{one.node}  {one.part}" if one.part else one.node
        rank = axes.text(0, k, f" {k + 1}", fontsize=8, color="black", path_effects=_HALO)
        drop = axes.text(one.drop, k, f"  {one.drop:.2f}", fontsize=8, color=TEXT)
        name = axes.text(1.2 * widest, k, said, fontsize=7, color=FAINT, parse_math=False)
        for text in (rank, drop, name):
            text.set(va="center_baseline")


def _draw_classes(axes: Axes, explanation: Explanation) -> None:
    shares = [share for _, _, share in explanation.classes]
    inks = [PALETTE[1] if i == explanation.index else FAINT for i, _, _ in explanation.classes]
    axes.barh(range(len(shares)), shares, color=inks, height=0.4)
    for k, (_, name, share) in enumerate(explanation.classes):
        said = axes.text(0, k - 0.27, f"{name}  {share:.1%}", fontsize=8, color=TEXT, va="bottom")
        said.set_parse_math(False)
    _set_bare(axes)
    axes.set_ylim(len(shares) - 0.4, -0.7)
    axes.set_xlim(0, 1)
    lines = [f"{len(explanation.nodes)} nodes removed together"]
    for what, (score, share) in (
        ("without these", explanation.without),
        ("without others", explanation.without_random),
    ):
        if not np.isnan(score):
            lines.append(f"{what}: score {score:.2f}, {share:.1%}")
    axes.set_xlabel("\n".join(lines), fontsize=8, color=TEXT)


def _set_bare(axes: Axes) -> None:
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_yticks([])
    axes.tick_params(labelsize=8, colors=TEXT, length=2)
