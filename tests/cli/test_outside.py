"""A COCO file reads images outside of its folder only with --allow-outside, in every command."""

import json
import os

import pytest
from builders.commands import TINY, explgraph, refused

from explgraph.workspace import Workspace

NETWORK = ("--model", "builders.tiny_network:make", "--layers", "features.4")
COMMANDS = {
    "mine": lambda ws, out: ("mine", *TINY, "--out", out / "ws"),
    "locate": lambda ws, out: ("locate", ws, "--draw", out / "drawn"),
    "part locate": lambda ws, out: ("part", "locate", ws, "--name", "head"),
    "correspondence": lambda ws, out: ("correspondence", *NETWORK, "--landmark", "head"),
    "explain": lambda ws, out: (
        *("explain", "--workspace", ws, "--ablate", "features.4:2", "--target", "0"),
        "--accuracy",
    ),
}


@pytest.fixture(scope="module")
def elsewhere(scenes, tmp_path_factory):
    """COCO files in a folder of their own: of absolute names, and of names that lead up."""
    folder = tmp_path_factory.mktemp("elsewhere")
    up = os.path.relpath(scenes.coco.parent, folder)
    for name, root in (("absolute", str(scenes.coco.parent)), ("up", up)):
        data = json.loads(scenes.coco.read_text())
        for image in data["images"]:
            image["file_name"] = f"{root}/{image['file_name']}"
        (folder / f"{name}.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize("name", ["absolute", "up"])
@pytest.mark.parametrize("command", COMMANDS)
def test_images_outside_are_read_only_when_asked(command, name, elsewhere, workspace, tmp_path):
    ask = (*COMMANDS[command](workspace, tmp_path), elsewhere / f"{name}.json", "--limit", 12)
    error = refused(1, *ask, "--quiet")
    assert "image 50: its file_name leads out of" in error
    assert "--allow-outside" in error
    answer = explgraph(*ask, "--allow-outside", "--quiet")
    if command == "part locate":  # the source was read: what is missing now is the part
        assert "'head'" in answer.err
    else:
        assert answer.code == 0, answer.err
    if command == "locate":
        assert len(list((tmp_path / "drawn").iterdir())) == 12
    if command == "mine":
        # Later questions find the photographs again.
        with Workspace(tmp_path / "ws") as opened:
            assert opened.job.allow_outside
            assert len(opened.job.read_source().objects) == 12


def test_landmarks_are_compared_without_the_images(elsewhere, workspace, tmp_path):
    ask = (*COMMANDS["mine"](None, tmp_path), elsewhere / "up.json", "--limit", 30)
    assert explgraph(*ask, "--allow-outside", "--quiet").code == 0
    mined = tmp_path / "ws"
    assert explgraph("evaluate", mined, "--dataset", elsewhere / "up.json").code == 0
    marks = ("--annotations", elsewhere / "up.json", "--ids", "1000,1007,1014")
    assert explgraph("part", "fit", mined, "--name", "head", *marks).code == 0
