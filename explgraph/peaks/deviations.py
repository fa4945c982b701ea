"""The standard deviation of every unit over a background set: what a response is measured in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from zipfile import BadZipFile
from zlib import error

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.errors import SourceError, WorkspaceError
from explgraph.files import whole_file
from explgraph.graph import Layer
from explgraph.images import Fit, ImageObject, decode_batches
from explgraph.network import Network, fast_layout
from explgraph.peaks.stream import prepare
from explgraph.progress import Report, silent

PRIOR_IMAGES = 30  # weight of the channel's mean variance against the unit's own, in images
# Variance, as a share of the mean square, up to which a channel says nothing: float32 noise is
# smaller.
CONSTANT = 1e-10
FLOOR = 0.3  # of the layer's median channel deviation: the smallest deviation a unit is given
N_SAMPLE = 256  # objects of the source that stand in for a missing background set


def measure_unit_std(
    network: Network,
    objects: Sequence[ImageObject],
    *,
    geometry: Mapping[str, Layer],
    per_unit: bool,
    fit: Fit = "stretch",
    batch_size: int = 32,
    workers: int = 2,
    report: Report = silent,
) -> dict[str, Float[Tensor, "channel _ _"]]:
    """The standard deviation of the positive response max(f_x, 0) of each unit, by layer.

    var_x = (n s_x^2 + n_0 s_d^2) / (n + n_0): the unit's own variance s_x^2 over the n images
    [published code: 1,000 background images], drawn towards its channel's mean variance s_d^2 with
    the weight of PRIOR_IMAGES images, so that a small background set does not blow up units that
    happened to be silent in it. For the same reason no deviation is smaller than FLOOR times the
    median over the layer's channels: a channel that the background hardly stirs would outshout all
    others. A channel that always answers alike (its deviation is within the rounding of its mean)
    gets infinity: its responses count nothing.

    Args:
        network: the network.
        objects: the background images (or, with ``per_unit=False``, a sample of the objects).
        geometry: the layers wanted.
        per_unit: one value per unit, (channel, height, width); False = one per channel,
            (channel, 1, 1), the fallback without a background set: objects share a centre, so that
            their units differ by place for a reason that must not be divided away.
        fit: how a picture becomes the network input.
        batch_size: images per forward pass.
        workers: decoding threads.
        report: told how many images are done, as stage "background".

    Raises:
        SourceError: fewer than two images could be read.

    >>> from explgraph.images import read_source
    >>> from explgraph.network import measure_geometry
    >>> layers, objects = measure_geometry(network, ["features.14"]), read_source(pictures).objects
    >>> std = measure_unit_std(network, objects, geometry=layers, per_unit=False)
    >>> std["features.14"].shape
    torch.Size([96, 1, 1])
    """
    height, width = network.input.size
    batches = decode_batches(
        objects, height=height, width=width, fit=fit, batch_size=batch_size, workers=workers
    )

    def read() -> Iterator[Tensor]:
        done = 0
        for batch in batches:
            yield torch.from_numpy(batch.images)
            done += len(batch.images) + len(batch.skipped)
            report("background", done, len(objects))

    with closing(batches):  # type: ignore[type-var]
        return unit_std_of(network, read(), geometry=geometry, per_unit=per_unit)


def unit_std_of(
    network: Network, batches: Iterable[Tensor], *, geometry: Mapping[str, Layer], per_unit: bool
) -> dict[str, Float[Tensor, "channel _ _"]]:
    """The deviations of `measure_unit_std` over images that are at hand.

    Args:
        network: the network.
        batches: uint8 (n, height, width, 3), or the network's input (n, 3, height, width).
        geometry: the layers wanted.
        per_unit: as in `measure_unit_std`.

    Raises:
        SourceError: fewer than two images.

    >>> from explgraph.network import measure_geometry
    >>> layers = measure_geometry(network, ["features.14"])
    >>> unit_std_of(network, [x], geometry=layers, per_unit=True)["features.14"].shape
    torch.Size([96, 14, 14])
    """
    total: dict[str, Tensor] = {}
    for g in geometry.values():
        shape = (g.channels, g.height, g.width)
        total[g.name] = torch.zeros(shape, dtype=torch.float64, device=network.device)
    square = {name: torch.zeros_like(t) for name, t in total.items()}

    def add(name: str, maps: Tensor) -> None:
        # In float64 the sums do not depend on the batch size, and a constant channel's variance is
        # zero.
        positive = maps.clamp_min(0).double()
        total[name] += positive.sum(0)
        square[name] += positive.square_().sum(0)

    n_images = 0
    watching = network.watch(tuple(geometry), add, stop=True)
    with fast_layout(network), torch.inference_mode(), watching as run:
        for images in batches:
            if len(images):
                run(prepare(network, images, mirror=False))
            n_images += len(images)
    if n_images < 2:
        raise SourceError(
            f"expected at least 2 readable background images, got {n_images}; "
            "give another folder or leave it out"
        )
    return {
        name: _std(total[name] / n_images, square[name] / n_images, n_images, per_unit).cpu()
        for name in geometry
    }


def _std(
    mean: Float[Tensor, "channel height width"],
    mean_square: Float[Tensor, "channel height width"],
    n_images: int,
    per_unit: bool,
) -> Float[Tensor, " channel #height #width"]:
    if not per_unit:
        mean = mean.mean((1, 2), keepdim=True)
        mean_square = mean_square.mean((1, 2), keepdim=True)
    # Rounding may leave a constant unit's difference a little below zero.
    variance = (mean_square - mean.square()).clamp_min(0)
    channel = variance.mean((1, 2), keepdim=True)
    power = mean_square.mean((1, 2), keepdim=True)
    weighted = n_images * variance + PRIOR_IMAGES * channel
    shrunk = weighted / (n_images + PRIOR_IMAGES)
    constant = (power > 0) & (channel <= CONSTANT * power)
    alive = channel[(channel > 0) & ~constant].sqrt()
    # A layer that never fired has no median; its responses then stay as they are.
    floor = FLOOR * alive.median() if len(alive) else torch.ones_like(channel[0, 0, 0])
    std = torch.where(constant, torch.inf, shrunk.sqrt().clamp_min(floor)).float()
    return std.expand_as(mean).contiguous()


def save_deviations(path: Path, deviations: Mapping[str, Float[Tensor, "channel _ _"]]) -> None:
    """Write deviations to a file, so that it is there whole and on disk, or not at all.

    >>> save_deviations(out / "std.npz", {"features.14": torch.ones(96, 1, 1)})
    >>> (out / "std.npz").is_file()
    True
    """
    arrays = {name: std.numpy() for name, std in deviations.items()}
    with whole_file(path, sync=True) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def load_deviations(
    path: Path, geometry: Mapping[str, Layer]
) -> dict[str, Float[Tensor, "channel _ _"]]:
    """The deviations of a file that `save_deviations` wrote, checked.

    Args:
        path: of the file.
        geometry: the layers that it must hold.

    Raises:
        WorkspaceError: it is no such file, or holds other layers, or what can be no deviation.

    >>> deviations = {layer.name: torch.ones(layer.channels, 1, 1) for layer in graph.layers}
    >>> save_deviations(out / "std.npz", deviations)
    >>> load_deviations(out / "std.npz", {one.name: one for one in graph.layers}).keys()
    dict_keys(['features.14', 'features.11'])
    """
    try:
        with np.load(path) as stored:
            arrays = {name: stored[name] for name in stored.files}
    # What np.load and zipfile raise for other files than those of np.savez.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, BadZipFile, error) as broken:
        raise _no_deviations(path, str(broken)) from broken
    if arrays.keys() != geometry.keys():
        raise _no_deviations(path, f"it has the layers {', '.join(arrays)}")
    for name, std in arrays.items():
        layer = geometry[name]
        shapes = [(layer.channels, layer.height, layer.width), (layer.channels, 1, 1)]
        # Infinite is that of a channel which says nothing.
        if std.dtype != np.float32 or std.shape not in shapes or not (std > 0).all():
            raise _no_deviations(path, f"what it holds for {name} can be no deviations")
    return {name: torch.from_numpy(arrays[name]) for name in geometry}


def _no_deviations(path: Path, why: str) -> WorkspaceError:
    return WorkspaceError(
        f"{path} holds no deviations ({why}); run the same 'explgraph mine' command again, it "
        "measures them anew"
    )


def sample_objects(objects: Sequence[ImageObject], *, seed: int) -> list[ImageObject]:
    """At most N_SAMPLE objects, chosen by ``seed``, in their order: instead of a background set.

    >>> many = [ImageObject(i, i, "", None) for i in range(1000)]
    >>> len(sample_objects(many, seed=0))
    256
    """
    return [objects[i] for i in sample_numbers(len(objects), seed=seed)]


def sample_numbers(n: int, *, seed: int, most: int = N_SAMPLE) -> list[int]:
    """At most ``most`` of the numbers below ``n``, chosen by ``seed``, rising.

    >>> sample_numbers(3, seed=0)
    [0, 1, 2]
    """
    generator = torch.Generator().manual_seed(seed)
    # Rising, so that neighbours of one photograph still share its decoding.
    numbers: list[int] = torch.randperm(n, generator=generator)[:most].sort()[0].tolist()
    return numbers
