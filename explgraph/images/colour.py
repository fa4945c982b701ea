"""From every kind of pixel that a file can hold to 8-bit grey or RGB without transparency."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

STRIP = 2**20  # pixels that are converted at a time


def flatten(image: Image.Image) -> Image.Image:
    """``image`` in mode "L" or "RGB": transparency on white, deeper pixels scaled to 8 bit.

    Unsigned 16-bit pixels are divided by their full scale, 65535. Integer and float pixels ("I",
    "F") name no full scale: it is the smallest of 1 (float only), 255 and 65535 that holds them
    all. Where none does, or some are negative, they are stretched from their minimum to their
    maximum. Pixels that are not finite become black.

    >>> flatten(Image.new("F", (1, 1), 0.5)).getpixel((0, 0))
    128
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _scaled(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    # Pillow drops transparency when it converts to RGB, and whatever colour lies under it shows.
    seen_through = image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info
    # Palettes before anything is resized: the mean of two indices is a third, unrelated colour.
    # Mode "1" has no greys to resize into.
    mode = "RGBA" if seen_through else "L" if image.mode == "1" else "RGB"
    result = Image.new("L" if mode == "L" else "RGB", image.size, "white")
    for top, strip in _strips(image):
        part = strip.convert(mode)
        result.paste(part, (0, top), part.getchannel("A") if seen_through else None)
    return result


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in strips of about STRIP pixels, each with its first row.

    Conversions of the whole would hold several copies of it, some with 8 bytes per value.
    """
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _scaled(image: Image.Image) -> Image.Image:
    # Pillow's own conversion from 16 bit would clip at 255: nearly all of the picture is white.
    extremes = [(x.min(), x.max()) for x in (_values(strip) for _, strip in _strips(image))]
    low, high = min(x for x, _ in extremes), max(x for _, x in extremes)
    full_scales = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    fitting = [full for full in full_scales if low >= 0 and high <= full]
    if fitting:
        low, high = 0, fitting[0]
    result = Image.new("L", image.size)
    for top, strip in _strips(image):
        # A constant picture has no range; then the divisor is 1.
        fractions = (_values(strip) - low) / ((high - low) or 1)
        result.paste(Image.fromarray(np.rint(fractions * 255).astype(np.uint8)), (0, top))
    return result


def _values(strip: Image.Image) -> NDArray[np.float64]:
    return np.nan_to_num(np.asarray(strip, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
