"""Options of queries: fields of frozen dataclasses, from which the command line is generated.

This module is read for ``--help``, so it loads no other. Those of the heat maps stand beside
their functions in `explgraph.queries.heat_maps`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from explgraph.errors import UsageError

NamedBox = tuple[str, tuple[float, float, float, float]]
COUNT: dict[str, Any] = {"metavar": "N", "least": 1}
SHARE: dict[str, Any] = {"metavar": "SHARE", "least": 0, "most": 1}
FIRST_CHOICE = "class index or name; default: the network's own first choice"


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field that is an option of a command.

    The field's type is int, float, str, bool, a Literal, one of these or None, or a tuple of
    any number of one of them (``tuple[str, ...]``: the option can be given several times).

    Args:
        default: its value where it is not given; the help names it.
        help: one line for people.
        **more: ``metavar`` stands for the value in the help. ``flag`` is by default the field's
            name, ``--times-input``. ``least`` and ``most`` are the bounds of a number. ``read``
            makes the value of a text, where the field's type is not enough.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     samples: int = option(1, "how many noisy copies", metavar="N", least=1)
    >>> Options()
    Options(samples=1)
    """
    return field(default=default, metadata={"help": help, **more})


@dataclass(frozen=True)
class ExplainOptions:
    """Options of `explain_images`.

    >>> ExplainOptions(target="fox", nodes=3).tested
    100
    """

    target: str | None = option(None, FIRST_CHOICE, metavar="CLASS")
    nodes: int = option(10, "nodes to name", **COUNT)
    tested: int = option(100, "nodes of each layer to take away", **COUNT)
    ablate: tuple[str, ...] = option(
        (),
        "take this filter or node away for good and say what changes; repeatable",
        metavar="LAYER:CHANNEL|ID",
    )


def parse_box(text: str) -> NamedBox:
    """(name, box) from ``NAME=x,y,width,height``, fractions of the object.

    Raises:
        UsageError: another form, or a box outside of the object.

    >>> parse_box("head=0,0,0.5,0.25")
    ('head', (0.0, 0.0, 0.5, 0.25))
    """
    name, _, numbers = text.partition("=")
    try:
        x, y, width, height = (float(number) for number in numbers.split(","))
    except ValueError:
        x = y = width = height = -1.0  # outside of any object: refused below
    if not name or not (0 <= x < x + width <= 1 and 0 <= y < y + height <= 1):
        raise UsageError(
            "--box must be NAME=x,y,width,height in fractions of the object, inside it, "
            f"got {text!r}"
        )
    return name, (x, y, width, height)


@dataclass(frozen=True)
class ExportOptions:
    """Options of `export_workspace`: what of the graph, each leaves less of it.

    Args:
        top: only so many nodes of each layer, the strongest; those of ``nodes`` stay in any case.
        min_weight: only edges of at least this weight.
        nodes: only these nodes with their parents and children.
        parts: only the nodes that vote for these semantic parts.
        folders: keep the folders of source, images and weights in the file.

    >>> ExportOptions(top=5).folders
    False
    """

    top: int | None = option(None, "only the N strongest nodes of each layer", **COUNT)
    min_weight: float | None = option(
        None, "only edges of at least this weight, 0..1", **(SHARE | {"metavar": "W"})
    )
    nodes: tuple[str, ...] = option(
        (),
        "only this node with its parents and children; repeatable",
        flag="--node",
        metavar="ID",
    )
    parts: tuple[str, ...] = option(
        (),
        "only the nodes that vote for this semantic part; repeatable",
        flag="--part",
        metavar="NAME",
    )
    folders: bool = option(
        False,
        "keep the folders of photographs and weights in the file; else only their names are in it",
    )


@dataclass(frozen=True)
class CorrespondenceOptions:
    """Options of `correspondence_table`: the parts to hide, and how.

    Args:
        landmarks: of a COCO file; a square about each is hidden.
        nodes: of the workspace's graph; a square about each is hidden where it is found.
        boxes: the same in all objects: name, and (x, y, width, height), fractions of the object.
        side: of the squares, share of the network input: about a head.
        window: compare only the cells so far about the mask's centre.
        n_random: repetitions of the controls.

    >>> CorrespondenceOptions(landmarks=("head",)).side
    0.25
    """

    landmarks: tuple[str, ...] = option(
        (), "part: a square about this landmark; repeatable", flag="--landmark", metavar="NAME"
    )
    nodes: tuple[str, ...] = option(
        (), "part: a square about this node; repeatable", flag="--node", metavar="ID"
    )
    boxes: tuple[NamedBox, ...] = option(
        (),
        "part: a box in fractions of the object; repeatable",
        flag="--box",
        metavar="NAME=x,y,w,h",
        read=parse_box,
    )
    side: float = option(0.25, "side of the squares, share of the input", metavar="SHARE")
    window: int | None = option(
        None,
        "compare only the cells so far about the mask's centre, not whole maps",
        metavar="CELLS",
    )
    n_random: int = option(5, "repetitions of the controls", flag="--random", **COUNT)
