"""Heat maps of image files: an overlay to look at, the raw map, and a record, for each image."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.attribution import Attribution
from explgraph.attribution.view import View
from explgraph.errors import Skipped, SourceError
from explgraph.figures.canvas import save_figure
from explgraph.figures.heat_maps import Panel, maps_figure
from explgraph.files import unique_names
from explgraph.images import Box, load_image
from explgraph.progress import Report, silent


@dataclass(frozen=True, eq=False, kw_only=True)
class Drawn:
    """What a method makes of a view.

    Args:
        found: the attribution, whose first map is written.
        panels: what is drawn beside the image.
        boxes: in pixels of the image, best first.
        extra: further entries of the record, plain values.
    """

    found: Attribution
    panels: Sequence[Panel]
    boxes: Sequence[Box] = ()
    extra: dict[str, Any] | None = None


def draw_maps(
    name: str,
    views: Iterable[View | Skipped],
    images: Sequence[Path],
    out: Path,
    draw: Callable[[View], Drawn],
    *,
    report: Report = silent,
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Write NAME.METHOD.png (overlay), .npy (raw map, float32, in pixels of the image) and .json (record) for each image.

    Args:
        name: of the method, in the files' names.
        views: one for each of ``images``, or why there is none.
        images: the files.
        out: folder, made if missing.
        draw: makes the maps of one view.
        report: progress.

    Returns:
        one record per image (image, method, class, class_index, probability, score, layer, boxes, overlay, map, ...), and what was skipped.

    Raises:
        SourceError: not one image could be read.
    """
    out.mkdir(parents=True, exist_ok=True)
    results: list[dict[str, Any]] = []
    skipped: list[Skipped] = []
    report(name, 0, len(images))
    for number, (view, path, stem) in enumerate(
        zip(views, images, unique_names(images), strict=True)
    ):
        if isinstance(view, Skipped):
            skipped.append(view)
        else:
            results.append(_write(name, view, path, out / stem, draw(view)))
        report(name, number + 1, len(images))
    if not results:
        raise SourceError(
            f"none of the {len(images)} images could be read: {skipped[0].reason if skipped else 'no image given'}"
        )
    return results, skipped


def _write(method: str, view: View, path: Path, stem: Path, drawn: Drawn) -> dict[str, Any]:
    found = drawn.found
    name, probability = found.targets.names[0], float(found.targets.probabilities[0])
    record: dict[str, Any] = {
        "image": str(path),
        "method": method,
        "class": name,
        "class_index": int(found.targets.indexes[0]) if found.targets.indexes[0] >= 0 else None,
        "probability": probability if np.isfinite(probability) else None,
        "score": float(found.targets.scores[0]),
        "layer": found.layer.name if found.layer else None,
        "boxes": [list(box) for box in drawn.boxes],
        "overlay": f"{stem}.{method}.png",
        "map": f"{stem}.{method}.npy",
        **(drawn.extra or {}),
    }
    said = (
        f"{name} ({probability:.0%})"
        if np.isfinite(probability)
        else f"{name} ({record['score']:.3g})"
    )
    mirrored = "  |  seen through its mirror image" if view.mirrored else ""
    figure = maps_figure(
        load_image(view.obj), drawn.panels, title=f"{said}{mirrored}", boxes=drawn.boxes[:1]
    )
    save_figure(figure, record["overlay"])
    np.save(str(record["map"]), view.on_image(found.maps[0]))
    Path(f"{stem}.{method}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record
