"""A planted fault is repaired, and the written weights are the repaired network."""

import json

import numpy as np
import pytest
import torch
from builders.badged import FAULT, Badged, write_badged
from builders.commands import explgraph, refused
from builders.tiny_network import TOP, make
from PIL import Image
from safetensors.torch import load_file

from explgraph.attribution import Activation, ablated
from explgraph.errors import UsageError
from explgraph.images import read_source
from explgraph.network import wrap
from explgraph.queries import list_repairs, repair_network, write_repair
from explgraph.workspace import Workspace

STATISTICS = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return write_badged(tmp_path_factory.mktemp("badged"))


@pytest.fixture
def network():
    return wrap(Badged().eval(), **STATISTICS)


@pytest.fixture
def repaired(ws, pictures, network, tmp_path):
    """Repair the network with the planted fault."""

    def repair(method, *filters, out=tmp_path / "repaired.safetensors", **how):
        source = read_source(pictures)
        return repair_network(ws, source, filters, method, network=network, out=out, **how)

    return repair


def scores(model, pictures):
    paths = sorted(pictures.rglob("*.png"))
    pixels = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in paths]))
    with torch.no_grad():
        return model(wrap(Badged(), **STATISTICS).preprocess(pixels))


@pytest.mark.parametrize("method", ["zero", "damp", "retrain", "best"])
def test_the_planted_fault_is_repaired(repaired, method):
    done = repaired(method, *([] if method == "retrain" else [FAULT]))
    # Blue squares with a badge, a quarter, are called red.
    assert done.accuracy.before == 0.75
    assert done.accuracy.after == 1.0
    assert done.pays
    assert done.accuracy.change == 0.25
    # Of what was chosen nothing is judged on the images that chose it.
    assert done.accuracy.images == (40 if method == "zero" else 20)
    share = done.accuracy.change
    error = np.sqrt(share * (1 - share) / (done.accuracy.images - 1))
    assert done.accuracy.standard_error == pytest.approx(error)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_the_file_loads_in_plain_torch_and_is_the_repaired_network(
    repaired, network, pictures, tmp_path, suffix
):
    done = repaired("zero", FAULT, out=tmp_path / f"repaired{suffix}")
    read = load_file if suffix == ".safetensors" else torch.load
    fresh = Badged().eval()
    assert not fresh.load_state_dict(read(done.out)).missing_keys
    layer, channel = FAULT.split(":")
    with ablated(network, [Activation(layer, int(channel))]):
        expected = scores(network.model, pictures)
    assert torch.allclose(scores(fresh, pictures), expected, atol=1e-6)
    assert not torch.allclose(scores(network.model, pictures), expected, atol=1e-6)  # left as it is


def test_the_accuracy_is_that_of_the_file(repaired, pictures):
    done = repaired("retrain")
    fresh = Badged().eval()
    fresh.load_state_dict(load_file(done.out))
    wanted = [("red", "blue").index(path.parent.name) for path in sorted(pictures.rglob("*.png"))]
    right = scores(fresh, pictures).argmax(1) == torch.tensor(wanted)
    assert right.float().mean() == done.accuracy.after == 1


def test_a_network_in_training_mode_is_asked_and_left_as_it_is(repaired, network):
    network.model.add_module("norm", torch.nn.BatchNorm2d(3))
    network.model.features.append(network.model.norm)
    network.model.train()
    before = {key: one.clone() for key, one in network.model.state_dict().items()}
    assert repaired("best", FAULT).pays
    assert network.model.training
    assert all(torch.equal(one, before[key]) for key, one in network.model.state_dict().items())


def test_retraining_leaves_classes_that_are_not_shown_alone(repaired):
    done = repaired("retrain")
    old, new = Badged().state_dict(), load_file(done.out)
    assert torch.equal(new["classifier.weight"][2], old["classifier.weight"][2])
    assert not torch.equal(new["classifier.weight"][:2], old["classifier.weight"][:2])
    assert all(torch.equal(new[key], one) for key, one in old.items() if "classifier" not in key)


def test_repairs_are_kept_listed_and_written_again(repaired, ws, network, tmp_path):
    first = repaired("zero", FAULT)
    second = repaired("retrain", out=None)
    assert (first.number, second.number, second.out) == (1, 2, None)
    with Workspace(ws) as workspace:
        listed = list_repairs(workspace).repairs
        assert [one["method"] for one in listed] == ["zero", "retrain"]
        assert listed[0]["filters"] == [FAULT]
        assert listed[0]["after"] == 1
        again = write_repair(workspace, 1, tmp_path / "again.pth", network=network)
        with pytest.raises(UsageError, match="of another network"):
            write_repair(workspace, 1, tmp_path / "other.pth", network=wrap(make()))
    kept, written = torch.load(again), load_file(first.out)
    assert all(torch.equal(kept[key], one) for key, one in written.items())
    assert explgraph("repair", ws, "--remove", 1).code == 0
    assert [one["number"] for one in explgraph("repair", ws, "--json").json()["repairs"]] == [2]
    assert "no repair 1" in refused(2, "repair", ws, "--remove", 1)
    assert "no repair 1" in refused(2, "repair", ws, "--write", 1, "--out", tmp_path / "x.pth")


def test_what_does_not_pay_is_not_kept(repaired, ws, tmp_path):
    # This filter tells blue squares: without it the network is worse.
    done = repaired("damp", "features.2:1")
    assert not done.pays
    assert done.number is done.out is None
    assert done.accuracy.change == 0
    assert not (tmp_path / "repaired.safetensors").exists()
    # Silencing is what was asked for, whatever it costs.
    asked = repaired("zero", "features.2:1")
    assert asked.number == 1
    assert asked.accuracy.change < 0
    assert asked.out.is_file()


def test_a_named_filter_is_repaired_by_its_name(ws, workspace, scenes, tmp_path):
    assert explgraph("name", ws, f"{TOP}:2", "badge").code == 0
    asked = ("repair", ws, "--accuracy", scenes.folder, "--target", "creature", "--quiet")
    answer = explgraph(*asked, "--ablate", "badge", "--out", tmp_path / "r.pth", "--json").json()
    assert answer["number"] == 1
    weight = torch.load(tmp_path / "r.pth")[f"{TOP}.weight"]
    assert not weight[2].any()
    text = explgraph(*asked, "--ablate", f"{TOP}:2", "--method", "damp").out
    assert "accuracy" in text
    assert "standard error" in text
    # The weights are those that another job takes.
    job = ("layers", "--model", "builders.tiny_network:make", "--weights", tmp_path / "r.pth")
    assert explgraph(*job).code == 0


def test_misuse_is_refused(ws, scenes, node, tmp_path):
    asked = ("repair", ws, "--accuracy", scenes.folder, "--target", "creature", "--quiet")
    assert "which filter" in refused(2, *asked)
    assert "is a node" in refused(2, *asked, "--ablate", node)
    retrain = ("--method", "retrain", "--ablate", f"{TOP}:1")
    assert "leave the filters out" in refused(2, *asked, *retrain)
    wrong = ("--ablate", f"{TOP}:1", "--out", tmp_path / "weights.txt")
    assert ".safetensors" in refused(2, *asked, *wrong)
    assert "give --accuracy" in refused(2, "repair", ws, "--ablate", f"{TOP}:1")
    assert "--out FILE" in refused(2, "repair", ws, "--write", 1)
    assert "at least two" in refused(2, *asked, "--limit", 1, "--method", "retrain")
    assert json.loads(explgraph("repair", ws, "--json").out)["repairs"] == []
    assert "has no repairs" in explgraph("repair", ws).out
