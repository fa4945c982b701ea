"""What the account calls part, texture and nothing, where the generator knows what is what.

Creatures are drawn, so it is known for every pixel whether it shows the scene, the trunk (body,
neck and wing, where the coat's pattern runs) or the limbs (head, legs and tail). A graph is mined
of each species, and scenery is shown to it; then of scenery alone, and of random peaks.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.tables import table
from creatures import REGIONS, Creature, draw_background, draw_creature
from explgraph.demo import MODEL
from explgraph.errors import MiningError
from explgraph.graph import SHARES, Layer
from explgraph.locations import Locator
from explgraph.mining import (
    ChannelPeaks,
    Mined,
    MiningConfig,
    explain_images,
    image_shares,
    mine,
    place_layers,
    summarise,
)
from explgraph.network import Network, load_network, measure_geometry
from explgraph.peaks import LayerPeaks, PeakSettings, peaks_at_hand, unit_std_of

LAYERS = ("features.14", "features.11")
SIZE = (112, 112)  # of its input, pixels
MOST = 8  # peaks of a map that are looked for; fewer are then kept


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--species", default="fox,zebra,giraffe,deer")
    parser.add_argument("--n", type=int, default=120, help="pictures of each")
    parser.add_argument("--peaks", default="2,4,8", help="kept of each map")
    parser.add_argument("--channels", default="32,512", help="of random peaks")


def run(args: argparse.Namespace) -> dict[str, Any]:
    kept = [int(one) for one in args.peaks.split(",")]
    scenes = [draw_background(seed=np.random.default_rng([9, k, 1])) for k in range(2 * args.n)]
    scenery = [_resized(one) for one in scenes]
    # Half of the scenes say what is usual, the others are shown.
    look = _Look(load_network(MODEL), scenery[args.n :])
    shown = look.peaks(scenery[: args.n])
    found: dict[str, Any] = {}
    for name in args.species.split(","):
        drawn = [draw_creature(name, seed=np.random.default_rng([0, k])) for k in range(args.n)]
        peaks = look.peaks([_resized(one.image, one.box) for one in drawn])
        for number in kept:
            mined, new = mine(_few(peaks, number)), _few(shown, number)
            located = Locator(mined.graph).locate({one.layer.name: one for one in new})
            assert located.explained is not None
            other = dict(zip(SHARES, located.explained.mean(0).tolist(), strict=True))
            regions = {"all": _summary(mined), **region_shares(mined, drawn), "new scenery": other}
            found |= {f"{name}, P = {number}: {key}": one for key, one in regions.items()}
    found |= {f"of scenery, P = {P}": _account(_few(shown, P)) for P in kept}
    for channels in map(int, args.channels.split(",")):
        for number in (1, *kept):
            random = _account([random_peaks(channels, number)])
            found[f"of {channels} channels of random peaks, P = {number}"] = random
    return found


text = partial(table, digits=2)


def region_shares(mined: Mined, drawn: Sequence[Creature]) -> dict[str, dict[str, float]]:
    """What is part, texture and nothing of the activation in each region of the creatures.

    Args:
        mined: from the creatures' boxes.
        drawn: the creatures, in the same order.
    """
    near = [ChannelPeaks.resolved(one.peaks, mined.mirrored) for one in mined.layers]
    expected = place_layers(near, [one.model for one in mined.layers]).expected
    texture_std = MiningConfig().texture_std
    shares = {}
    for number, region in enumerate(REGIONS):
        total = torch.zeros(3, len(drawn), dtype=torch.float64)
        for one, peaks, mixture in zip(mined.layers, near, expected, strict=True):
            here = _regions(peaks, mined.mirrored, drawn) == number
            some = ChannelPeaks(peaks.value * here, peaks.row, peaks.col)
            total += explain_images(some, mixture, one.explained, texture_std=texture_std)
        (of_all,) = image_shares(total.sum(1, keepdim=True)).tolist()
        shares[region] = dict(zip(SHARES, of_all, strict=True))
    return shares


def random_peaks(n_channels: int, n_peaks: int, n_images: int = 260) -> LayerPeaks:
    """Peaks at random places, every slot filled, of exponential strengths."""
    g = torch.Generator().manual_seed(0)
    value, row, col = torch.rand(3, 1, n_channels, n_peaks, n_images, generator=g)
    layer = Layer("random", n_channels, 14, 14, (16.0, 16.0), (8.0, 8.0), (16.0, 16.0))
    return LayerPeaks(layer, (0.5 - value.log()).sort(2, descending=True)[0], row, col)


class _Look:
    """The network, and what is usual in scenery."""

    def __init__(self, network: Network, background: Sequence[Image.Image]) -> None:
        self.network = network
        measured = measure_geometry(network, LAYERS)
        self.geometry = {name: measured[name] for name in LAYERS}
        kept = {"geometry": self.geometry, "per_unit": True}
        self.unit_std = unit_std_of(network, _batches(background), **kept)

    def peaks(self, pictures: Sequence[Image.Image]) -> list[LayerPeaks]:
        settings = PeakSettings(LAYERS, n_peaks=MOST)
        given = {"geometry": self.geometry, "unit_std": self.unit_std, "settings": settings}
        return list(peaks_at_hand(self.network, _batches(pictures), **given).values())


def _batches(pictures: Sequence[Image.Image]) -> tuple[Tensor, ...]:
    return torch.from_numpy(np.stack([np.asarray(one) for one in pictures])).split(32)


def _resized(image: Any, box: tuple[float, float, float, float] | None = None) -> Image.Image:
    corners = None if box is None else (box[0], box[1], box[0] + box[2], box[1] + box[3])
    return Image.fromarray(image).resize(SIZE, Image.Resampling.BILINEAR, box=corners)


def _few(peaks: Sequence[LayerPeaks], n: int) -> list[LayerPeaks]:
    """The strongest ``n`` peaks of each map, which come first."""
    return [
        LayerPeaks(x.layer, x.value[:, :, :n], x.row[:, :, :n], x.col[:, :, :n], x.profile)
        for x in peaks
    ]


def _regions(peaks: ChannelPeaks, mirrored: Tensor, drawn: Sequence[Creature]) -> Tensor:
    """The region that each peak lies in."""
    maps = torch.from_numpy(np.stack([one.regions for one in drawn]))
    x, y, width, height = torch.tensor([one.box for one in drawn]).T
    row = (y + peaks.row * height).long().clamp(0, maps.shape[1] - 1)
    col = torch.where(mirrored, 1 - peaks.col, peaks.col)
    col = (x + col * width).long().clamp(0, maps.shape[2] - 1)
    return maps[torch.arange(len(drawn)).expand_as(row), row, col]


def _account(peaks: Sequence[LayerPeaks]) -> dict[str, float]:
    try:
        return _summary(mine(peaks))
    except MiningError:  # no part pattern was found
        return dict(zip(SHARES, (0.0, 0.0, 1.0), strict=True))


def _summary(mined: Mined) -> dict[str, float]:
    shares = summarise([one.explained for one in mined.layers])
    return {name: shares[name] for name in SHARES}
