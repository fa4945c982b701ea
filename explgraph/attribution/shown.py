"""What a network is shown: images of any kind as its input, and the way back to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from explgraph.attribution.boxes import AnyMap, map_to_image
from explgraph.errors import UsageError
from explgraph.images import Boxes, Fit, Frame, pair_boxes, picture_input
from explgraph.network import PICTURES, Model, Network, Picture, require_finite, wrap

Images = Tensor | NDArray[np.uint8] | Picture | Sequence[Tensor] | Sequence[Picture]
"""What is shown to the network: see `network_input`."""
Batch = Float[Tensor, "image channel height width"]


@dataclass(frozen=True, eq=False, repr=False)
class Shown:
    """The input of a network, and what it was made of.

    Args:
        network: that is asked.
        inputs: what it takes, on its device.
        frames: how each photograph fills its input; None where tensors or arrays were given.
        sizes: (width, height) of each photograph, pixels.
    """

    network: Network
    inputs: Batch
    frames: tuple[Frame, ...] | None = None
    sizes: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        return f"<{' x '.join(map(str, self.inputs.shape))} for {self.network.name}>"

    def picture(self, number: int) -> NDArray[np.uint8]:
        """The input of one image as a picture, (height, width, 3) RGB, without its padding.

        Grey where the network takes no colours: the mean of its channels.
        """
        spec, image = self.network.input, self.inputs[number].detach().float().cpu()
        # The inverse of `Network.preprocess`, up to rounding.
        colours = image.permute(1, 2, 0).numpy() * spec.std + spec.mean
        if colours.shape[2] != 3:
            colours = np.repeat(colours.mean(2, keepdims=True), 3, axis=2)
        pixels = np.rint(255 * colours.clip(0, 1)).astype(np.uint8)
        return self._content(pixels, number)

    def on_picture(self, map: AnyMap, number: int) -> NDArray[np.float32]:
        """A map of the input as `picture` shows it."""
        values = map.detach().float().cpu().numpy() if isinstance(map, Tensor) else np.asarray(map)
        return self._content(values, number)

    def on_image(self, map: AnyMap, number: int) -> NDArray[np.float32]:
        """A map of the input in the frame of the photograph, or as it is where there is none."""
        if self.frames is None:
            return self.on_picture(map, number)
        return map_to_image(map, self.frames[number], self.sizes[number])

    def _content(self, values: NDArray[Any], number: int) -> NDArray[Any]:
        if self.frames is None:
            return values
        left, top, width, height = self.frames[number].content
        return values[top : top + height, left : left + width]


def show(
    model: Model, images: Images, *, fit: Fit = "letterbox", box: Boxes | None = None
) -> Shown:
    """The images as the network takes them, on its device, and the way back to them.

    Args:
        model: a network; or a module, see `explgraph.network.wrap`.
        images: a photograph (a file, or an image of Pillow) or a list of them: each is fitted into
            the input whole, its aspect kept; or RGB, uint8 (n, height, width, 3); or the network's
            input itself, floating point (n, 3, height, width), or a list of (3, height, width).
            A network of one channel is shown the luminance; one of others takes its input only.
        fit: how a photograph becomes the input.
        box: what to show of a photograph: one (x, y, width, height) in its pixels, or several, each
            of which is an image; of several photographs, one for each. Maps on the photograph
            (`Attribution.on_image`) are zero outside of it.

    Raises:
        UsageError: another type, dtype or shape, or no image, or values that are not finite; or
            boxes that do not fit the photographs.
        ImageError: a file is not an image, or its box misses it.

    >>> shown = show(network, sorted(pictures.iterdir())[0])
    >>> shown, shown.picture(0).shape
    (<1 x 3 x 112 x 112 for explgraph.demo.network:demo_network>, (84, 112, 3))
    """
    # A copy is made last, when all checks have passed.
    network = wrap(model)
    frames, sizes = None, ()
    if (files := _files(images)) is None:
        if box is not None:
            raise UsageError("a box goes with a photograph, a file or an image of Pillow")
        batch = _as_tensor(images)
    else:
        network.check_photographs()
        height, width = network.input.size
        boxed = enumerate([None] * len(files)) if box is None else pair_boxes(len(files), box)
        read = [
            picture_input(files[k], height=height, width=width, fit=fit, box=one)
            for k, one in boxed
        ]
        pixels, frames, sizes = zip(*read, strict=True)
        batch = torch.from_numpy(np.stack(pixels))
    channels = network.input.channels
    if batch.dtype == torch.uint8 and batch.ndim == 4 and batch.shape[3] in (3, channels):
        batch = network.preprocess(batch)
    elif not (batch.is_floating_point() and batch.ndim == 4 and batch.shape[1] == channels):
        raise UsageError(
            "images must be uint8 (n, height, width, 3), "
            f"or floating point (n, {channels}, height, width) as the network takes them; "
            f"got {str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
        )
    if batch.numel() == 0:
        raise UsageError(
            f"give at least one image of at least one pixel, got shape {tuple(batch.shape)}"
        )
    require_finite(batch)
    # A copy, so that the caller's tensor is never asked for a gradient. Convolutions on a CPU are
    # fastest in this layout.
    layout = torch.channels_last if network.device.type == "cpu" else torch.contiguous_format
    inputs = batch.detach().to(network.device, dtype=network.dtype).clone(memory_format=layout)
    return Shown(network, inputs, frames, sizes)


def network_input(model: Model, images: Images, *, box: Boxes | None = None) -> Batch:
    """The images as the network takes them: `Shown.inputs` of `show`.

    >>> network_input(network, sorted(pictures.iterdir())).shape
    torch.Size([6, 3, 112, 112])
    """
    return show(model, images, box=box).inputs


def input_size(batch: Batch) -> tuple[int, int]:
    """(height, width) of a batch, pixels."""
    return int(batch.shape[2]), int(batch.shape[3])


def _files(images: Images) -> list[Picture] | None:
    """The photographs, if these are photographs."""
    if isinstance(images, PICTURES):
        return [images]
    if isinstance(images, list | tuple) and images:
        files = [one for one in images if isinstance(one, PICTURES)]
        if len(files) == len(images):
            return files
    return None


def _as_tensor(images: Any) -> Tensor:
    try:
        if isinstance(images, list | tuple) and any(isinstance(one, Tensor) for one in images):
            return torch.stack(list(images))
        # Torch takes no array that is a mirrored or read-only view, hence the copy.
        return torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = type(images).__name__
        raise UsageError(
            "images must be photographs (files or images of Pillow), or an array or a tensor of "
            f"numbers, got a {kind}: {error}"
        ) from error
