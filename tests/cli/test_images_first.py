"""A slip in a path is told before the network is loaded."""

import pytest
from builders.commands import TINY, explgraph

WORKSPACE = ("--workspace", "{workspace}")
NETWORK = ("--model", "builders.tiny_network:make")
OUT = ("--out", "{out}/new")


@pytest.mark.parametrize(
    "line",
    [
        ("mine", "{none}", *TINY, *OUT),
        ("mine", "{folder}", *TINY, *OUT, "--background", "{none}"),
        ("locate", "{workspace}", "{none}"),
        ("correspondence", "{none}", *WORKSPACE),
        ("saliency", "{none}", *NETWORK, *OUT),
        ("gradcam", "{none}", "{none}", *WORKSPACE, *OUT),
        ("nodemap", "{none}", *WORKSPACE, *OUT),
        ("explain", "{none}", *WORKSPACE, *OUT),
        ("explain", *WORKSPACE, "--ablate", "features.4:2", "--accuracy", "{none}"),
    ],
    ids=" ".join,
)
def test_a_slip_in_a_path_is_told_before_the_network_is_loaded(
    line, workspace, scenes, tmp_path, monkeypatch
):
    def load(*args, **more):
        raise AssertionError("the network is loaded")

    monkeypatch.setattr("explgraph.network.load.load_factory", load)
    names = {"none": tmp_path / "slip.jpg", "workspace": workspace, "folder": scenes.folder}
    answer = explgraph(*(word.format(**names, out=tmp_path) for word in line))
    assert answer.code == 1
    assert "slip.jpg" in answer.err
    assert list(tmp_path.iterdir()) == []  # nor is a folder made
