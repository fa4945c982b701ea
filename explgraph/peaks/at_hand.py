"""The peaks of images that are at hand, in memory: as the store would give them back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from explgraph.graph import Layer
from explgraph.network import Network, fast_layout
from explgraph.peaks.peaks import LayerPeaks
from explgraph.peaks.stream import MapPeaks, PeakSettings, peaks_of_images


def peaks_at_hand(
    network: Network,
    batches: Iterable[Tensor],
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    settings: PeakSettings,
) -> dict[str, LayerPeaks]:
    """The peaks of all images, per layer: the same bits as if they had been in a peak store.

    Args:
        network: the network.
        batches: uint8 (n, height, width, 3), or the network's input (n, 3, height, width).
        geometry: the layers, as `explgraph.network.measure_geometry` found them.
        unit_std: what responses are measured in, per layer.
        settings: what to keep.

    >>> from explgraph.network import measure_geometry
    >>> layers = measure_geometry(network, ["features.14"])
    >>> settings = PeakSettings(("features.14",), n_peaks=3)
    >>> found = peaks_at_hand(network, [x], geometry=layers, unit_std={}, settings=settings)
    >>> found["features.14"].value.shape
    torch.Size([2, 96, 3, 2])
    """
    found: dict[str, list[MapPeaks]] = {name: [] for name in geometry}
    on_device = {name: std.to(network.device) for name, std in unit_std.items()}
    with fast_layout(network):
        for images in batches:
            peaks = peaks_of_images(
                network, images, geometry=geometry, unit_std=on_device, settings=settings
            )
            for name, one in peaks.items():
                found[name].append(one)
    return {name: as_stored(layer, found[name]) for name, layer in geometry.items()}


def as_stored(layer: Layer, batches: Sequence[MapPeaks]) -> LayerPeaks:
    """The peaks of some batches as `explgraph.peaks.read_layer` would give them back.

    The store keeps values and profiles in 16 bits, and nothing of what is then zero.

    >>> layer = Layer("conv", 2, 4, 4, (8.0, 8.0), (4.0, 4.0), (8.0, 8.0), input_size=(32, 32))
    >>> value = torch.tensor([1.0001, 1e-9]).expand(1, 3, 2, 2)  # facing, image, channel, peak
    >>> peaks = as_stored(layer, [MapPeaks(value, value, value, torch.ones(1, 3, 2, 8))])
    >>> peaks.value[0, 0, :, 0].tolist(), peaks.value.shape
    ([1.0, 0.0], torch.Size([1, 2, 2, 3]))
    """
    joined = (torch.cat(column, 1).permute(0, 2, 3, 1) for column in zip(*batches, strict=True))
    value, row, col, profile = (t.contiguous() for t in joined)  # facing, channel, ..., image
    value = value.half().float()
    seen = value > 0
    profile = torch.where(seen[:, :, :1], profile.half().float(), 0.0)
    row, col = (torch.where(seen, t, 0.0) for t in (row, col))
    return LayerPeaks(layer, torch.where(seen, value, 0.0), row, col, profile)
