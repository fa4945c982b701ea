"""Objects -> peaks, batch by batch: images are decoded ahead in threads while the network runs."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Float, Shaped
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

    >>> PeakSettings(("features.28",)).n_peaks
    4
    """

    layers: tuple[str, ...]
    n_peaks: int = 4
    mirror: bool = True
    fit: Fit = "stretch"


class MapPeaks(NamedTuple):
    """What is kept of the maps of one layer over a batch, on the CPU.

    Args:
        value: F of each peak, strongest first, 0 = no peak.
        row: its place, fraction of the input's height.
        col: its place, fraction of the input's width.
        profile: mean of F over COLUMNS strips of columns.
    """

    value: Float[Tensor, "facing image channel peak"]
    row: Float[Tensor, "facing image channel peak"]
    col: Float[Tensor, "facing image channel peak"]
    profile: Float[Tensor, "facing image channel column"]


@dataclass(frozen=True)
class BatchPeaks:
    """The peaks of one batch of objects.

    Args:
        batch: which objects were read, their frames, and which were skipped; ``indices`` count in
            the sequence of objects.
        peaks: layer -> its peaks and profiles.
    """

    batch: DecodedBatch
    peaks: dict[str, MapPeaks]


def prepare(
    network: Network, images: Shaped[Tensor, "image _ _ _"], *, mirror: bool
) -> Float[Tensor, "_ channel height width"]:
    """The network input of ``images``, followed by their mirror images if asked for.

    Args:
        network: the network.
        images: uint8 (n, height, width, 3); or the network's input itself.
        mirror: whether to add the mirror images.
    """
    if images.dtype == torch.uint8:
        x = network.preprocess(images)
    else:
        x = images.to(
            network.device, dtype=network.dtype, copy=True
        )  # an in-place layer may come first
    # The true mirror image; the published release fed the unflipped one twice.
    if mirror:
        x = torch.cat([x, x.flip(-1)])
    return x.contiguous(memory_format=torch.channels_last) if network.device.type == "cpu" else x


def peaks_of_images(
    network: Network,
    images: Shaped[Tensor, "image _ _ _"],
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    settings: PeakSettings,
) -> dict[str, MapPeaks]:
    """The peaks of ready-made inputs, as in `BatchPeaks.peaks`.

    They are found inside the forward hooks: no map outlives its layer, and an in-place ReLU comes
    too late.
    """
    found: dict[str, MapPeaks] = {}

    def reduce(name: str, maps: Tensor) -> None:
        std = unit_std.get(name)
        value, row, col, profile = read_maps(
            maps.float(), n_peaks=settings.n_peaks, n_columns=COLUMNS, unit_std=std
        )
        row, col = geometry[name].to_fraction(row, col)
        # The batch is (facing, image): `prepare` puts the mirror images behind.
        kept = (t.unflatten(0, (-1, len(images))) for t in (value, row, col, profile))
        found[name] = MapPeaks(*kept)

    with torch.inference_mode(), network.watch(settings.layers, reduce, stop=True) as run:
        run(prepare(network, images, mirror=settings.mirror))
    # Only now: on a GPU a copy waits for all that was asked for before.
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
    """The peaks of all objects in order, ``batch_size`` objects at a time, in bounded memory.

    Args:
        network: the network.
        objects: what to look at.
        geometry: the layers, as `explgraph.network.measure_geometry` found them.
        unit_std: what responses are measured in, per layer.
        settings: what to keep.
        batch_size: objects per forward pass.
        workers: decoding threads.

    >>> from explgraph.images import read_source
    >>> from explgraph.network import measure_geometry
    >>> layers, objects = measure_geometry(network, ["features.14"]), read_source(pictures).objects
    >>> wanted = {"geometry": layers, "unit_std": {}, "settings": PeakSettings(("features.14",))}
    >>> stream = stream_peaks(network, objects, **wanted, batch_size=4, workers=1)
    >>> [one.peaks["features.14"].value.shape for one in stream]
    [torch.Size([2, 4, 96, 4]), torch.Size([2, 2, 96, 4])]
    """
    # Once, not with every batch.
    on_device = {name: std.to(network.device) for name, std in unit_std.items()}
    read = partial(
        peaks_of_images, network, geometry=geometry, unit_std=on_device, settings=settings
    )
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
            images = torch.from_numpy(batch.images)
            peaks = read(images) if len(images) else {}
            yield BatchPeaks(batch, peaks)
