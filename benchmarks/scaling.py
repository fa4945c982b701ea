"""How mining's time and memory grow with images and nodes, each size in a process of its own.

The peaks are sampled from parts that move with a pose.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch

from benchmarks.tables import flat
from benchmarks.timing import in_fresh_process, peak_memory
from explgraph.graph import Layer
from explgraph.mining import MiningConfig, mine
from explgraph.peaks import LayerPeaks

PARTS = 6  # part patterns of a channel
PEAKS = 4  # kept of a map
FRAME = 224  # pixels


def add_arguments(parser: argparse.ArgumentParser) -> None:
    sizes = "250x4,500x4,1000x4,2000x4,500x5,500x10,500x20,500x40,2000x40"
    parser.add_argument("--sizes", default=sizes, metavar="IMAGESxNODES,..")
    parser.add_argument("--channels", type=int, default=512, help="of the lower layer")


def run(args: argparse.Namespace) -> dict[str, Any]:
    figures = {}
    for size in args.sizes.split(","):
        n_images, nodes = map(int, size.split("x"))
        of_size = in_fresh_process(mine_sampled, n_images, nodes, args.channels)
        figures[f"{n_images} images, {nodes} nodes"] = of_size
    return figures


text = flat


def mine_sampled(n_images: int, nodes: int, channels: int) -> dict[str, Any]:
    """Seconds, peak memory and nodes kept of mining a layer below one of 64 channels."""
    layers = [
        sample_layer("top", 64, n_images, cells=13, seed=1),
        sample_layer("low", channels, n_images, cells=27, seed=2),
    ]
    before = peak_memory()
    start = time.perf_counter()
    mined = mine(layers, MiningConfig(nodes=nodes))
    return {
        "images": n_images,
        "nodes_per_channel": nodes,
        "seconds": time.perf_counter() - start,
        "peak_memory_mib": peak_memory(),
        "of_it_before_mib": before,
        "nodes_kept": mined.graph.number_of_nodes(),
    }


def sample_layer(name: str, channels: int, n_images: int, *, cells: int, seed: int) -> LayerPeaks:
    """Peaks of parts that move with a pose of 4 dimensions; one peak in four is at random."""
    g = torch.Generator().manual_seed(seed)
    pose = torch.randn(4, n_images, generator=torch.Generator().manual_seed(0))
    mean = 0.15 + 0.7 * torch.rand(channels, PARTS, 2, generator=g)
    sway = 0.03 * torch.randn(channels, PARTS, 2, 4, generator=g)
    # Which of the parts have a peak differs from image to image.
    shown = torch.rand(channels, n_images, PARTS, generator=g).argsort(2)[..., :PEAKS]
    size = (channels, PEAKS, n_images)
    place = torch.empty(2, *size)
    for axis in (0, 1):
        moved = mean[..., axis, None] + sway[..., axis, :] @ pose  # channel, part, image
        exact = moved.gather(1, shown.transpose(1, 2))
        place[axis] = exact + 0.02 * torch.randn(size, generator=g)
    random = torch.rand(size, generator=g) < 0.25
    place = torch.where(random, torch.rand(place.shape, generator=g), place)
    value = 0.5 + 2 * torch.rand(size, generator=g)
    value = value.sort(1, descending=True)[0]
    stride, field = FRAME / cells, 4 * FRAME / cells
    first = (stride / 2, stride / 2)
    layer = Layer(name, channels, cells, cells, (stride, stride), first, (field, field))
    return LayerPeaks(layer, value[None], place[0][None], place[1][None])
