"""Heads, tails and legs: each builder adds its tubes to a figure and notes where the parts are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from creatures.brush import Coat, Colour, Tube, belly, layered, spots, stripes, tip, tube
from creatures.coats import Fur

Place = tuple[float, float]
Knots = Sequence[tuple[float, float, float]]

_BLACK: Colour = (24, 20, 22)
_HORN: Colour = (196, 172, 132)
_BEAK: Colour = (232, 158, 52)
_RED: Colour = (206, 44, 44)


@dataclass
class Figure:
    """What is drawn, back to front, and where the parts are, facing right, in body lengths.

    Args:
        far: limbs on the far side.
        near: everything else that shares one outline.
        front: what keeps an outline of its own in front of the body (a wing).
        trunk: of these, body, neck and wing: where the coat's pattern runs on and on.
        dots: (place, radius, colour) of flat discs: eyes and noses.
        parts: part name -> (x, y).
    """

    far: list[Tube] = field(default_factory=list)
    near: list[Tube] = field(default_factory=list)
    front: list[Tube] = field(default_factory=list)
    trunk: list[Tube] = field(default_factory=list)
    dots: list[tuple[Place, float, Colour]] = field(default_factory=list)
    parts: dict[str, Place] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """A place with a direction and a unit: (ahead, up) -> (x, y)."""

    origin: Place
    angle: float
    unit: float

    def __call__(self, ahead: float, up: float) -> Place:
        """Return the place so far ahead and so far up, in units of the frame."""
        c, s = self.unit * math.cos(self.angle), self.unit * math.sin(self.angle)
        return self.origin[0] + ahead * c - up * s, self.origin[1] - ahead * s - up * c

    def tube(
        self, knots: Knots, colour: Colour, *, coat: Coat | None = None, tone: float = 1.0
    ) -> Tube:
        """Return a tube through (ahead, up, radius) knots in units of the frame."""
        radii = [r * self.unit for *_, r in knots]
        return tube([self(a, u) for a, u, _ in knots], radii, colour, coat=coat, tone=tone)


HeadBuilder = Callable[[Figure, Frame, Tube, Fur], None]
TailBuilder = Callable[[Figure, Place, Fur, np.random.Generator], None]


def _face(
    figure: Figure,
    frame: Frame,
    skull: Tube,
    *,
    eye: Place,
    eye_size: float,
    nose: Place | None,
    middle: float,
) -> None:
    figure.near.append(skull)
    figure.parts["head"] = skull.at(middle)
    figure.parts["eye"] = frame(*eye)
    figure.parts["muzzle"] = skull.at(1.0)
    if nose is not None:
        figure.dots.append((frame(*nose), 0.11 * frame.unit, _BLACK))
    figure.dots.append((frame(*eye), eye_size * frame.unit, (250, 246, 232)))
    figure.dots.append((frame(eye[0] + 0.02, eye[1]), eye_size * 0.72 * frame.unit, _BLACK))
    figure.dots.append(
        (frame(eye[0] + 0.05, eye[1] + 0.04), eye_size * 0.25 * frame.unit, (255, 255, 255))
    )


def _fox_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    far_ear = frame.tube(
        [(0.22, 0.3, 0.2), (0.2, 0.72, 0.13), (0.2, 1.12, 0.02)], fur.base, tone=0.8
    )
    ear = frame.tube(
        [(-0.08, 0.25, 0.25), (-0.16, 0.72, 0.15), (-0.2, 1.18, 0.02)],
        fur.base,
        coat=tip(fur.dark, start=0.62),
    )
    figure.near.append(far_ear)
    skull = frame.tube(
        [(-0.1, 0.05, 0.44), (0.35, 0.03, 0.43), (0.8, -0.12, 0.21), (1.22, -0.2, 0.1)],
        fur.base,
        coat=fur.head,
    )
    _face(figure, frame, skull, eye=(0.42, 0.14), eye_size=0.12, nose=(1.28, -0.16), middle=0.4)
    figure.near.append(ear)
    figure.parts["ear"] = ear.at(0.5)


def _civet_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    figure.near.append(frame.tube([(0.22, 0.36, 0.16), (0.24, 0.58, 0.18)], fur.base, tone=0.8))
    ear = frame.tube(
        [(-0.14, 0.34, 0.18), (-0.2, 0.6, 0.23)], fur.base, coat=spots(fur.pale, [(0.8, 0.0, 0.55)])
    )
    mask = stripes(fur.dark, [(0.45, 0.2)])
    skull = frame.tube(
        [(-0.08, 0.02, 0.46), (0.34, 0.02, 0.46), (0.68, -0.1, 0.3), (0.88, -0.14, 0.24)],
        fur.base,
        coat=mask,
    )
    _face(figure, frame, skull, eye=(0.4, 0.12), eye_size=0.13, nose=(1.08, -0.06), middle=0.5)
    figure.near.append(ear)
    figure.parts["ear"] = ear.at(0.8)


def _deer_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    for shift, tone in ((0.2, 0.78), (0.0, 1.0)):
        beam = [(0.02, 0.3, 0.08), (-0.34, 0.95, 0.075), (-0.12, 1.6, 0.06), (0.3, 1.95, 0.03)]
        for knots in (
            beam,
            [(-0.28, 0.85, 0.06), (0.22, 1.28, 0.025)],
            [(-0.2, 1.35, 0.05), (-0.62, 1.75, 0.025)],
        ):
            figure.near.append(
                frame.tube([(a + shift, u, r) for a, u, r in knots], _HORN, tone=tone)
            )
    skull = frame.tube(
        [(-0.1, 0, 0.38), (0.35, 0, 0.38), (0.95, -0.2, 0.24), (1.3, -0.28, 0.2)],
        fur.base,
        coat=tip(fur.dark, start=0.9),
    )
    _face(figure, frame, skull, eye=(0.36, 0.12), eye_size=0.12, nose=None, middle=0.45)
    ear = frame.tube(
        [(-0.08, 0.26, 0.12), (-0.5, 0.42, 0.19), (-0.88, 0.46, 0.03)],
        fur.base,
        coat=spots(fur.pale, [(0.5, 0.0, 0.6)]),
    )
    figure.near.append(ear)
    figure.parts["ear"] = ear.at(0.5)


def _mane(neck: Tube, colour: Colour, other: Colour) -> Tube:
    places = [neck.at(t, -0.95) for t in (0.12, 0.4, 0.7, 1.0)]
    bands = stripes(other, [(t, 0.09) for t in np.arange(0.1, 1.0, 0.2)])
    return tube(places, [0.03, 0.065, 0.065, 0.05], colour, coat=bands)


def _zebra_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    figure.near.insert(-1, _mane(neck, fur.dark, fur.pale))
    figure.near.append(
        frame.tube([(0.16, 0.3, 0.1), (0.16, 0.62, 0.13), (0.2, 0.88, 0.02)], fur.base, tone=0.8)
    )
    knots = [(-0.12, 0.02, 0.44), (0.35, 0.02, 0.42), (1.0, -0.22, 0.28), (1.38, -0.34, 0.26)]
    skull = frame.tube(knots, fur.base, coat=layered(fur.head, tip(fur.dark, start=0.78)))
    _face(figure, frame, skull, eye=(0.38, 0.14), eye_size=0.11, nose=None, middle=0.45)
    ear = frame.tube(
        [(-0.1, 0.3, 0.11), (-0.16, 0.66, 0.15), (-0.14, 0.96, 0.02)],
        fur.base,
        coat=tip(fur.dark, start=0.7),
    )
    figure.near.append(ear)
    figure.parts["ear"] = ear.at(0.5)


def _giraffe_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    for ahead, tone in ((0.3, 0.8), (0.08, 1.0)):
        horn = frame.tube(
            [(ahead, 0.25, 0.09), (ahead - 0.06, 0.8, 0.08), (ahead - 0.06, 0.86, 0.13)],
            fur.base,
            tone=tone,
        )
        figure.near.append(replace(horn, coat=tip(fur.dark, start=0.72)))
    knots = [(-0.15, 0.02, 0.4), (0.35, 0.0, 0.4), (0.95, -0.22, 0.25), (1.35, -0.3, 0.24)]
    skull = frame.tube(knots, fur.base, coat=tip(fur.accent, start=0.85))
    _face(figure, frame, skull, eye=(0.38, 0.12), eye_size=0.13, nose=None, middle=0.45)
    ear = frame.tube(
        [(-0.1, 0.2, 0.1), (-0.5, 0.24, 0.17), (-0.82, 0.2, 0.03)],
        fur.base,
        coat=spots(fur.accent, [(0.5, 0.0, 0.5)]),
    )
    figure.near.append(ear)
    figure.parts["ear"] = ear.at(0.5)


def _sauropod_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    knots = [(-0.2, 0.06, 0.4), (0.3, 0.2, 0.46), (0.8, -0.02, 0.36), (1.15, -0.08, 0.3)]
    skull = frame.tube(knots, fur.base, coat=belly(fur.pale))
    _face(figure, frame, skull, eye=(0.36, 0.26), eye_size=0.14, nose=None, middle=0.5)
    figure.dots.append((frame(1.2, 0.06), 0.05 * frame.unit, fur.dark))
    for ahead in (-0.25, 0.05):
        crest = frame.tube([(ahead, 0.42, 0.17), (ahead - 0.16, 0.78, 0.03)], fur.accent)
        figure.near.insert(-1, crest)
    figure.parts["ear"] = frame(-0.15, 0.6)


def _heron_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    plume = frame.tube([(0.1, 0.25, 0.14), (-0.5, 0.28, 0.1), (-1.15, 0.02, 0.02)], (44, 48, 66))
    beak = frame.tube([(0.35, -0.02, 0.18), (1.0, -0.1, 0.09), (1.75, -0.16, 0.015)], _BEAK)
    figure.near.extend([plume, beak])
    skull = frame.tube(
        [(-0.1, 0.0, 0.36), (0.2, 0.02, 0.38), (0.5, -0.03, 0.24)], fur.base, coat=belly(fur.pale)
    )
    _face(figure, frame, skull, eye=(0.3, 0.1), eye_size=0.12, nose=None, middle=0.5)
    figure.parts["muzzle"] = beak.at(0.6)
    figure.parts["ear"] = plume.at(0.4)


def _rooster_head(figure: Figure, frame: Frame, neck: Tube, fur: Fur) -> None:
    wattle = frame.tube([(0.42, -0.25, 0.12), (0.4, -0.62, 0.17)], _RED)
    comb = [
        frame.tube([(a, 0.2, 0.14), (a - 0.08, u, 0.13)], _RED)
        for a, u in ((-0.22, 0.5), (0.08, 0.66), (0.36, 0.58))
    ]
    beak = frame.tube([(0.4, 0.0, 0.17), (0.72, -0.04, 0.11), (0.9, -0.2, 0.02)], _BEAK)
    figure.near.extend([wattle, *comb, beak])
    skull = frame.tube([(-0.1, 0.0, 0.38), (0.2, 0.03, 0.4), (0.42, 0.0, 0.28)], fur.base)
    _face(figure, frame, skull, eye=(0.26, 0.12), eye_size=0.12, nose=None, middle=0.5)
    figure.parts["muzzle"] = beak.at(0.7)
    figure.parts["ear"] = comb[1].at(0.8)


HEADS: dict[str, HeadBuilder] = {
    "fox": _fox_head,
    "civet": _civet_head,
    "deer": _deer_head,
    "zebra": _zebra_head,
    "giraffe": _giraffe_head,
    "sauropod": _sauropod_head,
    "heron": _heron_head,
    "rooster": _rooster_head,
}


def _arc(start: Place, angle: float, length: float, curl: float, *, knots: int = 5) -> list[Place]:
    """Return places along an arc that leaves at an angle (radians, upwards) and turns by curl."""
    places = [start]
    for number in range(1, knots):
        turned = angle + curl * (number - 0.5) / (knots - 1)
        x, y = places[-1]
        places.append(
            (
                x + length / (knots - 1) * math.cos(turned),
                y - length / (knots - 1) * math.sin(turned),
            )
        )
    return places


def _tail(
    figure: Figure,
    rump: Place,
    rng: np.random.Generator,
    *,
    lift: tuple[float, float],
    curl: tuple[float, float],
    length: float,
) -> list[Place]:
    """Return the arc of a tail; lift and curl are ranges in degrees, lift from straight back up."""
    angle = math.pi - math.radians(rng.uniform(*lift))
    places = _arc(rump, angle, length * rng.uniform(0.92, 1.08), -math.radians(rng.uniform(*curl)))
    figure.parts["tail"] = places[3]
    return places


def _bushy_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-68, 80), curl=(-10, 70), length=0.86)
    figure.near.append(
        tube(places, [0.06, 0.115, 0.165, 0.145, 0.03], fur.base, coat=tip(fur.pale, start=0.7))
    )


def _ringed_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-62, 70), curl=(0, 130), length=1.0)
    rings = stripes(fur.dark, [(t, 0.09) for t in (0.3, 0.5, 0.7, 0.88)])
    figure.near.append(
        tube(
            places,
            [0.07, 0.07, 0.07, 0.065, 0.055],
            fur.base,
            coat=layered(rings, tip(fur.dark, start=0.94)),
        )
    )


def _scut_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-70, 60), curl=(-20, 20), length=0.3)
    figure.near.append(tube(places, [0.07, 0.085, 0.09, 0.06, 0.02], (244, 238, 226)))


def _tufted_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-78, -5), curl=(-40, 40), length=0.66)
    coat = layered(
        stripes(fur.dark, [(t, 0.06) for t in (0.15, 0.3, 0.45)]), tip(fur.dark, start=0.6)
    )
    figure.near.append(tube(places, [0.05, 0.035, 0.03, 0.08, 0.02], fur.base, coat=coat))


def _rope_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-85, 10), curl=(-70, 30), length=0.72)
    figure.near.append(tube(places[-2:], [0.06, 0.11], fur.dark))
    figure.near.append(tube(places[:4], [0.06, 0.03, 0.025, 0.025], fur.base))


def _tapered_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-30, 12), curl=(-15, 60), length=1.3)
    coat = stripes(fur.accent, [(t, 0.06) for t in np.arange(0.1, 0.9, 0.14)])
    figure.near.append(tube(places, [0.17, 0.14, 0.1, 0.055, 0.015], fur.base, coat=coat))


def _wedge_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(-25, 15), curl=(-10, 10), length=0.42)
    figure.near.append(
        tube(places, [0.1, 0.11, 0.11, 0.09, 0.05], fur.accent, coat=tip(fur.base, start=0.8))
    )


def _sickle_tail(figure: Figure, rump: Place, fur: Fur, rng: np.random.Generator) -> None:
    places = _tail(figure, rump, rng, lift=(30, 75), curl=(-150, -100), length=0.85)
    spread = rng.uniform(0.20, 0.30)
    for number, colour in enumerate((fur.accent, fur.dark, fur.accent, (46, 96, 92))):
        angle = math.pi - math.radians(20) - spread * number
        figure.near.append(
            tube(
                _arc(rump, angle, 0.72 + 0.04 * number, 1.9),
                [0.06, 0.08, 0.085, 0.06, 0.02],
                colour,
            )
        )
    figure.parts["tail"] = places[3]


TAILS: dict[str, TailBuilder] = {
    "bushy": _bushy_tail,
    "ringed": _ringed_tail,
    "scut": _scut_tail,
    "tufted": _tufted_tail,
    "rope": _rope_tail,
    "tapered": _tapered_tail,
    "wedge": _wedge_tail,
    "sickle": _sickle_tail,
}


@dataclass(frozen=True)
class Limb:
    """The look of a leg, in body lengths.

    Args:
        radii: at hip, knee, ankle, toe.
        foot: how far the toe lies ahead of the ankle.
        bare: has no coat and the dark colour, as on a bird.
    """

    radii: tuple[float, float, float, float]
    foot: float
    bare: bool = False


LEGS: dict[str, Limb] = {
    "paw": Limb((0.125, 0.068, 0.05, 0.055), 0.07),
    "hoof": Limb((0.125, 0.056, 0.04, 0.05), 0.03),
    "pillar": Limb((0.155, 0.115, 0.105, 0.115), 0.03),
    "stilt": Limb((0.08, 0.03, 0.024, 0.02), 0.13, bare=True),
}


def leg(
    limb: Limb, hip: Place, fur: Fur, *, length: float, swing: float, bend: float, tone: float = 1.0
) -> Tube:
    """Return one leg.

    Args:
        limb: its look.
        hip: where it starts, (x, y).
        fur: colours and coat.
        length: from hip to ankle when stretched.
        swing: degrees that the whole leg is swung forward.
        bend: degrees at the knee; positive moves the knee ahead.
        tone: brightness.
    """
    upper, lower = math.radians(swing + bend / 2), math.radians(swing - bend / 2)
    knee = (hip[0] + 0.5 * length * math.sin(upper), hip[1] + 0.5 * length * math.cos(upper))
    ankle = (knee[0] + 0.5 * length * math.sin(lower), knee[1] + 0.5 * length * math.cos(lower))
    toe = (ankle[0] + limb.foot, ankle[1] + 0.035)
    colour, coat = (fur.dark, None) if limb.bare else (fur.base, fur.leg)
    return tube([hip, knee, ankle, toe], limb.radii, colour, coat=coat, tone=tone)
