"""A creature with known parts in a scene; the same seed gives the same picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from creatures.anatomy import PARTS, SPECIES, Species, build
from creatures.brush import Easel
from creatures.members import Figure
from creatures.scenery import light_and_noise, paint_occluder, paint_scene

Facing = Literal["left", "right"]
Pair = tuple[float, float]
Box = tuple[float, float, float, float]

SIZE = (180, 240)
"""(height, width) of a scene, pixels."""

REGIONS = ("scene", "trunk", "limbs")
"""Scene and what stands before the creature; body, neck and wing; head, legs and tail."""

_SMALLEST = 48
_MARGIN = 3.0
_OCCLUDED_SHARE = 0.3


@dataclass(frozen=True)
class Creature:
    """One creature in a scene.

    Args:
        image: uint8 (height, width, 3).
        box: (x, y, width, height) around the whole creature, pixels.
        parts: part name -> (x, y), pixels, first pixel's centre at 0.5; each lies on the creature.
        facing: where the head points.
        mask: bool (height, width), the creature's silhouette, also where something hides it.
        hidden: the parts that something stands before.
        regions: uint8 (height, width), which region each pixel shows, an index of `REGIONS`.
    """

    image: NDArray[np.uint8]
    box: Box
    parts: dict[str, Pair]
    facing: Facing
    mask: NDArray[np.bool_]
    hidden: frozenset[str]
    regions: NDArray[np.uint8]


def draw_creature(
    species: str | Species,
    *,
    seed: int | np.random.Generator,
    size: tuple[int, int] = SIZE,
    facing: Facing | None = None,
) -> Creature:
    """Return a creature of a species in a random pose, scene and light.

    Args:
        species: a key of `SPECIES`, or a mixture made with `dataclasses.replace`.
        seed: decides everything that varies.
        size: (height, width) of the scene, pixels.
        facing: "left" or "right"; None leaves it to the seed. The two pictures of one seed are
            mirror images.

    Raises:
        ValueError: the species is unknown, the size too small, or facing is none of the two.
    """
    kind = find_species(species)
    check_size(size)
    if facing not in (None, "left", "right"):
        raise ValueError(f"facing must be 'left', 'right' or None, got {facing!r}")
    rng = np.random.default_rng(seed)
    chosen: Facing = "left" if rng.uniform() < 0.5 else "right"
    drawn = _draw_rightward(kind, rng, size)
    return _mirrored(drawn) if (facing or chosen) == "left" else drawn


def find_species(species: str | Species) -> Species:
    """Return the species of a name.

    Raises:
        ValueError: there is no such species.
    """
    if isinstance(species, Species):
        return species
    if species not in SPECIES:
        raise ValueError(f"unknown species {species!r}; choose one of {', '.join(SPECIES)}")
    return SPECIES[species]


def check_size(size: tuple[int, int]) -> None:
    """Raise a ValueError if a scene of (height, width) pixels is too small for a creature."""
    if min(size) < _SMALLEST:
        raise ValueError(
            f"size must be (height, width) of at least {_SMALLEST} pixels each, got {size}"
        )


def _draw_rightward(species: Species, rng: np.random.Generator, size: tuple[int, int]) -> Creature:
    figure = build(species, rng)
    scale, offset = _placement(figure, rng, size)
    easel = Easel(size, light=(float(rng.uniform(-0.6, 0.6)), -0.8))
    stand = float(_extent(figure)[1][1]) * scale[1] + offset[1]
    horizon = float(
        np.clip(stand - rng.uniform(0.04, 0.45) * size[0], 0.15 * size[0], 0.95 * size[0])
    )
    scene = paint_scene(easel, size, rng, horizon=horizon)
    mask = _paint(easel, figure, scale, offset)
    regions = _regions(figure, scale, offset, size)
    box = _box(mask)
    _cast_shadow(scene, box)
    parts = {name: _moved(figure.parts[name], scale, offset) for name in PARTS}
    hidden: frozenset[str] = frozenset()
    if rng.uniform() < _OCCLUDED_SHARE:
        hidden = _occlude(easel, rng, box, parts)
        regions[easel.covered()] = REGIONS.index("scene")
    image = light_and_noise(easel.over(scene), rng)
    return Creature(image, box, parts, "right", mask, hidden, regions)


def _moved(place: Pair, scale: Pair, offset: Pair) -> Pair:
    return place[0] * scale[0] + offset[0], place[1] * scale[1] + offset[1]


def _extent(figure: Figure) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    tubes = figure.far + figure.near + figure.front
    low = np.min([(t.centre - t.radius[:, None]).min(0) for t in tubes], 0)
    return low, np.max([(t.centre + t.radius[:, None]).max(0) for t in tubes], 0)


def _placement(
    figure: Figure, rng: np.random.Generator, size: tuple[int, int]
) -> tuple[Pair, Pair]:
    """Return (x, y) scale and offset that put the figure somewhere inside the scene."""
    low, high = _extent(figure)
    stretch = np.exp(rng.uniform(-0.09, 0.09) * np.array([1.0, -1.0]))
    room = np.array([size[1], size[0]]) - 2 * _MARGIN
    fitting = float((room / ((high - low) * stretch)).min())
    scale = fitting * rng.uniform(0.62, 0.98) * stretch
    free = room - (high - low) * scale
    offset = _MARGIN + free * rng.uniform(0, 1, 2) ** np.array([1.0, 0.6]) - low * scale
    return (float(scale[0]), float(scale[1])), (float(offset[0]), float(offset[1]))


def _paint(easel: Easel, figure: Figure, scale: Pair, offset: Pair) -> NDArray[np.bool_]:
    """Return the silhouette of the figure, drawn on the easel."""
    easel.mark()
    for group in (figure.far, figure.near, figure.front):
        easel.draw(group, scale=scale, offset=offset)
    for place, radius, colour in figure.dots:
        easel.dot(
            _moved(place, scale, offset), radius * float(np.sqrt(scale[0] * scale[1])), colour
        )
    return easel.covered()


def _regions(figure: Figure, scale: Pair, offset: Pair, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the region that each pixel shows, as if nothing stood before the creature."""
    easel, regions = Easel(size, light=(0.0, 0.0)), np.zeros(size, np.uint8)
    for shape in figure.far + figure.near + figure.front:
        easel.mark()
        easel.draw([shape], scale=scale, offset=offset)
        trunk = any(shape is one for one in figure.trunk)
        regions[easel.covered()] = REGIONS.index("trunk" if trunk else "limbs")
    return regions


def _box(mask: NDArray[np.bool_]) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        float(columns[0]),
        float(rows[0]),
        float(columns[-1] - columns[0] + 1),
        float(rows[-1] - rows[0] + 1),
    )


def _cast_shadow(scene: NDArray[np.float32], box: Box) -> None:
    x, y, width, height = box
    rows, columns = np.arange(scene.shape[0]) + 0.5, np.arange(scene.shape[1]) + 0.5
    down = np.exp(-(((rows - y - height) / (0.05 * height)) ** 2))
    across = np.exp(-(((columns - x - 0.5 * width) / (0.36 * width)) ** 4))
    scene *= (1 - 0.4 * np.outer(down, across).astype(np.float32))[..., None]


def _occlude(
    easel: Easel, rng: np.random.Generator, box: Box, parts: dict[str, Pair]
) -> frozenset[str]:
    """Return the names of the parts that an occluder, drawn on the easel, stands before."""
    easel.mark()
    paint_occluder(easel, rng, box=box)
    cover = easel.covered()
    height, width = cover.shape
    return frozenset(
        name for name, (x, y) in parts.items() if cover[_cell(y, height), _cell(x, width)]
    )


def _cell(place: float, count: int) -> int:
    return min(max(int(place), 0), count - 1)


def _mirrored(drawn: Creature) -> Creature:
    width = drawn.image.shape[1]
    x, y, w, h = drawn.box
    parts = {name: (width - a, b) for name, (a, b) in drawn.parts.items()}
    image, mask, regions = (
        np.ascontiguousarray(drawn.image[:, ::-1]),
        np.ascontiguousarray(drawn.mask[:, ::-1]),
        np.ascontiguousarray(drawn.regions[:, ::-1]),
    )
    return Creature(image, (width - x - w, y, w, h), parts, "left", mask, drawn.hidden, regions)


def draw_background(
    *, seed: int | np.random.Generator, size: tuple[int, int] = SIZE
) -> NDArray[np.uint8]:
    """Return a scene without a creature, uint8 (height, width, 3).

    Raises:
        ValueError: the size is too small.
    """
    check_size(size)
    rng = np.random.default_rng(seed)
    horizon = rng.uniform(0.15, 0.9) * size[0]
    easel = Easel(size, light=(float(rng.uniform(-0.6, 0.6)), -0.8))
    scene = paint_scene(easel, size, rng, horizon=horizon)
    return light_and_noise(easel.over(scene), rng)
