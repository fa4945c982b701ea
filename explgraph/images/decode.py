"""From objects to network inputs: upright, cropped, resized, in batches, with the way back."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as PillowImage

from explgraph.errors import ImageError, UsageError
from explgraph.images.frame import Box, Fit, Frame, clip_box
from explgraph.images.orientation import stored_box, swaps_sides, turn_upright
from explgraph.images.picture import Picture
from explgraph.images.source import ImageObject

# The ImageNet mean: letterbox padding is about zero after the usual normalisation.
PADDING = (124, 116, 104)
PREFETCH = 2  # batches that are held or worked on ahead of the one handed out

Size = tuple[int, int]  # (width, height), pixels
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class DecodedBatch:
    """Network inputs of neighbouring objects.

    Args:
        images: (n, height, width, 3), RGB, of the readable objects in their order; n may be 0.
        indices: (n,), their numbers in the sequence of objects.
        frames: the way from each input back to its image.
        sizes: (width, height) of each image as its frame sees it, pixels.
        skipped: (number in the sequence of objects, reason) of those that cannot be used.

    >>> from explgraph.images import read_source
    >>> batch = next(decode_batches(read_source(pictures).objects, height=64, width=96))
    >>> batch.indices.tolist(), batch.sizes[0], batch.skipped
    ([0, 1, 2, 3, 4, 5], (240, 180), ())
    """

    images: Pixels
    indices: NDArray[np.int64]
    frames: tuple[Frame, ...]
    sizes: tuple[Size, ...]
    skipped: tuple[tuple[int, str], ...]


def load_input(
    obj: ImageObject, *, height: int, width: int, fit: Fit = "stretch"
) -> tuple[Pixels, Frame, Size]:
    """The network input (height, width, 3) in RGB, its frame, and the image's (width, height).

    The frame's image is the upright picture, as viewers show it: EXIF orientation is applied. One
    exception: where the object's ``recorded_size`` fits the file as stored but not the upright
    picture, its box was drawn on the stored one, and the orientation is ignored. Transparency lies
    on white; 16-bit, integer and float pixels are scaled to 8 bit.

    The box is clipped to the image, then cropped and resized in one antialiased step.

    Raises:
        ImageError: the file is missing, broken, truncated, too large or not an image, or the box
            misses it.
        UsageError: an impossible size or fit.

    >>> from explgraph.images import read_source
    >>> pixels, frame, size = load_input(read_source(pictures).objects[0], height=64, width=96)
    >>> pixels.shape, size, frame.to_image([0.5, 0.5]).tolist()
    ((64, 96, 3), (240, 180), [120.0, 90.0])
    """
    Frame((0, 0, 1, 1), height, width, fit)  # checks them
    pixels: Pixels = np.empty((height, width, 3), np.uint8)
    # One path for single images and for batches, so that both see the same pixels.
    frame, size = _fill(pixels, Picture(obj.path), obj, fit)
    return pixels, frame, size


def picture_input(
    image: str | os.PathLike[str] | PillowImage,
    *,
    height: int,
    width: int,
    fit: Fit = "letterbox",
    box: Box | None = None,
) -> tuple[Pixels, Frame, Size]:
    """One image, a file or one in memory, as `load_input` gives it; by default the whole.

    Raises:
        ImageError: the file is missing, broken, truncated, too large or not an image, or the box
            misses it.
        UsageError: an impossible size or fit.

    >>> from PIL import Image
    >>> pixels, frame, size = picture_input(Image.new("RGB", (60, 30)), height=20, width=20)
    >>> pixels.shape, frame.content, size
    ((20, 20, 3), (0, 5, 20, 10), (60, 30))
    """
    Frame((0, 0, 1, 1), height, width, fit)  # checks them
    picture = Picture.of(image) if isinstance(image, PillowImage) else Picture(Path(image))
    pixels: Pixels = np.empty((height, width, 3), np.uint8)
    obj = ImageObject(1, 1, picture.path.name, picture.path, box)
    frame, size = _fill(pixels, picture, obj, fit)
    return pixels, frame, size


def load_image(obj: ImageObject) -> Pixels:
    """The whole image of an object, (height, width, 3) RGB, as its box and places refer to it.

    Raises:
        ImageError: as `load_input`.

    >>> from explgraph.images import read_source
    >>> load_image(read_source(pictures).objects[0]).shape
    (180, 240, 3)
    """
    picture = Picture(obj.path)
    width, height = _as_drawn(picture, obj.recorded_size)[1]
    pixels: Pixels = np.empty((height, width, 3), np.uint8)
    _fill(pixels, picture, replace(obj, box=None), "stretch")
    return pixels


def decode_batches(
    objects: Sequence[ImageObject],
    *,
    height: int,
    width: int,
    fit: Fit = "stretch",
    batch_size: int = 32,
    workers: int = 2,
) -> Iterator[DecodedBatch]:
    """The inputs of ``objects`` in order, ``batch_size`` objects at a time, decoded in threads.

    Every object is in exactly one batch, readable or skipped. Its input depends neither on the
    batch size nor on the number of workers. Neighbouring objects of one file share its decoding.
    At most PREFETCH batches are worked on ahead. Closing the iterator ends the threads.

    Raises:
        UsageError: an impossible size, fit or number.

    >>> from explgraph.images import read_source
    >>> objects = read_source(pictures).objects
    >>> batches = decode_batches(objects, height=64, width=96, batch_size=4)
    >>> [batch.images.shape for batch in batches]
    [(4, 64, 96, 3), (2, 64, 96, 3)]
    """
    Frame((0, 0, 1, 1), height, width, fit)  # checks them
    for name, value in (("batch_size", batch_size), ("workers", workers)):
        # Checked here and not in the generator, which would complain only when first asked.
        if value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    starts = range(0, len(objects), batch_size)
    parts = ((start, objects[start : start + batch_size]) for start in starts)
    return _batches(parts, (height, width), fit, workers)


def _batches(
    parts: Iterator[tuple[int, Sequence[ImageObject]]],
    shape: tuple[int, int],
    fit: Fit,
    workers: int,
) -> Iterator[DecodedBatch]:
    pool = ThreadPoolExecutor(workers, thread_name_prefix="explgraph-decode")
    pending: deque[_Pending] = deque()
    try:
        for start, objects in parts:
            pending.append(_submit(pool, start, objects, shape, fit))
            # The oldest is waited for, so batches come in order, whichever thread is done first.
            if len(pending) > PREFETCH:
                yield pending.popleft().collect()
        while pending:
            yield pending.popleft().collect()
    finally:
        # Also when the caller closes early: what has not begun is dropped, what has is waited for,
        # so that no thread outlives the iterator.
        pool.shutdown(wait=True, cancel_futures=True)


_Answer = tuple[Frame, Size] | str  # a string says why there is none


@dataclass(frozen=True)
class _Pending:
    """A batch in work: the threads write into ``images`` and answer in the order of the objects."""

    start: int
    images: Pixels
    answers: list[Future[list[_Answer]]]

    def collect(self) -> DecodedBatch:
        rows: list[int] = []
        read: list[tuple[Frame, Size]] = []
        skipped: list[tuple[int, str]] = []
        answers = (answer for future in self.answers for answer in future.result())
        for row, answer in enumerate(answers):
            if isinstance(answer, str):
                skipped.append((self.start + row, answer))
            else:
                rows.append(row)
                read.append(answer)
        # A batch without gaps is handed out as the threads filled it, without a copy.
        images = self.images[rows] if skipped else self.images
        frames, sizes = zip(*read, strict=True) if read else ((), ())
        indices = np.array(rows, np.int64) + self.start
        return DecodedBatch(images, indices, frames, sizes, tuple(skipped))


def _submit(
    pool: ThreadPoolExecutor,
    start: int,
    objects: Sequence[ImageObject],
    shape: tuple[int, int],
    fit: Fit,
) -> _Pending:
    pending = _Pending(start, np.empty((len(objects), *shape, 3), np.uint8), [])
    row = 0
    # A source keeps the objects of one image side by side, so neighbours are all of them.
    for path, group in groupby(objects, key=lambda obj: obj.path):
        same_file = list(group)
        # A view: each thread writes its rows straight into the batch.
        rows = pending.images[row : row + len(same_file)]
        pending.answers.append(pool.submit(_decode_file, path, same_file, rows, fit))
        row += len(same_file)
    return pending


def _decode_file(path: Path, objects: list[ImageObject], images: Pixels, fit: Fit) -> list[_Answer]:
    # Without the path: whoever reports it names the file as the source does.
    reason = lambda error: str(error).removeprefix(f"{path}: ")
    # A broken file costs its own objects, and never the job.
    try:
        picture = Picture(path)
    except ImageError as error:
        return [reason(error)] * len(objects)
    answers: list[_Answer] = []
    for pixels, obj in zip(images, objects, strict=True):
        try:
            answers.append(_fill(pixels, picture, obj, fit))
        except ImageError as error:
            answers.append(reason(error))
    return answers


def _fill(pixels: Pixels, picture: Picture, obj: ImageObject, fit: Fit) -> tuple[Frame, Size]:
    """Write the object's input into ``pixels``; its frame and the image's size."""
    orientation, size = _as_drawn(picture, obj.recorded_size)
    box = clip_box(obj.box or (0.0, 0.0, *size), *size)
    if box is None:
        raise ImageError(
            f"{picture.path}: box {obj.box} lies outside of the image of {size[0]} x {size[1]} "
            "pixels; correct it"
        )
    frame = Frame(box, pixels.shape[0], pixels.shape[1], fit)
    left, top, width, height = frame.content
    shape = (height, width) if swaps_sides(orientation) else (width, height)
    stored = picture.cut(stored_box(box, picture.size, orientation), shape)
    content = np.asarray(turn_upright(stored, orientation))
    # The array is not cleared before, so the padding has to be written.
    if (width, height) != (frame.width, frame.height):
        pixels[...] = PADDING
    if content.ndim == 2:
        content = content[..., None]  # grey
    pixels[top : top + height, left : left + width] = content
    return frame, size


def _as_drawn(picture: Picture, recorded: Size | None) -> tuple[int, Size]:
    """The orientation to apply and the image's (width, height) under it, see `load_input`."""
    stored = picture.size
    upright = stored[::-1] if swaps_sides(picture.orientation) else stored
    if recorded is None or recorded == upright:
        return picture.orientation, upright
    # The boxes were drawn on the stored picture, without regard to EXIF: the size gives it away.
    if recorded == stored:
        return 1, stored
    raise ImageError(
        f"{picture.path}: its record says {recorded[0]} x {recorded[1]} pixels, but the file has "
        f"{upright[0]} x {upright[1]}, so its boxes belong to another version of it; correct the "
        "record or the file"
    )
