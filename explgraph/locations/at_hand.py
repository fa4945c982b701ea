"""Where the nodes of a graph are in images that are at hand, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from explgraph.errors import GraphError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.images import Boxes
from explgraph.locations.locator import Locator, NodeLocations
from explgraph.network import ImageSet, Model, measure_geometry
from explgraph.peaks import PeakSettings, peaks_at_hand
from explgraph.progress import Report, silent


def locate_images(
    model: Model,
    images: Any,
    graph: ExplanatoryGraph,
    *,
    box: Boxes | None = None,
    batch_size: int = 16,
    report: Report = silent,
) -> NodeLocations:
    """Where every node of the graph is in each image, and how surely.

    Args:
        model: the network that the graph was mined from.
        images: see `explgraph.network.ImageSet`.
        graph: from `explgraph.mine_images` or `explgraph.Workspace.graph`.
        box: the objects in photographs, as in `explgraph.attribution.show`: what a graph of boxes
            was mined from. Places are fractions of the box.
        batch_size: images per forward pass.
        report: told of progress.

    Raises:
        UsageError: there are no images, or they are of another kind or size than those mined.
        GraphError: the graph does not know the deviations of its units, or has no node.

    >>> found = locate_images(network, x, graph)
    >>> found.place.shape == (2, len(graph), 2)
    True
    """
    if graph.deviations is None:
        raise GraphError(
            "the graph does not know what is usual for its units (graph.deviations is None): a "
            "copy or a file does not keep it; take the graph of mine_images or Workspace.graph"
        )
    locator = Locator(graph)
    # As the graph's own images were: another fit would move its nodes.
    given = ImageSet(model, images, fit=graph.config.get("fit", "stretch"), box=box)
    network, names = given.network, tuple(layer.name for layer in graph.layers)
    geometry = measure_geometry(network, names)
    _check_layers(graph, geometry)
    config = graph.config
    settings = PeakSettings(tuple(sorted(names)), config["n_peaks"], config["mirror"])
    unit_std = {name: torch.from_numpy(std) for name, std in graph.deviations.items()}
    found = []
    report("locate", 0, len(given))
    for batch in given.batches(batch_size=batch_size):
        peaks = peaks_at_hand(
            network, [batch], geometry=geometry, unit_std=unit_std, settings=settings
        )
        found.append(locator.locate(peaks))
        report("locate", sum(len(one.mirrored) for one in found), len(given))
    columns = ("place", "score", "mirrored", "sureness")
    place, score, mirrored, sureness = (
        np.concatenate([getattr(one, name) for one in found]) for name in columns
    )
    shares = [one.explained for one in found if one.explained is not None]
    explained = np.concatenate(shares) if shares else None
    return NodeLocations(locator.nodes, place, score, mirrored, explained, sureness)


def _check_layers(graph: ExplanatoryGraph, geometry: Mapping[str, Layer]) -> None:
    """Refuse a network whose layers are not those that were mined.

    A graph is of fractions of the input, so on maps of another size it would answer, but wrongly.
    """
    for layer in graph.layers:
        here = geometry[layer.name]
        # As dictionaries: a layer of the graph has lost what only a network knows of it.
        if here.to_dict() != layer.to_dict():
            raise GraphError(
                f"layer {layer.name!r} was mined with maps of {layer.height} x {layer.width} "
                f"cells and {layer.channels} channels, here it has {here.height} x "
                f"{here.width} and {here.channels}; use the "
                "network and the image size of the graph"
            )
