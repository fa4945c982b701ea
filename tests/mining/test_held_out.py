"""What nodes are worth on images that they were not fitted to: noise is found to be noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.samples import CONFIG, TOP, sample
from torch import nn

import explgraph
from explgraph.errors import MiningError
from explgraph.graph import Layer
from explgraph.mining import MiningConfig, mine
from explgraph.mining.held_out import Evidence, Fitted, choose_dimensions, gains, hold_out
from explgraph.mining.layer import LayerFit
from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.peaks import LayerPeaks


def rand(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def random_peaks(channels, images, peaks, seed=0):
    """Peaks of chance strength at chance places."""
    layer = Layer("conv", channels, 14, 14, (16.0, 16.0), (8.0, 8.0), (16.0, 16.0), (224, 224))
    value, row, col = rand(3, 1, channels, peaks, images, seed=seed).unbind()
    return LayerPeaks(layer, 0.5 - value.log(), row, col)


def mixture_of(nodes, none):
    """A mixture of one channel from (row, col, std, weight)."""
    nodes = torch.tensor(nodes)[None]
    return Mixture(nodes[..., :2], nodes[..., 2], nodes[..., 3].log(), torch.tensor([none]).log())


def slow_gains(peaks, mixture):
    """What each node of the only channel adds in each image, peak by peak."""
    weight, none = mixture.log_weight[0].double().exp(), float(mixture.log_none[0].exp())
    value = peaks.value[0].double().numpy()
    mean = value[value > 0].mean()
    found = np.zeros((len(weight), value.shape[1]))
    for (x, image), f in np.ndenumerate(value):
        at = np.array([float(peaks.row[0, x, image]), float(peaks.col[0, x, image])])
        square = ((at - mixture.mean[0].double().numpy()) ** 2).sum(1)
        variance = mixture.std[0].double().numpy() ** 2
        density = weight.numpy() * np.exp(-square / 2 / variance) / (2 * np.pi * variance)
        whole = density.sum() + none
        found[:, image] += f / mean * np.log(whole / (whole - density + weight.numpy()))
    return found


def test_a_gain_is_what_the_likelihood_of_an_image_loses_without_the_node():
    value = (rand(1, 3, 40, seed=1) * 4 - 1).clamp_min(0)
    peaks = ChannelPeaks(value, 0.3 + 0.4 * rand(1, 3, 40, seed=2), rand(1, 3, 40, seed=3))
    mixture = mixture_of(
        [(0.5, 0.5, 0.1, 0.3), (0.4, 0.2, 0.06, 0.2), (0.9, 0.9, 0.05, 0.2), (0.5, 0.5, 0.1, 0.0)],
        none=0.3,
    )
    got = gains(peaks, mixture)[0]
    np.testing.assert_allclose(got, slow_gains(peaks, mixture), rtol=1e-3, atol=1e-4)
    # Where no peak is, the node only takes weight away.
    assert got[2].sum() < 0 < got[0].sum()
    assert got[3].abs().max() < 1e-6


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("channels", "images", "peaks"),
    [(32, 260, 4), (32, 1000, 4), (128, 260, 4), (256, 130, 1), (32, 60, 8)],
)
def test_peaks_at_random_places_have_no_part_patterns(channels, images, peaks, seed):
    with pytest.raises(MiningError, match=r"no part pattern found: in .* images no filter of conv"):
        mine([random_peaks(channels, images, peaks, seed)])


@pytest.mark.parametrize("seed", range(2))
def test_white_noise_through_a_random_network_has_no_part_patterns(seed):
    """Not even at the border, to which the zeros beyond it give peaks."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
    )
    noise = torch.randint(0, 256, (260, 64, 64, 3), dtype=torch.uint8)
    model = explgraph.wrap(network, input_size=64)
    with pytest.raises(MiningError, match="no part pattern found"):
        explgraph.mine_images(model, noise, ["1", "4"])


def test_planted_parts_are_kept_and_noise_beside_them_is_not():
    known = sample(0, images=0, n_images=200)
    noise = random_peaks(TOP.channels, 200, 4)
    doubled = lambda x: x.expand(2, -1, -1, -1)
    other = LayerPeaks(
        replace(known.layers[1].layer, channels=TOP.channels),
        *(doubled(x) for x in (noise.value, noise.row, noise.col)),
    )
    graph = mine([known.layers[0], other], CONFIG).graph
    kept = {layer.name: 0 for layer in graph.layers}
    for _, node in graph.nodes(data=True):
        kept[node["layer"]] += 1
    assert kept["top"] >= 2 * TOP.channels * 0.9
    assert kept["low"] <= 0.02 * TOP.channels


def swaying(n_axes, n_images=240, channels=40):
    """Peaks of one node for each channel, all of which sway along a few axes."""
    loadings = 0.06 * torch.randn(channels, 2, max(n_axes, 1), generator=torch.manual_seed(1))
    pose = torch.randn(max(n_axes, 1), n_images, generator=torch.manual_seed(2)) * (n_axes > 0)
    mean = 0.3 + 0.4 * rand(channels, 2, seed=3)
    moved = mean[..., None] + loadings @ pose
    place = moved + 0.02 * torch.randn(moved.shape, generator=torch.manual_seed(4))
    layer = random_peaks(channels, 1, 1).layer
    row, col = place.clamp(0, 1)[None, :, None].unbind(3)
    return LayerPeaks(layer, torch.full_like(row, 3.0), row.contiguous(), col.contiguous())


@pytest.mark.parametrize("n_axes", [0, 2, 4])
def test_the_pose_has_no_fewer_axes_than_the_parts_sway_along_and_none_where_they_rest(n_axes):
    mined = mine([swaying(n_axes)], MiningConfig(nodes=1, facing=False))
    found = len(mined.pose) if bool(mined.pose.any()) else 0
    assert found >= n_axes
    assert bool(found) == bool(n_axes)


def test_random_peaks_have_no_pose():
    unmirrored = torch.zeros(260, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    one = LayerFit(random_peaks(32, 260, 4), unmirrored, MiningConfig(), generator)
    one.fit(20)
    loadings = 0.05 * torch.randn(128, 2, 8, generator=torch.manual_seed(0))
    model = replace(one.model, loadings=loadings)
    pose = choose_dimensions([Fitted(one.near, model, one.bounds)])
    assert pose.shape == (1, 260)
    assert not pose.any()


def test_what_a_channel_does_by_chance_as_well_is_no_part():
    """Every channel prefers its own side: in photographs and where nothing keeps a place."""

    def at_the_border(images, seed):
        peaks = random_peaks(32, images, 4, seed)
        side = torch.arange(32)[:, None, None] % 2
        row = torch.where(side == 0, 0.03 * peaks.row, 1 - 0.03 * peaks.row)
        often = rand(1, 32, 4, images, seed=seed + 9) < 0.4
        return replace(peaks, row=torch.where(often, row, peaks.row))

    peaks, chance = at_the_border(260, 0), at_the_border(64, 1)
    assert len(mine([peaks]).graph) >= 32
    with pytest.raises(MiningError, match="no part pattern found"):
        mine([peaks], chance=[chance])


def test_nodes_are_known_by_themselves_or_by_their_number():
    gain = torch.tensor([[7.0, 3.0, 2.5, 1.9, -3.1, -torch.inf]])
    none = torch.zeros_like(gain)
    known = Evidence(gain, none, none).known(sure=6.0, false_share=0.5)
    assert known.tolist() == [[True, False, False, False, False, False]]
    known = Evidence(gain, none, none).known(sure=6.0, false_share=0.7)
    assert known.tolist() == [[True, True, True, False, False, False]]
    by_chance = torch.tensor([[2.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    assert not Evidence(gain, by_chance, none).known(sure=6.0, false_share=0.1).any()
    assert not Evidence(gain, none, by_chance).known(sure=6.0, false_share=0.1).any()


def test_nodes_of_few_images_want_to_be_wider():
    """A fit to few images takes a part to be narrower than it is in others."""
    wider = []
    for n_images in (60, 480):
        mined = mine([swaying(4, n_images=n_images)], MiningConfig(nodes=1, facing=False))
        one, unmirrored = mined.layers[0], torch.zeros(n_images, dtype=torch.bool)
        near = ChannelPeaks.resolved(one.peaks, unmirrored)
        wider += hold_out([Fitted(near, one.model, (0.01, 0.15))]).widening
    assert 4 > wider[0] > wider[1] >= 1
