"""What a kind of heat map is: its options, what it can be asked, and how it draws one view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from explgraph.attribution import Attribution
    from explgraph.figures import Panel
    from explgraph.images import Box
    from explgraph.network import Network
    from explgraph.progress import Report

FIRST_CHOICE = "class index or name; default: the network's own first choice"


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMap:
    """What a method draws of one view.

    Args:
        found: the attribution; its first map is written.
        panels: the pictures beside the image.
        boxes: in pixels of the image, best first.
        extra: further entries of the record, plain values.
    """

    found: Attribution
    panels: Sequence[Panel]
    boxes: Sequence[Box] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


Draw = Callable[["Network", Any, Any, "Report"], HeatMap]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A kind of heat map; the command line is generated from it.

    Args:
        name: of the command, and in the names of the files.
        summary: one sentence: what it draws.
        examples: arguments of the command.
        options: a frozen dataclass whose fields are made by `explgraph.queries.options.option`.
        draw: makes the heat map of (network, view, options, report).
        targets: what it can be asked: "class", "node", "channel".
        target_help: which class is asked, and which one by default.
        needs_nodes: whether it takes views in which the nodes of a workspace's graph were found.
    """

    name: str
    summary: str
    examples: tuple[str, ...]
    options: type
    draw: Draw
    targets: tuple[str, ...] = ("class", "node", "channel")
    target_help: str = FIRST_CHOICE
    needs_nodes: bool = False


METHODS: dict[str, Method] = {}


def heat_map_method(options: type, **more: Any) -> Callable[[Draw], Draw]:
    """Register the function below as the method with these options; ``more`` as in `Method`."""

    def register(draw: Draw) -> Draw:
        method = Method(options=options, draw=draw, **more)
        METHODS[method.name] = method
        return draw

    return register
