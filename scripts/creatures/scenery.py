"""Scenes to put creatures into: sky, hills, ground, and clutter that is not a creature.

Boulders, logs and posts are the creatures' own tubes with the creatures' own coats, so neither
colour nor texture alone gives a creature away.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from creatures.brush import (
    Canvas,
    Coat,
    Colour,
    Easel,
    Tube,
    belly,
    patches,
    spots,
    stripes,
    tube,
)

# Sky at the top, sky at the horizon, ground at the horizon, ground at the bottom.
_PALETTES = (
    ((126, 176, 226), (214, 232, 240), (150, 176, 104), (104, 136, 66)),  # meadow
    ((236, 168, 122), (250, 222, 176), (196, 160, 106), (150, 112, 70)),  # savanna at dusk
    ((150, 164, 180), (208, 214, 218), (150, 150, 132), (112, 112, 96)),  # overcast heath
    ((120, 150, 138), (178, 200, 170), (98, 122, 78), (70, 88, 56)),  # wood
    ((168, 196, 224), (232, 238, 244), (228, 232, 238), (190, 202, 216)),  # snow
    ((118, 190, 214), (222, 238, 222), (232, 214, 168), (204, 178, 126)),  # beach
)


def paint_scene(
    easel: Easel, size: tuple[int, int], rng: np.random.Generator, *, horizon: float
) -> Canvas:
    """Return sky and ground, float32 (height, width, 3), 0..255; the clutter is on the easel.

    Args:
        easel: what to draw on.
        size: (height, width), pixels.
        rng: source of all that varies.
        horizon: row where the sky ends, pixels.
    """
    scene, palette = _sky_and_ground(size, rng, horizon)
    _hills(easel, size, rng, horizon, palette)
    _ground_cover(easel, size, rng, horizon, palette)
    for _ in range(rng.integers(4, 10)):
        _CLUTTER[rng.integers(len(_CLUTTER))](easel, size, rng, horizon)
    return scene


def paint_occluder(
    easel: Easel, rng: np.random.Generator, *, box: tuple[float, float, float, float]
) -> None:
    """Draw grass before the feet of a creature or, less often, a thin post or a branch across it.

    Args:
        easel: what to draw on.
        rng: source of all that varies.
        box: (x, y, width, height) of the creature, pixels.
    """
    x, y, width, height = box
    kind = rng.uniform()
    green = _colour(rng, (84, 122, 58), 40)
    if kind < 0.6:
        left, spread = x + rng.uniform(-0.1, 0.8) * width, rng.uniform(0.15, 0.4) * width
        _blades(
            easel,
            rng,
            left,
            left + spread,
            y + 1.04 * height,
            rng.uniform(0.12, 0.3) * height,
            green,
            22,
        )
    elif kind < 0.8:
        _post(
            easel,
            rng,
            x + rng.uniform(0.1, 0.9) * width,
            y + 1.05 * height,
            rng.uniform(0.7, 1.2) * height,
            rng.uniform(2.0, 4.0),
        )
    else:
        _leaves(
            easel,
            rng,
            x + rng.uniform(0.1, 0.9) * width,
            y + rng.uniform(-0.05, 0.4) * height,
            green,
        )


def light_and_noise(scene: Canvas, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the finished photograph, uint8: a tint, a gradient of light, and sensor noise."""
    height, width = scene.shape[:2]
    across, down = rng.uniform(-0.18, 0.18, 2)
    gradient = (
        1 + across * np.linspace(-1, 1, width)[None, :] + down * np.linspace(-1, 1, height)[:, None]
    )
    tint = rng.uniform(0.82, 1.1) * rng.uniform(0.95, 1.05, 3)
    lit: Canvas = scene * gradient.astype(np.float32)[..., None] * tint.astype(np.float32)
    lit += rng.standard_normal((height, width, 1), dtype=np.float32) * np.float32(
        rng.uniform(1.5, 7.0)
    )
    np.clip(lit, 0, 255, out=lit)
    return lit.astype(np.uint8)


def _sky_and_ground(
    size: tuple[int, int], rng: np.random.Generator, horizon: float
) -> tuple[Canvas, NDArray[np.float64]]:
    height, width = size
    palette = np.clip(
        np.array(_PALETTES[rng.integers(len(_PALETTES))], float) + rng.uniform(-22, 22, (4, 3)),
        20,
        250,
    )
    rows = np.arange(height) + 0.5
    stops = np.array([0.0, horizon - 0.5, horizon + 0.5, height])
    column = np.stack([np.interp(rows, stops, palette[:, c]) for c in range(3)], 1)
    scene = np.repeat(column[:, None].astype(np.float32), width, 1)
    return scene + _mottle(size, rng)[..., None], palette


def _mottle(size: tuple[int, int], rng: np.random.Generator) -> Canvas:
    """Return smooth noise of two scales, in grey levels."""
    coarse = Image.fromarray(9 * rng.standard_normal((9, 9), dtype=np.float32)).resize(
        (40, 40), Image.Resampling.BILINEAR
    )
    both = np.asarray(coarse) + 6 * rng.standard_normal((40, 40), dtype=np.float32)
    return np.asarray(Image.fromarray(both).resize((size[1], size[0]), Image.Resampling.BILINEAR))


def _colour(rng: np.random.Generator, around: tuple[float, float, float], spread: float) -> Colour:
    r, g, b = (
        np.clip(np.array(around) + rng.uniform(-spread, spread, 3), 10, 245).astype(int).tolist()
    )
    return r, g, b


def _hills(
    easel: Easel,
    size: tuple[int, int],
    rng: np.random.Generator,
    horizon: float,
    palette: NDArray[np.float64],
) -> None:
    height, width = size
    for level in range(rng.integers(0, 4)):
        x = np.linspace(0, width, 13)
        waves = (
            np.sin(x / width * rng.uniform(3, 11) + rng.uniform(0, 6.3))
            * rng.uniform(0.02, 0.1)
            * height
        )
        top = horizon - (0.16 - 0.05 * level) * height - waves
        haze = 0.25 + 0.25 * level
        colour = palette[1] * (1 - haze) + palette[2] * haze * rng.uniform(0.75, 1.05)
        ridge = list(zip(x.tolist(), np.minimum(top, horizon).tolist(), strict=True))
        r, g, b = np.clip(colour, 0, 255).astype(int).tolist()
        easel.polygon([*ridge, (width, horizon), (0, horizon)], (r, g, b))


def _ground_cover(
    easel: Easel,
    size: tuple[int, int],
    rng: np.random.Generator,
    horizon: float,
    palette: NDArray[np.float64],
) -> None:
    height, width = size
    for _ in range(rng.integers(8, 26)):
        depth = rng.uniform() ** 0.7
        x, y = rng.uniform(0, width), horizon + depth * (height - horizon)
        r, g, b = np.clip(palette[3] * rng.uniform(0.72, 1.2), 0, 255).astype(int).tolist()
        long, flat = (
            (3 + 11 * depth) * rng.uniform(0.4, 1.3),
            (0.7 + 1.6 * depth) * rng.uniform(0.5, 1.3),
        )
        easel.polygon(
            [(x - long, y), (x - 0.3 * long, y - flat), (x + long, y), (x + 0.2 * long, y + flat)],
            (r, g, b),
        )


def _boulder(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    x, y, r = _spot(size, rng, horizon)
    grey = _colour(rng, (140, 130, 118), 50)
    flat = rng.uniform(0.6, 1.5)
    easel.draw(
        [
            tube(
                [(x - flat * r, y), (x, y - 0.3 * r), (x + flat * r, y + 0.1 * r)],
                [0.6 * r, r, 0.65 * r],
                grey,
                coat=_coat(rng),
            )
        ]
    )


def _log(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    x, y, r = _spot(size, rng, horizon)
    length, angle = rng.uniform(2, 6) * r, rng.uniform(-0.7, 0.7)
    step = np.array([np.cos(angle), np.sin(angle)]) * length
    ends = [
        (x, y),
        (x + 0.5 * step[0], y + 0.5 * step[1] + rng.uniform(-0.5, 0.5) * r),
        (x + step[0], y + step[1]),
    ]
    radii = [0.5 * r * v for v in rng.uniform(0.4, 1.1, 3)]
    easel.draw([tube(ends, radii, _colour(rng, (140, 100, 70), 60), coat=_coat(rng))])


def _bush(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    x, y, r = _spot(size, rng, horizon)
    green = _colour(rng, (82, 124, 66), 45)
    blobs = []
    for dx, dy, share in zip(
        rng.uniform(-1.3, 1.3, 6), rng.uniform(-0.9, 0.3, 6), rng.uniform(0.4, 0.8, 6), strict=True
    ):
        place = (x + dx * r, y + dy * r)
        blobs.append(
            tube(
                [place, (place[0] + 1, place[1])],
                [share * r] * 2,
                green,
                tone=rng.uniform(0.85, 1.08),
            )
        )
    easel.draw(blobs)


def _trunk(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    x, y, r = _spot(size, rng, horizon)
    _post(easel, rng, x, y, rng.uniform(0.25, 1.0) * size[0], rng.uniform(0.15, 0.6) * r)


def _reeds(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    x, y, r = _spot(size, rng, horizon)
    _blades(
        easel,
        rng,
        x - 2 * r,
        x + 2 * r,
        y,
        rng.uniform(1, 3) * r,
        _colour(rng, (120, 136, 70), 40),
        14,
    )


def _panel(easel: Easel, size: tuple[int, int], rng: np.random.Generator, horizon: float) -> None:
    """Draw a hatched quadrilateral: straight man-made texture."""
    x, y, r = _spot(size, rng, horizon)
    colours = _colour(rng, (150, 140, 130), 60), _colour(rng, (120, 110, 100), 60)
    bars, wide, tall, lean = (
        int(rng.integers(3, 8)),
        rng.uniform(1.5, 3.5) * r,
        rng.uniform(0.8, 2.2) * r,
        rng.uniform(-0.4, 0.4) * r,
    )
    for bar in range(bars):
        left, right = x + bar * wide / bars, x + (bar + 1) * wide / bars
        easel.polygon(
            [(left, y), (right, y), (right + lean, y - tall), (left + lean, y - tall)],
            colours[bar % 2],
        )


_CLUTTER: tuple[Callable[[Easel, tuple[int, int], np.random.Generator, float], None], ...] = (
    _boulder,
    _boulder,
    _log,
    _log,
    _bush,
    _bush,
    _trunk,
    _reeds,
    _panel,
)


def _spot(
    size: tuple[int, int], rng: np.random.Generator, horizon: float
) -> tuple[float, float, float]:
    """Return (x, y, radius) of a thing on the ground, larger towards the viewer."""
    depth = rng.uniform()
    y = horizon + depth * (size[0] - horizon)
    return rng.uniform(0, size[1]), y, size[0] * (0.03 + 0.075 * depth) * rng.uniform(0.6, 1.5)


def _coat(rng: np.random.Generator) -> Coat | None:
    colour, kind = _colour(rng, (130, 110, 90), 90), rng.integers(6)
    if kind == 0:
        return stripes(colour, [(t, 0.06) for t in np.arange(0.05, 1, 0.14)])
    if kind == 1:
        return spots(
            colour, [(a, c, 0.16) for a, c in rng.uniform((0.05, -0.7), (0.95, 0.7), (9, 2))]
        )
    if kind == 2:
        return belly(colour, side=float(rng.choice([-1.0, 1.0])))
    if kind == 3:
        return patches(
            colour,
            [[(t, -0.6), (t + 0.1, -0.5), (t + 0.1, 0.5), (t, 0.6)] for t in (0.1, 0.35, 0.6, 0.8)],
        )
    return None


def _post(
    easel: Easel, rng: np.random.Generator, x: float, foot: float, tall: float, radius: float
) -> None:
    lean = rng.uniform(-0.12, 0.12) * tall
    ends = [
        (x, foot),
        (x + 0.5 * lean + rng.uniform(-1, 1) * radius, foot - 0.5 * tall),
        (x + lean, foot - tall),
    ]
    bark: Tube = tube(
        ends,
        [radius * 1.15, radius, radius * 0.8],
        _colour(rng, (122, 92, 66), 40),
        coat=_coat(rng),
    )
    easel.draw([bark])


def _blades(
    easel: Easel,
    rng: np.random.Generator,
    left: float,
    right: float,
    foot: float,
    tall: float,
    colour: Colour,
    count: int,
) -> None:
    starts, leans, lengths = (
        rng.uniform(left, right, count),
        rng.uniform(-0.35, 0.35, count),
        rng.uniform(0.5, 1.0, count) * tall,
    )
    for x, lean, length in zip(starts.tolist(), leans.tolist(), lengths.tolist(), strict=True):
        corners = [(x - 1.1, foot), (x + 1.1, foot), (x + lean * length, foot - length)]
        easel.polygon(corners, colour, tone=0.8 + 0.5 * length / max(tall, 1e-6) - 0.25)


def _leaves(easel: Easel, rng: np.random.Generator, x: float, y: float, colour: Colour) -> None:
    for dx, dy, tone in zip(
        rng.uniform(-16, 16, 9), rng.uniform(-7, 7, 9), rng.uniform(0.75, 1.1, 9), strict=True
    ):
        a, b = x + dx, y + dy
        easel.polygon([(a - 5, b), (a, b - 2.4), (a + 5, b + 1), (a, b + 2.4)], colour, tone=tone)
