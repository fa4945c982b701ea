import numpy as np
import pytest

from explgraph.errors import WorkspaceError
from explgraph.graph import layer_of
from explgraph.queries import draw_graph, draw_nodes, strong_nodes
from explgraph.queries.album import Album
from explgraph.workspace import Workspace


@pytest.fixture
def opened(ws):
    with Workspace(ws) as workspace:
        yield workspace


@pytest.fixture
def gone(opened, monkeypatch):
    """The workspace after its photographs were taken away."""
    monkeypatch.setattr("explgraph.queries.album.load_image", _missing)
    monkeypatch.setattr("explgraph.queries.album.load_input", _missing)
    return opened


def _missing(*_, **__):
    from explgraph.errors import ImageError

    raise ImageError("no such file")


def test_patches_come_best_first_and_the_mean_object_is_grey_and_of_full_contrast(opened):
    album, node = Album(opened), strong_nodes(opened, 1)[0]
    patches = album.patches(node, 3)
    scores = [score for _, score in patches]
    assert scores == sorted(scores, reverse=True)
    assert all(patch.shape[0] == patch.shape[1] for patch, _ in patches)
    mean = album.mean_object([node])
    assert (np.ptp(mean, axis=2) == 0).all()
    assert mean.max() > 200
    assert mean.min() < 50


def test_strong_nodes_are_those_of_each_layer_and_no_filter_comes_twice(opened):
    nodes = strong_nodes(opened, 3)
    layers = [layer_of(node) for node in nodes]
    assert layers == sorted(layers, key=[one.name for one in opened.graph.layers].index)
    assert len({node.rpartition(":")[0] for node in nodes}) == len(nodes)


def test_without_photographs_the_graph_is_drawn_but_no_sheet(gone, tmp_path):
    node = strong_nodes(gone, 1)[0]
    assert Album(gone).patches(node, 3) == []
    assert Album(gone).mean_object([node]) is None
    assert draw_graph(gone, tmp_path / "graph.png").is_file()
    with pytest.raises(WorkspaceError, match="put them back"):
        draw_nodes(gone, [node], tmp_path / "sheet.png")
    assert not (tmp_path / "sheet.png").exists()
