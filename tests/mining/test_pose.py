import numpy as np
import pytest
import torch

from explgraph.mining import mixture as module
from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.parents import Parents
from explgraph.mining.place import MISSING
from explgraph.mining.placing import ROUNDS, STRONG, LayerModel, place_layers
from explgraph.mining.pose import (
    WITNESSES,
    Observed,
    communality,
    fit_pose,
    n_dimensions,
    pose_posterior,
    sway,
)

DIMENSIONS, IMAGES, NODES = 3, 300, 60
NOISE, UNSEEN = 0.02, 0.3


def planted(seed, *, images=IMAGES, nodes=NODES):
    """Return what is observed of nodes that sway by 0.05 in 3 dimensions, their loadings, mean displacements and the poses."""
    g = torch.Generator().manual_seed(seed)
    loadings = 0.05 * torch.randn(nodes, 2, DIMENSIONS, generator=g) / DIMENSIONS**0.5
    mean = 0.03 * torch.randn(nodes, 2, generator=g)
    pose = torch.randn(DIMENSIONS, images, generator=g)
    at = sway(loadings, pose) + mean[..., None] + NOISE * torch.randn(nodes, 2, images, generator=g)
    presence = (0.3 + 0.7 * torch.rand(nodes, images, generator=g)) * (
        torch.rand(nodes, images, generator=g) >= UNSEEN
    )
    at = torch.where(
        presence[:, None] > 0, at, torch.randn(at.shape, generator=g)
    )  # what is not seen may be anywhere
    return Observed(at, presence), loadings, mean, pose


@pytest.mark.parametrize("seed", range(3))
def test_planted_loadings_are_found_again(seed):
    observed, loadings, mean, pose = planted(seed)
    got_loadings, got_mean, got_pose = fit_pose(observed, None, seed=seed)
    assert got_loadings.shape == (NODES, 2, n_dimensions(IMAGES))
    assert got_pose.shape == (n_dimensions(IMAGES), IMAGES)
    true, found = (
        x.flatten().numpy() for x in (sway(loadings, pose), sway(got_loadings, got_pose))
    )
    assert np.corrcoef(true, found)[0, 1] > 0.95
    moved = mean + sway(loadings, pose.mean(1, keepdim=True))[..., 0]  # the poses found have mean 0
    np.testing.assert_allclose(got_mean, moved, rtol=0, atol=0.01)


def test_nodes_that_are_seen_say_where_the_others_are():
    observed, loadings, _, pose = planted(4)
    got_loadings, _, got_pose = fit_pose(observed, None)
    hidden = (observed.presence == 0)[:, None].expand(-1, 2, -1)
    true, found = (x[hidden].numpy() for x in (sway(loadings, pose), sway(got_loadings, got_pose)))
    assert np.corrcoef(true, found)[0, 1] > 0.95


def test_poses_have_mean_zero_and_variance_one():
    observed, *_ = planted(5)
    _, _, pose = fit_pose(observed, None)
    np.testing.assert_allclose(pose.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(pose.square().mean(1), 1, rtol=1e-4)


def test_a_later_fit_starts_from_the_poses_before_and_keeps_their_dimensions():
    observed, loadings, _, pose = planted(6)
    again, _, got = fit_pose(
        observed, pose + 0.5 * torch.randn(pose.shape, generator=torch.Generator().manual_seed(0))
    )
    assert got.shape == pose.shape
    assert np.corrcoef(sway(loadings, pose).flatten(), sway(again, got).flatten())[0, 1] > 0.97
    for true, found in zip(pose, got, strict=True):  # the same axes, not only the same space
        assert np.corrcoef(true, found)[0, 1] > 0.9


def test_the_same_seed_gives_the_same_pose_and_the_global_generator_has_no_say():
    observed, *_ = planted(7, images=120)
    torch.manual_seed(1)
    one = fit_pose(observed, None, seed=3)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again, other = fit_pose(observed, None, seed=3), fit_pose(observed, None, seed=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(one, again, strict=True))
    assert not torch.equal(one[2], other[2])


def test_fitting_leaves_what_was_observed_as_it_was():
    observed, _, _, pose = planted(8, images=50)
    before = observed.displacement.clone(), observed.presence.clone(), pose.clone()
    fit_pose(observed, pose)
    assert all(
        torch.equal(x, y)
        for x, y in zip((observed.displacement, observed.presence, pose), before, strict=True)
    )


def test_nodes_that_are_never_seen_do_not_sway():
    observed, *_ = planted(9, images=100)
    observed.presence[[4, 17]] = 0
    loadings, mean, pose = fit_pose(observed, None)
    assert loadings[[4, 17]].eq(0).all()
    assert mean[[4, 17]].eq(0).all()
    assert torch.isfinite(pose).all()


@pytest.mark.parametrize("images", [10, 30])
def test_nothing_to_see_gives_finite_answers(images):
    nothing = Observed(torch.zeros(5, 2, images), torch.zeros(5, images))
    assert all(torch.isfinite(x).all() for x in fit_pose(nothing, None))


# The pose of an image.


def slow_posterior(layers, mean=None, witnesses=WITNESSES):
    """Return the poses image by image: the normal equations of all nodes, axis by axis, in float64."""
    n_swaying = sum(
        any(float(x) != 0 for x in node.flatten()) for _, loadings, _ in layers for node in loadings
    )
    tau = min(1, witnesses / max(n_swaying, 1))
    q, images = layers[0][1].shape[2], layers[0][0].presence.shape[1]
    out = np.zeros((q, images))
    for i in range(images):
        left, right = np.eye(q), np.zeros(q)
        for k, (observed, loadings, noise) in enumerate(layers):
            for v, axis in np.ndindex(len(loadings), 2):
                lam = loadings[v, axis].double().numpy()
                e = float(observed.displacement[v, axis, i]) - (
                    0 if mean is None else float(mean[k][v, axis])
                )
                weight = tau * float(observed.presence[v, i]) / float(noise[v])
                left += weight * np.outer(lam, lam)
                right += weight * e * lam
        out[:, i] = np.linalg.solve(left, right)
    return out


def two_layers(seed, *, images=25, nodes=(9, 70)):
    """Return (observed, loadings, noise) of two layers, and mean displacements; a few nodes were dropped."""
    layers, means = [], []
    g = torch.Generator().manual_seed(50 + seed)
    for k, n in enumerate(nodes):
        observed, loadings, mean, _ = planted(seed + k, images=images, nodes=n)
        loadings[::5], observed.presence[::5] = 0, 0
        layers.append((observed, loadings, 0.0002 + 0.001 * torch.rand(n, generator=g)))
        means.append(mean)
    return layers, means


@pytest.mark.parametrize("nodes", [(9, 70), (9, 20)], ids=["more nodes than witnesses", "fewer"])
@pytest.mark.parametrize("with_means", [False, True])
def test_the_pose_of_an_image_is_that_of_a_dense_solve(with_means, nodes):
    layers, means = two_layers(1, nodes=nodes)
    mean = means if with_means else None
    np.testing.assert_allclose(
        pose_posterior(layers, mean=mean), slow_posterior(layers, mean), rtol=1e-3, atol=1e-4
    )


def test_fewer_witnesses_leave_the_pose_nearer_to_its_prior():
    layers, _ = two_layers(2)
    few, many = pose_posterior(layers, witnesses=2.0), pose_posterior(layers, witnesses=1e9)
    np.testing.assert_allclose(few, slow_posterior(layers, witnesses=2.0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(many, slow_posterior(layers, witnesses=1e9), rtol=1e-3, atol=1e-4)
    assert few.norm() < many.norm()


def test_an_image_in_which_nothing_was_seen_has_pose_zero():
    layers, _ = two_layers(3)
    for observed, _, _ in layers:
        observed.presence[:, [0, 11]] = 0
    pose = pose_posterior(layers)
    assert pose[:, [0, 11]].eq(0).all()
    assert pose[:, 1:11].ne(0).all()


@pytest.mark.parametrize("image", [0, 13])
def test_the_pose_of_an_image_does_not_depend_on_the_others(image):
    layers, means = two_layers(4)
    one = slice(image, image + 1)
    alone = [
        (Observed(o.displacement[..., one], o.presence[:, one]), lam, noise)
        for o, lam, noise in layers
    ]
    expected = pose_posterior(layers, mean=means)[:, one]
    np.testing.assert_allclose(pose_posterior(alone, mean=means), expected, rtol=1e-4, atol=1e-5)


def test_nodes_that_do_not_sway_have_no_say():
    layers, _ = two_layers(5)
    (observed, loadings, noise), second = layers
    still = Observed(
        torch.randn(6, 2, 25, generator=torch.Generator().manual_seed(0)), torch.ones(6, 25)
    )
    more = Observed(
        torch.cat([observed.displacement, still.displacement]),
        torch.cat([observed.presence, still.presence]),
    )
    padded = (
        more,
        torch.cat([loadings, torch.zeros(6, 2, DIMENSIONS)]),
        torch.cat([noise, torch.full((6,), 1e-5)]),
    )
    np.testing.assert_allclose(
        pose_posterior([padded, second]), pose_posterior(layers), rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("elements", [1, 500])
def test_the_size_of_chunks_does_not_change_the_pose(monkeypatch, elements):
    observed, *_ = planted(10, images=80)
    layers, means = two_layers(10)
    expected, posterior = fit_pose(observed, None), pose_posterior(layers, mean=means)
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    got = fit_pose(observed, None)
    np.testing.assert_allclose(
        sway(got[0], got[2]), sway(expected[0], expected[2]), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(pose_posterior(layers, mean=means), posterior, rtol=1e-4, atol=1e-5)


def test_sway_is_the_product_of_loadings_and_pose():
    g = torch.Generator().manual_seed(11)
    loadings, pose = torch.randn(4, 2, 3, generator=g), torch.randn(3, 5, generator=g)
    expected = np.zeros((4, 2, 5))
    for v, axis, k, i in np.ndindex(4, 2, 3, 5):
        expected[v, axis, i] += float(loadings[v, axis, k]) * float(pose[k, i])
    np.testing.assert_allclose(sway(loadings, pose), expected, rtol=1e-5, atol=1e-6)


def test_the_communality_is_the_share_of_a_nodes_variance_that_the_pose_explains():
    """Measured on places drawn from the model: variance of the sway over that of the place, both axes together."""
    g = torch.Generator().manual_seed(12)
    loadings, std = (
        0.05 * torch.randn(6, 2, 3, generator=g),
        0.02 + 0.1 * torch.rand(6, generator=g),
    )
    loadings[2] = 0
    pose = torch.randn(3, 40_000, generator=g)
    swayed = sway(loadings, pose)
    place = swayed + std[:, None, None] * torch.randn(swayed.shape, generator=g)
    got = communality(loadings, std)
    np.testing.assert_allclose(got, swayed.var(2).sum(1) / place.var(2).sum(1), atol=0.01)
    for v in range(6):
        explained = sum(float(x) ** 2 for x in loadings[v].flatten())
        assert float(got[v]) == pytest.approx(
            explained / (explained + 2 * float(std[v]) ** 2), rel=1e-5
        )
    assert got[2] == 0


@pytest.mark.parametrize(
    ("images", "expected"), [(1, 1), (29, 1), (30, 2), (239, 15), (240, 16), (10_000, 16)]
)
def test_a_dimension_for_each_fifteen_images_up_to_sixteen(images, expected):
    assert n_dimensions(images) == expected


# Placing.


SMALL = ((2, 3), (3, 2))  # channels, nodes per channel of the two layers
N_IMAGES, N_PEAKS = 12, 3


def small_model(seed=0):
    """Return peaks and models of two layers, with one dropped node each."""
    g = torch.Generator().manual_seed(seed)
    near, models = [], []
    for k, (channels, nodes) in enumerate(SMALL):
        shape = (channels, N_PEAKS, N_IMAGES)
        value = torch.randn(shape, generator=g).add(0.7).clamp_min(0) * 2
        near.append(
            ChannelPeaks(value, torch.rand(shape, generator=g), torch.rand(shape, generator=g))
        )
        place = 0.2 + 0.6 * torch.rand(2, channels, nodes, generator=g)
        log_weight = torch.full((channels, nodes), 0.2).log()
        log_weight[1, 1] = -torch.inf
        std = 0.08 + 0.08 * torch.rand(channels, nodes, generator=g)
        mixture = Mixture(place[0], place[1], std, log_weight, torch.full((channels,), 0.3).log())
        loadings = 0.08 * torch.randn(channels * nodes, 2, 2, generator=g)
        loadings[nodes + 1] = 0
        parents = None
        if k:
            index = torch.randint(SMALL[0][0] * SMALL[0][1], (channels * nodes, 3), generator=g)
            parents = Parents(
                index, torch.ones(index.shape), 0.4 * torch.rand(index.shape, generator=g)
            )
        models.append(LayerModel(mixture, loadings, parents))
    return near, models


def node_of(model, v):
    """Return mean place, std and loadings of a node, and whether it was not dropped."""
    mixture = model.mixture
    c, n = divmod(v, mixture.row.shape[1])
    mean = np.array([float(mixture.row[c, n]), float(mixture.col[c, n])])
    return (
        c,
        mean,
        float(mixture.std[c, n]),
        model.loadings[v].double().numpy(),
        bool(torch.isfinite(mixture.log_weight[c, n])),
    )


def slow_places(near, models, image, pose):
    """Return for one image {(layer, node): (expected place, place, evidence)}, node by node and peak by peak."""
    out = {}
    for k, (peaks, model) in enumerate(zip(near, models, strict=True)):
        for v in range(len(model.loadings)):
            c, mean, std, loadings, _ = node_of(model, v)
            expected = mean + loadings @ pose
            if model.parents is not None:
                for upper, weight in zip(
                    model.parents.index[v].tolist(), model.parents.weight[v].tolist(), strict=True
                ):
                    _, up_mean, _, up_loadings, _ = node_of(models[k - 1], upper)
                    expected = expected + weight * (
                        out[k - 1, upper][1] - up_mean - up_loadings @ pose
                    )
            total, moment = 0.0, np.zeros(2)
            for x in range(N_PEAKS):
                offset = (
                    np.array([float(peaks.row[c, x, image]), float(peaks.col[c, x, image])])
                    - expected
                )
                each = float(peaks.value[c, x, image]) * np.exp(-(offset @ offset) / 2 / std**2)
                total, moment = total + each, moment + each * offset
            out[k, v] = expected, expected + moment / (total + MISSING), total
    return out


def slow_pose(models, found):
    """Return the pose of one image from where the peaks alone see its nodes, by `slow_posterior`."""
    layers = []
    for k, model in enumerate(models):
        n = len(model.loadings)
        displacement, presence, noise = torch.zeros(n, 2, 1), torch.zeros(n, 1), torch.zeros(n)
        for v in range(n):
            _, mean, std, _, alive = node_of(model, v)
            expected, place, evidence = found[k, v]
            sure = evidence / (evidence + MISSING)
            displacement[v, :, 0] = torch.from_numpy(
                expected + (place - expected) / max(sure, 1e-6) - mean
            )
            presence[v, 0], noise[v] = sure * alive, std**2
        layers.append((Observed(displacement, presence), model.loadings, noise))
    return slow_posterior(layers)[:, 0]


@pytest.fixture(scope="module")
def small():
    near, models = small_model()
    return near, models, place_layers(near, models)


def test_places_are_those_of_a_loop_around_where_pose_and_parents_expect_them(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        found = slow_places(near, models, image, placed.pose[:, image].double().numpy())
        for (k, v), (expected, place, evidence) in found.items():
            here = placed.layers[k]
            np.testing.assert_allclose([here.row[v, image], here.col[v, image]], place, atol=1e-5)
            np.testing.assert_allclose(
                placed.shifts[k][v, :, image], expected - node_of(models[k], v)[1], atol=1e-5
            )
            assert float(here.evidence[v, image]) == pytest.approx(evidence, rel=1e-3, abs=1e-5)


def test_pose_and_places_are_found_in_turn(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        pose = np.zeros(2)
        for _ in range(ROUNDS):
            pose = slow_pose(models, slow_places(near, models, image, pose))
        np.testing.assert_allclose(placed.pose[:, image], pose, rtol=1e-3, atol=1e-3)


def test_scores_are_strength_of_evidence_times_how_well_the_object_is_explained(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        found = slow_places(near, models, image, placed.pose[:, image].double().numpy())
        weights, misfit = {}, 0.0
        for (k, v), (expected, place, evidence) in found.items():
            _, _, std, loadings, alive = node_of(models[k], v)
            sure, explained = evidence / (evidence + MISSING), (loadings**2).sum()
            weights[k, v] = alive * sure * explained / (explained + 2 * std**2)
            seen = expected + (place - expected) / max(sure, 1e-6)
            misfit += weights[k, v] * ((seen - expected) ** 2).sum() / 2 / std**2
        likelihood = np.exp(-misfit / sum(weights.values()))
        for (k, v), (_, _, evidence) in found.items():
            strength = evidence / (evidence + STRONG) * node_of(models[k], v)[4]
            assert float(placed.scores[k][v, image]) == pytest.approx(
                strength * likelihood, rel=1e-3, abs=1e-6
            )


def test_scores_lie_between_zero_and_one_and_dropped_nodes_have_none(small):
    _, models, placed = small
    for score, model in zip(placed.scores, models, strict=True):
        assert ((score >= 0) & (score <= 1)).all()
        assert score[~model.mixture.alive.flatten()].eq(0).all()
        assert score.max() > 0.1


@pytest.mark.parametrize("image", [0, 7])
def test_each_image_is_placed_as_if_it_were_alone(small, image):
    near, models, placed = small
    one = slice(image, image + 1)
    alone = place_layers(
        [ChannelPeaks(p.value[..., one], p.row[..., one], p.col[..., one]) for p in near], models
    )
    np.testing.assert_allclose(alone.pose, placed.pose[:, one], atol=1e-5)
    for a, b, s, t in zip(alone.layers, placed.layers, alone.scores, placed.scores, strict=True):
        np.testing.assert_allclose(a.row, b.row[:, one], atol=1e-6)
        np.testing.assert_allclose(a.col, b.col[:, one], atol=1e-6)
        np.testing.assert_allclose(s, t[:, one], atol=1e-6)


def test_without_a_peak_every_node_is_at_its_mean_place_in_pose_zero(small):
    near, models, _ = small
    silent = [ChannelPeaks(torch.zeros_like(p.value), p.row, p.col) for p in near]
    placed = place_layers(silent, models)
    assert placed.pose.eq(0).all()
    for places, score, model in zip(placed.layers, placed.scores, models, strict=True):
        np.testing.assert_allclose(
            places.row, model.mixture.row.flatten()[:, None].expand_as(places.row), atol=1e-6
        )
        np.testing.assert_allclose(
            places.col, model.mixture.col.flatten()[:, None].expand_as(places.col), atol=1e-6
        )
        assert score.eq(0).all()


@pytest.mark.parametrize("elements", [1, 100])
def test_the_size_of_chunks_does_not_change_the_places(small, monkeypatch, elements):
    near, models, placed = small
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    again = place_layers(near, models)
    np.testing.assert_allclose(again.pose, placed.pose, atol=1e-4)
    for a, b in zip(again.layers, placed.layers, strict=True):
        np.testing.assert_allclose(a.row, b.row, atol=1e-5)
