"""Maps as pictures: by themselves, and laid over the image that they are of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from explgraph.errors import UsageError
from explgraph.figures.canvas import (
    PALETTE,
    TEXT,
    Pixels,
    add_title,
    check_image,
    check_map,
    new_figure,
    packed,
    show_image,
    shrink,
    write_whole,
)
from explgraph.images import Box

_HALO = (patheffects.withStroke(linewidth=2.6, foreground="black"),)


def save_heat_map(
    map: ArrayLike, path: str | Path, *, signed: bool = False, quantile: float = 1.0
) -> Path:
    """Return ``path``, to which the map was written as a picture of its own size, without frame or title.

    Args:
        map: (height, width).
        path: of an image file that Pillow writes.
        signed: see `Panel`.
        quantile: see `Panel`.

    Raises:
        UsageError: the map is none, the suffix is unknown, or the file cannot be written.
    """
    path, values = Path(path), check_map(map)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UsageError(f"{path}: suffix {path.suffix!r} is no image format; use .png")
    top = _top(values, signed=signed, quantile=quantile)
    colours = _scale(top, signed=signed).to_rgba(values, bytes=True)[..., :3]
    return write_whole(
        path, lambda part: Image.fromarray(np.ascontiguousarray(colours)).save(part, kind)
    )


@dataclass(frozen=True, eq=False)
class Panel:
    """One picture of a figure: a map laid over the image, or a picture by itself.

    Args:
        map: (rows, columns); stretched over the image edge to edge, `explgraph.attribution.map_to_image` puts one where it belongs.
        title: stands above it.
        label: what the colour bar measures.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.
        signed: colours diverge from zero; otherwise what is below zero counts as zero.
        quantile: of the absolute values, shown as the end of the scale; below 1 it keeps single pixels from dimming the rest.
        picture: shown instead of a map, (rows, columns, 3), RGB.
        ranged: colours run from the map's smallest to its largest value, equally opaque everywhere: for what is nowhere zero.
        names: what the whole numbers of the map mean; it is then drawn in that many colours with a legend, NaN left out.
    """

    map: ArrayLike | None = None
    title: str = ""
    label: str = ""
    boxes: Sequence[Box] = ()
    signed: bool = False
    quantile: float = 1.0
    picture: Pixels | None = None
    ranged: bool = False
    names: Mapping[int, str] | None = None


def overlay_figure(
    image: Pixels, map: ArrayLike, *, title: str = "", boxes: Sequence[Box] = (), **options: Any
) -> Figure:
    """Return a figure of the image, and beside it the map laid over its grey version; ``options`` as in `Panel`.

    Raises:
        UsageError: no image, no map, or an impossible quantile.
    """
    return maps_figure(image, [Panel(map, boxes=boxes, **options)], title=title, boxes=boxes)


def maps_figure(
    image: Pixels,
    panels: Sequence[Panel],
    *,
    title: str = "",
    boxes: Sequence[Box] = (),
    columns: int = 4,
) -> Figure:
    """Return a figure of the image, and beside it each map laid over its grey version, with a colour bar.

    A map is opaque where it is strong and vanishes where it is zero.

    Args:
        image: (height, width, 3), RGB.
        panels: the pictures beside it.
        title: stands above all.
        boxes: (x, y, width, height) in pixels of the image, drawn on it.
        columns: pictures per row at most.

    Raises:
        UsageError: no image, no map, or an impossible quantile.
    """
    image = check_image(image)
    height, width = image.shape[:2]
    cell = 3.4 * min(1.0, 1.3 * width / height)
    n_rows = -(-(1 + len(panels)) // columns)
    n_columns = -(-(1 + len(panels)) // n_rows)
    titled = any(panel.title for panel in panels)
    size = (
        n_columns * (cell + 0.5),
        n_rows * (cell * height / width + (0.25 if titled else 0)) + (0.4 if title else 0.1),
    )
    figure = new_figure(*size, layout=packed(0.05))
    grid = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
    for axes in grid[1 + len(panels) :]:
        axes.set_axis_off()
    show_image(grid[0], image)
    _draw_boxes(grid[0], boxes)
    for axes, panel in zip(grid[1:], panels, strict=False):
        _draw_panel(figure, axes, image, panel)
        if titled:
            axes.set_title(panel.title, fontsize=9, color=TEXT, pad=3, parse_math=False)
    add_title(figure, title)
    return figure


def _draw_panel(figure: Figure, axes: Axes, image: Pixels, panel: Panel) -> None:
    height, width = image.shape[:2]
    if panel.picture is not None:
        show_image(axes, check_image(panel.picture), size=(width, height))
    elif panel.names is not None:
        _draw_numbers(
            axes,
            image,
            check_map(np.nan_to_num(np.asarray(panel.map, np.float32), nan=-1)),
            panel.names,
        )
    else:
        values = check_map(np.asarray(panel.map, np.float32))
        top = _top(values, signed=panel.signed, quantile=panel.quantile)
        scale = _scale(top, signed=panel.signed, low=float(values.min()) if panel.ranged else None)
        values = shrink(values)
        colours = scale.to_rgba(values).astype(np.float32)
        strength = 0.45 if panel.ranged else _strength(values, signed=panel.signed) / top
        colours[..., 3] = np.clip(1.6 * strength, 0, 0.8)
        show_image(axes, _greyed(shrink(image)), size=(width, height))
        axes.imshow(colours, extent=(0, width, height, 0), interpolation="bilinear", zorder=1)
        _draw_bar(
            figure,
            axes,
            scale,
            panel.label,
            extend="neither" if panel.quantile == 1 else "both" if panel.signed else "max",
        )
    _draw_boxes(axes, panel.boxes)


def _draw_numbers(
    axes: Axes, image: Pixels, values: NDArray[np.float32], names: Mapping[int, str]
) -> None:
    """Draw a map of whole numbers in a colour each, the most frequent ones named below the picture."""
    height, width = image.shape[:2]
    show_image(axes, _greyed(shrink(image)), size=(width, height))
    found = sorted(
        (n for n in names if (values == n).any()), key=lambda n: -int((values == n).sum())
    )
    colours = np.zeros((*values.shape, 4), np.float32)
    for k, number in enumerate(found):
        shade = to_rgb(PALETTE[k % len(PALETTE)]) if k < len(PALETTE) else (0.5, 0.5, 0.5)
        colours[values == number] = (*shade, 0.6)
    axes.imshow(colours, extent=(0, width, height, 0), interpolation="nearest", zorder=1)
    handles = [
        Patch(color=PALETTE[k], label=names[number])
        for k, number in enumerate(found[: len(PALETTE)])
    ]
    if handles:
        axes.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(0, -0.01),
            fontsize=7,
            frameon=False,
            ncols=2,
            borderpad=0,
        )


def _top(values: NDArray[np.float32], *, signed: bool, quantile: float) -> float:
    if not 0 < quantile <= 1:
        raise UsageError(f"quantile must be above 0 and at most 1, got {quantile}")
    strength = _strength(values, signed=signed)
    return float(np.quantile(strength, quantile)) or float(strength.max()) or 1.0


def _strength(values: NDArray[np.float32], *, signed: bool) -> NDArray[np.float32]:
    return np.abs(values) if signed else np.maximum(values, 0)


def _scale(top: float, *, signed: bool, low: float | None = None) -> ScalarMappable:
    bottom = -top if signed else 0.0 if low is None else low
    return ScalarMappable(
        Normalize(bottom, max(top, bottom + 1e-12)), colormaps["RdBu_r" if signed else "inferno"]
    )


def _greyed(image: Pixels) -> Pixels:
    """Return the image's luminance, a little paler, so that colours on it are the map's alone."""
    grey = 255 - 0.85 * (255 - image @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _draw_boxes(axes: Axes, boxes: Sequence[Box]) -> None:
    # Not clipped, or half of a line along the border would be missing.
    style: dict[str, Any] = {
        "edgecolor": "white",
        "linewidth": 1.2,
        "path_effects": _HALO,
        "clip_on": False,
        "zorder": 2,
    }
    for x, y, width, height in boxes:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, **style))


def _draw_bar(
    figure: Figure, axes: Axes, scale: ScalarMappable, label: str, *, extend: str
) -> None:
    """Draw the colour bar beside ``axes``, as high as they are."""
    bar = figure.colorbar(scale, cax=axes.inset_axes((1.03, 0, 0.035, 1)), extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=TEXT, length=2)
    bar.ax.ticklabel_format(scilimits=(-2, 3), useMathText=True)
    bar.set_label(label, fontsize=9, color=TEXT)
