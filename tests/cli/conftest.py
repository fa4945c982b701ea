"""What the commands that ask a workspace about a photograph are tested on."""

import pytest
from builders.tiny_network import TOP

from explgraph.workspace import Workspace


@pytest.fixture
def photo(scenes):
    return scenes.folder / "04.png"


@pytest.fixture(scope="session")
def node(workspace):
    """The node of the top layer with the highest score."""
    with Workspace(workspace) as opened:
        graph = opened.store.load_graph()
    return max(graph.nodes_of(TOP), key=lambda name: graph.nodes[name]["score"])
