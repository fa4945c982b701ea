"""What a method answers: what was asked of each image, and how much each place speaks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from explgraph.graph import Layer


class OneLine:
    """A frozen value whose repr is one line: arrays by their shapes, nothing of what is None."""

    def __repr__(self) -> str:
        held = vars(self).items()
        shown = [f"{name}={_short(value)}" for name, value in held if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return str(tuple(value.shape))
    if isinstance(value, tuple) and len(value) > 4:
        return f"({', '.join(map(repr, value[:3]))}, ... {len(value)} in all)"
    return value.name if isinstance(value, Layer) else repr(value)


@dataclass(frozen=True, eq=False, repr=False)
class Targets(OneLine):
    """What was asked of each image, and what the network says of it.

    Args:
        indexes: number of the class; -1 if no class was asked for.
        names: of the class ("class 12" where the network does not say), the channel or the node.
        scores: S_c, the output before the softmax; or the value of the channel or the node.
        probabilities: softmax of the outputs; NaN if no class was asked for.

    >>> Targets(np.array([340]), ("zebra",), np.array([21.5]), np.array([0.98]))
    Targets(indexes=(1,), names=('zebra',), scores=(1,), probabilities=(1,))
    """

    indexes: Int[NDArray[np.int64], " image"]
    names: tuple[str, ...]
    scores: Float[NDArray[np.float32], " image"]
    probabilities: Float[NDArray[np.float32], " image"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(OneLine):
    """How much each place of the network input speaks for what was asked, image by image.

    Args:
        maps: one value per pixel of the network input, on the network's device;
            `explgraph.attribution.map_to_image` puts one into the frame of the photograph.
        targets: what was asked of each image.
        method: "saliency", "gradcam", "deconv", ...
        signed: whether values below zero mean evidence against it.
        layer: the layer looked at and where its cells are; None for the input itself.
        cells: the map of that layer as it was computed; None without a layer.
        colours: the same by colour, signed, in the units of the network input; None if the
            method has none.
    """

    maps: Float[Tensor, "image height width"]
    targets: Targets
    method: str
    signed: bool = False
    layer: Layer | None = None
    cells: Float[Tensor, "image rows columns"] | None = None
    colours: Float[Tensor, "image 3 height width"] | None = None
