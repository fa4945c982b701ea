"""From every kind of pixel that a file can hold to 8-bit grey or RGB without transparency."""

from __future__ import annotations

import numpy as np
from PIL import Image


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
    # Pillow drops transparency when it converts to RGB, and whatever colour lies under it shows.
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    if image.mode in ("L", "RGB"):
        return image
    # Palettes before anything is resized: the mean of two indices is a third, unrelated colour.
    # Mode "1" has no greys to resize into.
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(image: Image.Image) -> Image.Image:
    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    # Pillow's own conversion from 16 bit would clip at 255: nearly all of the picture is white.
    low, high = values.min(), values.max()
    full_scales = {"F": (1, 255, 65535), "I": (255, 65535)}.get(image.mode, (65535,))
    fitting = [full for full in full_scales if low >= 0 and high <= full]
    if fitting:
        low, high = 0, fitting[0]
    # A constant picture has no range; then the divisor is 1.
    fractions = (values - low) / ((high - low) or 1)
    return Image.fromarray(np.rint(fractions * 255).astype(np.uint8))
