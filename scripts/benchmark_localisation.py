"""Do the maps find the animal? On photographs with one annotated animal each.

The network is SqueezeNet 1.0, asked for the annotated class; the photograph is stretched to its input. The graphs come from
``explgraph mine CATEGORY.json --out WORKSPACES/CATEGORY``: mined without labels, but from crops along the annotated boxes of these very
animals. Here their nodes are sought on the whole photograph, which is a transfer.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from explgraph.attribution import (
    boxes_of,
    gradcam,
    node_box,
    node_heat_map,
    occlusion,
    saliency,
    segment,
)
from explgraph.attribution.forward import evaluating, network_input
from explgraph.attribution.view import NodeView
from explgraph.graph import ExplanatoryGraph
from explgraph.images import Box, Source, read_source
from explgraph.network import Network, measure_geometry
from explgraph.queries import locate_batches, views_of
from explgraph.workspace.workspace import Workspace

CLASSES = {"zebra": ("n02391049", 340), "lion": ("n02129165", 291), "panda": ("n02510455", 388)}
WEIGHTS = "models/squeezenet1_0-imagenet.pth"
THRESHOLDS = (
    0.02,
    0.03,
    0.05,
    0.1,
    0.15,
    0.2,
    0.25,
    0.3,
    0.35,
    0.4,
    0.5,
    0.6,
)  # of a map's maximum, tried for boxes
QUANTILES = (
    0.01,
    0.02,
    0.05,
    0.1,
    0.15,
)  # of the nodes' places, weighted by their scores, left out at each side of a box
CENTRED = (
    0.5,
    0.55,
    0.6,
    0.65,
    0.7,
    0.75,
    0.8,
    0.85,
    0.9,
    0.95,
)  # sides of a box in the middle, shares of the photograph's
TOLERANCE = 15  # pixels of the photograph; Zhang et al., "Top-down neural attention by excitation backprop", ECCV 2016
BLUR = (11, 5.0)  # kernel and sigma, pixels; Petsiuk, Das, Saenko, "RISE", BMVC 2018
SMALL = 0.25  # of the photograph's area; Zhang et al. 2016 call smaller objects difficult
BATCH = 8

Maps = NDArray[np.float32]
Values = dict[str, dict[str, list[float]]]  # what -> class -> one value per photograph


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph with one annotated animal.

    Args:
        view: as the graph understood it, mirrored if it says so.
        pixels: (height, width, 3), the network input, not mirrored.
        places: (nodes, 2), (row, column), fractions of that input; scores: (nodes,).
        truth: the animal's box, pixels of that input.
    """

    view: NodeView
    pixels: NDArray[np.uint8]
    places: NDArray[np.float32]
    scores: NDArray[np.float32]
    truth: Box

    @property
    def is_small(self) -> bool:
        """Whether the animal's box takes up less than SMALL of the photograph."""
        return bool(
            self.truth[2] * self.truth[3] < SMALL * self.pixels.shape[0] * self.pixels.shape[1]
        )


def read_photographs(
    workspace: Workspace,
    network: Network,
    dataset: Path,
    *,
    limit: int | None = None,
    seed: int | None = None,
) -> list[Photograph]:
    """Return the photographs with one annotated animal, its nodes located, in the data set's order.

    Args:
        workspace: holds the graph.
        network: from the workspace.
        dataset: COCO file.
        limit: how many photographs; the first ones, or with a seed a random choice.
        seed: of the choice.
    """
    counts = Counter(one["image_id"] for one in json.loads(dataset.read_text())["annotations"])
    source = read_source(dataset)
    alone = [obj for obj in source.objects if counts[obj.image_id] == 1 and obj.box is not None]
    if seed is not None:
        chosen = np.random.default_rng(seed).permutation(len(alone))[:limit]
        alone = [alone[i] for i in sorted(chosen)]
    alone = alone[:limit]
    whole = Source(source.root, source.kind, tuple(replace(obj, box=None) for obj in alone), ())
    graph = workspace.store.load_graph()
    photographs: list[Photograph] = []

    for one in locate_batches(workspace, whole, network=network, report=progress):
        batch, found = one.batch, one.locations
        for i, view in enumerate(views_of(graph, one)):
            x, y, width, height = alone[int(batch.indices[i])].box or (0, 0, 0, 0)
            size = view.pixels.shape[:2]
            corners = view.frame.to_input([[x, y], [x + width, y + height]]) * size
            (top, left), (bottom, right) = corners
            truth = (float(left), float(top), float(right - left), float(bottom - top))
            photographs.append(
                Photograph(view, batch.images[i].copy(), found.place[i], found.score[i], truth)
            )
    return photographs


def open_class(shared: Path, workspaces: Path, name: str) -> tuple[Workspace, Network, Path]:
    category = CLASSES[name][0]
    workspace = Workspace(workspaces / category)
    return (
        workspace,
        workspace.network(weights=str(shared / WEIGHTS)),
        shared / "data" / "animals" / f"{category}.json",
    )


def progress(stage: str, done: int, total: int) -> None:
    print(
        f"\r{stage} {done}/{total}          ",
        end="" if done < total else "\n",
        file=sys.stderr,
        flush=True,
    )


# Localisation


def benchmark_localisation(
    shared: Path,
    workspaces: Path,
    *,
    images: int | None = None,
    removal_images: int = 30,
    steps: int = 16,
    seed: int = 0,
) -> dict[str, Any]:
    """Return CorLoc, the pointing game, and deletion and insertion of the attribution methods and the graphs' node maps.

    Thresholds and the size of the centred box are chosen on every third photograph (mean of the classes), CorLoc is that of the others.

    Args:
        shared: holds ``data/animals`` and the weights.
        workspaces: holds a workspace of each category, under its name.
        images: photographs of each class; by default all with one annotated animal.
        removal_images: of these, a random choice for deletion and insertion.
        steps: of their curves.
        seed: of the choice, of the random map and of ties.
    """
    ious: Values = defaultdict(lambda: defaultdict(list))
    hits: Values = defaultdict(lambda: defaultdict(list))
    removed: dict[str, Values] = {}
    small: dict[str, list[bool]] = {}
    for name, (_, target) in CLASSES.items():
        workspace, network, dataset = open_class(shared, workspaces, name)
        with workspace:
            photographs = read_photographs(workspace, network, dataset, limit=images)
        small[name] = [photograph.is_small for photograph in photographs]
        for k, photograph, maps in _mapped(network, photographs, target):
            other = photographs[(k + 1) % len(photographs)]
            for method, iou_ in _overlaps(photograph, maps, other):
                ious[method][name].append(iou_)
            for method, hit in _pointings(photograph, maps):
                hits[method][name].append(hit)
            progress(f"{name}: boxes and points", k + 1, len(photographs))
        some = sorted(
            np.random.default_rng(seed).permutation(len(photographs))[:removal_images].tolist()
        )
        for done, k in enumerate(some, 1):
            for what, values in _removals(network, photographs[k], target, steps, seed + k).items():
                for method, value in values.items():
                    removed.setdefault(what, defaultdict(lambda: defaultdict(list)))[method][
                        name
                    ].append(value)
            progress(f"{name}: deletion and insertion", done, len(some))
    return {
        "photographs": {name: len(flags) for name, flags in small.items()},
        "small": {name: sum(flags) for name, flags in small.items()},
        **_corloc(ious, small),
        "pointing": {method: summary(values) for method, values in hits.items()},
        "removal_images": removal_images,
        "steps": steps,
        **{
            what: {method: summary(values) for method, values in of_methods.items()}
            for what, of_methods in removed.items()
        },
    }


def node_maps(graph: ExplanatoryGraph, photographs: Sequence[Photograph]) -> dict[str, Maps]:
    """Return each layer's node heat maps, (n, height, width), and under "both layers" their sum."""
    places, scores = (
        np.stack([getattr(one, key) for one in photographs]) for key in ("places", "scores")
    )
    nodes, size = photographs[0].view.nodes, photographs[0].pixels.shape[:2]
    maps = {
        layer.name: node_heat_map(
            graph, layer.name, places, scores, nodes=nodes, input_size=size
        ).numpy()
        for layer in graph.layers
    }
    return {**maps, "both layers": np.sum(list(maps.values()), axis=0)}


def _mapped(
    network: Network, photographs: Sequence[Photograph], target: int
) -> Iterator[tuple[int, Photograph, dict[str, Maps]]]:
    """Yield every photograph with its maps by method."""
    graph = photographs[0].view.graph
    geometry = measure_geometry(network, ["features.12"])["features.12"]
    for start in range(0, len(photographs), BATCH):
        batch = photographs[start : start + BATCH]
        others = [photographs[(start + k + 1) % len(photographs)] for k in range(len(batch))]
        pixels = np.stack([one.pixels for one in batch])
        last = gradcam(network, pixels, target=target)
        maps = {
            "saliency": saliency(network, pixels, target=target).maps.numpy(),
            f"Grad-CAM, {last.layer.name if last.layer else ''}": last.maps.numpy(),
            "Grad-CAM, features.12": gradcam(
                network, pixels, target=target, layer=geometry
            ).maps.numpy(),
            **{f"nodes, {layer}": found for layer, found in node_maps(graph, batch).items()},
            "nodes of another photograph": node_maps(graph, others)["both layers"],
        }
        for k, one in enumerate(batch):
            yield start + k, one, {method: found[k] for method, found in maps.items()}


def _overlaps(
    photograph: Photograph, maps: Mapping[str, Maps], other: Photograph
) -> Iterator[tuple[str, float]]:
    """Yield (method, IoU of its box with the animal's); ``other`` is the control, a box from another photograph's nodes."""
    height, width = photograph.pixels.shape[:2]
    share: Callable[[Box | None], float] = lambda box: iou(box, photograph.truth)
    yield "whole photograph", share((0, 0, width, height))
    for side in CENTRED:
        yield (
            f"centred box @ {side}",
            share(((1 - side) / 2 * width, (1 - side) / 2 * height, side * width, side * height)),
        )
    above = maps["saliency"] >= np.quantile(maps["saliency"], 0.95)
    yield "saliency, box around the highest 5 %", share(_around(above))
    for method in ("saliency", "nodes, both layers"):
        yield f"{method}, GraphCut", share(segment(photograph.pixels, maps[method]).box)
    for method, found in maps.items():
        for threshold in THRESHOLDS:
            yield (
                f"{method} @ {threshold}",
                share(next(iter(boxes_of(found, threshold=threshold)), None)),
            )
    view = photograph.view
    layer_of = np.array([view.graph.node(node)["layer"] for node in view.nodes])
    for quantile in QUANTILES:
        for layer in (*np.unique(layer_of).tolist(), "both layers"):
            chosen = np.flatnonzero((layer_of == layer) | (layer == "both layers"))
            yield (
                f"places of the nodes, {layer} @ {quantile}",
                share(_around_places(photograph, chosen, quantile)),
            )
        everything = np.arange(len(layer_of))
        yield (
            f"places of another photograph's nodes @ {quantile}",
            share(_around_places(other, everything, quantile)),
        )


def _pointings(photograph: Photograph, maps: Mapping[str, Maps]) -> Iterator[tuple[str, float]]:
    """Yield (method, whether the map's maximum is in the animal's box), with and without tolerance."""
    size = photograph.pixels.shape[:2]
    x, y, width, height = photograph.truth
    corners = photograph.view.frame.to_image(np.array([[y, x], [y + height, x + width]]) / size)
    points = {
        method: np.argwhere(found == found.max()).mean(0) + 0.5 for method, found in maps.items()
    }  # a flat top: its middle
    for method, point in {"centre": np.array(size) / 2, **points}.items():
        place = photograph.view.frame.to_image(point / size)
        for name, tolerance in (
            (method, 0),
            (f"{method}, {TOLERANCE} pixels off at most", TOLERANCE),
        ):
            beyond = np.maximum(np.maximum(corners[0] - place, place - corners[1]), 0)
            yield name, float(np.hypot(*beyond) <= tolerance)


def _corloc(ious: Values, small: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """Return the thresholds chosen on every third photograph, and how many boxes fit on the others."""
    tuning = {name: np.arange(len(flags)) % 3 == 0 for name, flags in small.items()}

    def corloc(method: str, where: Mapping[str, NDArray[np.bool_]]) -> dict[str, list[float]]:
        return {
            name: [float(v >= 0.5) for v in np.array(ious[method][name])[where[name]]]
            for name in tuning
        }

    rows = [method for method in ious if "@" not in method]
    tried: dict[str, dict[str, float]] = defaultdict(dict)
    for method in ious:
        if "@" in method and "another" not in method:
            base, _, setting = method.partition(" @ ")
            tried[base][setting] = summary(corloc(method, tuning))["mean"]
    chosen = {
        base: max(of_settings, key=lambda s: of_settings[s]) for base, of_settings in tried.items()
    }
    others = {name: ~flags for name, flags in tuning.items()}
    hard = {name: others[name] & np.array(flags) for name, flags in small.items()}
    fixed = {"Grad-CAM": (0.15, 0.1), "nodes,": (0.05,)}
    result = {}
    for base, setting in chosen.items():
        published = [
            str(t) for start, some in fixed.items() if base.startswith(start) for t in some
        ]
        rows += [f"{base} @ {s}" for s in dict.fromkeys([*published, setting])]
    rows.append(f"nodes of another photograph @ {chosen['nodes, both layers']}")
    rows.append(
        f"places of another photograph's nodes @ {chosen['places of the nodes, both layers']}"
    )
    for method in rows:
        base, _, setting = method.partition(" @ ")
        name = f"{method}, chosen" if setting and chosen.get(base) == setting else method
        result[name] = {
            **summary(corloc(method, others)),
            "small": summary(corloc(method, hard))["mean"],
        }
    return {"corloc": result, "corloc_on_the_third": dict(tried)}


def _around(mask: NDArray[np.bool_]) -> Box | None:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return (
        float(cols[0]),
        float(rows[0]),
        float(cols[-1] + 1 - cols[0]),
        float(rows[-1] + 1 - rows[0]),
    )


def _around_places(photograph: Photograph, chosen: NDArray[np.int64], quantile: float) -> Box:
    """Return `explgraph.attribution.node_box` of some nodes, in pixels of the network input."""
    x, y, width, height = node_box(
        photograph.places[chosen], photograph.scores[chosen], margin=quantile
    )
    rows, cols = photograph.pixels.shape[:2]
    return x * cols, y * rows, width * cols, height * rows


def iou(box: Box | None, truth: Box) -> float:
    """Return intersection over union; 0 without a box."""
    if box is None:
        return 0.0
    width = min(box[0] + box[2], truth[0] + truth[2]) - max(box[0], truth[0])
    height = min(box[1] + box[3], truth[1] + truth[3]) - max(box[1], truth[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / (box[2] * box[3] + truth[2] * truth[3] - both)


# Deletion and insertion


def _removals(
    network: Network, photograph: Photograph, target: int, steps: int, seed: int
) -> dict[str, dict[str, float]]:
    """Return for "deletion" and "insertion" (Petsiuk et al. 2018) the area under the curve of the probability, by method."""
    pixels = photograph.pixels[None]
    random = np.random.default_rng(seed).random(photograph.pixels.shape[:2], np.float32)
    maps = {
        "random": random,
        "saliency": saliency(network, pixels, target=target).maps[0].numpy(),
        "SmoothGrad": saliency(network, pixels, target=target, samples=8, seed=seed)
        .maps[0]
        .numpy(),
        "Grad-CAM": gradcam(network, pixels, target=target).maps[0].numpy(),
        "occlusion": occlusion(network, pixels, target=target).maps[0].numpy(),
        "nodes, both layers": node_maps(photograph.view.graph, [photograph])["both layers"][0],
    }
    image = network_input(network, pixels)
    grey, blurred = torch.zeros_like(image), gaussian_blur(image, BLUR[0], BLUR[1])
    found: dict[str, dict[str, float]] = {"deletion": {}, "insertion": {}}
    with evaluating(network.model), torch.no_grad():
        ends = (
            network.model(torch.cat([image, grey, blurred])).softmax(1)[:, target].double().numpy()
        )
        found["probability of the class"] = dict(
            zip(("untouched", "all grey", "blurred"), ends.tolist(), strict=True)
        )
        for method, one in maps.items():
            order = np.lexsort((random.ravel(), -one.ravel()))  # ties in random order
            rank = np.empty(order.size, np.int64)
            rank[order] = np.arange(order.size)
            ranks = torch.from_numpy(rank.reshape(one.shape))
            found["deletion"][method] = _area(
                network, target, ranks, steps, image, grey, ends[[0, 1]]
            )
            found["insertion"][method] = _area(
                network, target, ranks, steps, blurred, image, ends[[2, 0]]
            )
    return found


def _area(
    network: Network,
    target: int,
    ranks: Tensor,
    steps: int,
    before: Tensor,
    after: Tensor,
    ends: NDArray[np.float64],
) -> float:
    """Return the area under the class probability as the pixels go over from ``before`` to ``after``, first rank first.

    The steps are denser where the curves are steep: the share of the pixels is (k / steps)^2.
    """
    shares = (np.arange(steps + 1) / steps) ** 2
    gone = torch.stack([ranks < share * ranks.numel() for share in shares[1:-1]])[:, None]
    probability = (
        network.model(torch.where(gone, after, before)).softmax(1)[:, target].double().numpy()
    )
    curve = np.concatenate([ends[:1], probability, ends[1:]])
    return float(((curve[1:] + curve[:-1]) / 2 * np.diff(shares)).sum())


# Tables


def summary(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return each class's mean, the mean of the classes, and its standard error over the photographs."""
    known = {name: np.array(one) for name, one in values.items() if len(one)}
    means = {name: float(one.mean()) for name, one in known.items()}
    errors = [one.var(ddof=1) / len(one) if len(one) > 1 else np.nan for one in known.values()]
    return {
        **means,
        "mean": float(np.mean(list(means.values()))),
        "error": float(np.sqrt(np.sum(errors)) / len(errors)),
    }


def localisation_tables(result: dict[str, Any]) -> str:
    """Return the figures as Markdown tables."""
    titles = {
        "corloc": "CorLoc, on two thirds of the photographs",
        "pointing": "Pointing game",
        "deletion": "Deletion, lower is better",
        "insertion": "Insertion, higher is better",
        "probability of the class": "Probability of the class",
    }
    counts = ", ".join(
        f"{n} {name} ({result['small'][name]} small)" for name, n in result["photographs"].items()
    )
    tables = [f"{title}\n\n{table(result[key])}" for key, title in titles.items() if key in result]
    tried = {
        base: {f"{float(s):.2f}": value for s, value in of_settings.items()}
        for base, of_settings in result["corloc_on_the_third"].items()
        if not base.startswith(("centred", "places"))
    }
    return "\n\n".join(
        [
            f"Photographs: {counts}",
            *tables,
            f"CorLoc by threshold, on the other third\n\n{table(tried)}",
        ]
    )


def table(rows: Mapping[str, Mapping[str, float]], *, digits: int = 3) -> str:
    """Return a Markdown table of rows that have the same columns."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name, row in rows.items():
        lines.append(
            f"| {name} | "
            + " | ".join(f"{row[column]:.{digits}f}" if column in row else "" for column in columns)
            + " |"
        )
    return "\n".join(lines)
