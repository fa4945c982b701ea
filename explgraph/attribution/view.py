"""What a network is shown of an image, and the way back to it; no picture is drawn here, so matplotlib is not loaded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from explgraph.attribution.boxes import map_to_image
from explgraph.attribution.target import PlacedNode, Target
from explgraph.errors import ImageError, Skipped
from explgraph.graph import ExplanatoryGraph
from explgraph.images import DecodedBatch, Fit, Frame, ImageObject, load_input
from explgraph.network import Network

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False, kw_only=True)
class View:
    """An image as the network is shown it.

    Args:
        obj: the image.
        pixels: (height, width, 3), uint8, the network input.
        frame: the way to the image; size: (width, height) of the image.
        mirrored: whether the input is mirrored left to right.
        target: what is asked, see `explgraph.attribution.ask`.
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
        return np.rint(
            127.5 + 127.5 * np.clip(planes / (np.quantile(np.abs(planes), 0.999) or 1.0), -1, 1)
        ).astype(np.uint8)


@dataclass(frozen=True, eq=False, kw_only=True)
class NodeView(View):
    """A view in which the nodes of a graph were found.

    Args:
        graph: the graph.
        nodes: ids; places: (nodes, 2), (row, column), fractions of the input as it is shown; scores: (nodes,).
    """

    graph: ExplanatoryGraph
    nodes: tuple[str, ...]
    places: NDArray[np.float64]
    scores: NDArray[np.float32]

    def placed(self, node: str) -> PlacedNode:
        """Return the node where it was found; raises GraphError if it is unknown."""
        self.graph.node(node)
        size = (self.pixels.shape[0], self.pixels.shape[1])
        return PlacedNode.of(self.graph, node, self.places[self.nodes.index(node)], input_size=size)


def read_views(
    network: Network, images: Sequence[Path], *, target: Target = None, fit: Fit = "letterbox"
) -> Iterator[View | Skipped]:
    """Yield each image as ``network`` takes it, or why it cannot be used."""
    for path in images:
        obj = ImageObject(1, 1, path.name, path)
        try:
            pixels, frame, size = load_input(
                obj, height=network.input.height, width=network.input.width, fit=fit
            )
        except ImageError as error:
            yield Skipped(str(path), str(error))
            continue
        yield View(obj=obj, pixels=pixels, frame=frame, size=size, target=target)


def plain_views(objects: Sequence[ImageObject], batch: DecodedBatch) -> Iterator[View]:
    """Yield the views of a decoded batch in its order, as photographed."""
    for i, number in enumerate(batch.indices.tolist()):
        yield View(
            obj=objects[number],
            pixels=batch.images[i].copy(),
            frame=batch.frames[i],
            size=batch.sizes[i],
        )
