"""How much of a filter's activation is part, texture or nothing.

On planted channels, against a loop, and on the demo's creatures.
"""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.commands import explgraph
from builders.samples import sample

from creatures import demo_dataset
from explgraph.graph import Account, Layer
from explgraph.mining import MiningConfig, mine
from explgraph.mining.account import explain_channels, summarise
from explgraph.mining.mixture import ChannelPeaks, Mixture, fit_mixture, initial_mixture
from explgraph.peaks import LayerPeaks

KINDS = ("part", "texture", "always four", "nothing", "part and noise")
NAMES = ("part", "texture", "nothing")
DEMO = (
    "--model",
    "explgraph.demo.network:demo_network",
    "--layers",
    "features.11,features.14",
    "--quiet",
)


def planted(n_images=260, seed=0):
    """Peaks of channels in turn, and where a node is expected that knows how the object moves.

    One peak where the node is; four places of 40% of the images; four places of every image; one
    anywhere; one where the node is and one anywhere.
    """
    g = torch.Generator().manual_seed(seed)
    value, row, col = torch.rand(3, 40, 4, n_images, generator=g)
    value += 1
    moved = 0.1 * torch.randn(2, n_images, generator=g)
    for channel in range(40):
        kind = KINDS[channel % 5]
        value[channel, (1, 4, 4, 1, 2)[channel % 5] :] = 0
        if kind == "texture":
            value[channel] *= torch.rand(n_images, generator=g) < 0.4
        if "part" in kind:
            row[channel, 0] = 0.4 + moved[0] + 0.02 * torch.randn(n_images, generator=g)
            col[channel, 0] = 0.6 + moved[1] + 0.02 * torch.randn(n_images, generator=g)
    strip = (col * 8).long().clamp(0, 7)
    profile = torch.zeros(40, 8, n_images).scatter_add_(1, strip, value)
    mean = torch.tensor([0.4, 0.6]).expand(40, 1, 2)
    half = torch.full((40, 1), math.log(0.5))
    mixture = Mixture(mean, torch.full((40, 1), 0.02), half, half[:, 0])
    near = ChannelPeaks(value, row, col)
    return near, mixture.shifted(moved.expand(40, 2, n_images)), profile


@pytest.fixture(scope="module")
def account():
    explained = explain_channels(*planted(), texture_std=0.15)
    return {
        kind: {name: getattr(explained, name)[i::5].mean().item() for name in NAMES}
        for i, kind in enumerate(KINDS)
    }


def test_a_pattern_that_keeps_its_place_is_a_part(account):
    assert account["part"]["part"] > 0.97


def test_peaks_all_over_some_images_are_texture(account):
    # Two images have 0.4 of the pairs; and of 16 pairs of four peaks 12 are of different ones.
    assert account["texture"]["texture"] == pytest.approx(1 - 0.4 * 16 / 12, abs=0.05)
    assert account["texture"]["part"] < 0.05


def test_as_many_peaks_in_every_image_are_nothing_for_chance_has_them_too(account):
    assert account["always four"]["nothing"] > 0.95


def test_single_peaks_anywhere_are_nothing(account):
    assert account["nothing"]["nothing"] > 0.95


def test_a_part_beside_noise_is_half_of_the_mass(account):
    assert account["part and noise"]["part"] == pytest.approx(0.5, abs=0.05)
    assert account["part and noise"]["nothing"] == pytest.approx(0.5, abs=0.08)


def random_peaks(n_peaks, n_channels=32, n_images=260, seed=0):
    """Every slot filled, exponential strengths, strongest first, places anywhere."""
    g = torch.Generator().manual_seed(seed)
    value, row, col = torch.rand(3, 1, n_channels, n_peaks, n_images, generator=g)
    layer = Layer("conv", n_channels, 14, 14, (16.0, 16.0), (8.0, 8.0), (16.0, 16.0))
    profile = torch.zeros(1, n_channels, 8, n_images)
    profile.scatter_add_(2, (col * 8).long().clamp(0, 7), value)
    return LayerPeaks(layer, (0.5 - value.log()).sort(2, descending=True)[0], row, col, profile)


@pytest.mark.parametrize("n_peaks", [1, 2, 4, 8])
@pytest.mark.parametrize("n_channels", [32, 512])
def test_random_peaks_are_nothing(n_peaks, n_channels):
    peaks = random_peaks(n_peaks, n_channels)
    # As mining leaves them before anything is dropped: every node is one of chance.
    near = ChannelPeaks.resolved(peaks, torch.zeros(260, dtype=torch.bool))
    start = initial_mixture(near, n_nodes=4, std=0.1, generator=torch.Generator().manual_seed(0))
    mixture, *_ = fit_mixture(near, start, n_rounds=10, tol=0.0, std_min=0.03, std_max=0.15)
    found = summarise([explain_channels(near, mixture, peaks.profile[0], texture_std=0.15)])
    assert found["nothing"] > 0.95
    none = replace(mixture, log_weight=torch.full_like(mixture.log_weight, -torch.inf))
    found = summarise([explain_channels(near, none, peaks.profile[0], texture_std=0.15)])
    assert found["nothing"] > 0.95


def test_shares_are_those_of_a_loop_over_channels_images_and_peaks():
    known = sample(0, images=0, n_images=40)
    mined = mine(known.layers[:1], MiningConfig(nodes=3, min_evidence=-math.inf, min_support=1.0))
    mixture = mined.layers[0].model.mixture
    std = torch.tensor([0.05, 0.06, 0.12]).expand_as(mixture.std)
    generator = torch.Generator().manual_seed(0)
    shift = 0.05 * torch.randn(mixture.std.numel(), 2, 40, generator=generator)
    mixture = replace(mixture, std=std).shifted(shift)
    near = ChannelPeaks.resolved(known.layers[0], mined.mirrored)
    profile = torch.rand(len(mixture.std), 8, 40)
    found = explain_channels(near, mixture, profile, texture_std=0.1)

    def taken(channel, of, at):
        """By part-like nodes, of the two strongest peaks of an image, expected as in another."""
        weight, none = mixture.log_weight[channel].exp(), mixture.log_none[channel].exp()
        mass = 0.0
        for value, row, col in zip(
            *(t[channel, :2, of] for t in (near.value, near.row, near.col)), strict=True
        ):
            offset = torch.stack([row, col]) - mixture.centres()[channel, :, :, at]
            variance = mixture.std[channel] ** 2
            density = torch.exp(-offset.square().sum(1) / (2 * variance)) / (2 * math.pi * variance)
            share = weight * density / ((weight * density).sum() + none)
            mass += float(value * share[:2].sum())
        return mass

    for channel in range(3):
        mass = float(near.value[channel, :2].sum())
        own = sum(taken(channel, image, image) for image in range(40)) / mass
        chance = [taken(channel, image - by, image) for image in range(40) for by in (13, 20)]
        chance = sum(chance) / 2 / mass
        part = min(max((own - chance) / (1 - chance), 0), 1)
        pairs = [(a, b) for a in range(8) for b in range(8) if abs(a - b) >= 3]
        strips = profile[channel].double()
        within = sum(float(strips[a] @ strips[b]) / 40 for a, b in pairs)
        product = sum(float(strips[a].sum() * strips[b].sum()) for a, b in pairs)
        repeated = max(1 - (product - 40 * within) / (40 * 39) / within, 0)
        assert found.mass[channel].item() == pytest.approx(mass / 40, rel=1e-4)
        assert found.chance[channel].item() == pytest.approx(chance, rel=1e-3)
        assert found.part[channel].item() == pytest.approx(part, rel=1e-2, abs=1e-6)
        assert found.repeats[channel].item() == pytest.approx(repeated, rel=1e-3, abs=1e-9)
        texture = (1 - found.part[channel]) * repeated
        assert found.texture[channel].item() == pytest.approx(texture, rel=1e-3, abs=1e-9)
    np.testing.assert_allclose(found.part + found.texture + found.nothing, 1, rtol=1e-9)


def test_a_silent_channel_explains_nothing_and_does_not_count():
    near, mixture, profile = planted(n_images=60)
    near.value[:4], profile[:4] = 0, 0
    explained = explain_channels(near, mixture, profile, texture_std=0.15)
    names = ("mass", "part", "texture", "nothing", "chance", "repeats")
    silent = {name: getattr(explained, name)[0].item() for name in names}
    assert silent == dict.fromkeys(silent, 0)


def test_a_summary_weighs_channels_by_their_mass():
    columns = [np.array(c) for c in ([3.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [2, 0])]
    one = Account(*columns)
    other = Account(*(np.array([x]) for x in (4.0, 0.5, 0.0, 0.5, 4)))
    shares = {"part": 0.75, "texture": 0.25, "nothing": 0.0}
    assert summarise([one]) == {**shares, "patterns": 1.0, "filters": [0.5, 0.0, 0.5]}
    assert summarise([one, other]) == {
        "part": 0.625,
        "texture": 0.125,
        "nothing": 0.25,
        "patterns": 2.0,
        "filters": pytest.approx([1 / 3, 0, 1 / 3, 0, 1 / 3]),
    }
    none = {"part": 0.0, "texture": 0.0, "nothing": 0.0}
    assert summarise([]) == {**none, "patterns": 0.0, "filters": []}


def test_creatures_are_explained_by_parts_and_scenery_without_creatures_much_less(tmp_path):
    """The same network on the demo's creatures and on the same scenery without them."""
    dataset, background = demo_dataset(tmp_path / "creatures", n=60)
    network = {}
    for name, source in (("creatures", dataset), ("scenery", background)):
        out = tmp_path / f"{name}-ws"
        answer = explgraph(
            "mine", source, "--out", out, *DEMO, "--background", background, "--limit", "60"
        )
        assert answer.code == 0, answer.err
        described = json.loads(explgraph("show", out, "--json").out)
        network[name] = described["explained"]
        assert sum(
            network[name][share] for share in ("part", "texture", "nothing")
        ) == pytest.approx(1)
        assert {layer["layer"] for layer in described["layers"]} == {"features.11", "features.14"}
    assert network["creatures"]["part"] > 0.65
    assert network["scenery"]["part"] < network["creatures"]["part"] - 0.2
    assert network["scenery"]["patterns"] < network["creatures"]["patterns"]
    channel = json.loads(
        explgraph("show", tmp_path / "creatures-ws", "--channel", "features.14:0", "--json").out
    )
    assert channel["part"] + channel["texture"] + channel["nothing"] == pytest.approx(1)
    assert channel["patterns"] == sum(node["kind"] == "part" for node in channel["nodes"])
