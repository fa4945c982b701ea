"""The explanatory graph of images that are at hand, in memory: without a workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from explgraph.errors import UsageError
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.mining.config import MiningConfig
from explgraph.mining.mine import mine
from explgraph.network import ImageSet, Model, measure_geometry
from explgraph.peaks import (
    N_CHANCE,
    PeakSettings,
    chance_peaks,
    peaks_at_hand,
    sample_numbers,
    unit_std_of,
)
from explgraph.progress import Report, silent


def mine_images(
    model: Model,
    images: Any,
    layers: Sequence[str],
    *,
    background: Any = None,
    n_peaks: int = 4,
    mirror: bool = True,
    mining: MiningConfig | None = None,
    batch_size: int = 16,
    report: Report = silent,
) -> ExplanatoryGraph:
    """The explanatory graph of images in memory: that of a workspace with the same images.

    The object fills each image. The graph keeps the deviations of the units, so that
    `explgraph.locate_images` finds its nodes in new images.

    Args:
        model: a network; or a module, see `explgraph.wrap`. It stays as it is.
        images: see `explgraph.network.ImageSet`: a tensor (n, 3, height, width), a list, a Dataset
            or a DataLoader of them, files, ...; 100 and more give steady graphs.
        layers: dotted names, any order.
        background: images without such objects, which tell what is usual for each unit; by default
            the deviations are measured over the images themselves, one for each channel.
        n_peaks: peaks kept of each map.
        mirror: look at mirror images too, so that the facing is told from them.
        mining: settings of mining.
        batch_size: images per forward pass.
        report: told of progress.

    Raises:
        UsageError: there are no images, or they are of another kind or of several sizes.
        LayerError: a layer is unknown or has no maps.
        MiningError: too few images, or nothing to mine.

    >>> from explgraph.mining import MiningConfig
    >>> from explgraph.network import ImageSet
    >>> some = [*pictures.iterdir()] * 3
    >>> found = mine_images(network, some, ["features.14"], mining=MiningConfig(nodes=1))
    >>> found.n_images, found.layers[0].name
    (18, 'features.14')
    """
    mining = mining or MiningConfig()
    given = ImageSet(model, images)
    network = given.network
    names = network.top_first(layers)
    measured = measure_geometry(network, names)
    geometry = {name: measured[name] for name in names}
    if background is None:
        deviations = _deviations_of_themselves(given, geometry, mining.seed, batch_size)
    else:
        deviations = _deviations_of(background, given, geometry, batch_size)
    settings = PeakSettings(tuple(sorted(names)), n_peaks, mirror)

    def read() -> Any:
        done = 0
        for batch in given.batches(batch_size=batch_size):
            yield batch
            done += len(batch)
            report("extract", done, len(given))

    peaks = peaks_at_hand(
        network, read(), geometry=geometry, unit_std=deviations, settings=settings
    )
    some = sample_numbers(len(given), seed=mining.seed, most=N_CHANCE)
    chance = chance_peaks(
        network,
        given.batches(some, batch_size=batch_size),
        geometry=geometry,
        unit_std=deviations,
        n_peaks=n_peaks,
        seed=mining.seed,
    )
    by_layer = [list(of.values()) for of in (peaks, chance)]
    graph = mine(by_layer[0], mining, chance=by_layer[1], report=report).graph
    graph.config = {
        "model": network.spec,
        "layers": list(layers),
        "n_peaks": n_peaks,
        "mirror": mirror,
        "mining": asdict(mining),
    }
    graph.deviations = {name: std.numpy() for name, std in deviations.items()}
    return graph


def _deviations_of(
    background: Any, given: ImageSet, geometry: Mapping[str, Layer], batch_size: int
) -> dict[str, Tensor]:
    """What is usual for each unit, by layer, over a background."""
    behind, wanted = ImageSet(given.network, background), given.network.input.size
    # Maps of another size would have other units.
    if behind.network.input.size != wanted:
        raise UsageError(
            f"the background must be of the size of the images, {wanted}, "
            f"got {behind.network.input.size}"
        )
    batches = behind.batches(batch_size=batch_size)
    return unit_std_of(given.network, batches, geometry=geometry, per_unit=True)


def _deviations_of_themselves(
    given: ImageSet, geometry: Mapping[str, Layer], seed: int, batch_size: int
) -> dict[str, Tensor]:
    """What is usual for each channel, by layer, over a sample of the images themselves."""
    batches = given.batches(sample_numbers(len(given), seed=seed), batch_size=batch_size)
    # Not for each unit: where the objects have their parts, every unit is usually active, and
    # dividing by that would level out what mining looks for.
    return unit_std_of(given.network, batches, geometry=geometry, per_unit=False)
