"""Images at hand, in whatever form, as batches that a network takes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from explgraph.errors import UsageError
from explgraph.images import Boxes, Fit, pair_boxes, picture_input
from explgraph.network.network import Network
from explgraph.network.wrap import Model, wrap

Picture = str | os.PathLike[str] | Image.Image
"""A photograph: a file, or an image of Pillow."""

PICTURES = (str, os.PathLike, Image.Image)  # the same, to be told from other things


class ImageSet:
    """Images by their number: of a tensor, an array, a list, a Dataset, a DataLoader.

    Args:
        model: a network; or a module, see `wrap`.
        images: each is a tensor or an array, floating point (3, height, width) as the network
            takes it (or with other channels than 3, if it takes them), or RGB uint8
            (height, width, 3); or a photograph, which is fitted into the
            network's input. Of a pair, such as (image, label), the first is taken. What can be
            counted and indexed (a tensor, a list, a Dataset) is read when it is needed; anything
            else (a DataLoader, a generator) is read once and held.
        fit: how a photograph becomes the input.
        box: the objects in photographs, (x, y, width, height) in their pixels: several in one, each
            of which is an image, or one for each.

    Raises:
        UsageError: no images, or images of another kind, or of several sizes; or boxes that do not
            fit the photographs.

    >>> images = ImageSet(network, x)
    >>> len(images), [len(batch) for batch in images.batches(batch_size=1)]
    (2, [1, 1])
    """

    network: Network
    """The network, its input as large as the images."""

    def __init__(
        self, model: Model, images: Any, *, fit: Fit = "stretch", box: Boxes | None = None
    ) -> None:
        self.network, self._fit = wrap(model), fit
        if box is not None and isinstance(images, PICTURES):
            images = [images]  # with its boxes it is a list of objects
        if isinstance(images, str | os.PathLike):
            raise UsageError(
                f"expected images, got the path {os.fspath(images)!r}; read its photographs with "
                "explgraph.read_source, or mine it with explgraph.mine_workspace"
            )
        indexed = hasattr(images, "__len__") and hasattr(images, "__getitem__")
        if not indexed and not isinstance(images, Iterable):
            raise UsageError(f"expected images, got a {type(images).__name__}")
        self._images: Any = images if indexed else list(_single(images))
        if not len(self._images):
            raise UsageError("expected at least one image, got none")
        self._boxes = None if box is None else pair_boxes(len(self._images), box)
        if not isinstance(_first(self._images[0]), PICTURES):
            if box is not None:
                raise UsageError("a box goes with a photograph, a file or an image of Pillow")
            first = self._read(0)
            height, width = first.shape[:2] if first.dtype == torch.uint8 else first.shape[1:]
            self.network = wrap(self.network, input_size=(height, width))

    def __len__(self) -> int:
        return len(self._images if self._boxes is None else self._boxes)

    def batches(
        self, numbers: Sequence[int] | None = None, *, batch_size: int = 16
    ) -> Iterator[Tensor]:
        """The images in order, or some of them; each batch is of one kind and one size.

        Raises:
            UsageError: an image is of another size or kind than the first.
        """
        if batch_size < 1:
            raise UsageError(f"batch_size must be at least 1, got {batch_size}")
        chosen = range(len(self)) if numbers is None else numbers
        for start in range(0, len(chosen), batch_size):
            yield self._stacked([self._read(k) for k in chosen[start : start + batch_size]])

    def _stacked(self, images: list[Tensor]) -> Tensor:
        height, width = self.network.input.size
        kinds = {(one.dtype, tuple(one.shape)) for one in images}
        (dtype, shape), *others = kinds
        channels = shape[2] if dtype == torch.uint8 else self.network.input.channels
        expected = (height, width, channels) if dtype == torch.uint8 else (channels, height, width)
        if others or shape != expected:
            listed = ", ".join(f"{kind} {size}" for kind, size in kinds)
            raise UsageError(f"images must be of one kind and size, {expected}; got {listed}")
        batch = torch.stack(images)
        require_finite(batch)
        return batch

    def _read(self, number: int) -> Tensor:
        at, box = (number, None) if self._boxes is None else self._boxes[number]
        image = _first(self._images[at])
        if isinstance(image, PICTURES):
            height, width = self.network.input.size
            shown = picture_input(image, height=height, width=width, fit=self._fit, box=box)
            return torch.from_numpy(shown[0])
        if isinstance(image, np.ndarray) and image.dtype != object:
            image = torch.from_numpy(np.array(image))  # a copy: it may be a read-only view
        channels = self.network.input.channels
        if not isinstance(image, Tensor) or not _is_image(image, channels):
            got = tuple(image.shape) if isinstance(image, Tensor) else f"a {type(image).__name__}"
            raise UsageError(
                f"an image must be floating point ({channels}, height, width), uint8 (height, "
                "width, 3), "
                f"a file or an image of Pillow; image {number} is {got}"
            )
        return image


def require_finite(images: Tensor) -> None:
    """Raise UsageError if a value is NaN or infinite.

    >>> require_finite(torch.zeros(2, 3, 8, 8))
    """
    # Of floats of 8 bits not every torch can ask it.
    exact = images if images.element_size() > 1 else images.float()
    if not exact.isfinite().all():
        raise UsageError("images must be finite, got NaN or infinity")


def _is_image(one: Tensor, channels: int) -> bool:
    if one.ndim != 3 or one.numel() == 0:
        return False
    if one.dtype == torch.uint8:
        return one.shape[-1] in (3, channels)
    return one.is_floating_point() and one.shape[0] == channels


def _first(item: Any) -> Any:
    """The image of what a data set yields: of (image, label) the first."""
    return item[0] if isinstance(item, list | tuple) and item else item


def _single(items: Iterable[Any]) -> Iterator[Any]:
    """Image by image, from images or batches of them."""
    for item in items:
        image = _first(item)
        if isinstance(image, Tensor | np.ndarray) and image.ndim == 4:
            yield from image
        else:
            yield image
