"""Tapered tubes: the one shape that every creature and most of the clutter is made of.

A tube is a smooth centre line with a radius along it; it is drawn with an outline, a coat (stripes,
spots, patches, a pale belly, a coloured tip) and round shading. Colours and shading go to two
layers that are multiplied at the end, so the coat is shaded as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = NDArray[np.float64]
Canvas = NDArray[np.float32]
Ring = tuple[list[float], list[list[float]]]

SUPERSAMPLING = 2
_NEUTRAL = 150  # grey of the shading layer that leaves a colour as it is
# Rings of a shaded tube: share of the radius and brightness there.
_SHARES = np.array([[1.0], [0.82], [0.62], [0.40], [0.18]])
_BRIGHTNESS = (0.70, 0.86, 0.99, 1.10, 1.18)


@dataclass(frozen=True)
class Tube:
    """A smooth centre line with a radius.

    Args:
        centre: (n, 2) places (x, y) along the line.
        radius: (n,) half widths, same unit.
        colour: base colour.
        coat: paints the pattern over the base colour; None for plain.
        tone: brightness factor; limbs on the far side are darker.
    """

    centre: Points
    radius: Points
    colour: Colour
    coat: Coat | None = None
    tone: float = 1.0
    normal: Points = field(init=False)

    def __post_init__(self) -> None:
        step = np.empty_like(self.centre)
        step[1:-1] = self.centre[2:] - self.centre[:-2]
        step[0], step[-1] = self.centre[1] - self.centre[0], self.centre[-1] - self.centre[-2]
        step /= np.maximum(np.sqrt((step**2).sum(1, keepdims=True)), 1e-9)
        object.__setattr__(self, "normal", step[:, ::-1] * (-1.0, 1.0))

    def at(self, along: float, across: float = 0.0) -> tuple[float, float]:
        """Return the (x, y) at a fraction of the centre line (0..1) and of the radius (-1..1)."""
        spot = min(max(along, 0.0), 1.0) * (len(self.centre) - 1)
        low = min(int(spot), len(self.centre) - 2)
        share = spot - low
        radius = self.radius[low] * (1 - share) + self.radius[low + 1] * share
        x, y = self.centre[low] * (1 - share) + self.centre[low + 1] * share
        nx, ny = self.normal[low] * (1 - share) + self.normal[low + 1] * share
        return float(x + across * radius * nx), float(y + across * radius * ny)

    def placed(self, scale: tuple[float, float], offset: tuple[float, float]) -> Tube:
        """Return the tube stretched by (x, y) factors, then moved; radii take the mean factor."""
        radius = self.radius * math.sqrt(scale[0] * scale[1])
        centre = self.centre * np.array(scale) + np.array(offset)
        return Tube(centre, radius, self.colour, self.coat, self.tone)


Coat = Callable[[ImageDraw.ImageDraw, Tube], None]


def tube(
    knots: Sequence[tuple[float, float]],
    radii: Sequence[float],
    colour: Colour,
    *,
    coat: Coat | None = None,
    tone: float = 1.0,
) -> Tube:
    """Return a tube through a few knots, smoothed by a Catmull-Rom spline.

    Args:
        knots: at least two places (x, y).
        radii: the radius at each knot.
        colour: base colour.
        coat: see `Tube`; so is tone.
    """
    line = _spline(np.array([(x, y, r) for (x, y), r in zip(knots, radii, strict=True)]))
    return Tube(line[:, :2], np.maximum(line[:, 2], 1e-3), colour, coat, tone)


def _spline(knots: Points, *, per_segment: int = 5) -> Points:
    padded = np.concatenate([2 * knots[:1] - knots[1:2], knots, 2 * knots[-1:] - knots[-2:-1]])
    t = np.arange(per_segment)[:, None, None] / per_segment
    a, b, c, d = padded[:-3], padded[1:-2], padded[2:-1], padded[3:]
    smooth = 0.5 * (
        2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
    )
    return np.concatenate([smooth.transpose(1, 0, 2).reshape(-1, knots.shape[1]), knots[-1:]])


class Easel:
    """A colour layer and a shading layer, both supersampled.

    Coordinates are pixels of the final image.

    Args:
        size: (height, width) of the final image, pixels.
        light: (x, y) direction in which shading is shifted, at most length 1; up is (0, -1).
    """

    def __init__(self, size: tuple[int, int], *, light: tuple[float, float]) -> None:
        whole = (size[1] * SUPERSAMPLING, size[0] * SUPERSAMPLING)
        # Premultiplied alpha: averaging the supersampled pixels then needs no conversion.
        self._colour = Image.new("RGBa", whole)
        self._shade = Image.new("L", whole, _NEUTRAL)
        self._paint = ImageDraw.Draw(self._colour)
        self._shadow = ImageDraw.Draw(self._shade)
        self._light = np.array(light)
        self.mark()

    def mark(self) -> None:
        """Forget what `covered` has gathered so far."""
        self._cover = Image.new("1", self._shade.size)
        self._stamp = ImageDraw.Draw(self._cover)

    def covered(self) -> NDArray[np.bool_]:
        """Return where tubes and polygons were drawn since `mark`, (height, width)."""
        return np.asarray(self._cover)[
            SUPERSAMPLING // 2 :: SUPERSAMPLING, SUPERSAMPLING // 2 :: SUPERSAMPLING
        ]

    def draw(
        self,
        shapes: Sequence[Tube],
        *,
        scale: tuple[float, float] = (1.0, 1.0),
        offset: tuple[float, float] = (0.0, 0.0),
        rim: float = 1.1,
    ) -> None:
        """Draw tubes, back to front, within one common outline.

        Args:
            shapes: what to draw.
            scale: (x, y) pixels of the final image per unit of the shapes.
            offset: (x, y) of their origin, pixels.
            rim: width of the outline, pixels.
        """
        finer = (scale[0] * SUPERSAMPLING, scale[1] * SUPERSAMPLING)
        big = [
            shape.placed(finer, (offset[0] * SUPERSAMPLING, offset[1] * SUPERSAMPLING))
            for shape in shapes
        ]
        for shape in big:
            dark = tuple(round(c * 0.28) for c in shape.colour)
            wider = _outlines(shape, shape.radius[None] + rim * SUPERSAMPLING)
            _fill(self._paint, wider, [(*dark, 255)])
            _fill(self._shadow, wider, [_NEUTRAL])
            _fill(self._stamp, wider, [1])
        for shape in big:
            _fill(self._paint, _outlines(shape, shape.radius[None]), [(*shape.colour, 255)])
            if shape.coat is not None:
                shape.coat(self._paint, shape)
        self._shade_all(big)

    def _shade_all(self, shapes: Sequence[Tube]) -> None:
        # Level by level, not tube by tube: where tubes meet the brighter one shows, so that
        # joints have no seam.
        rings = [_outlines(shape, _SHARES * shape.radius, self._light * 0.8) for shape in shapes]
        for level, brightness in enumerate(_BRIGHTNESS):
            for shape, ring in zip(shapes, rings, strict=True):
                _fill(
                    self._shadow,
                    ring[level : level + 1],
                    [round(_NEUTRAL * brightness * shape.tone)],
                )

    def dot(self, place: tuple[float, float], radius: float, colour: Colour) -> None:
        """Draw a flat disc (an eye), place and radius in pixels of the final image."""
        x, y = place
        box = [SUPERSAMPLING * v for v in (x - radius, y - radius, x + radius, y + radius)]
        self._paint.ellipse(box, fill=(*colour, 255))
        self._shadow.ellipse(box, fill=_NEUTRAL)

    def polygon(
        self, corners: Sequence[tuple[float, float]], colour: Colour, *, tone: float = 1.0
    ) -> None:
        """Draw a flat polygon, corners in pixels of the final image."""
        scaled = [(SUPERSAMPLING * x, SUPERSAMPLING * y) for x, y in corners]
        self._paint.polygon(scaled, fill=(*colour, 255))
        self._shadow.polygon(scaled, fill=round(_NEUTRAL * tone))
        self._stamp.polygon(scaled, fill=1)

    def over(self, scene: Canvas) -> Canvas:
        """Return the scene with all that is drawn in front, float32 (height, width, 3), 0..255."""
        colour = np.asarray(self._colour.reduce(SUPERSAMPLING), np.float32)
        shade = np.asarray(self._shade.reduce(SUPERSAMPLING), np.float32) * np.float32(1 / _NEUTRAL)
        whole = colour[..., 3:]
        drawn = np.minimum(colour[..., :3] * shade[..., None], whole)
        return np.asarray(scene * (1 - whole * np.float32(1 / 255)) + drawn)


def _outlines(shape: Tube, radius: Points, shift: Points | float = 0.0) -> list[Ring]:
    """Return the closed outline and the two end caps for each row of radii (levels, n).

    Args:
        shape: the tube.
        radius: smaller or larger radii than the tube's own.
        shift: (x, y) by which a point moves per unit that its radius is smaller than the
            tube's own.
    """
    centre = shape.centre + np.maximum(shape.radius - radius, 0)[..., None] * shift
    side = shape.normal * radius[..., None]
    around = np.concatenate([centre + side, (centre - side)[:, ::-1]], 1)
    reach = radius[:, [0, -1], None]
    caps = np.concatenate([centre[:, [0, -1]] - reach, centre[:, [0, -1]] + reach], 2)
    return list(zip(around.reshape(len(radius), -1).tolist(), caps.tolist(), strict=True))


def _fill(
    draw: ImageDraw.ImageDraw, rings: Sequence[Ring], inks: Sequence[tuple[int, ...] | int]
) -> None:
    for (around, caps), ink in zip(rings, inks, strict=True):
        draw.polygon(around, fill=ink)
        for cap in caps:
            draw.ellipse(cap, fill=ink)


def stripes(
    colour: Colour, marks: Sequence[tuple[float, float]], *, lean: float = 0.0, reach: float = 1.0
) -> Coat:
    """Return bands across the tube.

    Args:
        colour: of the bands.
        marks: (place, width) of each band, fractions of the length.
        lean: how far a band leans along the tube from one edge to the other, fraction of the
            length.
        reach: where the bands end across the tube (1 = the far edge), tapering towards it.
    """

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        across = np.linspace(-1, reach, 5)
        for place, width in marks:
            taper = (
                width / 2 * np.clip(1.15 - (across + 1) / (reach + 1.2), 0, 1)
                if reach < 1
                else np.full(5, width / 2)
            )
            front = [shape.at(place + lean * u + w, u) for u, w in zip(across, taper, strict=True)]
            back = [shape.at(place + lean * u - w, u) for u, w in zip(across, taper, strict=True)]
            draw.polygon(front + back[::-1], fill=(*colour, 255))

    return paint


def spots(colour: Colour, marks: Sequence[tuple[float, float, float]]) -> Coat:
    """Return discs on the tube; marks are (along, across, share of the largest radius)."""

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        whole = float(shape.radius.max())
        for along, across, size in marks:
            (x, y), r = shape.at(along, across), size * whole
            draw.ellipse((x - r, y - r * 0.8, x + r, y + r * 0.8), fill=(*colour, 255))

    return paint


def patches(colour: Colour, marks: Sequence[Sequence[tuple[float, float]]]) -> Coat:
    """Return polygons on the tube; every mark lists corners (along, across)."""

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        for corners in marks:
            draw.polygon(
                [shape.at(along, across) for along, across in corners], fill=(*colour, 255)
            )

    return paint


def belly(colour: Colour, *, side: float = 1.0) -> Coat:
    """Return a paler lower half; side is +1 or -1, the side of the normal that points down."""

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        half = 0.5 * shape.radius
        lower = Tube(shape.centre + side * shape.normal * half[:, None], half, colour)
        _fill(draw, _outlines(lower, half[None]), [(*colour, 255)])

    return paint


def tip(colour: Colour, *, start: float) -> Coat:
    """Return another colour towards the end of a tube: a tail's tip, a sock, a hoof."""

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        first = min(int(start * (len(shape.centre) - 1)), len(shape.centre) - 2)
        rest = Tube(shape.centre[first:], shape.radius[first:], colour)
        _fill(draw, _outlines(rest, rest.radius[None]), [(*colour, 255)])

    return paint


def layered(*coats: Coat | None) -> Coat:
    """Return the coats painted one after another; None is skipped."""

    def paint(draw: ImageDraw.ImageDraw, shape: Tube) -> None:
        for coat in coats:
            if coat is not None:
                coat(draw, shape)

    return paint
