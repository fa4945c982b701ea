"""Maps as pictures: by themselves, and laid over the image that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from explgraph.errors import UsageError
from explgraph.export.canvas import (
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
from explgraph.images.frame import Box

_HALO = (patheffects.withStroke(linewidth=2.6, foreground="black"),)


def save_heat_map(map: ArrayLike, path: str | Path, *, signed: bool = False, quantile: float = 1.0) -> Path:
    """Return ``path``, to which the map was written as a picture of its own size, without frame or title.

    Args:
        map: (height, width).
        path: of an image file that Pillow writes.
        signed: see `overlay_figure`.
        quantile: see `overlay_figure`.

    Raises:
        UsageError: the map is none, the suffix is unknown, or the file cannot be written.
    """
    path, values = Path(path), check_map(map)
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind not in Image.SAVE:
        raise UsageError(f"{path}: suffix {path.suffix!r} is no image format; use .png")
    top = _top(values, signed=signed, quantile=quantile)
    colours = _scale(top, signed=signed).to_rgba(values, bytes=True)[..., :3]
    return write_whole(path, lambda part: Image.fromarray(np.ascontiguousarray(colours)).save(part, kind))


def overlay_figure(
    image: Pixels,
    map: ArrayLike,
    *,
    title: str = "",
    label: str = "",
    boxes: Sequence[Box] = (),
    signed: bool = False,
    quantile: float = 1.0,
) -> Figure:
    """Return a figure of the image, and beside it the map laid over its grey version, with a colour bar.

    The map is opaque where it is strong and vanishes where it is zero. A map of another size than the image is stretched over it
    edge to edge; `explgraph.attribution.map_to_image` puts one where it belongs.

    Args:
        image: (height, width, 3), RGB.
        map: (rows, columns).
        title: stands above both pictures.
        label: what the colour bar measures.
        boxes: (x, y, width, height) in pixels of the image, drawn on both.
        signed: colours diverge from zero; otherwise what is below zero counts as zero.
        quantile: of the absolute values, shown as the end of the scale; below 1 it keeps single pixels from dimming the rest.

    Raises:
        UsageError: no image, no map, or an impossible quantile.
    """
    image, values = check_image(image), check_map(map)
    height, width = image.shape[:2]
    top = _top(values, signed=signed, quantile=quantile)
    scale, values = _scale(top, signed=signed), shrink(values)
    colours = scale.to_rgba(values).astype(np.float32)
    colours[..., 3] = np.clip(1.6 * _strength(values, signed=signed) / top, 0, 0.8)
    picture_width = 3.4 * min(1.0, 1.3 * width / height)
    figure = new_figure(2 * picture_width + 1.0, picture_width * height / width + (0.4 if title else 0.1), layout=packed(0.05))
    left, right = figure.subplots(1, 2)
    show_image(left, image)
    show_image(right, _greyed(shrink(image)), size=(width, height))
    right.imshow(colours, extent=(0, width, height, 0), interpolation="bilinear", zorder=1)
    for axes in (left, right):
        _draw_boxes(axes, boxes)
    _draw_bar(figure, right, scale, label, extend="neither" if quantile == 1 else "both" if signed else "max")
    add_title(figure, title)
    return figure


def _top(values: NDArray[np.float32], *, signed: bool, quantile: float) -> float:
    if not 0 < quantile <= 1:
        raise UsageError(f"quantile must be above 0 and at most 1, got {quantile}")
    strength = _strength(values, signed=signed)
    return float(np.quantile(strength, quantile)) or float(strength.max()) or 1.0


def _strength(values: NDArray[np.float32], *, signed: bool) -> NDArray[np.float32]:
    return np.abs(values) if signed else np.maximum(values, 0)


def _scale(top: float, *, signed: bool) -> ScalarMappable:
    return ScalarMappable(Normalize(-top if signed else 0.0, top), colormaps["RdBu_r" if signed else "inferno"])


def _greyed(image: Pixels) -> Pixels:
    """Return the image's luminance, a little paler, so that colours on it are the map's alone."""
    grey = 255 - 0.85 * (255 - image @ np.array([0.299, 0.587, 0.114]))
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def _draw_boxes(axes: Axes, boxes: Sequence[Box]) -> None:
    # Not clipped, or half of a line along the border would be missing.
    style: dict[str, Any] = {"edgecolor": "white", "linewidth": 1.2, "path_effects": _HALO, "clip_on": False, "zorder": 2}
    for x, y, width, height in boxes:
        axes.add_patch(Rectangle((x, y), width, height, fill=False, **style))


def _draw_bar(figure: Figure, axes: Axes, scale: ScalarMappable, label: str, *, extend: str) -> None:
    """Draw the colour bar beside ``axes``, as high as they are."""
    bar = figure.colorbar(scale, cax=axes.inset_axes((1.03, 0, 0.035, 1)), extend=extend)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, colors=TEXT, length=2)
    bar.ax.ticklabel_format(scilimits=(-2, 3), useMathText=True)
    bar.set_label(label, fontsize=9, color=TEXT)
