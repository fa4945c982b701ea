"""The tiny network and an image for it; a test file may have a network of its own."""

import pytest
import torch
from builders.placed import SIZE

from explgraph.network import load_network


@pytest.fixture
def network():
    return load_network("builders.tiny_network:make")


@pytest.fixture
def image():
    return torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(4))
