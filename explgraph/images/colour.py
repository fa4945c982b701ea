"""From every kind of pixel that a file can hold to 8-bit grey or RGB without transparency."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_FULL_SCALES = (1.0, 255.0, 65535.0)


def flatten(image: Image.Image) -> Image.Image:
    """Return ``image`` in mode "L" or "RGB": transparency on white, deeper pixels scaled to 8 bit, colours as RGB.

    Unsigned 16-bit pixels are divided by their full scale of 65535. Integer and float pixels ("I", "F") name no full scale: it
    is the smallest of 1 (float only), 255 and 65535 that holds them all; where none does, or some are negative, they are
    stretched from their minimum to their maximum. Pixels that are not finite become black.
    """
    if image.mode.startswith("I;16"):
        return _scaled(np.asarray(image), 0.0, 65535.0)
    if image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image), nan=0.0, posinf=0.0, neginf=0.0)
        return _scaled(
            values, *_range(values, _FULL_SCALES if image.mode == "F" else _FULL_SCALES[1:])
        )
    if image.mode in ("LA", "PA", "RGBA") or "transparency" in image.info:
        return _on_white(image.convert("RGBA"))
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _on_white(image: Image.Image) -> Image.Image:
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image.getchannel("A"))
    return white


def _range(values: NDArray[np.generic], full_scales: tuple[float, ...]) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    fitting = [full for full in full_scales if low >= 0 and high <= full]
    return (0.0, fitting[0]) if fitting else (low, high)


def _scaled(values: NDArray[np.generic], low: float, high: float) -> Image.Image:
    fractions = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    return Image.fromarray(np.rint(fractions * 255).astype(np.uint8))
