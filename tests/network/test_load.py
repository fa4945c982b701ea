import sys

import numpy as np
import pytest
import torch
from builders.real import SHARED
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import models
from torchvision.transforms import functional

from explgraph.errors import NetworkError, UsageError
from explgraph.network import feature_maps, load_network, measure_geometry
from explgraph.network.network import state_hash

SQUEEZENET = SHARED / "models" / "squeezenet1_0-imagenet.pth"


@pytest.fixture(scope="module")
def state():
    return load_network("squeezenet1_1", weights="none", seed=3).model.state_dict()


def test_a_network_comes_ready_to_be_asked():
    network = load_network("squeezenet1_1", weights="none", input_size=(96, 128))
    assert (network.spec, network.name, network.weights) == (
        "torchvision:squeezenet1_1",
        "squeezenet1_1",
        "none",
    )
    assert network.input.size == (96, 128)
    assert network.classes is None  # random outputs mean nothing
    assert not network.model.training
    assert not any(p.requires_grad for p in network.model.parameters())


def test_random_weights_follow_the_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (
        load_network("squeezenet1_1", weights=w, seed=s).sha256
        for w, s in (("none", 1), ("random", 1), ("none", 2))
    )
    assert first == again != other
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_every_kind_of_file_gives_the_same_network(state, tmp_path, suffix):
    file = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(state, file)
    else:
        torch.save(state, file)
    network = load_network("torchvision:squeezenet1_1", weights=file)
    assert network.sha256 == state_hash(state)
    assert network.weights == str(file)
    assert network.classes is not None
    assert network.classes[340] == "zebra"


@pytest.mark.parametrize("key", ["state_dict", "model", "model_state_dict"])
def test_containers_and_the_prefix_of_parallel_training_are_taken_off(state, tmp_path, key):
    torch.save(
        {"epoch": 3, key: {f"module.{k}": v for k, v in state.items()}}, tmp_path / "checkpoint.pth"
    )
    assert load_network("squeezenet1_1", weights=tmp_path / "checkpoint.pth").sha256 == state_hash(
        state
    )


def test_a_fine_tuned_classifier_sets_the_number_of_classes(tmp_path):
    torch.save(models.squeezenet1_1(num_classes=7).state_dict(), tmp_path / "seven.pth")
    network = load_network("squeezenet1_1", weights=tmp_path / "seven.pth")
    assert network.model(torch.zeros(1, 3, 64, 80)).shape == (1, 7)
    assert network.classes is None


def test_old_densenet_names_are_understood(tmp_path):
    state = load_network("densenet121", weights="none").model.state_dict()
    old = {
        k.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in k else k: v
        for k, v in state.items()
    }
    assert old.keys() != state.keys()
    torch.save({k: v for k, v in old.items() if "num_batches" not in k}, tmp_path / "densenet.pth")
    assert load_network("densenet121", weights=tmp_path / "densenet.pth").sha256 == state_hash(
        state
    )


@pytest.mark.parametrize("auxiliary", [True, False])
def test_googlenet_loads_with_and_without_auxiliary_heads(tmp_path, auxiliary):
    torch.save(
        models.googlenet(aux_logits=auxiliary, init_weights=False).state_dict(),
        tmp_path / "googlenet.pth",
    )
    network = load_network("googlenet", weights=tmp_path / "googlenet.pth")
    assert network.model.transform_input
    assert load_network("googlenet", weights="none").classes is None  # and warns of nothing


def test_a_state_that_does_not_fit_is_refused_with_names_and_shapes(state, tmp_path):
    bad = {k: v for k, v in state.items() if k != "features.0.bias"}
    bad |= {"features.0.weight": torch.zeros(8, 3, 5, 5), "extra.weight": torch.zeros(2)}
    torch.save(bad, tmp_path / "bad.pth")
    with pytest.raises(NetworkError) as error:
        load_network("squeezenet1_1", weights=tmp_path / "bad.pth")
    for part in (
        "1 missing (features.0.bias)",
        "1 unexpected (extra.weight)",
        "features.0.weight (8, 3, 5, 5) for (64, 3, 3, 3)",
    ):
        assert part in str(error.value)


def test_files_that_hold_no_state_dict_are_refused(tmp_path):
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)), tmp_path / "model.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    torch.save({"epoch": 1}, tmp_path / "dict.pth")
    (tmp_path / "text.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    messages = {
        "model.pth": "whole model",
        "list.pth": "got a list",
        "dict.pth": "got a dict of epoch",
        "text.pth": "text.pth",
        "empty.pth": "cannot be read as weights",
        "text.safetensors": "not a safetensors file",
    }
    for name, message in messages.items():
        with pytest.raises(NetworkError, match=message):
            load_network("squeezenet1_1", weights=tmp_path / name)


def test_an_unknown_network_or_weights_entry_brings_what_there_is():
    with pytest.raises(UsageError, match=r"did you mean .*squeezenet1_0"):
        load_network("squeezenet10")
    with pytest.raises(UsageError, match="classification"):
        load_network("torchvision:fcn_resnet50")
    with pytest.raises(NetworkError, match="IMAGENET1K_V1, DEFAULT, none; got 'IMAGENET1K_V9'"):
        load_network("squeezenet1_0", weights="IMAGENET1K_V9")
    with pytest.raises(UsageError, match="expected torchvision:NAME"):
        load_network("no_such_package.module:factory")
    with pytest.raises(UsageError, match="device must be"):
        load_network("squeezenet1_0", weights="none", device="gpu")
    with pytest.raises(UsageError, match="positive"):
        load_network("squeezenet1_0", weights="none", input_size=(0, 10))


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


def test_inputs_are_normalised_as_torchvision_does_it():
    network = load_network("squeezenet1_1", weights="none", input_size=(20, 30))
    images = torch.randint(
        0, 256, (2, 20, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    transforms = models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    scaled = functional.convert_image_dtype(images.permute(0, 3, 1, 2), torch.float32)
    torch.testing.assert_close(
        network.preprocess(images), functional.normalize(scaled, transforms.mean, transforms.std)
    )
    for wrong in (images.float(), images[0], images.permute(0, 3, 1, 2)):
        with pytest.raises(ValueError, match="must be uint8"):
            network.preprocess(wrong)


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


@pytest.mark.real
@pytest.mark.skipif(not SQUEEZENET.exists(), reason="the real weights are not beside the checkout")
def test_real_weights_recognise_a_zebra_and_have_the_published_maps():
    network = load_network("squeezenet1_0", weights=SQUEEZENET)
    files = sorted((SHARED / "data" / "animals" / "n02391049").iterdir())[:8]
    images = np.stack(
        [
            np.asarray(Image.open(f).convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
            for f in files
        ]
    )
    with torch.no_grad():
        x = network.preprocess(torch.from_numpy(images))
        best = network.model(x).topk(5).indices.tolist()
        maps = feature_maps(network.model, x, ["features.10", "features.12"])
    assert sum("zebra" in {network.classes[i] for i in row} for row in best) >= 6
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(512, 27, 27), (512, 13, 13)]
    geometry = measure_geometry(network, list(maps))
    assert [g.first for g in geometry.values()] == [(9.5, 9.5), (17.5, 17.5)]
