"""Workspaces with semantic parts."""

import json
import shutil
from pathlib import Path

import pytest
from builders.commands import explgraph
from builders.parts import IDS

from explgraph.workspace import Workspace


@pytest.fixture
def ws(workspace, tmp_path):
    """A workspace to write to."""
    return Path(shutil.copytree(workspace, tmp_path / "ws"))


@pytest.fixture
def node(ws):
    """The strongest node of the top layer."""
    with Workspace(ws) as workspace:
        graph = workspace.graph
        top = graph.nodes_of(graph.layers[0].name)
        return max(top, key=lambda name: graph.nodes[name]["score"])


@pytest.fixture(scope="module")
def fitted(workspace, scenes, tmp_path_factory):
    """A workspace with a head of three annotations and a leg of two; tests leave it as it is."""
    folder = Path(shutil.copytree(workspace, tmp_path_factory.mktemp("parts") / "ws"))
    ids = ",".join(map(str, IDS))
    assert (
        explgraph(
            "part", "fit", folder, "--name", "head", "--annotations", scenes.coco, "--ids", ids
        ).code
        == 0
    )
    assert (
        explgraph(
            "part",
            "fit",
            folder,
            "--name",
            "leg",
            "--annotations",
            scenes.coco,
            "--ids",
            "1000,1021",
        ).code
        == 0
    )
    return folder


@pytest.fixture(scope="module")
def truth(scenes):
    """Annotation id -> (box, head, leg)."""
    data = json.loads(scenes.coco.read_text())
    return {
        a["id"]: (a["bbox"], a["keypoints"][:2], a["keypoints"][3:5]) for a in data["annotations"]
    }
