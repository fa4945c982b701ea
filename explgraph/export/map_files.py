"""Heat maps of image files: an overlay to look at, the raw map, and boxes, for each image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from explgraph.attribution import Attribution, boxes_of, gradcam, map_to_image, saliency
from explgraph.errors import ImageError, SourceError, UsageError
from explgraph.export.figures import overlay_figure, save_figure
from explgraph.images import Fit, ImageObject, Skipped, load_image, load_input
from explgraph.network import Network

SALIENCY_QUANTILE = 0.99  # a few single pixels outshine all others; colours end at this quantile


def draw_heat_maps(
    method: str,
    network: Network,
    images: Sequence[Path],
    out: Path,
    *,
    target: int | str | None = None,
    layer: str | None = None,
    fit: Fit = "letterbox",
    report: Callable[[str, int, int], None] = lambda stage, done, total: None,
) -> tuple[list[dict[str, Any]], list[Skipped]]:
    """Write NAME.METHOD.png (overlay), .npy (raw map, float32, in pixels of the image) and .json (class, boxes) for each image.

    Args:
        method: "saliency" or "gradcam".
        network: a classifier.
        images: image files.
        out: folder, made if missing.
        target: class index or name; None = the network's own first choice.
        layer: of Grad-CAM; None = the last one with maps.
        fit: how a picture becomes the network input.
        report: progress.

    Returns:
        one record per image (image, class, class_index, probability, boxes, overlay, map), and the images that were skipped.

    Raises:
        SourceError: not one image could be read.
        UsageError: the method or class is unknown.
    """
    if method not in ("saliency", "gradcam"):
        raise UsageError(f"method must be saliency or gradcam, got {method!r}")
    out.mkdir(parents=True, exist_ok=True)
    results, skipped = [], []
    for number, (path, name) in enumerate(zip(images, _names(images), strict=True)):
        report(method, number, len(images))
        try:
            results.append(_draw(method, network, path, out / name, target, layer, fit))
        except ImageError as error:
            skipped.append(Skipped(str(path), str(error)))
    report(method, len(images), len(images))
    if not results:
        raise SourceError(f"none of the {len(images)} images could be read: {skipped[0].reason if skipped else 'no image given'}")
    return results, skipped


def _draw(
    method: str, network: Network, path: Path, stem: Path, target: int | str | None, layer: str | None, fit: Fit
) -> dict[str, Any]:
    obj = ImageObject(1, 1, path.name, path)
    pixels, frame, size = load_input(obj, height=network.input.height, width=network.input.width, fit=fit)
    batch = torch.from_numpy(pixels[None])
    found: Attribution
    found = (
        saliency(network, batch, target=target) if method == "saliency" else gradcam(network, batch, layer=layer, target=target)
    )
    on_image = map_to_image(found.maps[0], frame, size)
    boxes = boxes_of(found.maps[0], frame=frame) if method == "gradcam" else []
    name, probability = found.targets.names[0], float(found.targets.probabilities[0])
    what = "saliency" if method == "saliency" else f"Grad-CAM, {found.layer.name if found.layer else ''}"
    quantile = SALIENCY_QUANTILE if method == "saliency" else 1.0
    figure = overlay_figure(
        load_image(obj), on_image, title=f"{name} ({probability:.0%})  |  {what}", boxes=boxes[:1], quantile=quantile
    )
    record: dict[str, Any] = {
        "image": str(path),
        "method": method,
        "class": name,
        "class_index": int(found.targets.indexes[0]),
        "probability": probability,
        "layer": found.layer.name if found.layer else None,
        "boxes": [list(box) for box in boxes],
        "overlay": f"{stem}.{method}.png",
        "map": f"{stem}.{method}.npy",
    }
    save_figure(figure, record["overlay"])
    np.save(str(record["map"]), on_image)
    Path(f"{stem}.{method}.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def _names(images: Sequence[Path]) -> list[str]:
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
