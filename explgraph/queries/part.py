"""`part fit`, `list`, `show`, `suggest`, `remove`: the semantic parts of a workspace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from explgraph.errors import UsageError
from explgraph.parts import (
    Mark,
    Marked,
    check_marks,
    fit_marks,
    read_marks,
    same_mark,
    suggest,
)
from explgraph.queries.part_records import (
    read_part,
    require_part,
    strongest_votes,
    to_part,
    to_record,
)
from explgraph.queries.result import Record, Result
from explgraph.workspace import Workspace, open_database
from explgraph_storage import SemanticPartRecord

MAX_NAME = 80  # characters


@dataclass(frozen=True)
class FittedPart(Result):
    """What `fit_workspace_part` stored.

    Args:
        annotated: ids of the objects that carry a mark.
        nodes: how many vote.
        strongest: the nodes with the heaviest votes, and their displacement.
    """

    part: str
    annotated: tuple[int, ...]
    nodes: int
    strongest: tuple[Record, ...]


@dataclass(frozen=True)
class PartList(Result):
    """Of each part of a workspace its name, how many marks and nodes, and when it was fitted."""

    workspace: str
    parts: tuple[Record, ...]


@dataclass(frozen=True)
class PartDescription(Result):
    """What a part rests on.

    Args:
        annotations: object, image and place in pixels of each mark.
        strongest: the nodes with the heaviest votes, and their displacement.
    """

    part: str
    fitted: str
    annotations: tuple[Record, ...]
    strongest: tuple[Record, ...]


@dataclass(frozen=True)
class SuggestedImages(Result):
    """The images that are most worth annotating next, best first.

    Args:
        suggested: image, object, expected gain, and how open the part is on it.
    """

    part: str
    suggested: tuple[Record, ...]


def fit_workspace_part(
    folder: str | Path,
    name: str,
    marked: Marked,
    *,
    add: bool = False,
    replace: bool = False,
    db: str | None = None,
) -> FittedPart:
    """Fit a part of a workspace and store it under its name.

    Everything is checked and computed first and stored last, in one transaction: after an error
    all is as before.

    Args:
        folder: the workspace.
        name: of the part.
        marked: where its marks are; none fits the part again from those that are stored.
        add: keep the stored marks and add these.
        replace: drop the stored marks; else they are dropped only where these hold them too.
        db: SQLAlchemy URL of the tables.

    Raises:
        UsageError: no marks, or wrong ones (`explgraph.parts.check_marks`); or stored marks would
            be lost.

    >>> part = fit_workspace_part(folder, "tail", Marked(coco, (1, 2), "tail"))
    >>> part.annotated, part.nodes > 10
    ((1, 2), True)
    """
    if not name.strip() or len(name) > MAX_NAME or not name.isprintable():
        raise UsageError(
            f"a part needs a printable name of at most {MAX_NAME} characters, got {name!r}"
        )
    if add and replace:
        raise UsageError("add keeps the stored marks and replace drops them: choose one")
    with Workspace(folder, db=db) as workspace:
        known, stored = workspace.known_objects(), _stored_marks(workspace, name)
        marks = read_marks(name, marked, known)
        if add or not (marks or replace):
            marks = [*stored, *marks]
        elif not replace:
            _refuse_loss(name, stored, marks)
    marks = check_marks(name, marks, known)
    record = to_record(fit_marks(name, marks, known), marks, known.traits)
    # Opened to write only now, so that others can write while this one computes.
    with open_database(folder, db, mode="write") as store:
        store.save_semantic_part(record)
    annotated = tuple(mark.object_id for mark in marks)
    return FittedPart(name, annotated, _n_nodes(record), tuple(strongest_votes(record, 10)))


def list_parts(workspace: Workspace) -> PartList:
    """The parts of a workspace.

    >>> [(part["name"], part["annotations"]) for part in list_parts(workspace).parts]
    [('head', 3)]
    """
    parts = tuple(
        {
            "name": part.name,
            "annotations": len(part.annotations),
            "nodes": _n_nodes(part),
            # Mining anew throws the templates away, which name nodes; the marks stay.
            "fitted": part.fitted_at if part.templates else "mined anew since: fit again",
        }
        for part in workspace.store.read_semantic_parts()
    )
    return PartList(str(workspace.folder), parts)


def describe_part(workspace: Workspace, name: str, *, top: int = 10) -> PartDescription:
    """One part with its marks and the ``top`` nodes with the heaviest votes.

    Raises:
        UsageError: there is none of that name.

    >>> head = describe_part(workspace, "head", top=5)
    >>> head.annotations[0]["image"], len(head.strongest)
    ('creatures/00001.jpg', 5)
    """
    record = read_part(workspace, name)
    image_of = workspace.file_of_object()
    marked = tuple(
        {"object": a.object_id, "image": image_of[a.object_id], "x": a.x, "y": a.y}
        for a in record.annotations
    )
    called = workspace.graph.called
    votes = [
        vote | ({"name": called(vote["node"])} if called(vote["node"]) else {})
        for vote in strongest_votes(record, top)
    ]
    return PartDescription(name, record.fitted_at, marked, tuple(votes))


def suggest_images(workspace: Workspace, name: str, *, top: int = 3) -> SuggestedImages:
    """The ``top`` images that are most worth annotating next.

    Raises:
        UsageError: there is no part of that name, or fewer objects.

    >>> [sorted(one) for one in suggest_images(workspace, "head", top=1).suggested]
    [['gain', 'image', 'object', 'variance']]
    """
    record = read_part(workspace, name)
    known = workspace.known_objects()
    part = to_part(record, known.traits)
    # They are known already: nothing is gained from marking them again.
    annotated = np.array([known.require(one.object_id) for one in record.annotations])
    suggested = tuple(
        {
            "image": known.files[one.object],
            "object": known.ids[one.object],
            "gain": one.gain,
            "variance": one.variance,
        }
        for one in suggest(part, known.seen, known.traits, annotated, top)
    )
    return SuggestedImages(name, suggested)


def remove_workspace_part(folder: str | Path, name: str, *, db: str | None = None) -> None:
    """Remove a part with its marks.

    Raises:
        UsageError: there is none of that name.

    >>> remove_workspace_part(folder, "head")
    >>> with Workspace(folder) as workspace:
    ...     list_parts(workspace).parts
    ()
    """
    with Workspace(folder, db=db) as workspace:
        # Unchecked: a damaged part can be removed.
        require_part(workspace, name, [one.name for one in workspace.store.read_semantic_parts()])
    with open_database(folder, db, mode="write") as store:
        store.remove_semantic_part(name)


def _n_nodes(part: SemanticPartRecord) -> int:
    # None where the graph was mined anew: the templates went with its nodes.
    return len({node for template in part.templates for node in template.nodes})


def _refuse_loss(name: str, stored: Sequence[Mark], marks: Sequence[Mark]) -> None:
    """A mark is the work of a person: it is not dropped because its part is marked once more."""
    # The same command twice, or one with more marks, loses nothing.
    lost = [one.object_id for one in stored if not any(same_mark(one, mark) for mark in marks)]
    if lost:
        listed = ", ".join(map(str, lost[:5])) + (", ..." if len(lost) > 5 else "")
        raise UsageError(
            f"part {name!r} has marks that these would drop (objects {listed}); --add keeps them, "
            "--replace drops them"
        )


def _stored_marks(workspace: Workspace, name: str) -> list[Mark]:
    parts = {part.name: part for part in workspace.store.read_semantic_parts()}
    # The first fit of a part finds none.
    stored = parts[name].annotations if name in parts else ()
    return [Mark(one.object_id, one.x, one.y) for one in stored]
