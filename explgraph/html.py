"""What a notebook shows of a result: a table, or pictures in a row. No script, no style sheet."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_SIDE = 224  # pixels of a picture, about
_CELL = 'style="text-align:left;padding:1px 10px 1px 0;vertical-align:top"'


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; floats with three digits.

    >>> table(["node"], [["conv:1:0"]]).count("<td")
    1
    """
    line = lambda tag, cells: "".join(f"<{tag} {_CELL}>{_said(cell)}</{tag}>" for cell in cells)
    body = "".join(f"<tr>{line('td', cells)}</tr>" for cells in rows)
    return f"<table><tr>{line('th', head)}</tr>{body}</table>"


def picture(pixels: NDArray[np.uint8], caption: str) -> str:
    """A picture, (height, width, 3) RGB, with words below it; it lies in the text itself.

    >>> picture(np.zeros((2, 2, 3), np.uint8), "zebra")[:30]
    '<figure style="display:inline-'
    """
    file = BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = b64encode(file.getvalue()).decode()
    # The page enlarges what is small: enlarged pixels would be four times the bytes.
    width = pixels.shape[1] * max(1, round(_SIDE / max(pixels.shape[:2])))
    return (
        '<figure style="display:inline-block;margin:4px">'
        f'<img src="data:image/png;base64,{data}" width="{width}" alt="{escape(caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def numbered(pixels: NDArray[np.uint8], places: Sequence[tuple[float, float]]) -> str:
    """A picture with a numbered dot at each place.

    Args:
        pixels: (height, width, 3), RGB.
        places: (row, column), fractions of the picture.

    >>> numbered(np.zeros((8, 8, 3), np.uint8), [(0.5, 0.5)]).count("<img")
    1
    """
    height, width = pixels.shape[:2]
    enlarged = max(1, round(_SIDE / max(height, width)))
    image = Image.fromarray(pixels).resize((enlarged * width, enlarged * height))
    pen = ImageDraw.Draw(image)
    for number, (row, col) in reversed([*enumerate(places, 1)]):  # the first is the topmost
        x, y = col * image.width, row * image.height
        pen.ellipse((x - 8, y - 8, x + 8, y + 8), fill="white", outline="black")
        pen.text((x, y), str(number), fill="black", anchor="mm")
    return picture(np.asarray(image), "")


def _said(cell: Any) -> str:
    return escape(f"{cell:.3g}" if isinstance(cell, float) else str(cell))
