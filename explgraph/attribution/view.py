"""What a network is shown of an object, and the way back to the photograph.

No picture is drawn here, so matplotlib is not loaded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from explgraph.attribution.attribution import OneLine
from explgraph.attribution.boxes import AnyMap, map_to_image
from explgraph.attribution.target import PlacedNode, Target
from explgraph.errors import ImageError, Skipped
from explgraph.graph import ExplanatoryGraph, Shares
from explgraph.images import DecodedBatch, Fit, Frame, ImageObject, load_input
from explgraph.network import Network

Pixels = UInt8[np.ndarray, "height width 3"]
Picture = UInt8[np.ndarray, "rows columns 3"]  # of the photograph's size
BRIGHTEST = 0.999  # colours of a picture end at this quantile of what speaks for or against


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class View(OneLine):
    """An object as the network is shown it.

    Args:
        obj: the object in its photograph.
        pixels: the network input.
        frame: the way to the photograph.
        size: (width, height) of the photograph.
        mirrored: whether the input is mirrored left to right.
        target: what is asked, see `explgraph.attribution.target`.
    """

    obj: ImageObject
    pixels: Pixels
    frame: Frame
    size: tuple[int, int]
    mirrored: bool = False
    target: Target = None

    def on_image(self, map: AnyMap) -> Float[np.ndarray, "rows columns"]:
        """A map of the input in the frame of the photograph."""
        return map_to_image(map, self.frame, self.size, mirrored=self.mirrored)

    def picture_of(self, colours: Float[Tensor, "channel height width"]) -> Picture:
        """What speaks by colour, signed, as a picture of the photograph's size; grey is zero."""
        planes = np.stack([self.on_image(plane) for plane in colours], -1)
        brightest = np.quantile(np.abs(planes), BRIGHTEST) or 1.0
        picture = np.rint(127.5 + 127.5 * np.clip(planes / brightest, -1, 1)).astype(np.uint8)
        return picture if picture.shape[2] == 3 else np.repeat(picture, 3, axis=2)  # grey


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class NodeView(View):
    """A view in which the nodes of a graph were found.

    Args:
        graph: the graph.
        nodes: ids.
        places: (row, column) of each, fractions of the input as it is shown.
        scores: of each, 0..1.
        explained: how much of the image's activation the graph explains, if the graph can tell.
        sureness: how probable it is that ``mirrored`` is right; None where no facing was told.
    """

    graph: ExplanatoryGraph
    nodes: tuple[str, ...]
    places: Float[np.ndarray, "node 2"]
    scores: Float[np.ndarray, " node"]
    explained: Shares | None = None
    sureness: float | None = None

    def score_of(self, node: str) -> float:
        """How surely the node is here; from `explgraph.locations.FOUND` on it was found."""
        return float(self.scores[self.nodes.index(node)])

    def placed(self, node: str) -> PlacedNode:
        """The node where it was found; raises GraphError if it is unknown."""
        self.graph.node(node)
        height, width, _ = self.pixels.shape
        place = self.places[self.nodes.index(node)]
        return PlacedNode.of(self.graph, node, place, input_size=(height, width))


def read_views(
    network: Network,
    images: Sequence[Path | ImageObject],
    *,
    target: Target = None,
    fit: Fit = "letterbox",
) -> Iterator[View | Skipped]:
    """Each image, or the box of an object in it, as ``network`` takes it; or why that cannot be.

    >>> (view,) = read_views(network, [sorted(pictures.iterdir())[0]], target="fox")
    >>> view.pixels.shape, view.size
    ((112, 112, 3), (240, 180))
    """
    height, width = network.input.size
    for one in images:
        obj = ImageObject(1, 1, one.name, one) if isinstance(one, Path) else one
        try:
            pixels, frame, size = load_input(obj, height=height, width=width, fit=fit)
        except ImageError as error:
            # One broken image never ends a job. The error names the path, as the answer does.
            yield Skipped(str(obj.path), str(error).removeprefix(f"{obj.path}: "))
            continue
        yield View(obj=obj, pixels=pixels, frame=frame, size=size, target=target)


def plain_views(objects: Sequence[ImageObject], batch: DecodedBatch) -> Iterator[View]:
    """The views of a decoded batch in its order, as photographed.

    >>> from explgraph.images import decode_batches, read_source
    >>> objects = read_source(pictures).objects
    >>> (batch,) = decode_batches(objects, height=112, width=112)
    >>> len(list(plain_views(objects, batch)))
    6
    """
    for k, number in enumerate(batch.indices.tolist()):
        pixels, frame, size = batch.images[k].copy(), batch.frames[k], batch.sizes[k]
        yield View(obj=objects[number], pixels=pixels, frame=frame, size=size)
