"""Species and their anatomy: from a species and a random pose to tubes and named parts.

A species is a body plan with a head, a tail, legs and a coat. Look-alikes share the plan and differ
in the rest, and any head fits any body: the network is trained on such mixtures, so it has to look
at every part.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from creatures.brush import Tube, layered, stripes, tip, tube
from creatures.coats import COATS, Fur
from creatures.members import HEADS, LEGS, TAILS, Figure, Frame, leg

Range = tuple[float, float]

PARTS = ("head", "front_leg", "hind_leg", "tail", "eye", "muzzle", "ear", "body")
"""The parts of every creature.

A bird's front leg is the one that steps ahead, and its ear is the plume or the comb.
"""


@dataclass(frozen=True)
class Plan:
    """The proportions of a body, in body lengths; angles are ranges in degrees, up is positive.

    Args:
        girth: radii at rump, waist and chest.
        pitch: slope of the body.
        leg: length of a leg.
        hips: where hind and front leg join the body, fractions of the body from the rump.
        neck: length of the neck; neck_radii: at chest and head.
        neck_angle: from head down to head up.
        head: length unit of the head.
        stride: largest swing of a leg.
        wings: whether it is a bird, with a wing along the body and two legs.
    """

    girth: tuple[float, float, float]
    pitch: Range
    leg: float
    hips: Range
    neck: float
    neck_radii: tuple[float, float]
    neck_angle: Range
    head: float
    stride: float = 28.0
    wings: bool = False


@dataclass(frozen=True)
class Species:
    """A kind of creature; `dataclasses.replace` makes mixtures of two.

    Args:
        name: what it is called.
        plan: its proportions.
        head: key of `HEADS`; tail: of `TAILS`; legs: of `LEGS`; coat: of `COATS`.
    """

    name: str
    plan: Plan
    head: str
    tail: str
    legs: str
    coat: str


_FAR = 0.74  # brightness of the legs on the far side

LEAN = Plan(
    (0.17, 0.145, 0.185), (-13, 13), 0.62, (0.08, 0.86), 0.32, (0.15, 0.11), (-42, 72), 0.285, 31.0
)
HOOFED = Plan(
    (0.195, 0.18, 0.20), (-9, 9), 0.74, (0.07, 0.88), 0.50, (0.165, 0.105), (-38, 70), 0.27, 30.0
)
TALL = Plan((0.20, 0.215, 0.22), (0, 14), 0.80, (0.10, 0.90), 1.0, (0.18, 0.085), (-5, 64), 0.22)
BIRD = Plan(
    (0.12, 0.235, 0.20),
    (6, 30),
    0.62,
    (0.40, 0.44),
    0.48,
    (0.14, 0.085),
    (15, 66),
    0.27,
    26.0,
    wings=True,
)

SPECIES: dict[str, Species] = {
    "fox": Species("fox", LEAN, "fox", "bushy", "paw", "russet"),
    "civet": Species("civet", LEAN, "civet", "ringed", "paw", "rosette"),
    "deer": Species("deer", HOOFED, "deer", "scut", "hoof", "dappled"),
    "zebra": Species("zebra", HOOFED, "zebra", "tufted", "hoof", "striped"),
    "giraffe": Species("giraffe", TALL, "giraffe", "rope", "hoof", "latticed"),
    "sauropod": Species("sauropod", TALL, "sauropod", "tapered", "pillar", "scaled"),
    "heron": Species("heron", BIRD, "heron", "wedge", "stilt", "slate"),
    "rooster": Species("rooster", BIRD, "rooster", "sickle", "stilt", "plumed"),
}


def build(species: Species, rng: np.random.Generator) -> Figure:
    """Return one creature in a random pose, facing right, unit body length, y pointing down."""
    plan, figure, fur = species.plan, Figure(), COATS[species.coat](rng)
    slope = math.radians(rng.uniform(*plan.pitch))
    x, y = 0.5 * math.cos(slope), 0.5 * math.sin(slope)
    body = tube(
        [(-x, y), (0, rng.uniform(-0.02, 0.035)), (x, -y)], plan.girth, fur.base, coat=fur.body
    )
    figure.parts["body"] = body.at(0.5)
    TAILS[species.tail](figure, body.at(0.0, -0.3), fur, rng)
    figure.near.append(body)
    figure.trunk.append(body)
    _raise_head(figure, body, species, fur, rng)
    stand = _stand_on_two if plan.wings else _stand
    stand(figure, body, species, fur, rng)
    if plan.wings:
        figure.front.append(_wing(body, fur, rng))
        figure.trunk += figure.front
    return figure


def _raise_head(
    figure: Figure, body: Tube, species: Species, fur: Fur, rng: np.random.Generator
) -> None:
    plan = species.plan
    lift = math.radians(rng.uniform(*plan.neck_angle))
    x, y = body.at(0.97, -0.15)
    length = plan.neck * rng.uniform(0.93, 1.07)
    bow = lift - math.radians(rng.uniform(-14, 14))
    middle = (x + 0.5 * length * math.cos(bow), y - 0.5 * length * math.sin(bow))
    end = (x + length * math.cos(lift), y - length * math.sin(lift))
    first, last = plan.neck_radii
    neck = tube(
        [(x, y), middle, end], [first, (first + 2 * last) / 3, last], fur.base, coat=fur.neck
    )
    figure.near.append(neck)
    figure.trunk.append(neck)
    nod = 0.45 * lift - math.radians(rng.uniform(-4, 30))
    HEADS[species.head](figure, Frame(end, nod, plan.head * rng.uniform(0.93, 1.1)), neck, fur)


def _stand(
    figure: Figure, body: Tube, species: Species, fur: Fur, rng: np.random.Generator
) -> None:
    """Add four legs; the near and the far one of a pair swing in opposite phase."""
    plan, limb = species.plan, LEGS[species.legs]
    phase, stride = rng.uniform(0, 2 * math.pi), plan.stride * rng.uniform(0.35, 1.0)
    for part, along, forward, lag in (
        ("hind_leg", plan.hips[0], -1, rng.uniform(0.6, 1.4)),
        ("front_leg", plan.hips[1], 1, 0.0),
    ):
        bend, swing, hip = (
            forward * rng.uniform(4, 34),
            stride * math.sin(phase + lag),
            body.at(along, 0.1),
        )
        near = leg(limb, hip, fur, length=plan.leg, swing=swing, bend=bend)
        figure.far.append(leg(limb, hip, fur, length=plan.leg, swing=-swing, bend=bend, tone=_FAR))
        figure.near.append(near)
        figure.parts[part] = near.at(0.62)


def _stand_on_two(
    figure: Figure, body: Tube, species: Species, fur: Fur, rng: np.random.Generator
) -> None:
    """Add a bird's legs: the near one steps ahead."""
    plan, limb = species.plan, LEGS[species.legs]
    for part, along, forward, group, tone in (
        ("hind_leg", plan.hips[0], -1, figure.far, _FAR),
        ("front_leg", plan.hips[1], 1, figure.near, 1.0),
    ):
        swing, bend = forward * plan.stride * rng.uniform(0.15, 1.0), -rng.uniform(4, 34)
        shape = leg(
            limb, body.at(along, 0.6), fur, length=plan.leg, swing=swing, bend=bend, tone=tone
        )
        group.append(shape)
        figure.parts[part] = shape.at(0.62)


def _wing(body: Tube, fur: Fur, rng: np.random.Generator) -> Tube:
    shoulder, elbow, end = (
        body.at(0.86, -0.2),
        body.at(0.5, rng.uniform(-0.15, 0.2)),
        body.at(0.0, rng.uniform(-0.2, 0.5)),
    )
    feathers = stripes(fur.pale, [(t, 0.025) for t in (0.42, 0.55, 0.68)], lean=-0.12)
    coat = layered(tip(fur.accent, start=0.6), feathers)
    return tube([shoulder, elbow, (end[0] - 0.14, end[1])], [0.1, 0.165, 0.02], fur.base, coat=coat)
