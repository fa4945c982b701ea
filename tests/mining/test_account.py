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
from explgraph.mining.mixture import ChannelPeaks
from explgraph.peaks import LayerPeaks

LAYER = Layer("a", 32, 27, 27, (8.0, 8.0), (9.5, 9.5), (60.0, 60.0))
KINDS = ("part", "texture", "nothing", "part and noise")
DEMO = (
    "--model",
    "explgraph.demo.network:demo_network",
    "--layers",
    "features.11,features.14",
    "--quiet",
)


def planted(n_images=260, seed=0):
    """Channels in turn: one pattern at a kept place; four peaks anywhere; one; both.

    "Both" is one pattern at a kept place and one peak anywhere.
    """
    g = torch.Generator().manual_seed(seed)
    value, row, col = (
        torch.zeros(1, 32, 4, n_images),
        torch.rand(1, 32, 4, n_images, generator=g),
        None,
    )
    col = torch.rand(1, 32, 4, n_images, generator=g)
    for channel in range(32):
        n_peaks = (1, 4, 1, 2)[channel % 4]
        value[0, channel, :n_peaks] = 1 + torch.rand(n_peaks, n_images, generator=g)
        if "part" in KINDS[channel % 4]:
            row[0, channel, 0] = 0.4 + 0.03 * torch.randn(n_images, generator=g)
            col[0, channel, 0] = 0.6 + 0.03 * torch.randn(n_images, generator=g)
    return LayerPeaks(LAYER, value, row, col)


@pytest.fixture(scope="module")
def account():
    explained = mine([planted()], MiningConfig(facing=False)).layers[0].explained
    return {
        kind: {
            name: getattr(explained, name)[i::4].mean().item()
            for name in ("part", "texture", "nothing", "patterns")
        }
        for i, kind in enumerate(KINDS)
    }


def test_a_pattern_that_keeps_its_place_is_a_part(account):
    assert account["part"]["part"] > 0.97
    assert 1 <= account["part"]["patterns"] <= 2.5  # one, or one split into halves


def test_peaks_all_over_each_image_are_texture(account):
    # Four equal peaks that belong to no node: Simpson's index is 3/4.
    assert account["texture"]["texture"] > 0.6
    assert account["texture"]["part"] < 0.15


def test_single_peaks_anywhere_are_nothing_and_hold_no_pattern(account):
    assert account["nothing"]["nothing"] > 0.9
    assert account["nothing"]["patterns"] < 0.5


def test_a_part_beside_noise_is_half_of_the_mass(account):
    assert account["part and noise"]["part"] == pytest.approx(0.5, abs=0.05)
    assert account["part and noise"]["nothing"] == pytest.approx(0.5, abs=0.08)


def test_shares_are_those_of_a_loop_over_channels_images_and_peaks():
    known = sample(0, images=0, n_images=40)
    mined = mine(known.layers[:1], MiningConfig(nodes=3, min_evidence=-math.inf, min_support=1.0))
    mixture = mined.layers[0].model.mixture
    std = torch.tensor([0.05, 0.06, 0.12]).expand_as(mixture.std)
    mixture, texture = replace(mixture, std=std), std > 0.1
    near = ChannelPeaks.resolved(known.layers[0], mined.mirrored)
    found = explain_channels(near, mixture, texture_std=0.1)
    for channel in range(3):
        mass = part = scattered = 0.0
        weight, none = mixture.log_weight[channel].exp(), mixture.log_none[channel].exp()
        for image in range(40):
            left = []
            for value, row, col in zip(
                *(t[channel, :, image] for t in (near.value, near.row, near.col)), strict=True
            ):
                offset = (torch.stack([row, col]) - mixture.mean[channel]).square().sum(1)
                variance = mixture.std[channel] ** 2
                density = weight * torch.exp(-offset / (2 * variance)) / (2 * math.pi * variance)
                share = density / (density.sum() + none)
                mass += float(value)
                part += float(value * share[~texture[channel]].sum())
                scattered += float(value * share[texture[channel]].sum())
                left.append(float(value * none / (density.sum() + none)))
            scattered += (
                sum(left) * (1 - sum((x / sum(left)) ** 2 for x in left)) if sum(left) > 0 else 0.0
            )
        assert found.mass[channel].item() == pytest.approx(mass / 40, rel=1e-4)
        assert found.part[channel].item() == pytest.approx(part / mass, rel=1e-3)
        assert found.texture[channel].item() == pytest.approx(scattered / mass, rel=1e-3)
    np.testing.assert_allclose(found.part + found.texture + found.nothing, 1, rtol=1e-9)


def test_a_silent_channel_explains_nothing_and_does_not_count():
    peaks = planted(n_images=60)
    peaks.value[:, :4] = 0
    explained = mine([peaks], MiningConfig(facing=False)).layers[0].explained
    silent = {
        name: getattr(explained, name)[0].item()
        for name in ("mass", "part", "texture", "nothing", "patterns")
    }
    assert silent == dict.fromkeys(silent, 0)


def test_a_summary_weighs_channels_by_their_mass():
    columns = [np.array(c) for c in ([3.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [2, 0])]
    one = Account(*columns)
    other = Account(*(np.array([x]) for x in (4.0, 0.5, 0.0, 0.5, 4)))
    assert summarise([one]) == {"part": 0.75, "texture": 0.25, "nothing": 0.0, "patterns": 1.0}
    assert summarise([one, other]) == {
        "part": 0.625,
        "texture": 0.125,
        "nothing": 0.25,
        "patterns": 2.0,
    }
    assert summarise([]) == {"part": 0.0, "texture": 0.0, "nothing": 0.0, "patterns": 0.0}


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
    assert network["creatures"]["part"] > 0.7
    assert network["scenery"]["part"] < network["creatures"]["part"] - 0.2
    assert network["scenery"]["patterns"] < network["creatures"]["patterns"]
    channel = json.loads(
        explgraph("show", tmp_path / "creatures-ws", "--channel", "features.14:0", "--json").out
    )
    assert channel["part"] + channel["texture"] + channel["nothing"] == pytest.approx(1)
    assert channel["patterns"] == sum(node["kind"] == "part" for node in channel["nodes"])
