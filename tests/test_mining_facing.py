from dataclasses import replace

import numpy as np
import pytest
import torch
from test_mining_recovery import CONFIG, LOW, TOP, facings, match, sample
from test_mining_recovery import one_thread as one_thread

from explgraph.inference import Locator
from explgraph.mining import mine
from explgraph.mining.facing import decide, initial_facing, mostly_unmirrored, vote
from explgraph.mining.miner import resolved
from explgraph.mining.mixture import initial_mixture
from explgraph.peaks import LayerPeaks


def agreement(one, other):
    """Return the share of images with the same flag; which of the two facings is called mirrored is arbitrary."""
    same = float((one == other).double().mean())
    return max(same, 1 - same)


@pytest.mark.parametrize("n_images", [40, 200])
@pytest.mark.parametrize("seed", range(5))
def test_images_of_random_facing_are_told_apart(seed, n_images):
    known = sample(seed, images=seed, n_images=n_images)
    assert agreement(initial_facing(known.layers), known.mirrored) >= 0.98
    assert agreement(initial_facing(known.layers[:1]), known.mirrored) >= 0.9  # the top layer alone


def test_without_mirror_images_nothing_is_mirrored():
    known = sample(0, images=0, n_images=40, n_facings=1)
    flags = initial_facing(known.layers)
    assert flags.dtype == torch.bool
    assert flags.tolist() == [False] * 40
    assert decide(torch.tensor([[-1.0, -2.0]])).tolist() == [False, False]


def mirrored_at(layer, flags):
    """Return the layer with photograph and mirror image exchanged where ``flags`` says so."""
    swap = lambda t: torch.where(flags, t.flip(0), t)
    return replace(layer, value=swap(layer.value), row=swap(layer.row), col=swap(layer.col))


def test_images_that_are_mirrored_change_their_flag_and_no_other():
    known = sample(2, images=2, n_images=80)
    flags = torch.rand(80, generator=torch.Generator().manual_seed(0)) < 0.4
    before, after = initial_facing(known.layers), initial_facing([mirrored_at(layer, flags) for layer in known.layers])
    assert agreement(after, before ^ flags) == 1


def test_the_order_of_the_images_does_not_matter():
    known = sample(3, images=3, n_images=60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    shuffled = [replace(x, value=x.value[..., order], row=x.row[..., order], col=x.col[..., order]) for x in known.layers]
    assert agreement(initial_facing(shuffled), initial_facing(known.layers)[order]) == 1


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([1, 1, 0], [0, 0, 1]), ([0, 1, 0], [0, 1, 0]), ([1, 0], [0, 1]), ([0, 1], [0, 1]), ([0, 0], [0, 0]), ([1, 1], [0, 0])],
)
def test_most_images_are_called_unmirrored_and_the_first_one_in_a_tie(flags, expected):
    assert mostly_unmirrored(torch.tensor(flags, dtype=torch.bool)).int().tolist() == expected


def test_the_flags_mirror_at_most_half_of_the_images():
    for seed in range(4):
        assert initial_facing(sample(seed, images=seed, n_images=41).layers).double().mean() <= 0.5


def test_votes_are_the_likelihoods_of_photograph_and_mirror_image():
    known = sample(4, images=4, n_images=30)
    mixtures = [
        initial_mixture(resolved(x, known.mirrored), n_nodes=4, std=0.08, generator=torch.Generator()) for x in known.layers
    ]
    votes = vote(known.layers, mixtures)
    expected = np.zeros((2, 30))
    for layer, mixture in zip(known.layers, mixtures, strict=True):
        for facing, image in np.ndindex(2, 30):
            f, at = (
                layer.value[facing, :, :, image].double(),
                [t[facing, :, :, image, None].double() for t in (layer.row, layer.col)],
            )
            square = sum(
                (p - m[:, None]) ** 2 for p, m in zip(at, (mixture.row, mixture.col), strict=True)
            )  # channel, peak, node
            variance = mixture.std.double()[:, None] ** 2
            density = (
                mixture.log_weight.double().exp()[:, None] * torch.exp(-square / 2 / variance) / (2 * torch.pi * variance)
            ).sum(2)
            expected[facing, image] += float((f * (density + mixture.log_none.double().exp()[:, None]).log()).sum())
    np.testing.assert_allclose(votes, expected, rtol=1e-3, atol=1e-3)
    assert agreement(decide(votes), known.mirrored) >= 0.95


def test_an_image_that_both_hypotheses_explain_alike_stays_unmirrored():
    votes = torch.tensor([[-10.0, -10.0, -10.0, 0.0], [-10.0, -9.0, -11.0, 0.0]], dtype=torch.float64)
    assert decide(votes).tolist() == [False, True, False, False]


# Symmetric data.


def pairs(skeleton, images, *, n_images=150, jitter=0.03, exact=False):
    """Return peaks of parts that come in pairs, left and right alike, and their means (channel, node, 2) and places, per layer."""
    of_graph, g = torch.Generator().manual_seed(skeleton), torch.Generator().manual_seed(10_000 + images)
    layers, means, places = [], [], []
    for layer in (TOP, LOW):
        left = torch.rand(layer.channels, 1, 2, generator=of_graph) * torch.tensor([0.7, 0.25]) + torch.tensor([0.15, 0.1])
        mean = torch.cat([left, reflected(left)], 1)
        place = mean[:, :, None] + jitter * torch.randn(layer.channels, 2, n_images, 2, generator=g)
        value = (0.5 + 2 * torch.rand(layer.channels, 4, n_images, generator=g)).masked_fill(
            torch.rand(layer.channels, 4, n_images, generator=g) < 0.3, 0.0
        )
        at = torch.cat([place, torch.rand(layer.channels, 2, n_images, 2, generator=g)], 1)
        if exact:
            at[:, 1::2], value[:, 1::2] = reflected(at[:, ::2]), value[:, ::2]
        layers.append(facings(layer, value, at, torch.zeros(n_images, dtype=torch.bool), 2))
        means.append(mean)
        places.append(place)
    return layers, means, places


def reflected(place):
    return torch.stack([place[..., 0], 1 - place[..., 1]], -1)


def test_images_that_are_their_own_mirror_image_stay_unmirrored():
    layers, _, _ = pairs(0, images=0, exact=True)
    assert not initial_facing(layers).any()
    assert not mine(layers, CONFIG).mirrored.any()


def as_photographed(layers):
    return [LayerPeaks(x.layer, x.value[:1], x.row[:1], x.col[:1]) for x in layers]


def errors_of(train, test, means, places):
    """Return the mean error per layer of located parts, and how many were found; mirroring exchanges the parts of a pair."""
    graph = mine(train, CONFIG).graph
    located = Locator(graph).locate({x.layer.name: x for x in test})
    turned, out = torch.from_numpy(located.mirrored)[:, None], []
    for layer, mean, place in zip(train, means, places, strict=True):
        found = match(graph, layer.layer, mean)
        assert len(found) >= 0.95 * mean.shape[0] * mean.shape[1]
        truth = {key: torch.where(turned, place[key[0], 1 - key[1]], place[key]) for key in found}
        got = {key: torch.from_numpy(located.place[:, located.nodes.index(name)]) for key, name in found.items()}
        out.append(np.mean([float((got[key] - truth[key]).norm(dim=1).mean()) for key in found]))
    return out


@pytest.mark.parametrize("seed", range(2))
def test_a_symmetric_data_set_is_not_hurt_by_looking_at_its_mirror_images(seed):
    """Noise decides the flags of about half of these images; parts are found and located as well as without mirror images."""
    train, means, _ = pairs(seed, images=seed)
    test, _, places = pairs(seed, images=seed + 50)
    both = errors_of(train, test, means, places)
    alone = errors_of(as_photographed(train), as_photographed(test), means, places)
    assert both == pytest.approx(alone, rel=0.1)
