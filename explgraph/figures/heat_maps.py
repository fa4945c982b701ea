"""Maps laid over the image that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike, NDArray

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    TEXT,
    Pixels,
    add_title,
    check_image,
    halo,
    new_figure,
    show_image,
    shrink,
)
from explgraph.palette import PALETTE

if TYPE_CHECKING:
    from explgraph.images import Box

Map = NDArray[np.float32]

_COLUMNS = 4
_LUMINANCE = np.array([0.299, 0.587, 0.114])
_OTHERS = (0.5, 0.5, 0.5)  # colour of the numbers that the palette has none for


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure: a map laid over the image, or a picture by itself.

    Args:
        map: (rows, columns); stretched over the image edge to edge, so put it in the image's
            frame before (`explgraph.attribution.map_to_image`).
        title: Stands above it.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.
        signed: Colours diverge from zero; otherwise what is below zero counts as zero.
        quantile: Of the absolute values, the end of the scale; below 1 it keeps single pixels
            from dimming the rest.
        picture: Shown instead of a map, (rows, columns, 3), RGB.
        ranged: Colours run from the map's smallest to its largest value, equally opaque
            everywhere: for what is nowhere zero.
        names: What the whole numbers of the map mean; it is then drawn in that many colours with
            a legend, NaN left out.
    """

    map: ArrayLike | None = None
    title: str = ""
    boxes: Sequence[Box] = ()
    signed: bool = False
    quantile: float = 1.0
    picture: Pixels | None = None
    ranged: bool = False
    names: Mapping[int, str] | None = None


def maps_figure(
    image: Pixels, panels: Sequence[Panel], *, title: str = "", boxes: Sequence[Box] = ()
) -> Figure:
    """A figure of the image, and beside it each map laid over its grey version.

    A map is opaque where it is strong and vanishes where it is zero.

    Args:
        image: (height, width, 3), RGB.
        panels: The pictures beside it.
        title: Stands above all.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.

    Raises:
        UsageError: Not an image, not a map, or an impossible quantile.

    >>> image = np.full((40, 60, 3), 128, np.uint8)
    >>> figure = maps_figure(image, [Panel(np.eye(40, 60), title="Grad-CAM")])
    >>> figure.axes[1].get_title()
    'Grad-CAM'
    """
    height, width = check_image(image).shape[:2]
    n = 1 + len(panels)
    n_rows = -(-n // _COLUMNS)
    n_columns = -(-n // n_rows)
    titled = any(panel.title for panel in panels)
    cell = 3.4 * min(1.0, 1.3 * width / height)
    row = cell * height / width + (0.25 if titled else 0)
    size = (n_columns * (cell + 0.5), n_rows * row + (0.4 if title else 0.1))
    # No more than 0.05 inches around pictures whose aspect is fixed.
    layout = ConstrainedLayoutEngine(w_pad=0.05, h_pad=0.05, wspace=0, hspace=0, compress=True)
    figure = new_figure(*size, layout=layout)
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in grid[n:]:
        axes.set_axis_off()
    show_image(grid[0], image)
    _draw_boxes(grid[0], boxes)
    for axes, panel in zip(grid[1:], panels, strict=False):
        _draw_panel(figure, axes, image, panel)
        _draw_boxes(axes, panel.boxes)
        if titled:
            axes.set_title(panel.title, fontsize=9, color=TEXT, pad=3, parse_math=False)
    add_title(figure, title)
    return figure


def _draw_panel(figure: Figure, axes: Axes, image: Pixels, panel: Panel) -> None:
    height, width = image.shape[:2]
    if panel.picture is not None:
        show_image(axes, check_image(panel.picture), size=(width, height))
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
    shades = colormaps["RdBu_r" if panel.signed else "inferno"]
    scale = ScalarMappable(Normalize(low, max(top, low + 1e-12)), shades)
    beyond = "neither" if panel.quantile == 1 else "both" if panel.signed else "max"
    _draw_bar(figure, axes, scale, extend=beyond)
    colours: Map = scale.to_rgba(shrink(values)).astype(np.float32)
    strength = 0.45 if panel.ranged else shrink(strong) / top
    colours[..., 3] = np.clip(1.6 * strength, 0, 0.8)
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


def _draw_boxes(axes: Axes, boxes: Sequence[Box]) -> None:
    for x, y, width, height in boxes:
        box = Rectangle((x, y), width, height, fill=False, edgecolor="white", linewidth=1.2)
        # Not clipped, or half of a line along the border would be missing.
        box.set(path_effects=halo("black", 2.6), clip_on=False, zorder=2)
        axes.add_patch(box)


def _draw_bar(figure: Figure, axes: Axes, scale: ScalarMappable, *, extend: str) -> None:
    """Draw the colour bar beside ``axes``, as high as they are."""
    bar = figure.colorbar(scale, cax=axes.inset_axes((1.03, 0, 0.035, 1)), extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=TEXT, length=2)
    bar.ax.ticklabel_format(scilimits=(-2, 3), useMathText=True)
