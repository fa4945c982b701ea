import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders.samples import CONFIG, LOW, TOP, facings, match, sample
from sklearn.linear_model import Ridge

from explgraph.graph import Layer
from explgraph.locations import Locator
from explgraph.mining import facing as module
from explgraph.mining import mine
from explgraph.mining.facing import (
    BANDWIDTH,
    N_ITERATIONS,
    RIDGE,
    SHARPNESS,
    SURE,
    FacingModel,
    fit_views,
    profile_of,
    resolve_facing,
)
from explgraph.peaks import COLUMNS, LayerPeaks, column_profiles, find_peaks


def agreement(one, other):
    """The share of images with the same flag; which facing is called mirrored is open."""
    same = float((one == other).double().mean())
    return max(same, 1 - same)


def flags_of(layers):
    return resolve_facing(layers)[1]


@pytest.mark.parametrize("n_images", [40, 200])
@pytest.mark.parametrize("seed", range(5))
def test_images_of_random_facing_are_told_apart(seed, n_images):
    known = sample(seed, images=seed, n_images=n_images)
    assert agreement(flags_of(known.layers), known.mirrored) >= 0.98
    assert agreement(flags_of(known.layers[:1]), known.mirrored) >= 0.9  # the top layer alone


def mirrored_at(layer, flags):
    """Return the layer with photograph and mirror image exchanged where ``flags`` says so."""
    swap = lambda t: None if t is None else torch.where(flags, t.flip(0), t)
    return replace(
        layer,
        value=swap(layer.value),
        row=swap(layer.row),
        col=swap(layer.col),
        profile=swap(layer.profile),
    )


def test_images_that_are_mirrored_change_their_flag_and_no_other():
    known = sample(2, images=2, n_images=80)
    flags = torch.rand(80, generator=torch.Generator().manual_seed(0)) < 0.4
    before, after = (
        flags_of(known.layers),
        flags_of([mirrored_at(layer, flags) for layer in known.layers]),
    )
    assert agreement(after, before ^ flags) == 1


def test_the_order_of_the_images_does_not_matter():
    known = sample(3, images=3, n_images=60)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    assert (
        agreement(flags_of([x.images(order) for x in known.layers]), flags_of(known.layers)[order])
        == 1
    )


def test_the_flags_mirror_at_most_half_of_the_images():
    for seed in range(4):
        assert flags_of(sample(seed, images=seed, n_images=41).layers).double().mean() <= 0.5


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([1, 1, 0], True),
        ([0, 1, 0], False),
        ([1, 0], True),
        ([0, 1], False),
        ([0, 0], False),
        ([1, 1], True),
    ],
)
def test_most_images_are_called_unmirrored_and_the_first_one_in_a_tie(flags, expected):
    assert module._mostly_mirrored(torch.tensor(flags, dtype=torch.bool)) == expected


# The rule, against its definition.


def slow_kernel(a, b):
    """K of profiles (image, feature) of images and mirror images, pair by pair.

    Both are centred by their common mean.
    """
    mean = np.concatenate([a, b]).mean(0)
    unit = lambda x: (x - mean) / np.linalg.norm(x - mean)
    k = lambda x, y: np.exp(SHARPNESS * (unit(x) @ unit(y)))
    n = len(a)
    kernel = np.array(
        [
            [k(a[i], a[j]) + k(b[i], b[j]) - k(a[i], b[j]) - k(b[i], a[j]) for j in range(n)]
            for i in range(n)
        ]
    )
    size = np.sqrt(np.diag(kernel))
    return kernel / size[:, None] / size


def slow_margins(kernel):
    """What a regression on the others gives each image, from the leading eigenvector's signs on."""
    n = len(kernel)
    vectors = np.linalg.eigh(kernel)[1]
    sign = np.where(vectors[:, -1] < 0, -1.0, 1.0)
    margin = np.zeros(n)
    for _ in range(N_ITERATIONS):
        for i in range(n):
            rest = [j for j in range(n) if j != i]
            dual = np.linalg.solve(kernel[np.ix_(rest, rest)] + RIDGE * np.eye(n - 1), sign[rest])
            margin[i] = kernel[i, rest] @ dual
        new = np.where(margin < 0, -1.0, 1.0)
        if (new == sign).all():
            break
        sign = new
    return margin


def test_the_rule_is_that_of_loops_over_images_and_sklearns_ridge_regression():
    known = sample(6, images=6, n_images=30)
    model, flags = resolve_facing(known.layers)
    a, b, units = [], [], []
    for layer in known.layers:
        profile = profile_of(layer).double().numpy()
        root = ((profile[0] - profile[1]) ** 2).mean((1, 2)) ** 0.25
        scaled = profile / root[:, None, None]
        unit = root * np.sqrt(((scaled[0] - scaled[1]) ** 2).sum((0, 1)).mean())
        a.append((profile[0] / unit[:, None, None]).reshape(-1, 30).T)
        b.append((profile[1] / unit[:, None, None]).reshape(-1, 30).T)
        units.append(unit)
    a, b = np.concatenate(a, 1), np.concatenate(b, 1)
    difference = (a - b) / np.linalg.norm(a - b, axis=1)[:, None]
    regression = Ridge(alpha=RIDGE, fit_intercept=False).fit(
        difference, slow_margins(slow_kernel(a, b))
    )
    expected = difference @ regression.coef_
    turn = -1 if 2 * (expected < 0).sum() > 30 else 1
    weight = regression.coef_ * turn
    pairs = list(zip(known.layers, units, strict=True))
    got = [(model.weight[x.layer.name].numpy() * s[:, None]).ravel() for x, s in pairs]
    got = np.concatenate(got)
    np.testing.assert_allclose(got, weight, rtol=1e-2, atol=1e-4 * np.abs(weight).max())
    for x, s in pairs:
        np.testing.assert_allclose(model.unit[x.layer.name], s, rtol=1e-4)
    np.testing.assert_allclose(model.margins(known.layers), expected * turn, rtol=1e-3, atol=1e-5)
    assert flags.tolist() == (expected * turn < 0).tolist()


def test_a_model_compares_the_weighted_profiles_of_both_facings():
    known = sample(7, images=7, n_images=25)
    model, flags = resolve_facing(known.layers)
    for image in range(25):
        margin = 0.0
        for layer in known.layers:
            profile, weight = profile_of(layer), model.weight[layer.layer.name]
            for c, k in np.ndindex(*weight.shape):
                margin += float(weight[c, k]) * (
                    float(profile[0, c, k, image]) - float(profile[1, c, k, image])
                )
        assert bool(flags[image]) == (margin < 0)


def test_a_model_calls_images_by_themselves_as_among_others():
    known = sample(8, images=8, n_images=50)
    model, flags = resolve_facing(known.layers)
    assert torch.cat(
        [model.mirrored([x.images(slice(i, i + 1)) for x in known.layers]) for i in range(50)]
    ).equal(flags)
    new = sample(8, images=99, n_images=100)
    turned = bool((flags != known.mirrored).double().mean() > 0.5)
    assert (model.mirrored(new.layers) == new.mirrored ^ turned).double().mean() >= 0.98


def test_without_mirror_images_nothing_is_mirrored():
    known = sample(0, images=0, n_images=40)
    model, _ = resolve_facing(known.layers)
    flags = model.mirrored(sample(0, images=0, n_images=40, n_facings=1).layers)
    assert flags.dtype == torch.bool
    assert flags.tolist() == [False] * 40


def test_an_image_that_looks_alike_in_both_facings_stays_unmirrored():
    known = sample(1, images=1, n_images=40)
    alike = [mirrored_at(x, torch.zeros(40, dtype=torch.bool)) for x in known.layers]
    for x in alike:
        for t in (x.value, x.row, x.col):
            t[1, ..., 5] = t[0, ..., 5]
            t[..., 9] = 0
    model, flags = resolve_facing(alike)
    assert not flags[[5, 9]].any()
    opposite = replace(model, weight={name: -w for name, w in model.weight.items()})
    assert not opposite.mirrored(alike)[[5, 9]].any()
    assert agreement(flags, known.mirrored) >= 0.95


def test_a_model_comes_back_from_json_bit_by_bit():
    known = sample(4, images=4, n_images=30)
    for flipped in (False, True):
        model, flags = resolve_facing(known.layers, flipped=flipped)
        again = FacingModel.from_dict(json.loads(json.dumps(model.to_dict())))
        assert again.flipped is flipped
        assert again.views == model.views
        assert all(torch.equal(again.unit[name], u) for name, u in model.unit.items())
        assert torch.equal(again.sureness(known.layers), model.sureness(known.layers))
        assert list(again.weight) == list(model.weight) == ["top", "low"]
        for name, weight in model.weight.items():
            assert weight.shape == (known.layers[0 if name == "top" else 1].n_channels, COLUMNS)
            assert again.weight[name].dtype == weight.dtype == torch.float32
            assert torch.equal(again.weight[name], weight)
        assert torch.equal(again.mirrored(known.layers), flags)


def test_more_images_than_references_are_told_apart_by_the_model(monkeypatch):
    known = sample(5, images=5, n_images=200)
    monkeypatch.setattr(module, "N_REFERENCE", 60)
    model, flags = resolve_facing(known.layers, seed=3)
    assert flags.shape == (200,)
    assert torch.equal(flags, model.mirrored(known.layers))
    assert agreement(flags, known.mirrored) >= 0.98
    again, other = resolve_facing(known.layers, seed=3)[0], resolve_facing(known.layers, seed=4)[0]
    assert torch.equal(again.weight["top"], model.weight["top"])
    assert not torch.equal(other.weight["top"], model.weight["top"])
    chosen = torch.randperm(200, generator=torch.Generator().manual_seed(3))[:60].sort()[0]
    alone, _ = resolve_facing([x.images(chosen) for x in known.layers], seed=3)
    for name, weight in model.weight.items():  # found among the references and no other
        np.testing.assert_allclose(alone.weight[name], weight, rtol=1e-4, atol=1e-6)


def test_the_global_generator_has_no_say(monkeypatch):
    known = sample(5, images=5, n_images=80)
    monkeypatch.setattr(module, "N_REFERENCE", 50)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, _ = resolve_facing(known.layers)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(resolve_facing(known.layers)[0].weight["low"], one.weight["low"])


# Profiles.


def test_profiles_of_peaks_are_those_of_a_loop_over_peaks_and_strips():
    layer = sample(0, images=0, n_images=4).layers[0]
    got = profile_of(layer)
    assert got.shape == (2, TOP.channels, COLUMNS, 4)
    for f, c, k, i in np.ndindex(2, 3, COLUMNS, 4):
        at = (k + 0.5) / COLUMNS
        peaks = zip(layer.value[f, c, :, i].tolist(), layer.col[f, c, :, i].tolist(), strict=True)
        expected = sum(v * np.exp(-((col - at) ** 2) / 2 / BANDWIDTH**2) for v, col in peaks)
        assert float(got[f, c, k, i]) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_profiles_that_are_known_are_taken_before_those_of_peaks():
    layer = sample(0, images=0, n_images=4).layers[0]
    profile = torch.rand(2, TOP.channels, COLUMNS, 4, generator=torch.Generator().manual_seed(0))
    assert profile_of(replace(layer, profile=profile)) is profile


def test_flipped_maps_stand_in_for_mirror_images_column_by_column():
    layer = sample(0, images=0, n_images=6, n_facings=1).layers[1]
    profile = torch.rand(1, LOW.channels, COLUMNS, 6, generator=torch.Generator().manual_seed(0))
    layer = replace(layer, profile=profile)
    both = layer.with_flipped_maps()
    assert (layer.n_facings, both.n_facings) == (1, 2)
    as_it_was, flipped = (both.facing(torch.full((6,), flag)) for flag in (False, True))
    for name in ("value", "row", "col", "profile"):
        assert torch.equal(getattr(as_it_was, name), getattr(layer, name))
    assert torch.equal(flipped.value, layer.value)
    assert torch.equal(flipped.row, layer.row)
    assert torch.equal(flipped.col, 1 - layer.col)
    for k in range(COLUMNS):
        assert torch.equal(flipped.profile[:, :, k], profile[:, :, COLUMNS - 1 - k])
    back = flipped.with_flipped_maps().facing(torch.ones(6, dtype=torch.bool))  # flipped twice
    np.testing.assert_allclose(back.col, layer.col, atol=1e-6)
    assert torch.equal(back.profile, profile)
    assert replace(layer, profile=None).with_flipped_maps().profile is None


def test_flipped_maps_tell_the_facing_where_there_are_no_mirror_images():
    """Of photographs half of which are mirrored; with ``facing`` off they are taken as they are."""
    known = sample(1, images=1, n_images=120)
    alone = [LayerPeaks(x.layer, x.value[:1], x.row[:1], x.col[:1]) for x in known.layers]
    mined = mine(alone, CONFIG)
    assert agreement(mined.mirrored, known.mirrored) >= 0.98
    assert mined.graph.facing["flipped"] is True
    located = Locator(mined.graph).locate({x.layer.name: x for x in alone})
    assert torch.equal(torch.from_numpy(located.mirrored), mined.mirrored)
    off = mine(alone, replace(CONFIG, facing=False))
    assert not off.mirrored.any()
    assert off.graph.facing is None
    assert not Locator(off.graph).locate({x.layer.name: x for x in alone}).mirrored.any()
    both = mine(known.layers, replace(CONFIG, facing=False))
    assert not both.mirrored.any()
    assert list(both.graph) == list(off.graph)


# Rows that contradict.


def grazing_and_looking_up(seed, n_images=80):
    """Maps (image, channel, height, width) of animals that look right, and which graze.

    Channel 0 answers to the head, 1 to the rump, which look alike to channel 2. A grazing animal
    has the head at the lower right and the rump at the upper left; one that looks up the other way
    about. Map for map it is nearer to the mirror image of a grazing one.
    """
    g = torch.Generator().manual_seed(seed)
    grazing = torch.rand(n_images, generator=g) < 0.5
    maps = 0.2 * torch.rand(n_images, 3, 12, 16, generator=g)
    for i in range(n_images):
        top, bottom = (int(x) for x in torch.randint(2, (2,), generator=g) + torch.tensor([1, 9]))
        left, right = (int(x) for x in torch.randint(2, (2,), generator=g) + torch.tensor([2, 12]))
        head, rump = (bottom, top) if grazing[i] else (top, bottom)
        for channel, row, col, value in (
            (0, head, right, 1.5),
            (1, rump, left, 1.5),
            (2, head, right, 6.0),
            (2, rump, left, 4.5),
        ):
            maps[i, channel, row - 1 : row + 2, col - 1 : col + 2] += value
    return maps, grazing


@pytest.mark.parametrize("seed", range(10))
def test_profiles_tell_the_facing_where_the_rows_contradict(seed):
    maps, grazing = grazing_and_looking_up(seed)
    mirrored = torch.rand(len(maps), generator=torch.Generator().manual_seed(100 + seed)) < 0.5
    cosine = lambda x: torch.nn.functional.cosine_similarity(
        x[grazing].mean(0).flatten(), x[~grazing].mean(0).flatten(), dim=0
    )
    profiles = column_profiles(maps, n_columns=COLUMNS)
    assert (
        cosine(maps - maps.flip(3)) < -0.3
    )  # by rows and columns a pose resembles the mirror image of the other
    assert cosine(profiles - profiles.flip(2)) > 0.9
    seen = torch.where(mirrored[:, None, None, None], maps.flip(3), maps)
    layer = Layer("maps", 3, 12, 16, (8.0, 8.0), (4.0, 4.0), (8.0, 8.0))
    of_facing = [
        (*find_peaks(x, n_peaks=4), column_profiles(x, n_columns=COLUMNS))
        for x in (seen, seen.flip(3))
    ]
    value, row, col, profile = (
        torch.stack(t).permute(0, 2, 3, 1) for t in zip(*of_facing, strict=True)
    )
    peaks = LayerPeaks(layer, value, (row + 0.5) / 12, (col + 0.5) / 16, profile)
    assert agreement(flags_of([peaks]), mirrored) == 1
    assert agreement(flags_of([peaks.images(grazing)]), mirrored[grazing]) == 1


# Symmetric data.


def pairs(skeleton, images, *, n_images=150, jitter=0.03, exact=False):
    """Peaks of pairs that look alike left and right; per layer means and places.

    Means are (channel, node, 2).
    """
    of_graph, g = (
        torch.Generator().manual_seed(skeleton),
        torch.Generator().manual_seed(10_000 + images),
    )
    layers, means, places = [], [], []
    for layer in (TOP, LOW):
        left = torch.rand(layer.channels, 1, 2, generator=of_graph) * torch.tensor(
            [0.7, 0.25]
        ) + torch.tensor([0.15, 0.1])
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
    assert not flags_of(layers).any()
    assert not mine(layers, CONFIG).mirrored.any()
    other = sample(
        0, images=0, n_images=40
    )  # nor does a rule that was learnt from other images mirror them
    assert not resolve_facing(other.layers)[0].mirrored(layers).any()


def errors_of(train, test, means, places, config):
    """The mean error per layer of what was located, and how many were found.

    Mirroring exchanges the two of a pair.
    """
    graph = mine(train, config).graph
    located = Locator(graph).locate({x.layer.name: x for x in test})
    turned, out = torch.from_numpy(located.mirrored)[:, None], []
    for layer, mean, place in zip(train, means, places, strict=True):
        found = match(graph, layer.layer, mean)
        assert len(found) >= 0.95 * mean.shape[0] * mean.shape[1]
        truth = {key: torch.where(turned, place[key[0], 1 - key[1]], place[key]) for key in found}
        got = {
            key: torch.from_numpy(located.place[:, located.nodes.index(name)])
            for key, name in found.items()
        }
        out.append(np.mean([float((got[key] - truth[key]).norm(dim=1).mean()) for key in found]))
    return out


@pytest.mark.parametrize("seed", range(2))
def test_a_symmetric_data_set_is_not_hurt_by_looking_at_its_mirror_images(seed):
    """Noise decides the flags of about half of these images.

    All is found and located as well as without mirror images.
    """
    train, means, _ = pairs(seed, images=seed)
    test, _, places = pairs(seed, images=seed + 50)
    both = errors_of(train, test, means, places, CONFIG)
    alone = errors_of(train, test, means, places, replace(CONFIG, facing=False))
    assert both == pytest.approx(alone, rel=0.1)


# Views: how sure a flag is, and whether there is a facing at all.


def seen_from_the_front(known, flags):
    """Return the layers with images that are their own mirror image but for noise."""
    g = torch.Generator().manual_seed(5)
    layers = []
    for x in known.layers:
        profile = profile_of(x).clone()
        same = profile[..., flags].mean(0, keepdim=True).expand(2, -1, -1, -1)
        noise = 0.05 * torch.randn(same.shape, generator=g) * profile.std()
        profile[..., flags] = (same + noise).clamp_min(0)
        layers.append(replace(x, profile=profile))
    return layers


def test_flags_are_sure_of_sideways_images_and_a_guess_of_frontal_ones():
    known = sample(2, images=2, n_images=120)
    frontal = torch.arange(120) % 4 == 0
    layers = seen_from_the_front(known, frontal)
    model, flags = resolve_facing(layers)
    sure = model.sureness(layers)
    assert (sure >= 0.5).all()
    assert (sure <= 1).all()
    assert (sure[~frontal] > SURE).double().mean() >= 0.95
    assert (sure[frontal] < SURE).double().mean() >= 0.8
    assert agreement(flags[~frontal], known.mirrored[~frontal]) >= 0.98
    turned = [mirrored_at(x, torch.ones(120, dtype=torch.bool)) for x in layers]
    np.testing.assert_allclose(model.sureness(turned), sure, rtol=1e-9)


def test_sureness_is_the_share_of_right_flags_of_sampled_margins():
    g = torch.Generator().manual_seed(0)
    view = torch.randint(3, (20_000,), generator=g) - 1.0
    margin = (0.3 * view + 0.15 * torch.randn(20_000, generator=g)).double()
    views = fit_views(margin)
    assert (views.mean, views.std, views.frontal) == pytest.approx((0.3, 0.15, 1 / 3), rel=0.1)
    sure = views.sureness(margin)
    right = torch.where(view == 0, 0.5, (margin.sign() == view).double()).double()
    for low in (0.5, 0.6, 0.7, 0.8, 0.9):
        here = (sure >= low) & (sure < low + 0.1)
        assert float(right[here].mean()) == pytest.approx(float(sure[here].mean()), abs=0.03)
    assert (sure[margin.abs().argsort()].diff() >= -1e-12).all()  # the clearer the surer


def test_a_graph_of_an_older_version_tells_facings_and_no_sureness():
    known = sample(4, images=4, n_images=30)
    model, flags = resolve_facing(known.layers)
    plain = {key: model.to_dict()[key] for key in ("flipped", "weight")}
    old = FacingModel.from_dict(json.loads(json.dumps(plain)))
    assert torch.equal(old.mirrored(known.layers), flags)
    assert old.sureness(known.layers).isnan().all()
    assert old.to_dict() == plain


@pytest.mark.parametrize("seed", range(3))
def test_of_profiles_of_chance_no_facing_is_claimed(seed):
    g = torch.Generator().manual_seed(seed)
    layers = [
        replace(x, profile=torch.rand(2, x.n_channels, COLUMNS, 120, generator=g))
        for x in sample(0, images=0, n_images=120).layers
    ]
    model, flags = resolve_facing(layers)
    assert model is None
    assert not flags.any()
    mined = mine(layers, CONFIG)
    assert mined.graph.facing is None
    found = Locator(mined.graph).locate({x.layer.name: x for x in layers})
    assert not found.mirrored.any()
    assert np.isnan(found.sureness).all()
