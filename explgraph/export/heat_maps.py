"""Heat maps of image files: an overlay to look at, the raw map, and boxes, for each image."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
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
    for number, path in enumerate(images):
        report(method, number, len(images))
        try:
            results.append(_draw(method, network, path, _free_name(out, path, images), target, layer, fit))
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
    if method == "saliency":
        found = saliency(network, batch, target=target)
    else:
        found = gradcam(network, batch, layer=layer, target=target)
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


def _free_name(out: Path, path: Path, images: Sequence[Path]) -> Path:
    """Return the stem of the outputs: the image's own, with its folder's name where two images share one."""
    twins = sum(other.stem == path.stem for other in images)
    return out / (path.stem if twins == 1 else f"{path.parent.name}-{path.name.replace('.', '-')}")
