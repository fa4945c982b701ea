"""What all figures share: a canvas without global state, the palette, images with their pixels' edges at whole numbers."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine, LayoutEngine
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from explgraph.errors import UsageError

Pixels = NDArray[np.uint8]

# Okabe and Ito's palette, told apart by colour-blind readers; without black, and yellow last as it is faint on white.
PALETTE = ("#E69F00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
TEXT, FAINT = "#222222", "#777777"
_SHOWN = 1600  # pixels of the longer side; at 150 per inch a picture of 10 inches


def new_figure(width: float, height: float, *, layout: LayoutEngine | None = None) -> Figure:
    """Return an empty figure of ``width`` x ``height`` inches that no global state knows of; ``layout`` places its parts."""
    figure = Figure(figsize=(width, height), layout=layout, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def packed(pad: float) -> ConstrainedLayoutEngine:
    """Return a layout that leaves ``pad`` inches around pictures whose aspect is fixed, and no more."""
    return ConstrainedLayoutEngine(w_pad=pad, h_pad=pad, wspace=0, hspace=0, compress=True)


def save_figure(figure: Figure, path: str | Path, *, dpi: int = 150) -> Path:
    """Return ``path``, to which the figure was written whole or not at all; its suffix says the format (.png, .pdf, .svg).

    Raises:
        UsageError: the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    kind, known = path.suffix.lower().removeprefix("."), figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise UsageError(
            f"{path}: a figure's suffix must be one of {', '.join(sorted(known))}, got {path.suffix!r}"
        )
    return write_whole(
        path,
        lambda part: figure.savefig(
            part, format=kind, dpi=dpi, bbox_inches="tight", pad_inches=0.1
        ),
    )


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Return ``path`` after ``write`` has filled a temporary file beside it, which then takes its name.

    Raises:
        UsageError: the folder is missing or cannot be written to.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(part)
        part.replace(path)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}; choose an existing folder"
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return path


def check_image(image: Pixels) -> Pixels:
    """Return ``image`` if it is (height, width, 3) in uint8; raises UsageError if not."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(
            f"an image must be uint8 (height, width, 3), RGB, got {image.dtype} {image.shape}"
        )
    return image


def check_map(map: ArrayLike) -> NDArray[np.float32]:
    """Return ``map`` as float32 if it is a finite (height, width); raises UsageError if not."""
    values = np.asarray(map, dtype=np.float32)
    if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
        raise UsageError(
            f"a map must be finite (height, width), got shape {values.shape}; give one image's map"
        )
    return values


def shrink(values: NDArray[Any]) -> NDArray[Any]:
    """Return an image, or a map in float32, with as many pixels as a figure can show (12 megapixels: 0.3 s instead of 10)."""
    height, width = values.shape[:2]
    scale = _SHOWN / max(height, width)
    if scale >= 1:
        return values
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return np.asarray(
        Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    )


def show_image(axes: Axes, image: Pixels, *, size: tuple[int, int] | None = None) -> None:
    """Draw ``image`` so that pixel i covers i to i + 1, without axes, and keep the view to its pixels.

    Args:
        axes: where to.
        image: (height, width, 3), RGB.
        size: (width, height) that it stands for, if it was shrunk before.
    """
    width, height = size or (image.shape[1], image.shape[0])
    axes.imshow(shrink(image), extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()


def add_title(figure: Figure, title: str) -> None:
    """Write ``title`` above all, as it is: a dollar sign is no formula."""
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT, parse_math=False)
