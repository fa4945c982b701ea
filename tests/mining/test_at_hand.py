"""Images in memory give the graph that a workspace gives of the same images."""

import numpy as np
import pytest
import torch
from builders.tiny_network import make
from torch.utils.data import DataLoader, TensorDataset

from explgraph.errors import GraphError, LayerError, MiningError, UsageError
from explgraph.graph import ExplanatoryGraph
from explgraph.images import load_image, load_input, read_source
from explgraph.locations import locate_images
from explgraph.mining import MiningConfig, mine_images
from explgraph.network import load_network
from explgraph.workspace import MineJob, Workspace, mine_workspace

LAYERS = ("features.2", "features.4")


@pytest.fixture(scope="module")
def network():
    return load_network("builders.tiny_network:make")


def pixels_of(objects, network):
    height, width = network.input.size
    read = [load_input(one, height=height, width=width, fit="stretch")[0] for one in objects]
    return np.stack(read)


@pytest.fixture(scope="module")
def pixels(scenes, network):
    return pixels_of(read_source(scenes.folder).objects, network)


def same(graph: ExplanatoryGraph, other: ExplanatoryGraph) -> bool:
    plain = lambda one: {key: value for key, value in one.graph.items() if key != "config"}
    return (
        list(graph.nodes(data=True)) == list(other.nodes(data=True))
        and sorted(graph.edges(data=True)) == sorted(other.edges(data=True))
        and plain(graph) == plain(other)
    )


@pytest.mark.parametrize("settings", [{}, {"mirror": False, "n_peaks": 3}])
@pytest.mark.parametrize("background", [False, True])
def test_it_is_the_graph_of_a_workspace_bit_for_bit(
    scenes, network, pixels, tmp_path, background, settings
):
    path = scenes.background if background else None
    job = MineJob(scenes.folder, "builders.tiny_network:make", LAYERS, background=path, **settings)
    mine_workspace(tmp_path / "ws", job, device="cpu")
    others = pixels_of(read_source(path).objects, network) if background else None
    graph = mine_images(network, pixels, LAYERS, background=others, **settings)
    with Workspace(tmp_path / "ws") as workspace:
        assert len(graph) > 5
        assert same(graph, workspace.graph)
        found = locate_images(network, pixels, graph)
        again = locate_images(network, pixels, workspace.graph)
        cached = workspace.locations()
    assert np.array_equal(found.place, again.place)
    assert np.array_equal(found.score, again.score)
    np.testing.assert_allclose(found.score, cached.score, atol=1e-6)
    assert np.array_equal(found.mirrored, cached.mirrored)


def test_every_form_of_the_same_images_gives_the_same_graph(network, pixels):
    tensor = network.preprocess(torch.from_numpy(pixels))
    expected = mine_images(network, pixels, LAYERS)
    labels = torch.arange(len(tensor))
    forms = {
        "tensor": tensor,
        "list": list(tensor),
        "data set": TensorDataset(tensor, labels),
        "loader": DataLoader(TensorDataset(tensor, labels), batch_size=7),
        "generator": (one for one in tensor),
        "batches": tensor.split(5),
    }
    for name, images in forms.items():
        if name == "batches":
            images = iter(images)
        assert same(mine_images(network, images, LAYERS), expected), name


def test_a_module_in_training_mode_stays_as_it_is(pixels, network):
    model = make()
    model.load_state_dict(network.model.state_dict())
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    graph = mine_images(model, pixels, LAYERS)
    assert same(graph, mine_images(network, pixels, LAYERS))
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_files_are_fitted_into_the_input(scenes, network, pixels):
    files = [one.path for one in read_source(scenes.folder).objects]
    assert same(mine_images(network, files, LAYERS), mine_images(network, pixels, LAYERS))


def test_progress_and_settings_arrive(network, pixels):
    told = []
    graph = mine_images(
        network,
        pixels,
        LAYERS,
        mining=MiningConfig(nodes=1, seed=3),
        report=lambda *what: told.append(what),
    )
    assert graph.config["mining"]["nodes"] == 1
    assert max(index for _, index in graph.nodes(data="index")) == 0
    assert ("extract", len(pixels), len(pixels)) in told


def test_what_cannot_be_mined_is_refused(network, pixels, scenes):
    with pytest.raises(MiningError, match="at least 10 usable images, got 3"):
        mine_images(network, pixels[:3], LAYERS)
    with pytest.raises(LayerError, match=r"'features\.99' is no layer"):
        mine_images(network, pixels, ["features.99"])
    with pytest.raises(UsageError, match=r"got the path .*; read its photographs with"):
        mine_images(network, scenes.folder, LAYERS)
    with pytest.raises(UsageError, match="at least one image, got none"):
        mine_images(network, [], LAYERS)
    with pytest.raises(UsageError, match=r"uint8 \(height, width, 3\).*image 0 is \(3, 8\)"):
        mine_images(network, torch.zeros(9, 3, 8), LAYERS)
    with pytest.raises(UsageError, match="got a int"):
        mine_images(network, 5, LAYERS)
    with pytest.raises(UsageError, match="images must be of one kind and size"):
        mine_images(network, [torch.zeros(3, 48, 64), torch.zeros(3, 40, 64)], LAYERS)
    with pytest.raises(UsageError, match="background must be of the size of the images"):
        mine_images(network, pixels, LAYERS, background=torch.zeros(4, 3, 20, 20))
    with pytest.raises(UsageError, match="must be finite"):
        mine_images(network, torch.full((12, 3, 48, 64), torch.nan), LAYERS)


def test_a_graph_that_lost_its_deviations_or_met_another_network_says_so(network, pixels):
    graph = mine_images(network, pixels, LAYERS)
    with pytest.raises(GraphError, match=r"a copy or a file does not keep it; take the graph of"):
        locate_images(network, pixels, graph.copy())
    with pytest.raises(GraphError, match="use the network and the image size of the graph"):
        locate_images(network, torch.zeros(2, 3, 96, 96), graph)


def test_photographs_in_memory_are_the_photographs_of_files(scenes, network):
    from PIL import Image

    objects = read_source(scenes.folder).objects
    pictures = [Image.fromarray(load_image(one)) for one in objects]
    assert len(mine_images(network, pictures, LAYERS)) > 5
