import numpy as np
import pytest
import torch
from builders.real import SHARED
from PIL import Image

from explgraph.errors import NetworkError, UsageError
from explgraph.network import feature_maps, load_network, measure_geometry

SQUEEZENET = SHARED / "models" / "squeezenet1_0-imagenet.pth"


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


def test_an_unknown_network_or_weights_entry_brings_what_there_is():
    with pytest.raises(UsageError, match=r"did you mean .*squeezenet1_0"):
        load_network("squeezenet10")
    with pytest.raises(UsageError, match="takes clips"):
        load_network("torchvision:r3d_18")
    with pytest.raises(NetworkError, match="IMAGENET1K_V1, DEFAULT, none; got 'IMAGENET1K_V9'"):
        load_network("squeezenet1_0", weights="IMAGENET1K_V9")
    with pytest.raises(UsageError, match="expected torchvision:NAME"):
        load_network("no_such_package.module:factory")
    with pytest.raises(UsageError, match="device must be"):
        load_network("squeezenet1_0", weights="none", device="gpu")
    with pytest.raises(UsageError, match=r"1 to 32768 pixels .*got 0 x 10"):
        load_network("squeezenet1_0", weights="none", input_size=(0, 10))


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
