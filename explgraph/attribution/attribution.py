"""What a method answers: what was asked of each image, and how much each place speaks for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from explgraph.attribution.shown import Shown
from explgraph.graph import Layer
from explgraph.html import picture
from explgraph.palette import overlay

PICTURES_SHOWN = 8  # by a notebook
# A map whose strongest value is below this share of what it is measured against shows nothing:
# stretched over all colours it would be rounding errors, as strong as evidence.
EMPTY = 1e-3


def reasons(each: Iterable[str]) -> tuple[str, ...] | None:
    """What `Attribution.empty` says: the reason for each image, None if there is none at all.

    >>> reasons(["", "zero"]), reasons(["", ""])
    (('', 'zero'), None)
    """
    found = tuple(each)
    return found if any(found) else None


class OneLine:
    """A frozen value whose repr is one line: arrays by their shapes, nothing of what is None."""

    def __repr__(self) -> str:
        held = vars(self).items()
        shown = [f"{name}={_short(value)}" for name, value in held if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"


def _short(value: Any) -> str:
    if isinstance(value, Tensor | np.ndarray):
        return str(tuple(value.shape))
    # A thousand class names would hide the rest.
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

    indexes: Int[np.ndarray, " image"]
    names: tuple[str, ...]
    scores: Float[np.ndarray, " image"]
    probabilities: Float[np.ndarray, " image"]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution(OneLine):
    """How much each place of the network input speaks for what was asked, image by image.

    Args:
        maps: one value per pixel of the network input, on the network's device; `on_image` puts
            one into the frame of the photograph.
        targets: what was asked of each image.
        method: "saliency", "gradcam", "deconv", ...
        shown: what the network was shown, and the way back to the photographs.
        signed: whether values below zero mean evidence against it.
        layer: the layer looked at and where its cells are; None for the input itself.
        cells: the map of that layer as it was computed; None without a layer.
        colours: the same by colour, signed, in the units of the network input; None if the
            method has none.
        empty: why the map of each image shows nothing, "" if it shows something; None if each
            shows something as far as the method knows. See `why_empty`.
    """

    maps: Float[Tensor, "image height width"]
    targets: Targets
    method: str
    shown: Shown
    signed: bool = False
    layer: Layer | None = None
    cells: Float[Tensor, "image rows columns"] | None = None
    colours: Float[Tensor, "image colour height width"] | None = None
    empty: tuple[str, ...] | None = None

    def __len__(self) -> int:
        return len(self.maps)

    def single(self) -> Self:
        """The same in float32, as every method answers; what is computed further stays as it is."""
        wide = {name: getattr(self, name) for name in ("maps", "cells", "colours")}
        return replace(self, **{name: one.float() for name, one in wide.items() if one is not None})

    def why_empty(self, number: int = 0) -> str:
        """Why the map of an image shows nothing; "" if it shows something."""
        if self.empty and self.empty[number]:
            return self.empty[number]
        values = self.maps[number]
        if bool((values != 0 if self.signed else values > 0).any()):
            return ""
        return f"{self.method} is zero everywhere: nothing bears on {self.targets.names[number]}"

    def on_image(self, number: int = 0) -> Float[np.ndarray, "rows columns"]:
        """The map of one image in its photograph, of whose size it is.

        Where no photograph was given, as it is in the network input.
        """
        return self.shown.on_image(self.maps[number], number)

    def overlay(self, number: int = 0) -> Image.Image:
        """The map of one image laid over what the network was shown of it.

        Of a map that shows nothing (`why_empty`), no colour.
        """
        map = self.shown.on_picture(self.maps[number], number)
        map = 0 * map if self.why_empty(number) else map
        return Image.fromarray(overlay(self.shown.picture(number), map, signed=self.signed))

    def _repr_html_(self) -> str:
        """What a notebook shows: the first overlays, each with what was asked."""
        pictures = []
        for k in range(min(len(self), PICTURES_SHOWN)):
            said, probability = self.targets.names[k], float(self.targets.probabilities[k])
            caption = said if np.isnan(probability) else f"{said} {probability:.1%}"
            why = self.why_empty(k)
            caption += f": {why}" if why else ""
            pictures.append(picture(np.asarray(self.overlay(k)), caption))
        more = len(self) - len(pictures)
        rest = f"<p>... and {more} more</p>" if more else ""
        return f"<div><b>{self.method}</b><br>{''.join(pictures)}{rest}</div>"
