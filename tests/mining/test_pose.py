from dataclasses import replace

import numpy as np
import pytest
import torch

from explgraph.mining import mixture as module
from explgraph.mining.pose import (
    WITNESSES,
    Displaced,
    Witness,
    communality,
    fit_pose,
    n_dimensions,
    pose_posterior,
    sway,
)

DIMENSIONS, IMAGES, NODES = 3, 300, 60
NOISE, UNSEEN = 0.02, 0.3


def planted(seed, *, images=IMAGES, nodes=NODES):
    """Nodes that sway by 0.05 in 3 dimensions: observations, loadings, means and poses."""
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
    return Displaced(at, presence), loadings, mean, pose


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
    nothing = Displaced(torch.zeros(5, 2, images), torch.zeros(5, images))
    assert all(torch.isfinite(x).all() for x in fit_pose(nothing, None))


# The pose of an image.


def slow_posterior(layers, witnesses=WITNESSES):
    """Poses and covariances image by image: normal equations of all nodes by axis, in float64."""
    n_swaying = sum(
        any(float(x) != 0 for x in node.flatten()) for one in layers for node in one.loadings
    )
    tau = min(1, witnesses / max(n_swaying, 1))
    q, images = layers[0].loadings.shape[2], layers[0].displaced.presence.shape[1]
    out, covariance = np.zeros((q, images)), np.zeros((images, q, q))
    for i in range(images):
        left, right = np.eye(q), np.zeros(q)
        for one in layers:
            for v, axis in np.ndindex(len(one.loadings), 2):
                lam = one.loadings[v, axis].double().numpy()
                e = float(one.displaced.displacement[v, axis, i])
                e -= 0 if one.mean is None else float(one.mean[v, axis])
                weight = tau * float(one.displaced.presence[v, i]) / float(one.noise[v])
                left += weight * np.outer(lam, lam)
                right += weight * e * lam
        out[:, i], covariance[i] = np.linalg.solve(left, right), np.linalg.inv(left)
    return out, covariance


def two_layers(seed, *, images=25, nodes=(9, 70), with_means=False):
    """Two layers; a few of their nodes were dropped."""
    layers = []
    g = torch.Generator().manual_seed(50 + seed)
    for k, n in enumerate(nodes):
        observed, loadings, mean, _ = planted(seed + k, images=images, nodes=n)
        loadings[::5], observed.presence[::5] = 0, 0
        noise = 0.0002 + 0.001 * torch.rand(n, generator=g)
        layers.append(Witness(observed, loadings, noise, mean if with_means else None))
    return layers


@pytest.mark.parametrize("nodes", [(9, 70), (9, 20)], ids=["more nodes than witnesses", "fewer"])
@pytest.mark.parametrize("with_means", [False, True])
def test_the_pose_of_an_image_is_that_of_a_dense_solve(with_means, nodes):
    layers = two_layers(1, nodes=nodes, with_means=with_means)
    pose, covariance = pose_posterior(layers)
    expected, slow_covariance = slow_posterior(layers)
    np.testing.assert_allclose(pose, expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(covariance, slow_covariance, rtol=1e-3, atol=1e-4)


def test_fewer_witnesses_leave_the_pose_nearer_to_its_prior():
    layers = two_layers(2)
    (few, _), (many, _) = (pose_posterior(layers, witnesses=n) for n in (2.0, 1e9))
    np.testing.assert_allclose(few, slow_posterior(layers, witnesses=2.0)[0], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(many, slow_posterior(layers, witnesses=1e9)[0], rtol=1e-3, atol=1e-4)
    assert few.norm() < many.norm()


def test_an_image_in_which_nothing_was_seen_has_pose_zero():
    layers = two_layers(3)
    for one in layers:
        one.displaced.presence[:, [0, 11]] = 0
    pose, covariance = pose_posterior(layers)
    assert torch.equal(covariance[0], torch.eye(DIMENSIONS))
    assert pose[:, [0, 11]].eq(0).all()
    assert pose[:, 1:11].ne(0).all()


@pytest.mark.parametrize("image", [0, 13])
def test_the_pose_of_an_image_does_not_depend_on_the_others(image):
    layers = two_layers(4, with_means=True)
    at = slice(image, image + 1)
    alone = []
    for one in layers:
        displacement, presence = one.displaced.displacement[..., at], one.displaced.presence[:, at]
        alone.append(replace(one, displaced=Displaced(displacement, presence)))
    expected = pose_posterior(layers)[0][:, at]
    np.testing.assert_allclose(pose_posterior(alone)[0], expected, rtol=1e-4, atol=1e-5)


def test_nodes_that_do_not_sway_have_no_say():
    first, second = layers = two_layers(5)
    still = torch.randn(6, 2, 25, generator=torch.Generator().manual_seed(0))
    more = Displaced(
        torch.cat([first.displaced.displacement, still]),
        torch.cat([first.displaced.presence, torch.ones(6, 25)]),
    )
    loadings = torch.cat([first.loadings, torch.zeros(6, 2, DIMENSIONS)])
    padded = Witness(more, loadings, torch.cat([first.noise, torch.full((6,), 1e-5)]))
    np.testing.assert_allclose(
        pose_posterior([padded, second])[0], pose_posterior(layers)[0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("elements", [1, 500])
def test_the_size_of_chunks_does_not_change_the_pose(monkeypatch, elements):
    observed, *_ = planted(10, images=80)
    layers = two_layers(10, with_means=True)
    expected, posterior = fit_pose(observed, None), pose_posterior(layers)[0]
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    got = fit_pose(observed, None)
    np.testing.assert_allclose(
        sway(got[0], got[2]), sway(expected[0], expected[2]), rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(got[1], expected[1], rtol=0, atol=1e-4)
    np.testing.assert_allclose(pose_posterior(layers)[0], posterior, rtol=1e-4, atol=1e-5)


def test_sway_is_the_product_of_loadings_and_pose():
    g = torch.Generator().manual_seed(11)
    loadings, pose = torch.randn(4, 2, 3, generator=g), torch.randn(3, 5, generator=g)
    expected = np.zeros((4, 2, 5))
    for v, axis, k, i in np.ndindex(4, 2, 3, 5):
        expected[v, axis, i] += float(loadings[v, axis, k]) * float(pose[k, i])
    np.testing.assert_allclose(sway(loadings, pose), expected, rtol=1e-5, atol=1e-6)


def test_the_communality_is_the_share_of_a_nodes_variance_that_the_pose_explains():
    """On places drawn from the model: variance of the sway over that of the place."""
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
