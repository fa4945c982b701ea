"""Maps whose channels come last, and tokens, are read as the maps they are."""

import pytest
import torch
from torch import nn
from torchvision import models
from torchvision.ops import Permute

from explgraph.attribution import Activation, ablation, gradcam, last_layer, saliency
from explgraph.errors import LayerError
from explgraph.network import feature_maps, list_layers, wrap
from explgraph.network.layout import Layout


@pytest.fixture(autouse=True)
def _seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        yield


def channels_last():
    """A convolution, then a layer whose output is (n, rows, columns, channels)."""
    embed = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), Permute([0, 2, 3, 1]), nn.LayerNorm(6))
    back = nn.Sequential(Permute([0, 3, 1, 2]), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(embed, nn.Linear(6, 8), back, nn.Linear(8, 4)).eval()


class Transformer(nn.Module):
    """A class token and a grid of patches, one block of attention."""

    def __init__(self, size=(16, 24)):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 4, stride=4)
        tokens = 1 + size[0] * size[1] // 16
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.position = nn.Parameter(torch.randn(1, tokens, 8))
        self.first = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.last = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.head = nn.Linear(8, 4)

    def forward(self, images):
        patches = self.embed(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.position
        return self.head(self.last(self.first(tokens))[:, 0])


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        (Layout(), (2, 5, 3, 4)),
        (Layout("channels last"), (2, 3, 4, 5)),
        (Layout("tokens", (3, 4), 1), (2, 13, 5)),
        (Layout("tokens", (3, 4)), (2, 12, 5)),
    ],
)
def test_the_output_comes_back_from_its_maps(layout, shape):
    output = torch.randn(shape)
    maps = layout.maps(output)
    assert maps.shape == (2, 5, 3, 4)
    assert torch.equal(layout.output(maps, output), output)


def test_channels_that_come_last_are_found_by_a_wider_image():
    model, images = channels_last(), torch.randn(2, 3, 16, 24)
    maps = feature_maps(model, images, ["0", "1", "0.0"])
    with torch.no_grad():
        expected = model[1](model[0](images)).permute(0, 3, 1, 2)
    assert maps["0.0"].shape == maps["0"].shape == (2, 6, 4, 6)
    torch.testing.assert_close(maps["1"], expected)


def test_a_square_map_of_as_many_channels_is_no_riddle():
    """6 x 6 cells of 6 channels: the shape says nothing."""
    model, images = channels_last(), torch.randn(2, 3, 24, 24)
    with torch.no_grad():
        expected = model[0](images).permute(0, 3, 1, 2)
    torch.testing.assert_close(feature_maps(model, images, ["0"])["0"], expected)


def test_tokens_are_laid_on_their_grid_without_the_class_token():
    model, images = Transformer().eval(), torch.randn(2, 3, 16, 24)
    tokens = []
    model.first.register_forward_hook(lambda module, args, output: tokens.append(output))
    maps = feature_maps(model, images, ["first"])["first"]
    assert maps.shape == (2, 8, 4, 6)
    for row, col in ((0, 0), (2, 5)):
        torch.testing.assert_close(maps[:, :, row, col], tokens[-1][:, 1 + 6 * row + col])


@pytest.mark.parametrize("make", [channels_last, Transformer])
def test_attribution_agrees_with_autograd(make):
    model, images = make().eval(), torch.randn(2, 3, 16, 24)
    layer = "1" if make is channels_last else "first"
    held = []

    def hold(module, args, output):
        held.append(output)
        output.retain_grad()

    hook = model.get_submodule(layer).register_forward_hook(hold)
    model(images.clone().requires_grad_())[:, 2].sum().backward()
    hook.remove()
    layout = Layout("channels last") if make is channels_last else Layout("tokens", (4, 6), 1)
    maps, gradient = layout.maps(held[0]), layout.maps(held[0].grad)
    expected = torch.einsum("nkij,nk->nij", maps, gradient.mean((2, 3))).relu()
    found = gradcam(wrap(model, input_size=(16, 24)), images, target=2, layer=layer)
    torch.testing.assert_close(found.cells, expected.detach())
    value = saliency(model, images, target=Activation(layer, 3, (1, 2))).targets.scores
    assert value == pytest.approx(maps[:, 3, 1, 2].relu().detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("make", [channels_last, Transformer])
def test_a_channel_is_taken_away_where_it_is(make):
    model, images = make().eval(), torch.randn(1, 3, 16, 24)
    layer = "1" if make is channels_last else "first"
    network = wrap(model, input_size=(16, 24))
    found = ablation(network, images, [Activation(layer, 3)], target=2)

    def remove(module, args, output):
        output = output.clone()
        places = output[..., 3] if make is channels_last else output[:, 1:, 3]
        places -= places.clone().relu()
        return output

    hook = model.get_submodule(layer).register_forward_hook(remove)
    with torch.no_grad():
        without = model(images)[0, 2]
    hook.remove()
    torch.testing.assert_close(found.values[0], without)


def test_the_default_layer_of_a_transformer_bears_on_its_answer():
    """Behind the last attention only the class token does."""
    network = wrap(Transformer().eval(), input_size=(16, 24))
    assert last_layer(network) == "first"
    assert gradcam(network, torch.randn(1, 3, 16, 24), target=2).cells.any()
    assert last_layer(wrap(channels_last(), input_size=(16, 24))) == "2.0"


def test_layers_are_listed_with_their_true_channels():
    network = wrap(channels_last(), input_size=(16, 24))
    listed = {
        layer.name: (layer.channels, layer.height, layer.width) for layer in list_layers(network)
    }
    assert listed["0"] == listed["0.0"] == (6, 4, 6)
    tokens = {layer.name: layer for layer in list_layers(wrap(Transformer(), input_size=(16, 24)))}
    assert (tokens["first"].channels, tokens["first"].height, tokens["first"].width) == (8, 4, 6)
    assert tokens["first"].size == (float("inf"), float("inf"))


def test_swin_is_read_as_it_is():
    model = models.swin_t().eval()
    maps = feature_maps(model, torch.randn(1, 3, 64, 64), ["features.7", "features.0"])
    assert maps["features.7"].shape == (1, 768, 2, 2)
    assert maps["features.0"].shape == (1, 96, 16, 16)
    assert last_layer(model, input_size=(64, 64)) == "permute"


def test_what_is_not_certain_is_refused_with_its_shape():
    class Windows(nn.Module):
        def forward(self, images):
            return images.flatten(2).reshape(len(images) * 2, -1, 3)

    model = nn.Sequential(nn.Conv2d(3, 3, 4, stride=4), Windows(), nn.LayerNorm(3))
    with pytest.raises(LayerError, match=r"must yield maps .* got shape \(4, 12, 3\)"):
        feature_maps(model, torch.randn(2, 3, 16, 24), ["2"])
