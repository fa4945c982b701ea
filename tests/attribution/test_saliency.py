"""Saliency against its definition."""

import numpy as np
import pytest
import torch
from builders.networks import (
    HEIGHT,
    WIDTH,
    batch,
    network_of,
    small,
)
from torch import nn

from explgraph.attribution import saliency


def test_saliency_of_a_linear_network_is_its_largest_weight_over_the_colours():
    network = network_of(nn.Sequential(nn.Flatten(), nn.Linear(3 * HEIGHT * WIDTH, 6)))
    expected = network.model[1].weight[4].reshape(3, HEIGHT, WIDTH).abs().amax(0)
    result = saliency(network, batch(), target=4)
    assert (result.maps.dtype, result.maps.shape) == (torch.float32, (3, HEIGHT, WIDTH))
    np.testing.assert_allclose(result.maps, expected.expand(3, -1, -1), rtol=1e-6)


def test_saliency_is_the_finite_difference_of_the_score():
    network = network_of(small().double())
    images = batch(1).double()
    result = saliency(network, images, target=1).maps[0]
    for row, col in [(0, 0), (7, 20), (17, 23)]:
        slopes = []
        for colour in range(3):
            step = torch.zeros_like(images)
            step[0, colour, row, col] = 1e-5
            slopes.append(
                ((network.model(images + step) - network.model(images - step))[0, 1] / 2e-5).item()
            )
        assert result[row, col] == pytest.approx(max(map(abs, slopes)), rel=1e-4)
