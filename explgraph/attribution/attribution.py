"""The maps that an attribution yields."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from explgraph.attribution.target import Targets
from explgraph.graph import Layer


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much each place of the network input speaks for what was asked, image by image.

    Args:
        maps: (n, height, width), one value per pixel of the network input, on the network's device;
            `explgraph.attribution.map_to_image` puts one into the frame of the photograph.
        targets: what was asked of each image, its score, and its probability if it is a class.
        method: "saliency", "gradcam", "deconv", ...
        signed: whether values below zero mean evidence against it.
        layer: the layer looked at and where its cells are; None for the input itself.
        cells: (n, rows, columns), the map of that layer as it was computed; None without a layer.
        colours: (n, 3, height, width), the same by colour, signed, in the units of the network input; None if the method has none.
    """

    maps: Tensor
    targets: Targets
    method: str
    signed: bool = False
    layer: Layer | None = None
    cells: Tensor | None = None
    colours: Tensor | None = None
