import sys

import pytest
import torch
from torchvision import models

from explgraph.attribution import Activation, saliency
from explgraph.errors import NetworkError, UsageError
from explgraph.network import feature_maps, list_layers, load_network, measure_geometry


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


# Torchvision's other networks

SMALL = (64, 96)


@pytest.mark.parametrize(
    ("name", "size", "some"),
    [
        ("lraspp_mobilenet_v3_large", (520, 520), {"backbone.16", "classifier"}),
        (
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            (320, 320),
            {"backbone.body.16", "backbone.fpn.layer_blocks.0"},
        ),
    ],
)
def test_networks_of_pixels_and_of_boxes_are_asked_by_name(name, size, some):
    """Segmentation networks as they are, detectors as their backbone."""
    assert load_network(name, weights="none").input.size == size
    network = load_network(name, weights="none", input_size=SMALL)
    assert network.classes is None
    images = torch.rand(2, 3, *SMALL, generator=torch.Generator().manual_seed(0))
    assert some <= {layer.name for layer in list_layers(network)}
    found = saliency(network, images, target=Activation(min(some), 3, (1, 1)))
    pixels = images.clone().requires_grad_()
    maps = feature_maps(network.model, pixels, [min(some)])[min(some)]
    expected = torch.autograd.grad(maps[:, 3, 1, 1].relu().sum(), pixels)[0].abs().amax(1)
    torch.testing.assert_close(found.maps, expected)
    with pytest.raises(NetworkError, match=r"must yield class scores .* got a (Ordered)?[Dd]ict"):
        saliency(network, images, target=3)


def test_a_detectors_weights_are_those_of_the_whole_of_it(tmp_path):
    name = "ssdlite320_mobilenet_v3_large"
    build = models.get_model_builder(name)
    model = build(weights=None, weights_backbone=None, num_classes=5)
    torch.save(model.state_dict(), tmp_path / "own.pth")
    network = load_network(name, weights=tmp_path / "own.pth")
    expected = model.backbone.state_dict()
    for key, value in network.model.state_dict().items():
        assert torch.equal(value, expected[key.removeprefix("backbone.")])
    assert network.input.size == (320, 320)
    assert network.input.mean == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r3d_18", r"r3d_18 takes clips \(n, 3, frames, height, width\), no single images"),
        ("raft_small", "raft_small takes pairs of images"),
        ("quantized_resnet18", "quantised layers, which have no gradients; take resnet18"),
        ("fcn_resnet5O", "torchvision has no network 'fcn_resnet5O'; did you mean fcn_resnet50"),
    ],
)
def test_networks_of_something_else_are_refused_by_name(name, message):
    with pytest.raises(UsageError, match=message):
        load_network(name)
