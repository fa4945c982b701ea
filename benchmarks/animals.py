"""Photographs with one annotated animal each, and the graphs that were mined of its category.

The network is SqueezeNet 1.0, asked for the annotated class; the photograph is stretched to its
input. The graphs come from ``explgraph mine CATEGORY.json --out WORKSPACES/CATEGORY``: without
labels, but from crops along the boxes of these very animals. Here their nodes are sought on the
whole photograph, which is a transfer.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.tables import progress
from explgraph.attribution import NodeView
from explgraph.images import Box, Source, read_source
from explgraph.network import Network
from explgraph.queries import locate_batches, views_of
from explgraph.workspace import Workspace

CLASSES = {"zebra": ("n02391049", 340), "lion": ("n02129165", 291), "panda": ("n02510455", 388)}
WEIGHTS = "models/squeezenet1_0-imagenet.pth"
SMALL = 0.25  # of the photograph's area; Zhang et al. 2016 call smaller objects difficult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every benchmark on these photographs."""
    workspaces = "DIR/n02391049 etc., mined graphs"
    parser.add_argument("--workspaces", type=Path, required=True, metavar="DIR", help=workspaces)
    beside = os.environ.get("EXPLGRAPH_SHARED", Path(__file__).parents[2] / "shared")
    shared = "DIR/data/animals and DIR/models"
    parser.add_argument("--shared", type=Path, default=beside, metavar="DIR", help=shared)
    parser.add_argument("--seed", type=int, default=0)


@dataclass(frozen=True, eq=False)
class Photograph:
    """One photograph with one annotated animal.

    Args:
        view: as the graph understood it, mirrored if it says so.
        pixels: (height, width, 3), the network input, not mirrored.
        places: (nodes, 2), (row, column), fractions of that input.
        scores: (nodes,).
        truth: the animal's box, pixels of that input.
    """

    view: NodeView
    pixels: NDArray[np.uint8]
    places: NDArray[np.float32]
    scores: NDArray[np.float32]
    truth: Box

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network input, pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def is_small(self) -> bool:
        """Whether the animal's box takes up less than SMALL of the photograph."""
        height, width = self.size
        return bool(self.truth[2] * self.truth[3] < SMALL * height * width)


@dataclass(frozen=True, eq=False)
class Animals:
    """The photographs of one class."""

    name: str
    target: int
    network: Network
    photographs: list[Photograph]


def read_animals(
    args: argparse.Namespace, name: str, *, limit: int | None = None, seed: int | None = None
) -> Animals:
    """The photographs of a class with one annotated animal, its nodes located.

    Args:
        args: with ``workspaces`` and ``shared``.
        name: of the class.
        limit: how many photographs; the first ones, or with a seed a random choice.
        seed: of the choice.
    """
    category, target = CLASSES[name]
    dataset = args.shared / "data" / "animals" / f"{category}.json"
    with Workspace(args.workspaces / category) as workspace:
        network = workspace.network(weights=str(args.shared / WEIGHTS))
        whole, boxes = lone_animals(dataset, limit=limit, seed=seed)
        photographs = located(workspace, network, whole, boxes)
    return Animals(name, target, network, photographs)


def lone_animals(dataset: Path, *, limit: int | None, seed: int | None) -> tuple[Source, list[Box]]:
    """The whole photographs with one annotated animal, in the data set's order, and its box."""
    counts = Counter(one["image_id"] for one in json.loads(dataset.read_text())["annotations"])
    source = read_source(dataset)
    alone = [obj for obj in source.objects if counts[obj.image_id] == 1 and obj.box is not None]
    if seed is not None:
        chosen = np.random.default_rng(seed).permutation(len(alone))[:limit]
        alone = [alone[i] for i in sorted(chosen)]
    alone = alone[:limit]
    whole = tuple(replace(obj, box=None) for obj in alone)
    return Source(source.root, source.kind, whole, ()), [obj.box for obj in alone if obj.box]


def located(
    workspace: Workspace, network: Network, whole: Source, boxes: list[Box]
) -> list[Photograph]:
    """The photographs with the places of the workspace's nodes."""
    photographs = []
    for one in locate_batches(workspace, whole, network=network, report=progress):
        batch, found = one.batch, one.locations
        for i, view in enumerate(views_of(workspace.graph, one)):
            x, y, width, height = boxes[int(batch.indices[i])]
            corners = view.frame.to_input([[x, y], [x + width, y + height]])
            (top, left), (bottom, right) = corners * view.pixels.shape[:2]
            truth = (float(left), float(top), float(right - left), float(bottom - top))
            pixels = batch.images[i].copy()
            photographs.append(Photograph(view, pixels, found.place[i], found.score[i], truth))
    return photographs
