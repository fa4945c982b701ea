import sys

import pytest
import torch

from explgraph.errors import NetworkError, UsageError
from explgraph.network import load_network

FACTORY = """
import torch
from torch import nn

def tiny():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 2, 3))
    nn.init.ones_(model[0].weight)
    model.input_size, model.input_mean, model.input_std = (40, 60), (0.5, 0.5, 0.5), (1, 1, 1)
    model.classes = ["cat", "dog"]
    return model

def plain():
    return nn.Sequential(nn.Conv2d(3, 4, 3))

def wrong():
    return 3

def broken():
    raise RuntimeError("no luck")
"""


def test_a_factory_in_the_current_directory_is_found_and_its_attributes_honoured(
    tmp_path, monkeypatch
):
    (tmp_path / "my_factories.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    network = load_network("my_factories:tiny")
    assert (network.spec, network.name, network.weights) == (
        "my_factories:tiny",
        "my_factories:tiny",
        None,
    )
    assert (network.input.size, network.input.mean, network.classes) == (
        (40, 60),
        (0.5, 0.5, 0.5),
        ("cat", "dog"),
    )
    assert (network.model[0].weight == 1).all()
    assert not (load_network("my_factories:tiny", weights="none").model[0].weight == 1).any()
    torch.save(network.model.state_dict(), "tiny.pth")
    assert load_network("my_factories:tiny", weights="tiny.pth").sha256 == network.sha256
    assert load_network("my_factories:plain").input.size == (224, 224)
    for name, kind, message in (
        ("wrong", NetworkError, "got int"),
        ("broken", NetworkError, "no luck"),
        ("tinny", UsageError, "tiny"),
    ):
        with pytest.raises(kind, match=message):
            load_network(f"my_factories:{name}")
    with pytest.raises(NetworkError, match="2 unexpected"):
        load_network("my_factories:plain", weights="tiny.pth")
    assert sys.path == path
