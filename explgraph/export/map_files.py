"""Heat maps of image files: an overlay to look at, the raw map, and a record, for each image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from explgraph.attribution import Attribution, map_to_image
from explgraph.attribution.asking import Target
from explgraph.errors import ImageError, SourceError
from explgraph.export.canvas import Pixels, save_figure
from explgraph.export.heat_maps import Panel, maps_figure
from explgraph.images import Box, Fit, Frame, ImageObject, Skipped, load_image, load_input
from explgraph.network import Network

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """An image as the network is shown it.

    Args:
        obj: the image.
        pixels: (height, width, 3), uint8, the network input.
        frame: the way to the image; size: (width, height) of the image.
        mirrored: whether the input is mirrored left to right.
        target: what is asked, see `explgraph.attribution.asking.ask`.
    """

    obj: ImageObject
    pixels: Pixels
    frame: Frame
    size: tuple[int, int]
    mirrored: bool = False
    target: Target = None

    def on_image(self, map: Any) -> Any:
        """Return a map (height, width) of the input in the frame of the image."""
        return map_to_image(map, self.frame, self.size, mirrored=self.mirrored)

    def picture_of(self, colours: Any) -> Pixels:
        """Return what speaks by colour (3, height, width), signed, as a picture of the image's size; grey is zero."""
        planes = np.stack([self.on_image(plane) for plane in colours], -1)
        return np.rint(127.5 + 127.5 * np.clip(planes / (np.quantile(np.abs(planes), 0.999) or 1.0), -1, 1)).astype(np.uint8)


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


def read_views(
    network: Network, images: Sequence[Path], *, target: Target = None, fit: Fit = "letterbox"
) -> Iterator[View | Skipped]:
    """Yield each image as ``network`` takes it, or why it cannot be used."""
    for path in images:
        obj = ImageObject(1, 1, path.name, path)
        try:
            pixels, frame, size = load_input(obj, height=network.input.height, width=network.input.width, fit=fit)
        except ImageError as error:
            yield Skipped(str(path), str(error))
            continue
        yield View(obj=obj, pixels=pixels, frame=frame, size=size, target=target)


def draw_maps(
    name: str,
    views: Iterable[View | Skipped],
    images: Sequence[Path],
    out: Path,
    draw: Callable[[View], Drawn],
    *,
    report: Report = lambda stage, done, total: None,
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
    for number, (view, path, stem) in enumerate(zip(views, images, unique_names(images), strict=True)):
        if isinstance(view, Skipped):
            skipped.append(view)
        else:
            results.append(_write(name, view, path, out / stem, draw(view)))
        report(name, number + 1, len(images))
    if not results:
        raise SourceError(f"none of the {len(images)} images could be read: {skipped[0].reason if skipped else 'no image given'}")
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
    said = f"{name} ({probability:.0%})" if np.isfinite(probability) else f"{name} ({record['score']:.3g})"
    mirrored = "  |  seen through its mirror image" if view.mirrored else ""
    figure = maps_figure(load_image(view.obj), drawn.panels, title=f"{said}{mirrored}", boxes=drawn.boxes[:1])
    save_figure(figure, record["overlay"])
    np.save(str(record["map"]), view.on_image(found.maps[0]))
    Path(f"{stem}.{method}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def unique_names(images: Sequence[Path]) -> list[str]:
    """Return a name for each image's files: its own stem, where that is taken with its folder's, and a number if need be."""
    stems = Counter(path.stem.lower() for path in images)  # some file systems take A.png for a.png
    names: list[str] = []
    taken: set[str] = set()
    for path in images:
        name = path.stem if stems[path.stem.lower()] == 1 else f"{path.parent.name}-{path.name.replace('.', '-')}".lstrip("-")
        unique = next(n for n in chain([name], (f"{name}-{k}" for k in count(2))) if n.lower() not in taken)
        taken.add(unique.lower())
        names.append(unique)
    return names
