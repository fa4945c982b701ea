"""Images of chance: the photographs themselves, rolled, so that nothing in them keeps a place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from explgraph.graph import Layer
from explgraph.network import Network
from explgraph.peaks.at_hand import peaks_at_hand
from explgraph.peaks.peaks import LayerPeaks
from explgraph.peaks.stream import PeakSettings

N_CHANCE = 64  # images; with 128 hardly a node is judged otherwise (docs/mining-notes.md)


def chance_peaks(
    network: Network,
    batches: Iterable[Tensor],
    *,
    geometry: Mapping[str, Layer],
    unit_std: Mapping[str, Tensor],
    n_peaks: int,
    seed: int = 0,
) -> dict[str, LayerPeaks]:
    """The peaks of rolled images, per layer: where filters are active for no reason but their own.

    A rolled image has what the image has, at no place of its own. What still keeps a place comes
    from the network: most convolutions see zeros beyond the border, and answer to them.

    Args:
        network: the network.
        batches: the images, uint8 (n, height, width, 3) or the network's input.
        geometry: the layers.
        unit_std: what responses are measured in, per layer.
        n_peaks: peaks kept of each map.
        seed: of the shifts.

    >>> from explgraph.network import measure_geometry
    >>> layers = measure_geometry(network, ["features.14"])
    >>> found = chance_peaks(network, [x], geometry=layers, unit_std={}, n_peaks=3)
    >>> found["features.14"].value.shape
    torch.Size([1, 96, 3, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    settings = PeakSettings(tuple(sorted(geometry)), n_peaks, mirror=False)
    rolling = (rolled(images, generator) for images in batches)
    return peaks_at_hand(network, rolling, geometry=geometry, unit_std=unit_std, settings=settings)


def rolled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image moved by a chance distance along both axes; what leaves it comes in again.

    >>> x.shape == rolled(x, torch.Generator()).shape, bool((x.sum() - x.roll(1).sum()).abs() < 1)
    (True, True)
    """
    # As decoded, colours come last; as given to the network, they come first.
    axes = (0, 1) if images.dtype == torch.uint8 else (1, 2)

    def moved() -> Iterator[Tensor]:
        for image in images:
            shape = [image.shape[axis] for axis in axes]
            shifts = [int(torch.randint(size, (), generator=generator)) for size in shape]
            yield image.roll(shifts, axes)

    return torch.stack(list(moved()))
