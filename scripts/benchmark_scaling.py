"""How mining's time and memory grow with images and nodes, on peaks sampled from moving parts; each size in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

CHANNELS, PARTS, PEAKS = (
    512,
    6,
    4,
)  # of the mined layer; part patterns of a channel; peaks kept of a map


def sample_layer(name: str, channels: int, n_images: int, *, cells: int, seed: int) -> Any:
    """Return peaks of parts that move with a pose of 4 dimensions, one in four of them at random places instead."""
    from explgraph.graph import Layer
    from explgraph.peaks import LayerPeaks

    g = torch.Generator().manual_seed(seed)
    pose = torch.randn(4, n_images, generator=torch.Generator().manual_seed(0))
    mean = 0.15 + 0.7 * torch.rand(channels, PARTS, 2, generator=g)
    sway = 0.03 * torch.randn(channels, PARTS, 2, 4, generator=g)
    shown = torch.rand(channels, n_images, PARTS, generator=g).argsort(2)[
        ..., :PEAKS
    ]  # which parts have a peak
    place = torch.empty(2, channels, PEAKS, n_images)
    for axis in (0, 1):
        moved = mean[..., axis, None] + sway[..., axis, :] @ pose  # channel, part, image
        place[axis] = moved.gather(1, shown.transpose(1, 2)) + 0.02 * torch.randn(
            channels, PEAKS, n_images, generator=g
        )
    random = torch.rand(channels, PEAKS, n_images, generator=g) < 0.25
    place = torch.where(random, torch.rand(place.shape, generator=g), place)
    value = (0.5 + 2 * torch.rand(channels, PEAKS, n_images, generator=g)).sort(1, descending=True)[
        0
    ]
    stride = 224 / cells
    layer = Layer(
        name,
        channels,
        cells,
        cells,
        (stride, stride),
        (stride / 2, stride / 2),
        (4 * stride, 4 * stride),
    )
    return LayerPeaks(layer, value[None], place[0][None], place[1][None])


def mine_sampled(n_images: int, nodes: int) -> dict[str, Any]:
    """Mine a layer of CHANNELS channels below one of 64, in this process; return seconds, peak memory and nodes found."""
    from explgraph.mining import MiningConfig, mine

    layers = [
        sample_layer("top", 64, n_images, cells=13, seed=1),
        sample_layer("low", CHANNELS, n_images, cells=27, seed=2),
    ]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    mined = mine(layers, MiningConfig(nodes=nodes))
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "images": n_images,
        "nodes_per_channel": nodes,
        "seconds": seconds,
        "peak_memory_mib": peak,
        "of_it_before_mib": before / 1024,
        "nodes_kept": mined.graph.number_of_nodes(),
    }


def benchmark_scaling(sizes: list[tuple[int, int]]) -> list[dict[str, Any]]:
    """Return `mine_sampled` of each (images, nodes per channel), each in a fresh process."""
    results = []
    for n_images, nodes in sizes:
        command = [sys.executable, str(Path(__file__)), str(n_images), str(nodes)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        results.append(json.loads(output))
    return results


if __name__ == "__main__":
    print(json.dumps(mine_sampled(int(sys.argv[1]), int(sys.argv[2]))))
