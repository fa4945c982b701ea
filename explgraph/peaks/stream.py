"""Objects -> peaks, batch by batch: decoding runs ahead in threads, the forward pass stops at the last layer asked for."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from explgraph.graph import Layer
from explgraph.images import DecodedBatch, Fit, ImageObject, decode_batches
from explgraph.network import Network, fast_layout
from explgraph.peaks.find import read_maps
from explgraph.peaks.peaks import COLUMNS


@dataclass(frozen=True)
class PeakSettings:
    """All that the peaks of an object depend on, besides the network and the background.

    Args:
        layers: dotted torch names, any order.
        n_peaks: P, peaks kept per map (measured: docs/mining-notes.md).
        mirror: look at the mirror image too, so that facing can be resolved.
        fit: how a box becomes the network input.
    """

    layers: tuple[str, ...]
    n_peaks: int = 4
    mirror: bool = True
    fit: Fit = "stretch"


class MapPeaks(NamedTuple):
    """What is kept of the maps of one layer over a batch, on the CPU.

    Args:
        value: F of each peak, (facing, image, channel, peak), strongest first, 0 = no peak.
        row: its place, fraction of the input; col: likewise.
        profile: mean of F over strips of columns, (facing, image, channel, COLUMNS).
    """

    value: Tensor
    row: Tensor
    col: Tensor
    profile: Tensor


@dataclass(frozen=True)
class BatchPeaks:
    """The peaks of one batch of objects.

    Args:
        batch: which objects were read, their frames, and which were skipped; ``indices`` count in the sequence of objects.
        peaks: layer -> its peaks and profiles.
    """

    batch: DecodedBatch
    peaks: dict[str, MapPeaks]


def prepare(network: Network, images: Tensor, *, mirror: bool) -> Tensor:
    """Return the network input of uint8 images (n, height, width, 3): (n or 2 n, 3, height, width), mirror images last."""
    x = network.preprocess(images)
    if mirror:
        x = torch.cat([x, x.flip(-1)])
    return x.contiguous(memory_format=torch.channels_last) if network.device.type == "cpu" else x


def peaks_of_images(
    network: Network,
    images: Tensor,
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    settings: PeakSettings,
) -> dict[str, MapPeaks]:
    """Return the peaks of ready-made inputs, uint8 (n, height, width, 3), as in `BatchPeaks.peaks`.

    The peaks are found inside the forward hooks: no feature map outlives its layer, and an in-place ReLU comes too late.
    """
    found: dict[str, MapPeaks] = {}

    def reduce(name: str, maps: Tensor) -> None:
        value, row, col, profile = read_maps(
            maps, n_peaks=settings.n_peaks, n_columns=COLUMNS, unit_std=unit_std.get(name)
        )
        row, col = geometry[name].to_fraction(row, col)
        found[name] = MapPeaks(
            *(t.unflatten(0, (-1, len(images))) for t in (value, row, col, profile))
        )

    with torch.inference_mode(), network.watch(settings.layers, reduce, stop=True) as run:
        run(prepare(network, images, mirror=settings.mirror))
    return {name: MapPeaks(*(t.cpu() for t in kept)) for name, kept in found.items()}


def stream_peaks(
    network: Network,
    objects: Sequence[ImageObject],
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    settings: PeakSettings,
    batch_size: int,
    workers: int,
) -> Generator[BatchPeaks]:
    """Yield the peaks of all objects in order, ``batch_size`` objects at a time, in bounded memory."""
    on_device = {name: std.to(network.device) for name, std in unit_std.items()}
    height, width = network.input.size
    batches = decode_batches(
        objects,
        height=height,
        width=width,
        fit=settings.fit,
        batch_size=batch_size,
        workers=workers,
    )
    with closing(batches), fast_layout(network):  # type: ignore[type-var]
        for batch in batches:
            peaks = {}
            if len(batch.images):
                images = torch.from_numpy(batch.images)
                peaks = peaks_of_images(
                    network, images, geometry=geometry, unit_std=on_device, settings=settings
                )
            yield BatchPeaks(batch, peaks)
