"""Peaks sampled from a known graph; mining must find the graph again."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from explgraph.graph import ExplanatoryGraph, GraphLayer
from explgraph.inference import Locator
from explgraph.mining import MiningConfig, mine
from explgraph.peaks import LayerPeaks

TOP = GraphLayer("top", 12, 9, 12, (16.0, 16.0), (8.0, 8.0), (64.0, 64.0))
LOW = GraphLayer("low", 14, 18, 24, (8.0, 8.0), (4.0, 4.0), (32.0, 32.0))
NODES, GROUPS = 2, 3  # true part patterns of a channel; groups of parts that move together
MISSING, N_NOISE = (
    0.3,
    NODES,
)  # share of parts (and of noise) without a peak; as many noise peaks as parts
MOVE, JITTER = (
    0.05,
    {"top": 0.02, "low": 0.012},
)  # std of a group's movement and of a part about it, fractions
CONFIG = MiningConfig(
    nodes=4, n_rounds=40, n_parents=5, n_candidates=600, pose_em_rounds=6, min_support=5.0, seed=0
)


@dataclass(frozen=True)
class Known:
    """Peaks, and the truth behind them in the common facing: per layer mean (channel, node, 2), group (channel, node), place
    (channel, node, image, 2) and whether a part has a peak (channel, node, image)."""

    layers: tuple[LayerPeaks, ...]
    mean: tuple[torch.Tensor, ...]
    group: tuple[torch.Tensor, ...]
    place: tuple[torch.Tensor, ...]
    present: tuple[torch.Tensor, ...]
    mirrored: torch.Tensor


def sample(skeleton, images, *, n_images=300, n_facings=2, layers=(TOP, LOW)):
    """Draw images with seed ``images`` from the graph with seed ``skeleton``.

    Every group moves as a whole from image to image, so that lower parts keep a displacement to the upper parts of their group.
    Half of the images show the mirror image, if there are two facings.
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
    """Return peaks (strongest first) of images that are seen mirrored where ``mirrored`` says so, and of their exact mirror images."""
    value, order = value.sort(1, descending=True)
    row, col = (at[..., k].gather(1, order) for k in (0, 1))
    col = torch.where(mirrored, 1 - col, col)
    both = lambda one, other: torch.stack([one, other][:n_facings])
    return LayerPeaks(layer, both(value, value), both(row, row), both(col, 1 - col))


@dataclass(frozen=True)
class Found:
    """What mining made of a known graph: the nearest node id of each true part within half a cell, per layer {(channel, node): id}."""

    known: Known
    graph: ExplanatoryGraph
    mirrored: torch.Tensor
    turned: bool  # the common facing is the mirrored one: which of the two it is, is arbitrary
    node: list[dict[tuple[int, int], str]]


def mine_known(skeleton):
    known = sample(skeleton, images=skeleton)
    mined = mine(known.layers, CONFIG)
    turned = bool((mined.mirrored != known.mirrored).double().mean() > 0.5)
    node = [
        match(mined.graph, peaks.layer, turn(mean, turned))
        for peaks, mean in zip(known.layers, known.mean, strict=True)
    ]
    return Found(known, mined.graph, mined.mirrored, turned, node)


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


SEEDS = range(4)


@pytest.fixture(scope="module")
def all_found():
    return [mine_known(seed) for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
def test_nine_of_ten_nodes_are_found_within_half_a_cell(all_found, seed):
    found = all_found[seed]
    for node, mean in zip(found.node, found.known.mean, strict=True):
        assert (
            len(node) >= 0.9 * mean.shape[0] * mean.shape[1]
        )  # measured: 0.96 to 1.00 over 14 seeds
        assert len(set(node.values())) == len(node)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_facing_of_nearly_all_images_is_found(all_found, seed):
    found = all_found[seed]
    assert (found.mirrored == found.known.mirrored ^ found.turned).double().mean() >= 0.98


@pytest.mark.parametrize("seed", SEEDS)
def test_four_of_five_edges_join_parts_that_move_together(all_found, seed):
    """Of all edges into nodes that were found; an edge from a node that is no true part is wrong. Chance is one in three."""
    found = all_found[seed]
    group = [
        {name: int(g[key]) for key, name in node.items()}
        for node, g in zip(found.node, found.known.group, strict=True)
    ]
    right = [
        group[0].get(upper) == group[1][lower]
        for upper, lower in found.graph.edges
        if lower in group[1]
    ]
    assert len(right) >= 100
    assert np.mean(right) >= 0.8  # measured: 0.81 to 0.99 over 14 seeds, 0.95 in the mean


@pytest.mark.parametrize("seed", SEEDS)
def test_places_in_new_images_are_known_better_than_the_mean_place(all_found, seed):
    found = all_found[seed]
    new = sample(seed, images=seed + 50, n_images=100)
    located = Locator(found.graph).locate({peaks.layer.name: peaks for peaks in new.layers})
    assert (
        torch.from_numpy(located.mirrored) == new.mirrored ^ found.turned
    ).double().mean() >= 0.98
    for layer, expected in (
        (0, 0.75),
        (1, 0.65),
    ):  # measured: 0.62 to 0.66 and 0.48 to 0.55 over 14 seeds
        errors = held_out_errors(found, new, located, layer)
        assert errors["located"] < expected * errors["mean place"]


@pytest.mark.parametrize("seed", SEEDS)
def test_parents_know_where_a_part_without_a_peak_is(all_found, seed):
    found = all_found[seed]
    new = sample(seed, images=seed + 50, n_images=100)
    located = Locator(found.graph).locate({peaks.layer.name: peaks for peaks in new.layers})
    errors = held_out_errors(found, new, located, 1, only_missing=True)
    assert errors["located"] < 0.85 * errors["mean place"]  # measured: 0.66 to 0.73 over 14 seeds


def held_out_errors(found, new, located, layer, *, only_missing=False):
    """Return the mean distances of the true places, in the images as photographed, to the located and to the mean places."""
    mirrored, errors = torch.from_numpy(located.mirrored), {"located": [], "mean place": []}
    column = {name: i for i, name in enumerate(located.nodes)}
    for key, name in found.node[layer].items():
        truth = turn(new.place[layer][key], new.mirrored)
        node = found.graph.nodes[name]
        mean = turn(torch.tensor([node["row"], node["col"]]).expand_as(truth), mirrored)
        counted = ~new.present[layer][key] if only_missing else slice(None)
        for what, place in (
            ("located", torch.from_numpy(located.place[:, column[name]])),
            ("mean place", mean),
        ):
            errors[what].append(float((place - truth).norm(dim=1)[counted].mean()))
    return {what: np.mean(values) for what, values in errors.items()}


def test_without_mirror_images_the_graph_is_found_as_well():
    known = sample(1, images=1, n_facings=1)
    mined = mine(known.layers, CONFIG)
    assert not mined.mirrored.any()
    for peaks, mean in zip(known.layers, known.mean, strict=True):
        assert len(match(mined.graph, peaks.layer, mean)) >= 0.9 * mean.shape[0] * mean.shape[1]
