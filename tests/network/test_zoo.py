import sys

import pytest
import torch
from torchvision import models

from explgraph.errors import NetworkError, UsageError
from explgraph.network import load_network, measure_geometry


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_loads_with_and_without_auxiliary_heads(tmp_path, auxiliary):
    torch.save(
        models.googlenet(aux_logits=auxiliary, init_weights=False).state_dict(),
        tmp_path / "googlenet.pth",
    )
    network = load_network("googlenet", weights=tmp_path / "googlenet.pth")
    assert network.model.transform_input
    assert load_network("googlenet", weights="none").classes is None  # and warns of nothing


def test_weights_that_cannot_be_downloaded_name_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in (
        "http_proxy",
        "https_proxy",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(NetworkError, match="pass --weights FILE"):
        load_network("squeezenet1_1", weights="DEFAULT")


def test_timm_networks_load(tmp_path):
    timm = pytest.importorskip("timm")
    network = load_network("timm:resnet10t", weights="none")
    assert network.input.size == (176, 176)
    torch.save(timm.create_model("resnet10t", num_classes=5).state_dict(), tmp_path / "five.pth")
    five = load_network("timm:resnet10t", weights=tmp_path / "five.pth")
    assert five.model.fc.out_features == 5
    assert measure_geometry(five, ["layer3"])["layer3"].stride == (16, 16)
    with pytest.raises(UsageError, match="timm has no network 'resnet5O'; did you mean"):
        load_network("timm:resnet5O")


def test_timm_missing_is_said_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match=r"pip install 'explgraph\[timm\]'"):
        load_network("timm:resnet18")
