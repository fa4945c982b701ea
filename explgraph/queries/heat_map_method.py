"""What a kind of heat map is: its options, what it can be asked, and how it draws one view."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from explgraph.queries.options import FIRST_CHOICE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from explgraph.attribution import Attribution, NodeView, View
    from explgraph.figures import Panel
    from explgraph.images import Box
    from explgraph.network import Network
    from explgraph.progress import Report

Answer = TypeVar("Answer")


@dataclass(frozen=True, eq=False)
class Question:
    """A network, what it is shown of an image and asked about it; and panels to answer with.

    A method that is registered gets one; it never needs to make one.

    Args:
        network: a classifier.
        view: of the image; ``view.target`` is what is asked.
        report: progress.

    >>> from explgraph.attribution import read_views
    >>> from explgraph.progress import silent
    >>> (view,) = read_views(network, [pictures / "00001.jpg"], target="fox")
    >>> question = Question(network, view, silent)
    >>> question.images.shape, question.panel(question.images[0, :, :, 0], "red").title
    ((1, 112, 112, 3), 'red')
    """

    network: Network
    view: View
    report: Report

    @property
    def images(self) -> NDArray[Any]:
        """The network's input as a batch of one image."""
        return self.view.pixels[None]

    def ask(self, method: Callable[..., Answer], **options: Any) -> Answer:
        """What a function of `explgraph.attribution` says of the view's target."""
        return method(self.network, self.images, target=self.view.target, **options)

    def panel(self, map: Any, title: str, **more: Any) -> Panel:
        """A panel of a map of the network's input; ``more`` as in `explgraph.figures.Panel`.

        With ``names`` the map's values are whole numbers, each of which has a name.
        """
        from explgraph.figures import Panel

        shown = self.view.on_image(map)
        # Bringing it into the image interpolates, also between numbers that stand for names.
        return Panel(shown.round() if "names" in more else shown, title, **more)

    def picture(self, found: Attribution, title: str, *, number: int = 0) -> Panel:
        """A panel of one of an attribution's maps by colour."""
        from explgraph.figures import Panel

        assert found.colours is not None
        why = found.why_empty(number)
        # Without a signal, plain grey.
        picture = self.view.picture_of(found.colours[number] * (not why))
        return Panel(picture=picture, title=title, scale="speaks for it, by colour", empty=why)

    def segmentation(self, map: Tensor) -> tuple[list[Box], list[Panel]]:
        """The box of the GraphCut segmentation that the map seeds, if any, and its panel."""
        from explgraph.attribution import segment

        view = self.view
        cut = segment(view.pixels, map, frame=view.frame, mirrored=view.mirrored)
        boxes = [cut.box] if cut.box else []
        panel = self.panel(
            cut.mask,
            "GraphCut segmentation",
            names={1: "object"},
            boxes=boxes,
            box_names=("the segmentation",),
        )
        return boxes, [panel]

    def box_on_image(self, box: Box) -> Box:
        """A box of the network's input in pixels of the image."""
        x, y, width, height = box
        rows, cols = self.view.pixels.shape[:2]
        corners = [[y / rows, x / cols], [(y + height) / rows, (x + width) / cols]]
        places = self.view.frame.to_image(corners, mirrored=self.view.mirrored)
        # A mirrored view swaps left and right, so that corners are told by their size.
        (left, top), (right, bottom) = places.min(0).tolist(), places.max(0).tolist()
        return left, top, right - left, bottom - top


@dataclass(frozen=True, eq=False, kw_only=True)
class HeatMap:
    """What a method answers.

    Args:
        found: the attribution; its first map is written.
        panels: the pictures beside the image.
        boxes: in pixels of the image, best first.
        extra: further entries of the record, plain values.

    >>> from explgraph.attribution import gradcam, read_views
    >>> found = gradcam(network, next(read_views(network, [pictures / "00001.jpg"])).pixels[None])
    >>> HeatMap(found=found, panels=[]).found.maps.shape
    torch.Size([1, 112, 112])
    """

    found: Attribution
    panels: Sequence[Panel]
    boxes: Sequence[Box] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


Draw = Callable[[Question, Any], HeatMap]


@dataclass(frozen=True, kw_only=True)
class Method:
    """A kind of heat map; its command is generated from it.

    Args:
        name: of the command, and in the names of the files.
        summary: one sentence: what it draws.
        examples: arguments of the command.
        options: a frozen dataclass whose fields are made by `explgraph.queries.option`.
        draw: answers a `Question` with the options.
        targets: what it can be asked: "class", "node", "channel".
        target_help: which class is asked, and which one by default.
        needs_nodes: whether its views are those in which the nodes of a graph were found.

    >>> from explgraph.queries import METHODS
    >>> METHODS["gradcam"].targets
    ('class', 'node', 'channel')
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


def found_record(view: NodeView, node: str) -> dict[str, Any]:
    """What a record says of a node that was asked for: its score, and whether it was found.

    >>> from explgraph.queries import node_views
    >>> (view,) = node_views(workspace, network, [pictures / "00001.jpg"])
    >>> sorted(found_record(view, view.nodes[0]))
    ['found', 'node', 'node_score']
    """
    from explgraph.locations import FOUND

    score = view.score_of(node)
    return {"node": node, "node_score": score, "found": score >= FOUND}


def heat_map_method(options: type, **more: Any) -> Callable[[Draw], Draw]:
    """Register the function below as the method with these options; ``more`` as in `Method`."""

    def register(draw: Draw) -> Draw:
        method = Method(options=options, draw=draw, **more)
        METHODS[method.name] = method
        return draw

    return register
