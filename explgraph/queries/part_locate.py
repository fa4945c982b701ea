"""`part locate`: where semantic parts are, in known and in new images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.errors import ImageError, Skipped, UsageError
from explgraph.files import make_folder
from explgraph.formats import PartPlace, part_format, write_parts
from explgraph.images import AnyPath, Boxes, Frame, ImageObject, Source, load_image
from explgraph.locations import NodeLocations
from explgraph.network import Network
from explgraph.parts import (
    FoundPart,
    KnownObjects,
    SeenNodes,
    SemanticPart,
    fit_star,
    locate_jointly,
    locate_part,
    turn,
)
from explgraph.progress import Report, silent
from explgraph.queries.asked import FRAME, Photographs, box_hint, picture_name, source_of
from explgraph.queries.locate import LocatedBatch, locate_batches
from explgraph.queries.part_records import read_part, to_part
from explgraph.workspace import Workspace
from explgraph_storage import SemanticPartRecord

Answer = Callable[[SeenNodes], list[FoundPart]]
Batches = Callable[[Source], Iterator[LocatedBatch]]


@dataclass(frozen=True)
class LocatedParts:
    """Where parts are, object by object in the source's order.

    Args:
        places: one per object and part.
        known: objects that were answered from the workspace's cached locations, without network.
        skipped: images that could not be used.
        out: the file that the places went to.
        hint: what is doubtful about the question, see `explgraph.queries.box_hint`.
        pictures: the files that were drawn.
    """

    places: tuple[PartPlace, ...]
    known: int
    skipped: tuple[Skipped, ...]
    out: Path | None = None
    hint: str | None = None
    pictures: tuple[Path, ...] = ()

    @property
    def unsure(self) -> int:
        """How many answers are expected to err much."""
        return sum(place.unsure for place in self.places)

    @property
    def not_visible(self) -> int:
        """How many answers are of parts that are not visible."""
        return sum(not place.visible for place in self.places)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rows = [place.to_dict() for place in self.places]
        where = {"out": str(self.out)} if self.out else {"parts": rows}
        return {
            "places": len(rows),
            "known": self.known,
            "unsure": self.unsure,
            "not_visible": self.not_visible,
            **where,
            "pictures": [str(path) for path in self.pictures],
            "frame": FRAME,
            "hint": self.hint,
            "skipped": [one.to_dict() for one in self.skipped],
        }


@dataclass(frozen=True)
class _Seen:
    """Nodes on some objects of a source: their numbers in it, frames and photographs' sizes."""

    numbers: Sequence[int]
    nodes: SeenNodes
    frames: Sequence[Frame]
    sizes: Sequence[tuple[int, int]]
    skipped: tuple[Skipped, ...] = ()


def locate_parts(
    workspace: Workspace,
    names: Sequence[str],
    source: Photographs,
    *,
    box: Boxes | None = None,
    network: Callable[[], Network] | None = None,
    joint: bool = False,
    out: AnyPath | None = None,
    draw: AnyPath | None = None,
    format: str | None = None,
    image_prefix: str | None = None,
    batch_size: int = 16,
    workers: int = 2,
    report: Report = silent,
) -> LocatedParts:
    """Find parts on every object of a source.

    Objects of the workspace itself are answered from its cached locations; for all others the
    network runs. Other arguments are those of `explgraph.queries.locate_batches`.

    Args:
        names: of the parts.
        source: objects, known or new; or where they are, see `explgraph.read_source`.
        box: the objects in an image, see `explgraph.read_source`.
        network: gives the workspace's network; called only if there is a new object; by default
            `Workspace.network`.
        joint: locate the parts together; their mutual displacement is learned from the workspace's
            objects.
        out: a file for the places.
        draw: folder for one picture per object, with its parts.
        format: of the file; None goes by its suffix.
        image_prefix: stands before the names of photographs, for Label Studio.

    Raises:
        UsageError: an unknown part, ``joint`` with fewer than two parts, there can be no file at
            ``out``, or a format without a file.

    >>> found = locate_parts(workspace, ["head"], coco)
    >>> len(found.places), found.known, found.places[0].image
    (48, 48, 'creatures/00001.jpg')
    """
    source, network = source_of(source, box=box), network or workspace.network
    file = None if out is None else Path(out)
    if file:
        part_format(file, format, image_prefix=image_prefix)  # before the work, not after it
    elif format or image_prefix is not None:
        raise UsageError("--format and --image-prefix are about the file of --out; name one")
    known = workspace.known_objects()
    records = [read_part(workspace, name) for name in names]
    answer = part_answer([to_part(one, known.traits) for one in records], known, joint=joint)
    # The network is loaded when the first new object is looked at, not before.
    batches = lambda new: locate_batches(
        workspace, new, network=network(), batch_size=batch_size, workers=workers, report=report
    )
    # Known is the same box of the same file in the same folder; one of a like name is new.
    at = [known.find(obj, source.root) for obj in source.objects]
    cached = {i: position for i, position in enumerate(at) if position is not None}
    fresh = [i for i, position in enumerate(at) if position is None]
    places: dict[int, list[PartPlace]] = {}
    skipped = list(source.skipped)
    for seen in chain(_seen_before(cached, known), _seen_anew(source, fresh, batches)):
        found = list(zip(records, answer(seen.nodes), strict=True))
        for k, number in enumerate(seen.numbers):
            obj = source.objects[number]
            places[number] = [_place(obj, seen, k, record, part) for record, part in found]
        skipped += seen.skipped
    # Known objects were answered first, whatever their place among the others.
    in_order = tuple(place for number in sorted(places) for place in places[number])
    if file:
        write_parts(in_order, file, format=format, image_prefix=image_prefix)
    # A broken photograph of several objects is named once.
    named, hint = tuple(dict.fromkeys(skipped)), box_hint(workspace, source.objects)
    drawn = {source.objects[number]: found for number, found in places.items()} if draw else {}
    pictures = tuple(draw_found_parts(drawn, Path(draw))) if draw else ()
    return LocatedParts(in_order, len(cached), named, file, hint, pictures)


def draw_found_parts(
    places: Mapping[ImageObject, Sequence[PartPlace]], folder: Path
) -> Iterator[Path]:
    """A picture of each object with its parts as numbers, and how sure each is, in ``folder``.

    Photographs that are gone, of objects that were answered from the cache, are left out.

    >>> from explgraph.images import read_source
    >>> source = read_source(coco, limit=1)
    >>> found = locate_parts(workspace, ["head"], source).places
    >>> [path.name for path in draw_found_parts({source.objects[0]: found}, out)]
    ['creatures-00001-1.png']
    """
    # matplotlib, which few commands need
    from explgraph.figures import found_parts_figure, save_figure

    make_folder(folder)
    for obj, found in places.items():
        ranked = sorted(found, key=lambda one: not one.visible)  # those that are numbered first
        with suppress(ImageError):
            figure = found_parts_figure(
                load_image(obj),
                [(one.x, one.y) for one in ranked if one.visible],
                [one.part for one in ranked],
                [_said(one) for one in ranked],
                box=None if obj.box is None else found[0].box,
                title=f"{obj.file_name}, object {obj.annotation_id}",
            )
            yield save_figure(figure, folder / picture_name(obj))


def _said(place: PartPlace) -> str:
    """How sure an answer is, for people."""
    score = f"{place.score:.2f}" if place.visible else ""
    return ", ".join(filter(None, (score, place.doubt)))


def part_answer(parts: Sequence[SemanticPart], known: KnownObjects, *, joint: bool) -> Answer:
    """The function that locates the parts, alone or together."""
    traits = known.traits
    if not joint:
        return lambda seen: [locate_part(part, seen, traits) for part in parts]
    if len(parts) < 2:
        raise UsageError(
            f"--joint needs two parts or more, got {len(parts)}; name them with --name A --name B"
        )
    # Fitted once, on all objects of the workspace, before the first answer.
    star = fit_star(parts, known.seen, traits)
    return lambda seen: locate_jointly(star, seen, traits)


def seen_nodes(found: NodeLocations) -> SeenNodes:
    """Located nodes in the resolved facing.

    >>> from explgraph.images import read_source
    >>> from explgraph.queries import locate_batches
    >>> (batch,) = locate_batches(workspace, read_source(pictures), network=network)
    >>> seen_nodes(batch.locations).place.shape == (6, len(graph), 2)
    True
    """
    mirrored = np.asarray(found.mirrored, bool)
    sureness = None if found.sureness is None else found.sureness.astype(float)
    place = turn(found.place.astype(float), mirrored)
    return SeenNodes(place, found.score.astype(float), mirrored, sureness)


def _seen_before(cached: Mapping[int, int], known: KnownObjects) -> Iterator[_Seen]:
    """What is known of objects of the workspace, number in the source -> position there."""
    if cached:
        at = list(cached.values())
        frames, sizes = [known.frames[i] for i in at], [known.sizes[i] for i in at]
        yield _Seen(list(cached), known.seen.objects(at), frames, sizes)


def _seen_anew(source: Source, fresh: Sequence[int], batches: Batches) -> Iterator[_Seen]:
    """What the network sees of new objects, given by their numbers in the source."""
    if fresh:
        objects = tuple(source.objects[i] for i in fresh)
        for one in batches(Source(source.root, source.kind, objects, ())):
            # Numbers of this source's objects, among which some were known and are left out here.
            numbers = [fresh[i] for i in one.batch.indices.tolist()]
            nodes, batch = seen_nodes(one.locations), one.batch
            yield _Seen(numbers, nodes, batch.frames, batch.sizes, one.skipped)


def _place(
    obj: ImageObject, seen: _Seen, k: int, record: SemanticPartRecord, found: FoundPart
) -> PartPlace:
    """The k-th answer in pixels of the photograph."""
    mirrored = bool(seen.nodes.mirrored[k])
    x, y = seen.frames[k].to_image(found.place[k], mirrored=mirrored).tolist()
    return PartPlace(
        annotation_id=obj.annotation_id,
        image=obj.file_name,
        part=record.name,
        x=x,
        y=y,
        score=float(found.score[k]),
        expected_error=float(found.expected_error[k]),
        visible=bool(found.visible[k]),
        template=record.annotations[int(found.template[k])].object_id,
        mirrored=mirrored,
        image_id=obj.image_id,
        size=seen.sizes[k],
        box=seen.frames[k].box,
        label=obj.label,
        category_id=obj.category_id,
    )
