"""`explain`: why the network answers as it does to single photographs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from explgraph.attribution import Explanation, NodeView, class_names, explain, find_class
from explgraph.errors import Skipped
from explgraph.files import make_folder, write_json
from explgraph.images import AnyPath, Boxes, load_image
from explgraph.mining import SURE
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.ablate import Removed, classify, parse_removed
from explgraph.queries.asked import (
    Photographs,
    asked_source,
    object_names,
    object_record,
    object_title,
)
from explgraph.queries.node_views import node_views
from explgraph.queries.options import ExplainOptions
from explgraph.queries.part_records import part_of_nodes
from explgraph.text import one_line
from explgraph.workspace import Workspace


@dataclass(frozen=True, eq=False, repr=False)
class ExplainedImage:
    """Why the network answers as it does to one image.

    Args:
        view: what it was shown, with the nodes found in it.
        explanation: the class and the nodes that it rests on.
        ablated: the class that it names without what was to be taken away: removed, class_index,
            class.
        figure: the file of the picture, if there is one.
    """

    view: NodeView
    explanation: Explanation
    ablated: dict[str, Any] | None = None
    figure: Path | None = None

    def __repr__(self) -> str:
        said = self.explanation
        answer = f"{said.name}, {said.probability:.1%}, {len(said.nodes)} nodes"
        return f"<{self.view.obj.path.name}: {answer}>"

    def points(self) -> list[tuple[float, float]]:
        """(x, y) of each named node, pixels of the photograph."""
        view, nodes = self.view, self.explanation.nodes
        to_image = view.frame.to_image
        places = [to_image([one.row, one.col], mirrored=view.mirrored) for one in nodes]
        return [(float(x), float(y)) for x, y in places]

    def to_dict(self) -> dict[str, Any]:
        """The record: plain values for JSON; x and y are pixels of the photograph."""
        record = {
            **object_record(self.view.obj),
            "mirrored": self.view.mirrored,
            "facing_sureness": self.view.sureness,
            **self.explanation.to_dict(),
            "explained": self.view.explained and self.view.explained.to_dict(),
        }
        # An explanation knows the network input only; a record says where in the photograph.
        for node, (x, y) in zip(record["nodes"], self.points(), strict=True):
            node.update(x=x, y=y)
        if self.ablated is not None:
            record["ablated"] = self.ablated
        if self.figure is not None:
            record["figure"] = str(self.figure)
        return record

    def to_text(self) -> str:
        """The explanation in words, the nodes at their places in the photograph."""
        lines = [object_title(self.view.obj)]
        lines += self.explanation.to_text(self.points()).splitlines()
        if self.view.explained:
            lines.append(f"Of all activation here: {self.view.explained}.")
        if self.view.mirrored:
            lines.append("The object faces the other way: the network was shown its mirror image.")
        if self.view.sureness is not None and self.view.sureness < SURE:
            lines.append(f"Which way it faces is unsure ({self.view.sureness:.0%}).")
        if self.ablated is not None:
            removed = ", ".join(self.ablated["removed"])
            lines.append(f"Without {removed} the network says: {self.ablated['class']}.")
        return "\n".join(map(one_line, lines))


def explain_images(
    workspace: Workspace,
    network: Network,
    images: Photographs,
    options: ExplainOptions | None = None,
    *,
    box: Boxes | None = None,
    out: AnyPath | None = None,
    report: Report = silent,
) -> Iterator[ExplainedImage | Skipped]:
    """For each image, why the network answers as it does; see `explgraph.attribution.explain`.

    Args:
        network: from `Workspace.network`.
        images: files, each one object; or a folder, a COCO file, a source.
        box: the objects in an image, see `explgraph.read_source`.
        out: folder for NAME.explain.png and NAME.explain.json, made if missing.

    Yields:
        the explanation of an image, or why it was skipped.

    Raises:
        SourceError: not one image could be read.
        UsageError: the class or a name to be ablated is unknown.

    >>> photos = [pictures / "00001.jpg"]
    >>> (why,) = explain_images(workspace, network, photos, ExplainOptions(nodes=3, tested=4))
    >>> why.explanation.name, len(why.explanation.nodes)
    ('fox', 3)
    """
    options = options or ExplainOptions()
    target, removed = options.target, parse_removed(workspace.graph, options.ablate)
    if target is not None:
        find_class(network, target)  # an unknown one is refused before the network runs
    source, folder = asked_source(images, box=box), None if out is None else Path(out)
    if folder is not None:
        make_folder(folder)
    part_of = part_of_nodes(workspace)  # so that a node is called by the part that it lies on
    yield from source.skipped
    views = node_views(workspace, network, source, target=target, report=report)
    for view, name in zip(views, object_names(source.objects), strict=True):
        if isinstance(view, Skipped):
            yield view
            continue
        explanation = _explained(network, view, options, part_of, report)
        figure = None if folder is None else folder / f"{name}.explain.png"
        ablated = _answer_without(network, view, removed, options.ablate)
        one = ExplainedImage(view, explanation, ablated, figure)
        if figure is not None:
            # matplotlib, which is not needed without pictures
            from explgraph.figures import explain_figure, save_figure

            save_figure(explain_figure(load_image(view.obj), explanation, view), figure)
            write_json(one.to_dict(), figure.with_suffix(".json"))
        yield one


def _explained(
    network: Network,
    view: NodeView,
    options: ExplainOptions,
    part_of: Mapping[str, str],
    report: Report,
) -> Explanation:
    return explain(
        network,
        view.pixels[None],
        view.graph,
        nodes=view.nodes,
        places=view.places,
        scores=view.scores,
        target=options.target,
        n_shown=options.nodes,
        n_tested=options.tested,
        part_of=part_of,
        report=report,
    )


def _answer_without(
    network: Network, view: NodeView, removed: Sequence[Removed], names: Sequence[str]
) -> dict[str, Any] | None:
    if not removed:
        return None
    # Together, not one by one: what is said is the answer without all of them.
    _, after = classify(network, view, removed)
    (name,) = class_names(network, [after])
    return {"removed": list(names), "class_index": after, "class": name}
