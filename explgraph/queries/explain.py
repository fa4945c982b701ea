"""Why the network answers as it does to single photographs: records, texts and figures."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from explgraph.attribution import Explanation, class_names, explain, find_class
from explgraph.attribution.view import NodeView, View
from explgraph.errors import Skipped
from explgraph.files import unique_names
from explgraph.images import load_image
from explgraph.network import Network
from explgraph.progress import Report, silent
from explgraph.queries.ablate import classify, parse_removed, placed_removals
from explgraph.queries.node_views import node_views
from explgraph.queries.parts import part_of_nodes
from explgraph.workspace import Workspace


@dataclass(frozen=True)
class Explained:
    """What is said of one image: a record of plain values and a text, or why it was skipped."""

    record: dict[str, Any]
    text: str
    skipped: Skipped | None = None


def explain_images(
    workspace: Workspace,
    network: Network,
    images: Sequence[Path],
    *,
    target: int | str | None = None,
    ablate: Sequence[str] = (),
    out: Path | None = None,
    report: Report = silent,
    **options: Any,
) -> Iterator[Explained]:
    """Yield for each image why the network answers as it does; see `explgraph.attribution.explain` for ``options``.

    Args:
        workspace: holds the graph.
        network: from `Workspace.network`.
        images: files; each is one object.
        target: class by number or name; by default each image's own first choice.
        ablate: LAYER:CHANNEL or node ids; the record and the text also say what the network answers without all of them.
        out: folder for NAME.explain.png and NAME.explain.json, made if missing.
        report: progress.

    Raises:
        SourceError: not one image could be read.
        UsageError: the class or a name is unknown.
    """
    removed = parse_removed(workspace.graph, ablate)
    if target is not None:
        find_class(network, target)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    options.setdefault("part_of", part_of_nodes(workspace))
    views = node_views(workspace, network, images, target=target, report=report)
    for view, stem in zip(views, unique_names(images), strict=True):
        if isinstance(view, Skipped):
            yield Explained({}, "", view)
            continue
        explanation = explain(
            network, view.pixels[None], view.graph, nodes=view.nodes, places=view.places, scores=view.scores,
            target=target, report=report, **options,
        )  # fmt: skip
        record = explanation_record(explanation, view)
        text = f"{view.obj.path}\n{explanation.to_text([(one['x'], one['y']) for one in record['nodes']])}"
        if view.mirrored:
            text += "\nThe object faces the other way: the network was shown its mirror image."
        if removed:
            ((_, after),) = classify(network, [view], lambda view: placed_removals(removed, view))
            (name,) = class_names(network, [after])
            record["ablated"] = {"removed": list(ablate), "class_index": after, "class": name}
            text += f"\nWithout {', '.join(ablate)} the network says: {name}."
        if out is not None:
            record["figure"] = str(draw_explanation(explanation, view, out / f"{stem}.explain.png"))
            (out / f"{stem}.explain.json").write_text(
                json.dumps(record, indent=1) + "\n", encoding="utf-8"
            )
        yield Explained(record, text)


def explanation_record(explanation: Explanation, view: View) -> dict[str, Any]:
    """Return the explanation as plain values; x and y are pixels of the photograph."""
    nodes = []
    for one in explanation.nodes:
        x, y = view.frame.to_image([one.row, one.col], mirrored=view.mirrored).tolist()
        nodes.append({**asdict(one), "x": x, "y": y})
    pair = lambda values: {"score": _number(values[0]), "probability": _number(values[1])}
    return {
        "image": str(view.obj.path),
        "mirrored": view.mirrored,
        "classes": [
            {"index": i, "name": name, "probability": p} for i, name, p in explanation.classes
        ],
        "class": explanation.name,
        "class_index": explanation.index,
        "score": explanation.score,
        "probability": explanation.probability,
        "nodes_tested": explanation.n_tested,
        "nodes": nodes,
        "without_these": pair(explanation.without),
        "without_others": pair(explanation.without_random),
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def draw_explanation(explanation: Explanation, view: NodeView, out: Path) -> Path:
    """Write the explanation's figure and return its path."""
    from explgraph.figures.canvas import save_figure
    from explgraph.figures.explanation import (
        explain_figure,
    )  # matplotlib, which few commands need

    layers = [layer.name for layer in view.graph.layers]
    return save_figure(explain_figure(load_image(view.obj), explanation, view, layers=layers), out)
