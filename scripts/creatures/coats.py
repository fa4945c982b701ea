"""The colours and patterns of a creature: a coat for each region of its body."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from creatures.brush import Coat, Colour, belly, layered, patches, spots, stripes, tip


@dataclass(frozen=True)
class Fur:
    """The colours of one creature and its patterns.

    Args:
        base: colour of the body.
        accent: of the pattern.
        pale: of the belly and bright tips.
        dark: of hoofs, noses, socks.
        body: pattern of the body; neck, head and leg likewise; None for plain.
    """

    base: Colour
    accent: Colour
    pale: Colour
    dark: Colour
    body: Coat | None = None
    neck: Coat | None = None
    head: Coat | None = None
    leg: Coat | None = None


def vary(colour: Colour, rng: np.random.Generator, *, amount: float = 0.10) -> Colour:
    """Return the colour, each channel and all of them scaled by up to the given share."""
    scale = (1 + rng.uniform(-amount, amount)) * (1 + rng.uniform(-amount, amount, 3) / 2)
    r, g, b = np.clip(np.array(colour) * scale, 0, 255).astype(int).tolist()
    return r, g, b


def _russet(rng: np.random.Generator) -> Fur:
    base, pale, dark = (
        vary((214, 112, 48), rng),
        vary((246, 232, 210), rng, amount=0.03),
        vary((62, 40, 34), rng),
    )
    light = belly(pale)
    return Fur(
        base, dark, pale, dark, body=light, neck=light, head=light, leg=tip(dark, start=0.52)
    )


def _rosette(rng: np.random.Generator) -> Fur:
    base, pale, dark = (
        vary((204, 176, 118), rng),
        vary((240, 226, 196), rng, amount=0.03),
        vary((66, 48, 36), rng),
    )
    rows = [
        (
            along + rng.uniform(-0.02, 0.02),
            across + rng.uniform(-0.08, 0.08),
            rng.uniform(0.11, 0.17),
        )
        for row, across in enumerate((-0.66, -0.22, 0.22))
        for along in np.arange(0.04 + 0.05 * (row % 2), 1.0, 0.115)
    ]
    neck = spots(dark, [(t, u, 0.14) for t in (0.3, 0.65) for u in (-0.5, 0.1)])
    leg = spots(dark, [(t, 0.0, 0.2) for t in (0.12, 0.3, 0.48)])
    coat = layered(belly(pale), spots(dark, rows))
    return Fur(base, dark, pale, dark, body=coat, neck=neck, leg=leg)


def _dappled(rng: np.random.Generator) -> Fur:
    base, pale, dark = (
        vary((168, 104, 62), rng),
        vary((240, 224, 198), rng, amount=0.03),
        vary((54, 38, 30), rng),
    )
    flecks = [
        (rng.uniform(0.02, 0.95), rng.uniform(-0.85, 0.15), rng.uniform(0.055, 0.095))
        for _ in range(26)
    ]
    coat = layered(belly(pale), spots(pale, flecks))
    return Fur(base, pale, pale, dark, body=coat, neck=belly(pale), leg=tip(dark, start=0.9))


def _striped(rng: np.random.Generator) -> Fur:
    base, dark = vary((240, 236, 226), rng, amount=0.04), vary((40, 34, 36), rng)
    place = np.arange(0.02, 1.0, 0.105) + rng.uniform(-0.018, 0.018)
    body = stripes(
        dark,
        [(t, rng.uniform(0.05, 0.07)) for t in place],
        lean=rng.uniform(-0.07, 0.0),
        reach=0.75,
    )
    neck = stripes(dark, [(t, 0.085) for t in np.arange(0.08, 0.95, 0.18)])
    head = stripes(dark, [(0.12, 0.06), (0.3, 0.06), (0.48, 0.05)], reach=0.9)
    leg = layered(
        stripes(dark, [(t, 0.06) for t in np.arange(0.06, 0.88, 0.125)]), tip(dark, start=0.92)
    )
    return Fur(base, dark, base, dark, body=body, neck=neck, head=head, leg=leg)


def _tile(rng: np.random.Generator, columns: int, rows: int) -> list[list[tuple[float, float]]]:
    """Return irregular hexagons in a staggered grid over (along, across)."""
    angle = np.arange(6) * np.pi / 3
    marks = []
    for column in range(columns):
        for row in range(rows):
            along = (column + 0.5 + 0.25 * (row % 2 * 2 - 1)) / columns
            across = -1.05 + 1.75 * (row + 0.5) / rows
            size = rng.uniform(0.74, 0.98, 6)
            x, y = (
                along + size * np.cos(angle) * 0.46 / columns,
                across + size * np.sin(angle) * 0.9 / rows,
            )
            marks.append(list(zip(x.tolist(), np.clip(y, -1, 1).tolist(), strict=True)))
    return marks


def _latticed(rng: np.random.Generator) -> Fur:
    base, accent, dark = (
        vary((238, 208, 148), rng, amount=0.06),
        vary((164, 96, 44), rng),
        vary((76, 52, 36), rng),
    )
    return Fur(
        base,
        accent,
        base,
        dark,
        body=patches(accent, _tile(rng, 7, 3)),
        neck=patches(accent, _tile(rng, 8, 2)),
        leg=layered(patches(accent, _tile(rng, 6, 1)[:3]), tip(dark, start=0.93)),
    )


def _scaled(rng: np.random.Generator) -> Fur:
    base, accent, pale = (
        vary((92, 158, 120), rng),
        vary((44, 98, 92), rng),
        vary((214, 220, 160), rng, amount=0.05),
    )
    saddle = stripes(accent, [(t, 0.085) for t in np.arange(0.06, 1.0, 0.15)], reach=0.0)
    neck = stripes(accent, [(t, 0.06) for t in np.arange(0.05, 0.95, 0.12)], reach=0.0)
    return Fur(
        base,
        accent,
        pale,
        vary((52, 74, 66), rng),
        layered(belly(pale), saddle),
        layered(belly(pale), neck),
    )


def _slate(rng: np.random.Generator) -> Fur:
    base, accent, pale = (
        vary((142, 160, 184), rng),
        vary((66, 84, 116), rng),
        vary((236, 238, 240), rng, amount=0.03),
    )
    return Fur(
        base,
        accent,
        pale,
        vary((228, 158, 58), rng),
        body=belly(pale),
        neck=belly(pale),
        head=belly(pale),
    )


def _russet_plume(rng: np.random.Generator) -> Fur:
    base, accent, pale = (
        vary((150, 66, 40), rng),
        vary((40, 84, 78), rng),
        vary((232, 166, 66), rng),
    )
    hackle = [(0.06, 0.2), (0.36, 0.16), (0.64, 0.12), (0.9, 0.1)]
    breast = spots(
        vary((58, 44, 48), rng), [(t, u, 0.09) for t in (0.5, 0.66, 0.82) for u in (0.2, 0.55)]
    )
    return Fur(
        base,
        accent,
        pale,
        vary((222, 178, 72), rng),
        body=breast,
        neck=stripes(pale, hackle, reach=0.8),
    )


COATS: dict[str, Callable[[np.random.Generator], Fur]] = {
    "russet": _russet,
    "rosette": _rosette,
    "dappled": _dappled,
    "striped": _striped,
    "latticed": _latticed,
    "scaled": _scaled,
    "slate": _slate,
    "plumed": _russet_plume,
}
