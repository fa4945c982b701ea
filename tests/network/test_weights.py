import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from explgraph.errors import NetworkError
from explgraph.network import load_network
from explgraph.network.network import state_hash


@pytest.fixture(scope="module")
def state():
    return load_network("squeezenet1_1", weights="none", seed=3).model.state_dict()


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
        "text.safetensors": r"cannot be read as weights \(.*\); expected a state dict",
    }
    for name, message in messages.items():
        with pytest.raises(NetworkError, match=message):
            load_network("squeezenet1_1", weights=tmp_path / name)


def quantised():
    return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.quint8)


def itself():
    content = {"epoch": 3}
    content["model"] = content
    return content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: {1: torch.ones(3)}, "got a dict of int"),
        (lambda: {("a", 2): torch.ones(3), "b": torch.ones(1)}, "got a dict of tuple, b"),
        (lambda: {"state_dict": {None: torch.ones(3)}}, "got a dict of NoneType"),
        (lambda: {"\x1b[2J\ud800": 3}, r"got a dict of '\\x1b\[2J\\ud800'"),
        (itself, "got a dict of epoch, model"),
        (lambda: {"w": torch.eye(3).to_sparse()}, r"'w' is sparse .*to_dense"),
        (lambda: {"w": torch.eye(3).to_sparse_csr()}, r"'w' is sparse .*to_dense"),
        (lambda: {"w": quantised()}, "'w' is quantised"),
        (lambda: {"w": torch.ones(3, device="meta")}, "'w' has no values"),
        (lambda: {"w": nn.LazyLinear(3).weight}, "'w' has no shape yet|pickled objects"),
        (lambda: {"w": torch.ones(3, dtype=torch.complex64)}, "'w' is complex"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_plain_state_dict_is_refused_by_name(tmp_path, content, words):
    file = tmp_path / "odd.pth"
    torch.save(content(), file)
    with pytest.raises(NetworkError, match=words):
        load_network("squeezenet1_1", weights=file)


def test_an_archive_that_expands_far_beyond_its_size_is_refused_unread(tmp_path, monkeypatch):
    plain, bomb = tmp_path / "plain.pth", tmp_path / "bomb.pth"
    torch.save({"w": torch.zeros(20_000_000)}, plain)
    with zipfile.ZipFile(plain) as read, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as write:
        for name in read.namelist():
            write.writestr(name, read.read(name))
    assert bomb.stat().st_size < 200_000
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(NetworkError, match=r"expands to 80,0.*, expected at most 67,108,864"):
        load_network("squeezenet1_1", weights=bomb)


@pytest.mark.parametrize("content", [b"PK\x05\x06" + bytes(18), b"PK\x03\x04junk"])
def test_an_archive_of_nothing_is_refused(tmp_path, content):
    (tmp_path / "empty.pth").write_bytes(content)
    with pytest.raises(NetworkError, match=r"as weights|pickled objects"):
        load_network("squeezenet1_1", weights=tmp_path / "empty.pth")


def test_one_number_repeated_does_not_become_a_network_of_gigabytes(tmp_path):
    file = tmp_path / "wide.pth"
    state = models.squeezenet1_1().state_dict()
    state["classifier.1.weight"] = torch.zeros(1).expand(10**7, 512, 1, 1)
    state["classifier.1.bias"] = torch.zeros(1).expand(10**7)
    torch.save(state, file)
    with pytest.raises(NetworkError, match="expands to 20,"):
        load_network("squeezenet1_1", weights=file)


def test_a_checkpoint_that_was_zipped_again_is_read(state, tmp_path):
    plain, small = tmp_path / "plain.pth", tmp_path / "small.pth"
    torch.save(state, plain)
    with zipfile.ZipFile(plain) as read, zipfile.ZipFile(small, "w", zipfile.ZIP_DEFLATED) as write:
        for name in read.namelist():
            write.writestr(name, read.read(name))
    assert load_network("squeezenet1_1", weights=small).sha256 == state_hash(state)


def test_weights_that_have_changed_since_they_were_saved_are_refused(state, tmp_path):
    file = tmp_path / "flipped.pth"
    torch.save(state, file)
    content = bytearray(file.read_bytes())
    content[content.index(state["features.0.weight"].numpy().tobytes()) + 7] ^= 64
    file.write_bytes(content)
    with pytest.raises(NetworkError, match=r"\(the checksum of .* is wrong\); .*fetch it again"):
        load_network("squeezenet1_1", weights=file)


@pytest.mark.parametrize(
    "prefix", ["model.", "module.", "net.", "backbone.", "model.module.", "a."]
)
def test_a_prefix_that_all_names_share_is_taken_off(state, tmp_path, prefix):
    file = tmp_path / "lightning.ckpt"
    torch.save({"state_dict": {prefix + k: v for k, v in state.items()}, "epoch": 3}, file)
    assert load_network("squeezenet1_1", weights=file).sha256 == state_hash(state)


def test_a_prefix_is_taken_off_before_the_classes_are_counted(tmp_path):
    seven = models.squeezenet1_1(num_classes=7).state_dict()
    torch.save({f"model.{k}": v for k, v in seven.items()}, tmp_path / "seven.pth")
    network = load_network("squeezenet1_1", weights=tmp_path / "seven.pth")
    assert network.sha256 == state_hash(seven)


def test_a_prefix_that_only_some_names_have_stays_and_is_named(state, tmp_path):
    file = tmp_path / "mixed.pth"
    names = {f"model.{k}": v for k, v in state.items()} | {"loss.weight": torch.ones(2)}
    torch.save(names, file)
    with pytest.raises(NetworkError, match=r"unexpected \(model\.features\.0\.weight"):
        load_network("squeezenet1_1", weights=file)


def test_a_network_whose_own_names_have_such_a_prefix_keeps_it(tmp_path, monkeypatch):
    (tmp_path / "wrapped.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.ModuleDict({'module': nn.Conv2d(3, 4, 3)})\n"
    )
    monkeypatch.chdir(tmp_path)
    weights = load_network("wrapped:make", weights="none").model.state_dict()
    assert all(name.startswith("module.") for name in weights)
    torch.save(weights, "own.pth")
    assert load_network("wrapped:make", weights="own.pth").sha256 == state_hash(weights)


@pytest.mark.parametrize("spec", ["torchvision:squeezenet1_1", "builders.tiny_network:make"])
def test_a_name_of_weights_that_is_too_long_for_a_file_is_refused(spec):
    with pytest.raises(NetworkError, match=r"weights .*xxx"):
        load_network(spec, weights="x" * 5000)
