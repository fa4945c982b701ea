"""Maps laid over the image that they are of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colorbar import Colorbar
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    OBJECT_BOX,
    TEXT,
    Pixels,
    add_legend,
    check_image,
    draw_box,
    halo,
    new_figure,
    show_image,
    shrink,
    surroundings,
)
from explgraph.palette import PALETTE

if TYPE_CHECKING:
    from explgraph.images import Box

Map = NDArray[np.float32]

# Of boxes, in the order of their names: they differ from the heat maps' colours and, by their
# black edges, from any photograph.
_BOX_INKS = ("#00e5ff", "#ffe600", "#ff4fd8", "#7dff5a")
_BAR, _GAP, _NAMES = 0.85, 0.15, 0.17  # inches: for a colour bar, without one, a line of names
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_OTHERS = (0.5, 0.5, 0.5)  # colour of the numbers that the palette has none for


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure: a map laid over the image, or a picture by itself.

    Args:
        map: (rows, columns); stretched over the image edge to edge, so put it in the image's
            frame before (`explgraph.attribution.map_to_image`).
        title: stands above it.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.
        box_names: of the boxes, for the legend.
        signed: colours diverge from zero; otherwise what is below zero counts as zero.
        quantile: of the absolute values, the end of the scale; below 1 it keeps single pixels
            from dimming the rest.
        picture: shown instead of a map, (rows, columns, 3), RGB.
        ranged: colours run from the map's smallest to its largest value, equally opaque
            everywhere: for what is nowhere zero.
        limits: the ends of the scale; by default they follow from the map.
        scale: what the colours measure; stands beside the colour bar. For a picture: its bar says
            that grey is zero.
        names: what the whole numbers of the map mean; it is then drawn in that many colours with
            a legend, NaN left out.
        empty: why there is nothing to see; stands on the picture, and the map has no colours.
    """

    map: ArrayLike | None = None
    title: str = ""
    boxes: Sequence[Box] = ()
    box_names: Sequence[str] = ()
    signed: bool = False
    quantile: float = 1.0
    picture: Pixels | None = None
    ranged: bool = False
    limits: tuple[float, float] | None = None
    scale: str = ""
    names: Mapping[int, str] | None = None
    empty: str = ""


def maps_figure(
    image: Pixels,
    panels: Sequence[Panel],
    *,
    title: str = "",
    boxes: Sequence[Box] = (),
    box_names: Sequence[str] = (),
    box: Box | None = None,
) -> Figure:
    """A figure of the image, and beside it each map laid over its grey version.

    A map is opaque where it is strong and vanishes where it is zero. No place of the grid stays
    empty: where the panels do not fill their rows with the image, it stands before all rows.

    Args:
        image: (height, width, 3), RGB.
        panels: the pictures beside it.
        title: stands above all.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.
        box_names: of the boxes; the legend says what each name is drawn like.
        box: of the object that was asked about, if it is not the whole image. Of an image that is
            much larger its surroundings are shown, as in `located_figure`; maps must then be as
            large as the image.

    Raises:
        UsageError: not an image, not a map, or an impossible quantile.

    >>> image = np.full((40, 60, 3), 128, np.uint8)
    >>> figure = maps_figure(image, [Panel(np.eye(40, 60), title="Grad-CAM")])
    >>> figure.axes[1].get_title()
    'Grad-CAM'
    """
    first = Panel(picture=check_image(image), boxes=boxes, box_names=box_names)
    drawn = [first, *panels]
    if box is not None:
        drawn = [_about(box, panel, image.shape) for panel in drawn]
        crop = surroundings(box, image.shape)
        image = image[crop[1] : crop[3], crop[0] : crop[2]]
    names = dict.fromkeys(name for panel in drawn for name in panel.box_names if name)
    inks = dict(zip(names, cycle(_BOX_INKS), strict=False))
    figure, grid = _add_grid(image, drawn[1:], title=title, legend=bool(inks))
    for axes, panel in zip(grid, drawn, strict=True):
        _draw_panel(figure, axes, image, panel)
        axes.set_title(panel.title, fontsize=9, color=TEXT, pad=3, parse_math=False)
        labels = [*panel.box_names, *[""] * len(panel.boxes)]
        for box, label in zip(panel.boxes, labels, strict=False):
            draw_box(axes, box, inks.get(label, "white"))
    if inks:
        add_legend(figure, [_box_key(name, ink) for name, ink in inks.items()])
    if title:
        top = 1 - 0.06 / figure.get_figheight()
        figure.suptitle(title, y=top, va="top", fontsize=11, color=TEXT, parse_math=False)
    return figure


def _about(box: Box, panel: Panel, shape: tuple[int, ...]) -> Panel:
    """The panel cut down to the surroundings of a box, and the box; other pictures stay whole."""
    left, top, right, bottom = surroundings(box, shape)
    here, picture = (slice(top, bottom), slice(left, right)), panel.picture
    if picture is not None and picture.shape[:2] != shape[:2]:
        return panel
    return replace(
        panel,
        map=None if panel.map is None else np.asarray(panel.map)[here],
        picture=None if picture is None else picture[here],
        boxes=[(x - left, y - top, width, height) for x, y, width, height in [box, *panel.boxes]],
        box_names=[OBJECT_BOX, *panel.box_names],
    )


def _add_grid(
    image: Pixels, panels: Sequence[Panel], *, title: str, legend: bool
) -> tuple[Figure, list[Axes]]:
    """A figure with axes for the image, then for each panel, all of the image's aspect."""
    aspect = image.shape[0] / image.shape[1]
    n_rows, n_columns, before = _arrange(len(panels))
    cell = (2.7 if before else 3.4) * min(1.0, 1.3 / aspect)
    # Beside each panel stands its bar, below it the names of its colours.
    across = cell + (_BAR if any(_has_bar(panel) for panel in panels) else _GAP)
    foot = max((_NAMES * -(-len(panel.names or ()) // 2) for panel in panels), default=0)
    foot = min(foot, 4 * _NAMES)
    up = cell * aspect + foot + (0.25 if any(panel.title for panel in panels) else _GAP)
    head, below = 0.3 if title else _GAP, 0.35 if legend else 0.0
    top = head + up - cell * aspect - foot
    # Before all rows the image is as high as they are together, within reason.
    large = cell + min((n_rows - 1) * up / aspect, 1.5 * cell) if before else cell
    # Under the image in a grid lies a panel, whose bar needs its place too.
    left = large + _GAP if before or n_rows == 1 else across
    width = left + across * (n_columns - (0 if before else 1))
    height = head + n_rows * up + below
    figure = new_figure(width, height)

    def add(x: float, y: float, wide: float) -> Axes:
        """Axes whose left upper corner lies x, y inches from the figure's."""
        high = wide * aspect
        share = (x / width, 1 - (y + high) / height, wide / width, high / height)
        return figure.add_axes(share)

    grid = [add(0, top, large)]
    for k in range(len(panels)):
        row, column = divmod(k if before else k + 1, n_columns)
        x = left + across * (column if before else column - 1)
        if not before and column == 0:
            x = 0
        grid.append(add(x, top + row * up, cell))
    return figure, grid


def _arrange(n_panels: int) -> tuple[int, int, bool]:
    """Rows and columns without a hole, and whether the image stands before the rows.

    >>> [_arrange(n) for n in (1, 3, 4, 5, 6)]
    [(1, 2, False), (1, 4, False), (2, 2, True), (2, 3, False), (2, 3, True)]
    """
    n = n_panels + 1
    if n <= 4:
        return 1, n, False
    for columns in (4, 3, 5, 2):
        if n % columns == 0 and n > columns:
            return n // columns, columns, False
        if n_panels % columns == 0 and n_panels > columns:
            return n_panels // columns, columns, True
    return -(-n // 4), 4, False


def _has_bar(panel: Panel) -> bool:
    return panel.names is None and (panel.picture is None or bool(panel.scale))


def _draw_panel(figure: Figure, axes: Axes, image: Pixels, panel: Panel) -> None:
    height, width = image.shape[:2]
    if panel.empty:
        said = fill(panel.empty, 34)
        words = axes.text(0.5, 0.5, said, fontsize=7, color=TEXT, ha="center", va="center")
        words.set(transform=axes.transAxes, parse_math=False, path_effects=halo("white", 3))
    if panel.picture is not None:
        show_image(axes, check_image(panel.picture))
        if panel.scale:
            signs = ScalarMappable(Normalize(-1, 1), colormaps["gray"])
            bar = _draw_bar(figure, axes, signs, panel.scale, extend="neither")
            bar.set_ticks([-1, 0, 1], labels=["\u2212", "0", "+"])
        return
    show_image(axes, _greyed(shrink(image)), size=(width, height))
    if panel.names is not None:
        values = _check_map(np.nan_to_num(np.asarray(panel.map, np.float32), nan=-1))
        colours, interpolation = _draw_names(axes, values, panel.names), "nearest"
    else:
        values = _check_map(np.asarray(panel.map, np.float32))
        colours, interpolation = _draw_scale(figure, axes, values, panel), "bilinear"
    axes.imshow(colours, extent=(0, width, height, 0), interpolation=interpolation, zorder=1)


def _check_map(values: Map) -> Map:
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise UsageError(
            f"a map must be finite (height, width), got shape {values.shape}; give one image's map"
        )
    return values


def _greyed(image: Pixels) -> Pixels:
    """The image's luminance, a little paler, so that colours on it are the map's alone."""
    grey = 255 - 0.85 * (255 - image @ _LUMINANCE)
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _draw_scale(figure: Figure, axes: Axes, values: Map, panel: Panel) -> Map:
    """The colours of a map, (rows, columns, RGBA), after drawing their bar."""
    if not 0 < panel.quantile <= 1:
        raise UsageError(f"quantile must be above 0 and at most 1, got {panel.quantile}")
    strong = np.abs(values) if panel.signed else np.maximum(values, 0)
    top = float(np.quantile(strong, panel.quantile)) or float(strong.max()) or 1.0
    low = -top if panel.signed else float(values.min()) if panel.ranged else 0.0
    if panel.limits is not None:
        low, top = panel.limits
    shades = colormaps["RdBu_r" if panel.signed else "inferno"]
    scale = ScalarMappable(Normalize(low, max(top, low + 1e-12)), shades)
    beyond = "neither" if panel.quantile == 1 else "both" if panel.signed else "max"
    _draw_bar(figure, axes, scale, panel.scale, extend=beyond)
    colours: Map = scale.to_rgba(shrink(values)).astype(np.float32)
    strength = 0.45 if panel.ranged else shrink(strong) / top
    colours[..., 3] = 0.0 if panel.empty else np.clip(1.6 * strength, 0, 0.8)
    return colours


def _draw_names(axes: Axes, values: Map, names: Mapping[int, str]) -> Map:
    """The colours of a map of numbers, (rows, columns, RGBA), after naming the frequent ones."""
    count = {number: int((values == number).sum()) for number in names}
    found = sorted((number for number in names if count[number]), key=lambda n: -count[n])
    colours = np.zeros((*values.shape, 4), np.float32)
    for number in found:
        colours[values == number] = (*_OTHERS, 0.6)
    handles = []
    for number, shade in zip(found, PALETTE, strict=False):
        colours[values == number] = (*to_rgb(shade), 0.6)
        handles.append(Patch(color=shade, label=names[number]))
    if handles:
        legend = axes.legend(handles=handles, fontsize=7, frameon=False, borderpad=0, ncols=2)
        legend.set(loc="upper left", bbox_to_anchor=(0, -0.01))  # below the picture
    return colours


def _box_key(name: str, ink: str) -> Rectangle:
    key = Rectangle((0, 0), 1, 1, fill=False, edgecolor=ink, linewidth=1.4, label=name)
    key.set(path_effects=halo("black", 3))
    return key


def _draw_bar(
    figure: Figure, axes: Axes, scale: ScalarMappable, said: str, *, extend: str
) -> Colorbar:
    """Draw the colour bar beside ``axes``, as high as they are."""
    bar = figure.colorbar(scale, cax=axes.inset_axes((1.03, 0, 0.035, 1)), extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=TEXT, length=2)
    low, high = scale.get_clim()
    # Plain numbers: a power of ten above the bar would run into the next title.
    bar.formatter = FuncFormatter(lambda value, _: _number(value, span=high - low))
    bar.locator = MaxNLocator(6)
    bar.set_label(said, fontsize=8, color=TEXT, parse_math=False)
    return bar


def _number(value: float, *, span: float) -> str:
    """A number on a scale of that span, with the digits that tell its ticks apart.

    >>> [_number(value, span=0.0002) for value in (0.99985, 1.0)], _number(28500, span=6000)
    (['0.99985', '1'], '28500')
    """
    digits = 2 - math.floor(math.log10(span)) if span > 0 else 2
    if digits > 6:
        return f"{value:.2g}"
    said = f"{value:.{max(digits, 0)}f}"
    return said.rstrip("0").rstrip(".") if "." in said else said
