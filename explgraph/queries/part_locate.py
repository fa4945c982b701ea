"""Where the parts of a workspace are in known and in new images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from explgraph.errors import Skipped, UsageError
from explgraph.formats.part_tables import PartPlace
from explgraph.images import Frame, ImageObject, Source
from explgraph.locations import NodeLocations
from explgraph.network import Network
from explgraph.parts import (
    FoundPart,
    KnownObjects,
    NodeTraits,
    SeenNodes,
    SemanticPart,
    fit_star,
    locate_jointly,
    locate_part,
    turn,
)
from explgraph.progress import Report, silent
from explgraph.queries.locate import locate_batches
from explgraph.queries.parts import read_part, to_part
from explgraph.workspace import Workspace

Answer = Callable[[SeenNodes], list[FoundPart]]


@dataclass
class LocatedParts:
    """Where parts are, object by object in the source's order.

    Args:
        places: one per object and part.
        known: how many objects were answered from the cached locations of the workspace, without the network.
        skipped: images that could not be read.
    """

    places: list[PartPlace] = field(default_factory=list)
    known: int = 0
    skipped: list[Skipped] = field(default_factory=list)


def locate_parts(
    workspace: Workspace,
    names: Sequence[str],
    source: Source,
    *,
    network: Callable[[], Network],
    joint: bool = False,
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> LocatedParts:
    """Return where the parts are on every object of a source.

    Objects of the workspace itself are answered from its cached locations; for all others the network runs.

    Args:
        workspace: holds the graph and the parts.
        names: of the parts.
        source: objects, known or new.
        network: gives the workspace's network; called only if there is a new object.
        joint: locate the parts together; their mutual displacement is learned from the workspace's objects.
        batch_size: objects per forward pass; workers: decoding threads; report: progress.

    Raises:
        UsageError: an unknown part, or ``joint`` with fewer than two parts.
    """
    known = workspace.known_objects()
    parts = [to_part(read_part(workspace, name), known.traits) for name in names]
    templates = [
        [one.object_id for one in read_part(workspace, name).annotations] for name in names
    ]
    answer = part_answer(parts, known, joint=joint)
    at = [known.find(obj, source.root) for obj in source.objects]
    result = LocatedParts()
    rows: dict[int, list[PartPlace]] = {}

    def keep(
        numbers: Sequence[int],
        seen: SeenNodes,
        frames: Sequence[Frame],
        sizes: Sequence[tuple[int, int]],
    ) -> None:
        found = list(zip(names, answer(seen), templates, strict=True))
        for i, number in enumerate(numbers):
            shown = _Shown(source.objects[number], frames[i], sizes[i], bool(seen.mirrored[i]))
            rows[number] = [_place(shown, name, one, i, ids) for name, one, ids in found]

    cached = [number for number, position in enumerate(at) if position is not None]
    if cached:
        positions = [position for position in at if position is not None]
        keep(
            cached,
            known.seen.objects(positions),
            [known.frames[i] for i in positions],
            [known.sizes[i] for i in positions],
        )
        result.known = len(cached)
    if fresh := [number for number, position in enumerate(at) if position is None]:
        new = Source(source.root, source.kind, tuple(source.objects[i] for i in fresh), ())

        for one in locate_batches(
            workspace,
            new,
            network=network(),
            batch_size=batch_size,
            workers=workers,
            report=report,
        ):
            numbers = [fresh[i] for i in one.batch.indices.tolist()]
            keep(numbers, seen_nodes(one.locations), one.batch.frames, one.batch.sizes)
            result.skipped += one.skipped
    result.places = [place for number in sorted(rows) for place in rows[number]]
    return result


def part_answer(parts: Sequence[SemanticPart], known: KnownObjects, *, joint: bool) -> Answer:
    """Return the function that locates the parts, alone or together.

    Raises:
        UsageError: ``joint`` with fewer than two parts.
    """
    traits: NodeTraits = known.traits
    if not joint:
        return lambda seen: [locate_part(part, seen, traits) for part in parts]
    if len(parts) < 2:
        raise UsageError(
            f"--joint needs two parts or more, got {len(parts)}; name them with --name A --name B"
        )
    star = fit_star(parts, known.seen, traits)
    return lambda seen: locate_jointly(star, seen, traits)


def seen_nodes(found: NodeLocations) -> SeenNodes:
    """Return located nodes in the resolved facing."""
    mirrored: NDArray[np.bool_] = np.asarray(found.mirrored, bool)
    return SeenNodes(turn(found.place.astype(float), mirrored), found.score.astype(float), mirrored)


@dataclass(frozen=True)
class _Shown:
    """An object, how its box fills the network input, its photograph's (width, height), and its facing."""

    obj: ImageObject
    frame: Frame
    size: tuple[int, int]
    mirrored: bool


def _place(
    shown: _Shown, part: str, found: FoundPart, i: int, templates: Sequence[int]
) -> PartPlace:
    """Return the i-th answer in pixels of the photograph."""
    x, y = shown.frame.to_image(found.place[i], mirrored=shown.mirrored).tolist()
    return PartPlace(
        annotation_id=shown.obj.annotation_id,
        image=shown.obj.file_name,
        part=part,
        x=x,
        y=y,
        score=float(found.score[i]),
        expected_error=float(found.expected_error[i]),
        visible=bool(found.visible[i]),
        template=templates[int(found.template[i])],
        mirrored=shown.mirrored,
        image_id=shown.obj.image_id,
        size=shown.size,
        box=shown.frame.box,
    )
