"""Peaks sampled from a known graph."""

from dataclasses import dataclass

import numpy as np
import torch

from explgraph.graph import Layer
from explgraph.mining import MiningConfig
from explgraph.peaks import LayerPeaks

TOP = Layer("top", 12, 9, 12, (16.0, 16.0), (8.0, 8.0), (64.0, 64.0))


LOW = Layer("low", 14, 18, 24, (8.0, 8.0), (4.0, 4.0), (32.0, 32.0))


NODES, GROUPS = 2, 3  # true part patterns of a channel; groups of parts that move together


MISSING, N_NOISE = (
    0.3,
    NODES,
)  # share of parts (and of noise) without a peak; as many noise peaks as parts


MOVE, JITTER = (
    0.05,
    {"top": 0.02, "low": 0.012},
)  # std of a group's movement and of a part about it, fractions


CONFIG = MiningConfig(nodes=4, n_rounds=40, n_parents=5, pose_em_rounds=6, min_support=5.0, seed=0)


@dataclass(frozen=True)
class Known:
    """Peaks, and the truth behind them in the common facing.

    Per layer: mean (channel, node, 2), group (channel, node), place (channel, node, image, 2) and
    present (channel, node, image), whether a pattern has a peak.
    """

    layers: tuple[LayerPeaks, ...]
    mean: tuple[torch.Tensor, ...]
    group: tuple[torch.Tensor, ...]
    place: tuple[torch.Tensor, ...]
    present: tuple[torch.Tensor, ...]
    mirrored: torch.Tensor


def sample(skeleton, images, *, n_images=300, n_facings=2, layers=(TOP, LOW)):
    """Draw images with seed ``images`` from the graph with seed ``skeleton``.

    Every group moves as a whole from image to image, so that lower patterns keep a displacement to
    the upper ones of their group. Half of the images show the mirror image, if there are two
    facings.
    """
    of_graph, g = (
        torch.Generator().manual_seed(skeleton),
        torch.Generator().manual_seed(10_000 + images),
    )
    mirrored = (torch.rand(n_images, generator=g) < 0.5) & (n_facings == 2)
    movement = MOVE * torch.randn(GROUPS, n_images, 2, generator=g)
    truth = []
    for layer in layers:
        channels = layer.channels
        mean = torch.stack([apart(of_graph) for _ in range(channels)])
        group = torch.randint(GROUPS, (channels, NODES), generator=of_graph)
        jitter = JITTER.get(layer.name, 0.02) * torch.randn(
            channels, NODES, n_images, 2, generator=g
        )
        place = mean[:, :, None] + movement[group] + jitter
        present = torch.rand(channels, NODES + N_NOISE, n_images, generator=g) >= MISSING
        at = torch.cat([place, torch.rand(channels, N_NOISE, n_images, 2, generator=g)], 1)
        value = (0.5 + 2 * torch.rand(present.shape, generator=g)) * present
        truth.append(
            (facings(layer, value, at, mirrored, n_facings), mean, group, place, present[:, :NODES])
        )
    return Known(*(tuple(t) for t in zip(*truth, strict=True)), mirrored)


def apart(generator, distance=0.3):
    while True:
        mean = 0.15 + 0.7 * torch.rand(NODES, 2, generator=generator)
        if torch.pdist(mean).min() > distance:
            return mean


def facings(layer, value, at, mirrored, n_facings):
    """Peaks, strongest first, of images and of their exact mirror images.

    The images are mirrored where ``mirrored`` says so.
    """
    value, order = value.sort(1, descending=True)
    row, col = (at[..., k].gather(1, order) for k in (0, 1))
    col = torch.where(mirrored, 1 - col, col)
    both = lambda one, other: torch.stack([one, other][:n_facings])
    return LayerPeaks(layer, both(value, value), both(row, row), both(col, 1 - col))


def turn(place, mirrored):
    """Return places (..., 2) with 1 - column where ``mirrored``."""
    return torch.stack(
        [place[..., 0], torch.where(torch.as_tensor(mirrored), 1 - place[..., 1], place[..., 1])],
        -1,
    )


def match(graph, layer, mean):
    found = {}
    for (channel, part), (row, col) in ((k, mean[k].tolist()) for k in np.ndindex(mean.shape[:2])):
        cells = {
            name: max(abs(node["row"] - row) * layer.height, abs(node["col"] - col) * layer.width)
            for name, node in graph.nodes(data=True)
            if node["layer"] == layer.name and node["channel"] == channel
        }
        if cells and min(cells.values()) <= 0.5:
            found[channel, part] = min(cells, key=cells.get)
    return found
