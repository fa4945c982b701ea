import pytest
import torch
from builders.blurry import LAYERS, network_of, write_objects

from explgraph.network import measure_geometry
from explgraph.peaks import PeakSettings


@pytest.fixture(scope="module")
def network():
    return network_of()


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """Blurry noise of many sizes, among it broken files."""
    return write_objects(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def asked(network):
    """What extraction is asked for, besides objects and folder."""
    geometry = measure_geometry(network, LAYERS)
    std = {
        name: torch.linspace(0.2, 1.5, g.channels * g.height * g.width).reshape(
            g.channels, g.height, g.width
        )
        for name, g in geometry.items()
    }
    return {
        "geometry": geometry,
        "unit_std": std,
        "settings": PeakSettings(LAYERS, n_peaks=3),
        "fingerprint": "f",
    }
