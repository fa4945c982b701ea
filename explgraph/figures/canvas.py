"""What all figures share: a canvas without global state, grids of pictures, legends, checks."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import ceil, floor
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from numpy.typing import NDArray
from PIL import Image

from explgraph.errors import UsageError
from explgraph.files import check_place, whole_file
from explgraph.graph import Shares, layer_of
from explgraph.images import Box
from explgraph.text import one_line

Pixels = NDArray[np.uint8]

OBJECT_BOX, OBJECT_INK = "the object's box", "#00e5ff"
TEXT, FAINT = "#222222", "#777777"
DPI = 150
_SHOWN = 1600  # pixels of the longer side; at 150 per inch a picture of 10 inches
_GAP, _LEGEND = 0.05, 0.35  # inches: between pictures, and for the legend below them
_HIGHEST = 1.6  # height of a row of a grid, in mean widths of its pictures


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of ``width`` x ``height`` inches that pyplot does not know of."""
    figure = Figure(figsize=(width, height), facecolor="white")
    # pyplot keeps every figure that it made until it is closed; a batch of thousands would stay.
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: str | Path) -> Path:
    """The path, to which the figure was written; its suffix says the format.

    Args:
        figure: from one of the functions of this package.
        path: ends in .png, .pdf, .svg or another suffix that matplotlib knows.

    Raises:
        UsageError: the suffix is unknown, or there can be no file at ``path``.
        ExplgraphError: writing failed.

    >>> save_figure(new_figure(2, 1), out / "empty.svg").name
    'empty.svg'
    """
    suffixes = [f".{kind}" for kind in sorted(figure.canvas.get_supported_filetypes())]
    path = check_place(path, suffixes=suffixes)
    for text in figure.findobj(Text):  # they may hold names of files, and so any character
        lines = [one_line(line) for line in text.get_text().split("\n")]
        text.set_text("\n".join(lines))
    with whole_file(path) as temporary, warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box, which says enough.
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(temporary, dpi=DPI, bbox_inches="tight", pad_inches=0.1)
    return path


def named(node: str, name: str | None, most: int = 20) -> str:
    """What stands beside a node: its id, or its name and its number in the layer.

    The layer is told by the colour, so that a name has room; a long one is cut.

    >>> named("features.12:7:0", None), named("features.12:7:0", "ear")
    ('features.12:7:0', 'ear  7:0')
    """
    if not name:
        return node
    short = name if len(name) <= most else f"{name[: most - 1].rstrip()}…"
    return f"{short}  {node[len(layer_of(node)) + 1 :]}"


def check_image(image: Pixels) -> Pixels:
    """The image if it is (height, width, 3) in uint8; raises UsageError if not."""
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UsageError(
            f"an image must be uint8 (height, width, 3), RGB, got {image.dtype} {image.shape}"
        )
    return image


def shrink(values: NDArray[Any]) -> NDArray[Any]:
    """An image, or a map in float32, with no more pixels than a figure can show."""
    height, width = values.shape[:2]
    scale = _SHOWN / max(height, width)
    if scale >= 1:
        return values
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    # Pillow shrinks 12 megapixels in 0.3 s, matplotlib in 10 s.
    smaller = Image.fromarray(values).resize(size, Image.Resampling.BILINEAR, reducing_gap=3.0)
    return np.asarray(smaller)


def show_image(axes: Axes, image: Pixels, *, size: tuple[int, int] | None = None) -> None:
    """Draw an image so that pixel i covers i to i + 1, without axes, and keep the view to it.

    Args:
        axes: where to.
        image: (height, width, 3), RGB.
        size: (width, height) that it stands for, if it was shrunk before.
    """
    width, height = size or (image.shape[1], image.shape[0])
    # Limits that stay: what is drawn later, such as a vote outside, must not shrink the image.
    axes.imshow(shrink(image), extent=(0, width, height, 0), interpolation="antialiased")
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    axes.set_axis_off()


def surroundings(box: Box | None, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) of what is shown: the box with half its longer side around it.

    >>> surroundings((40, 30, 20, 10), (200, 300, 3)), surroundings(None, (200, 300, 3))
    ((30, 20, 70, 50), (0, 0, 300, 200))
    """
    if box is None:
        return 0, 0, shape[1], shape[0]
    x, y, width, height = box
    around = max(width, height) / 2
    # Whole pixels, for arrays are cut by it.
    left, top = max(floor(x - around), 0), max(floor(y - around), 0)
    right, bottom = (
        min(ceil(x + width + around), shape[1]),
        min(ceil(y + height + around), shape[0]),
    )
    return left, top, right, bottom


def draw_box(axes: Axes, box: Box, ink: str) -> None:
    """Draw a box, (x, y, width, height) in data coordinates."""
    drawn = Rectangle(box[:2], *box[2:], fill=False, edgecolor=ink, linewidth=1.4)
    # Not clipped, or half of a line along the border would be missing.
    drawn.set(path_effects=halo("black", 3), clip_on=False, zorder=2)
    axes.add_patch(drawn)


def draw_shares(axes: Axes, shares: Shares, *, of: str = "") -> None:
    """Draw part, texture and nothing as one bar, and above it what they are, of what."""
    left = 0.0
    # Shades of grey: colours are the layers'.
    for share, ink in zip(shares.to_dict().values(), (TEXT, "#999999", "#dddddd"), strict=True):
        axes.barh(0, share, left=left, color=ink, height=0.8)
        left += share
    axes.set(xlim=(0, 1), ylim=(-0.4, 1.6))
    axes.set_axis_off()
    axes.text(0, 0.6, f"{of}{shares}", fontsize=8, color=TEXT, va="bottom")


def show_grid(
    images: Sequence[Pixels], *, columns: int, cell: float, title: str, titled: bool
) -> tuple[Figure, list[Axes]]:
    """A figure with the images in rows as wide as the figure, and the axes of each.

    The images of a row are equally high, so nothing is blank between them; the rows hold as many
    images as each other, or one less.

    Args:
        images: (height, width, 3) each; at least one.
        columns: images per row at most.
        cell: mean width of an image, inches.
        title: stands above all.
        titled: whether to leave room for a title above each image.

    >>> images = [np.zeros((40, 60, 3), np.uint8)] * 5
    >>> _, grid = show_grid(images, columns=4, cell=2.0, title="", titled=False)
    >>> len({round(axes.get_position().y0, 3) for axes in grid})
    2
    """
    n_rows = -(-len(images) // columns)
    n_columns = -(-len(images) // n_rows)
    rows = [row.tolist() for row in np.array_split(np.arange(len(images)), n_rows)]
    aspects = [image.shape[1] / image.shape[0] for image in images]
    width = n_columns * (cell + _GAP) - _GAP
    # A row of few or narrow images would get very high; it stays narrower than the figure.
    heights = [
        min((width - _GAP * (len(row) - 1)) / sum(aspects[i] for i in row), _HIGHEST * cell)
        for row in rows
    ]
    head = 0.21 if titled else _GAP
    height = (0.3 if title else 0.0) + sum(heights) + n_rows * head + _LEGEND
    figure = new_figure(width, height)
    grid = []
    foot = height - (0.3 if title else 0.0)
    for row, high in zip(rows, heights, strict=True):
        foot -= head + high
        wide = [aspects[i] * high for i in row]
        left = (width - sum(wide) - _GAP * (len(row) - 1)) / 2
        for i, share in zip(row, wide, strict=True):
            place = (left / width, foot / height, share / width, high / height)
            axes = figure.add_axes(place)
            show_image(axes, images[i])
            grid.append(axes)
            left += share + _GAP
    add_title(figure, title)
    return figure, grid


def add_title(figure: Figure, title: str) -> None:
    """Write ``title`` above all, as it is: a dollar sign does not begin a formula."""
    if title:
        figure.suptitle(title, fontsize=11, color=TEXT, parse_math=False)


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Write what the handles mean below all, as it is."""
    n_rows = -(-len(handles) // 6)
    legend = figure.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, _LEGEND / figure.get_figheight()),
        ncols=-(-len(handles) // n_rows),
        frameon=False,
        fontsize=8.5,
        handletextpad=0.5,
        columnspacing=1.6,
        labelcolor=TEXT,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def halo(colour: str, width: float) -> tuple[withStroke]:
    """A line of another colour around lines and letters, so that they are read on any picture."""
    return (withStroke(linewidth=width, foreground=colour),)
