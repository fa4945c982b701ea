"""Do the maps find the animal? Boxes, points, deletion and insertion.

On the photographs of `benchmarks.animals`. Thresholds and the size of the centred box are chosen
on every third photograph (mean of the classes); CorLoc is that of the others.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from benchmarks import animals
from benchmarks.animals import CLASSES, Photograph, read_animals
from benchmarks.tables import Values, progress, summary, table
from explgraph.attribution import (
    boxes_of,
    gradcam,
    network_input,
    node_box,
    node_heat_map,
    occlusion,
    saliency,
    segment,
)
from explgraph.graph import ExplanatoryGraph
from explgraph.images import Box
from explgraph.network import Network, evaluation_mode, measure_geometry

# Of a map's maximum, tried for boxes.
THRESHOLDS = (0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6)
# Of the nodes' places, weighted by their scores, left out at each side of a box.
QUANTILES = (0.01, 0.02, 0.05, 0.1, 0.15)
# Sides of a box in the middle, shares of the photograph's.
CENTRED = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
# Pixels of the photograph; Zhang et al., "Top-down neural attention", ECCV 2016.
TOLERANCE = 15
# Kernel and sigma, pixels; Petsiuk, Das, Saenko, "RISE", BMVC 2018.
BLUR = (11, 5.0)
LAYER = "features.12"  # of Grad-CAM, beside the last layer
BATCH = 8

Maps = NDArray[np.float32]
Flags = dict[str, NDArray[np.bool_]]  # class -> one per photograph


def add_arguments(parser: argparse.ArgumentParser) -> None:
    animals.add_arguments(parser)
    images = "photographs of each class; default: all with one annotated animal"
    parser.add_argument("--images", type=int, help=images)
    removal = "of these, for deletion and insertion"
    parser.add_argument("--removal-images", type=int, default=30, help=removal)
    steps = "of the curves of deletion and insertion"
    parser.add_argument("--steps", type=int, default=16, help=steps)


def run(args: argparse.Namespace) -> dict[str, Any]:
    ious: Values = defaultdict(lambda: defaultdict(list))
    hits: Values = defaultdict(lambda: defaultdict(list))
    removed: dict[str, Values] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    small: dict[str, list[bool]] = {}
    for name in CLASSES:
        of_class = read_animals(args, name, limit=args.images)
        network, photographs = of_class.network, of_class.photographs
        small[name] = [photograph.is_small for photograph in photographs]
        for k, photograph, maps in mapped(network, photographs, of_class.target):
            other = photographs[(k + 1) % len(photographs)]
            for method, overlap in overlaps(photograph, maps, other):
                ious[method][name].append(overlap)
            for method, hit in pointings(photograph, maps):
                hits[method][name].append(hit)
            progress(f"{name}: boxes and points", k + 1, len(photographs))
        order = np.random.default_rng(args.seed).permutation(len(photographs))
        some = sorted(order[: args.removal_images].tolist())
        for done, k in enumerate(some, 1):
            curves = Curves.of(network, photographs[k], of_class.target, args.steps, args.seed + k)
            for what, values in curves.areas().items():
                for method, value in values.items():
                    removed[what][method][name].append(value)
            progress(f"{name}: deletion and insertion", done, len(some))
    of_methods = lambda found: {method: summary(values) for method, values in found.items()}
    return {
        "photographs": {name: len(flags) for name, flags in small.items()},
        "small": {name: sum(flags) for name, flags in small.items()},
        **corloc(ious, small),
        "pointing": of_methods(hits),
        "removal_images": args.removal_images,
        "steps": args.steps,
        **{what: of_methods(found) for what, found in removed.items()},
    }


def node_maps(graph: ExplanatoryGraph, photographs: Sequence[Photograph]) -> dict[str, Maps]:
    """Each layer's node heat maps, (n, height, width), and under "both layers" their sum."""
    places = np.stack([one.places for one in photographs])
    scores = np.stack([one.scores for one in photographs])
    nodes, size = photographs[0].view.nodes, photographs[0].size
    maps = {}
    for layer in graph.layers:
        found = node_heat_map(graph, layer.name, places, scores, nodes=nodes, input_size=size)
        maps[layer.name] = found.numpy()
    return {**maps, "both layers": np.sum(list(maps.values()), axis=0)}


def mapped(
    network: Network, photographs: Sequence[Photograph], target: int
) -> Iterator[tuple[int, Photograph, dict[str, Maps]]]:
    """Every photograph with its number and its maps by method."""
    graph = photographs[0].view.graph
    geometry = measure_geometry(network, [LAYER])[LAYER]
    for start in range(0, len(photographs), BATCH):
        batch = photographs[start : start + BATCH]
        others = [photographs[(start + k + 1) % len(photographs)] for k in range(len(batch))]
        pixels = np.stack([one.pixels for one in batch])
        last = gradcam(network, pixels, target=target)
        earlier = gradcam(network, pixels, target=target, layer=geometry)
        maps = {
            "saliency": saliency(network, pixels, target=target).maps.numpy(),
            f"Grad-CAM, {last.layer.name if last.layer else ''}": last.maps.numpy(),
            f"Grad-CAM, {LAYER}": earlier.maps.numpy(),
            **{f"nodes, {layer}": found for layer, found in node_maps(graph, batch).items()},
            "nodes of another photograph": node_maps(graph, others)["both layers"],
        }
        for k, one in enumerate(batch):
            yield start + k, one, {method: found[k] for method, found in maps.items()}


# Boxes


def overlaps(
    photograph: Photograph, maps: Mapping[str, Maps], other: Photograph
) -> Iterator[tuple[str, float]]:
    """(method, IoU of its box with the animal's); ``other`` gives the control's nodes."""
    for method, box in boxes(photograph, maps, other):
        yield method, iou(box, photograph.truth)


def boxes(
    photograph: Photograph, maps: Mapping[str, Maps], other: Photograph
) -> Iterator[tuple[str, Box | None]]:
    height, width = photograph.size
    yield "whole photograph", (0, 0, width, height)
    for side in CENTRED:
        margin = (1 - side) / 2
        yield (
            f"centred box @ {side}",
            (margin * width, margin * height, side * width, side * height),
        )
    above = maps["saliency"] >= np.quantile(maps["saliency"], 0.95)
    yield "saliency, box around the highest 5 %", around(above)
    for method in ("saliency", "nodes, both layers"):
        yield f"{method}, GraphCut", segment(photograph.pixels, maps[method]).box
    for method, found in maps.items():
        for threshold in THRESHOLDS:
            box = next(iter(boxes_of(found, threshold=threshold)), None)
            yield f"{method} @ {threshold}", box
    view = photograph.view
    layer_of = np.array([view.graph.node(node)["layer"] for node in view.nodes])
    everything = np.arange(len(layer_of))
    for quantile in QUANTILES:
        for layer in np.unique(layer_of).tolist():
            chosen = np.flatnonzero(layer_of == layer)
            box = around_places(photograph, chosen, quantile)
            yield f"places of the nodes, {layer} @ {quantile}", box
        box = around_places(photograph, everything, quantile)
        yield f"places of the nodes, both layers @ {quantile}", box
        box = around_places(other, everything, quantile)
        yield f"places of another photograph's nodes @ {quantile}", box


def around(mask: NDArray[np.bool_]) -> Box | None:
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    left, top = float(cols[0]), float(rows[0])
    return left, top, float(cols[-1] + 1) - left, float(rows[-1] + 1) - top


def around_places(photograph: Photograph, chosen: NDArray[np.int64], quantile: float) -> Box:
    """`explgraph.attribution.node_box` of some nodes, in pixels of the network input."""
    places, scores = photograph.places[chosen], photograph.scores[chosen]
    x, y, width, height = node_box(places, scores, margin=quantile)
    rows, cols = photograph.size
    return x * cols, y * rows, width * cols, height * rows


def iou(box: Box | None, truth: Box) -> float:
    """Intersection over union; 0 without a box."""
    if box is None:
        return 0.0
    width = min(box[0] + box[2], truth[0] + truth[2]) - max(box[0], truth[0])
    height = min(box[1] + box[3], truth[1] + truth[3]) - max(box[1], truth[1])
    both = max(width, 0.0) * max(height, 0.0)
    return both / (box[2] * box[3] + truth[2] * truth[3] - both)


def corloc(ious: Values, small: Mapping[str, Sequence[bool]]) -> dict[str, Any]:
    """The thresholds chosen on every third photograph, and how many boxes fit on the others."""
    third: Flags = {name: np.arange(len(flags)) % 3 == 0 for name, flags in small.items()}
    others: Flags = {name: ~flags for name, flags in third.items()}
    hard: Flags = {name: others[name] & np.array(flags) for name, flags in small.items()}

    def share(method: str, where: Flags) -> dict[str, float]:
        fits = {}
        for name, flags in where.items():
            fits[name] = (np.array(ious[method][name])[flags] >= 0.5).astype(float).tolist()
        return summary(fits)

    tried: dict[str, dict[str, float]] = defaultdict(dict)
    for method in ious:
        base, at, setting = method.partition(" @ ")
        if at and "another" not in method:
            tried[base][setting] = share(method, third)["mean"]
    chosen = {base: max(settings, key=settings.__getitem__) for base, settings in tried.items()}
    result = {}
    for method in reported([*ious], chosen):
        base, at, setting = method.partition(" @ ")
        name = f"{method}, chosen" if at and chosen.get(base) == setting else method
        result[name] = {**share(method, others), "small": share(method, hard)["mean"]}
    return {"corloc": result, "corloc_on_the_third": dict(tried)}


def reported(methods: list[str], chosen: Mapping[str, str]) -> list[str]:
    """Methods without a setting, with the published ones, with the chosen one, and the controls."""
    published = {"Grad-CAM": ("0.15", "0.1"), "nodes,": ("0.05",)}
    rows = [method for method in methods if "@" not in method]
    for base, setting in chosen.items():
        fixed = [one for start, some in published.items() if base.startswith(start) for one in some]
        rows += [f"{base} @ {one}" for one in dict.fromkeys([*fixed, setting])]
    of_maps, of_places = chosen["nodes, both layers"], chosen["places of the nodes, both layers"]
    rows.append(f"nodes of another photograph @ {of_maps}")
    rows.append(f"places of another photograph's nodes @ {of_places}")
    return rows


# Points


def pointings(photograph: Photograph, maps: Mapping[str, Maps]) -> Iterator[tuple[str, float]]:
    """(method, whether the map's maximum is in the animal's box), with and without tolerance."""
    size, frame = np.array(photograph.size), photograph.view.frame
    x, y, width, height = photograph.truth
    first, last = frame.to_image(np.array([[y, x], [y + height, x + width]]) / size)
    points = {"centre": size / 2}
    for method, found in maps.items():
        points[method] = np.argwhere(found == found.max()).mean(0) + 0.5  # a flat top: its middle
    for method, point in points.items():
        place = frame.to_image(point / size)
        beyond = np.maximum(np.maximum(first - place, place - last), 0)
        distance = np.hypot(*beyond)
        yield method, float(distance <= 0)
        yield f"{method}, {TOLERANCE} pixels off at most", float(distance <= TOLERANCE)


# Deletion and insertion


@dataclass(frozen=True, eq=False)
class Curves:
    """What the class's probability does as pixels go; Petsiuk et al. 2018.

    The steps are denser where the curves are steep: the share of the pixels is (k / steps)^2.
    """

    network: Network
    photograph: Photograph
    target: int
    steps: int
    seed: int
    random: Maps

    @classmethod
    def of(
        cls, network: Network, photograph: Photograph, target: int, steps: int, seed: int
    ) -> Curves:
        random = np.random.default_rng(seed).random(photograph.size, np.float32)
        return cls(network, photograph, target, steps, seed, random)

    def maps(self) -> dict[str, Maps]:
        pixels, graph = self.photograph.pixels[None], self.photograph.view.graph
        asked: Mapping[str, Callable[..., Any]] = {
            "saliency": saliency,
            "SmoothGrad": lambda *batch, target: saliency(
                *batch, target=target, samples=8, seed=self.seed
            ),
            "Grad-CAM": gradcam,
            "occlusion": occlusion,
        }
        found = {"random": self.random}
        for method, ask in asked.items():
            found[method] = ask(self.network, pixels, target=self.target).maps[0].numpy()
        found["nodes, both layers"] = node_maps(graph, [self.photograph])["both layers"][0]
        return found

    def areas(self) -> dict[str, dict[str, float]]:
        """For "deletion" and "insertion" the area under the curve, by method."""
        maps = self.maps()
        image = network_input(self.network, self.photograph.pixels[None])
        grey, blurred = torch.zeros_like(image), gaussian_blur(image, BLUR[0], BLUR[1])
        found: dict[str, dict[str, float]] = {"deletion": {}, "insertion": {}}
        with evaluation_mode(self.network.model), torch.no_grad():
            ends = self.probability(torch.cat([image, grey, blurred]))
            names = ("untouched", "all grey", "blurred")
            found["probability of the class"] = dict(zip(names, ends.tolist(), strict=True))
            for method, one in maps.items():
                ranks = self.ranks(one)
                deleted = self.probability(self.between(image, grey, ranks))
                inserted = self.probability(self.between(blurred, image, ranks))
                found["deletion"][method] = self.area(ends[0], deleted, ends[1])
                found["insertion"][method] = self.area(ends[2], inserted, ends[0])
        return found

    def ranks(self, one: Maps) -> Tensor:
        """The place of each pixel in the order of the map, highest first, ties in random order."""
        order = np.lexsort((self.random.ravel(), -one.ravel()))
        rank = np.empty(order.size, np.int64)
        rank[order] = np.arange(order.size)
        return torch.from_numpy(rank.reshape(one.shape))

    @property
    def shares(self) -> NDArray[np.float64]:
        return (np.arange(self.steps + 1) / self.steps) ** 2

    def between(self, before: Tensor, after: Tensor, ranks: Tensor) -> Tensor:
        """The inputs in which the first pixels have gone over, without both ends."""
        limits = [share * ranks.numel() for share in self.shares[1:-1]]
        gone = torch.stack([ranks < limit for limit in limits])[:, None]
        return torch.where(gone, after, before)

    def probability(self, inputs: Tensor) -> NDArray[np.float64]:
        of_class = self.network.model(inputs).softmax(1)[:, self.target]
        return np.asarray(of_class.double().numpy())

    def area(self, first: float, inner: NDArray[np.float64], last: float) -> float:
        curve = np.array([first, *inner, last])
        return float(((curve[1:] + curve[:-1]) / 2 * np.diff(self.shares)).sum())


def text(figures: dict[str, Any]) -> str:
    """The figures as Markdown tables."""
    titles = {
        "corloc": "CorLoc, on two thirds of the photographs",
        "pointing": "Pointing game",
        "deletion": "Deletion, lower is better",
        "insertion": "Insertion, higher is better",
        "probability of the class": "Probability of the class",
    }
    counts = [
        f"{n} {name} ({figures['small'][name]} small)" for name, n in figures["photographs"].items()
    ]
    parts = [f"Photographs: {', '.join(counts)}"]
    for key, title in titles.items():
        if key in figures:
            parts.append(f"{title}\n\n{table(figures[key])}")
    tried = {}
    for base, settings in figures["corloc_on_the_third"].items():
        if not base.startswith(("centred", "places")):
            tried[base] = {f"{float(at):.2f}": value for at, value in settings.items()}
    parts.append(f"CorLoc by threshold, on the other third\n\n{table(tried)}")
    return "\n\n".join(parts)
