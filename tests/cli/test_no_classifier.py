"""A variational autoencoder, from training to a part with a name, on the command line."""

import json

import numpy as np
import pytest
import torch
from builders.autoencoder import CODE, MAPS, SIZE, trained
from builders.commands import explgraph, files_of

from explgraph.attribution import network_input
from explgraph.images import read_source
from explgraph.mining import mine_images
from explgraph.network import load_network
from explgraph.workspace import Workspace

MODEL = "builders.autoencoder:make"


@pytest.fixture(scope="module")
def vae(scenes, tmp_path_factory):
    """(arguments of the network, workspace mined with it)."""
    folder = tmp_path_factory.mktemp("vae")
    network = load_network(MODEL)
    photographs = sorted(scenes.folder.glob("*.png"))
    model, losses = trained(network_input(network, photographs))
    assert losses[-1] < losses[0] / 2
    torch.save(model.state_dict(), folder / "vae.pt")
    asked = ("--model", MODEL, "--weights", folder / "vae.pt")
    answer = explgraph(
        "mine", scenes.folder, *asked, "--layers", f"encoder.3,{MAPS}", "--out", folder / "ws"
    )
    assert answer.code == 0, answer.err
    return asked, folder / "ws"


@pytest.fixture(scope="module")
def best(vae):
    with Workspace(vae[1]) as workspace:
        graph = workspace.graph
    return max(graph.nodes_of(MAPS), key=lambda name: graph.nodes[name]["score"])


def heat_map(method, photo, out, *options):
    answer = explgraph(method, photo, *options, "--out", out, "--json")
    (record,) = answer.json()["results"]
    assert files_of(out) == [f"04.{method}.{suffix}" for suffix in ("json", "npy", "png")]
    assert np.isfinite(np.load(record["map"])).all()
    return record


def test_its_layers_are_listed(vae):
    listed = explgraph("layers", *vae[0], "--json").json()
    names = [layer["name"] for layer in listed["layers"]]
    assert names[:4] == ["encoder.0", "encoder.2", "encoder.4", "encoder"]
    assert "decoder.2" in names
    assert listed["input"] == list(SIZE)
    assert list(listed["neurons"]) == [CODE, "log_variance", "decode"]


def test_it_is_mined_located_and_shown(vae, scenes, best, tmp_path):
    _, workspace = vae
    found = explgraph("locate", workspace, scenes.folder, "--out", tmp_path / "p.csv", "--json")
    assert found.json()["objects"] == 26
    shown = explgraph("show", workspace, "--node", best, "--out", tmp_path / "n.png", "--json")
    assert shown.json()["node"] == best
    answer = explgraph("show", workspace, "--graph", tmp_path / "g.png", "--json")
    assert answer.code == 0
    channel = ("--channel", best.rpartition(":")[0])
    answer = explgraph("show", workspace, *channel, "--out", tmp_path / "c.png")
    assert answer.code == 0, answer.err
    assert {"n.png", "g.png", "c.png", "p.csv"} <= set(files_of(tmp_path))


def test_a_channel_a_neuron_and_a_node_are_asked(vae, scenes, best, tmp_path):
    asked, workspace = vae
    photo = scenes.folder / "04.png"
    for method in ("saliency", "gradcam", "integrated-gradients"):
        for target in (f"{MAPS}:3", f"{CODE}:2"):
            out = tmp_path / f"{method}-{target.replace(':', '-')}"
            record = heat_map(method, photo, out, *asked, "--channel", target)
            assert (record["class"], record["class_index"]) == (target, None)
            if method == "gradcam":  # of the code, and not of what is drawn from it
                assert record["layer"] in (MAPS, "encoder")
        out = tmp_path / f"{method}-node"
        record = heat_map(method, photo, out, "--workspace", workspace, "--node", best)
        assert record["class"] == best
    record = heat_map(
        "deconv", photo, tmp_path / "d", *asked, "--layer", CODE, "--channel", 1, "--guided"
    )
    assert record["activations"][0]["channel"] == 1
    layer = ("--layer", CODE, "--channel", 1, "--size", 16, "--stride", 16)
    record = heat_map("occlusion", photo, tmp_path / "o", *asked, *layer)
    assert record["class"] == record["feature"] == f"{CODE}:1"
    assert np.load(record["map"]).any()


def test_its_nodes_are_drawn_without_a_class_beside_them(vae, scenes, best, tmp_path):
    _, workspace = vae
    photo = scenes.folder / "04.png"
    record = heat_map("nodemap", photo, tmp_path / "all", "--workspace", workspace)
    assert record["class"] == f"nodes of {MAPS}"
    assert record["class_index"] is record["probability"] is None
    assert 0 < record["score"] < 1
    record = heat_map("nodemap", photo, tmp_path / "one", "--workspace", workspace, "--node", best)
    assert record["node"] == best


def test_a_part_is_marked_and_found(vae, scenes, tmp_path):
    _, workspace = vae
    marks = [word for name in ("00", "01", "02") for word in ("--at", f"{name}.png:30,25")]
    assert explgraph("part", "fit", workspace, "--name", "head", *marks).code == 0
    found = explgraph(
        "part", "locate", workspace, scenes.folder, "--name", "head", "--out", tmp_path / "h.csv"
    )
    assert found.code == 0, found.err
    assert len((tmp_path / "h.csv").read_text().splitlines()) == 27
    assert explgraph("part", "remove", workspace, "--name", "head").code == 0


@pytest.mark.parametrize("method", ["saliency", "gradcam", "integrated-gradients", "occlusion"])
@pytest.mark.parametrize("target", [(), ("--target", "3")])
def test_a_class_of_it_is_refused_with_what_can_be_asked(vae, scenes, tmp_path, method, target):
    answer = explgraph(
        method, scenes.folder / "04.png", *vae[0], *target, "--out", tmp_path / "maps"
    )
    assert answer.code == 1
    said = answer.err
    assert "must yield class scores of shape (1, classes), got a Coded" in said
    assert "Of any network a channel or a neuron (--channel LAYER:NUMBER) can be asked" in said
    assert "Traceback" not in said


def test_explaining_a_class_of_it_is_refused_too(vae, scenes, tmp_path):
    photo = scenes.folder / "04.png"
    answer = explgraph("explain", photo, "--workspace", vae[1], "--out", tmp_path / "why")
    assert answer.code == 1
    assert "got a Coded; give a classifier" in answer.err


def test_the_graph_is_the_same_from_python(vae, scenes):
    (_, _, _, weights), folder = vae
    network = load_network(MODEL, weights=weights)
    files = [one.path for one in read_source(scenes.folder).objects]
    graph = mine_images(network, files, ["encoder.3", MAPS])
    with Workspace(folder) as workspace:
        assert json.dumps(sorted(graph.nodes)) == json.dumps(sorted(workspace.graph.nodes))
