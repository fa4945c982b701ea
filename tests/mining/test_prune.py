from functools import partial

import numpy as np
import pytest
import torch

from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.prune import DUPLICATE, overlap, prune

prune = partial(prune, min_support=3.0)


def mixture_of(nodes, none=0.1):
    """Return a mixture of one channel from (row, col, std, weight)."""
    nodes = torch.tensor(nodes)[None]
    return Mixture(nodes[..., :2], nodes[..., 2], nodes[..., 3].log(), torch.tensor([none]).log())


def peaks_at(*places, n_images=10):
    """Return peaks of one channel, F = 3, at the same places in every image."""
    at = torch.tensor(places)[None, :, :, None].expand(1, -1, -1, n_images)
    return ChannelPeaks(torch.full((1, len(places), n_images), 3.0), at[:, :, 0], at[:, :, 1])


def test_the_overlap_of_two_nodes_is_their_bhattacharyya_coefficient():
    nodes = [(0.3, 0.3, 0.1, 0.3), (0.4, 0.35, 0.06, 0.3), (0.7, 0.3, 0.2, 0.3)]
    got = overlap(mixture_of(nodes))[0]
    axis = np.linspace(-1.5, 2.5, 801)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1)
    density = [
        np.exp(-((grid - n[:2]) ** 2).sum(-1) / 2 / n[2] ** 2) / (2 * np.pi * n[2] ** 2)
        for n in nodes
    ]
    for i, j in np.ndindex(3, 3):
        integral = np.sqrt(density[i] * density[j]).sum() * (axis[1] - axis[0]) ** 2
        assert float(got[i, j]) == pytest.approx(integral, abs=1e-4)


@pytest.mark.parametrize("heavier", [0, 1])
def test_of_two_duplicates_the_heavier_stays(heavier):
    weights = [0.2, 0.2]
    weights[heavier] = 0.4
    mixture = mixture_of(
        [(0.5, 0.5, 0.1, weights[0]), (0.51, 0.5, 0.1, weights[1]), (0.5, 0.9, 0.1, 0.2)]
    )
    kept = prune(peaks_at((0.5, 0.5), (0.5, 0.9)), mixture)
    assert kept.alive[0].tolist() == [heavier == 0, heavier == 1, True]
    assert torch.equal(kept.log_weight[kept.alive], mixture.log_weight[kept.alive])


def test_of_equal_duplicates_the_first_stays():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.3)] * 3)
    assert prune(peaks_at((0.5, 0.5)), mixture).alive[0].tolist() == [True, False, False]


def test_nodes_of_one_place_but_different_width_are_no_duplicates():
    mixture = mixture_of([(0.5, 0.5, 0.05, 0.3), (0.5, 0.5, 0.12, 0.3)])
    assert float(overlap(mixture)[0, 0, 1]) < DUPLICATE
    assert prune(peaks_at((0.5, 0.5)), mixture).alive.all()


def test_a_node_that_explains_nothing_is_dropped_and_does_not_cost_its_double_its_place():
    mixture = mixture_of([(0.1, 0.9, 0.05, 0.5), (0.5, 0.5, 0.1, 0.2)])
    assert prune(peaks_at((0.5, 0.5)), mixture).alive[0].tolist() == [False, True]
    assert prune(peaks_at((0.5, 0.5)), mixture, min_support=10.0).alive[0].tolist() == [
        False,
        False,
    ]


def test_support_counts_images_not_peaks():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.5)])
    peaks = peaks_at((0.5, 0.5), n_images=4)
    assert prune(peaks, mixture, min_support=3.0).alive.all()
    assert not prune(peaks, mixture, min_support=4.0).alive.any()


def test_what_was_dropped_stays_dropped():
    mixture = mixture_of([(0.5, 0.5, 0.1, 0.0), (0.5, 0.5, 0.1, 0.2)])
    assert prune(peaks_at((0.5, 0.5)), mixture).alive[0].tolist() == [False, True]
