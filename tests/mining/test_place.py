"""Where nodes are, given models of two layers, against loops over nodes and peaks."""

import numpy as np
import pytest
import torch

from explgraph.mining import mixture as module
from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.parents import Parents
from explgraph.mining.place import MISSING, ROUNDS, STRONG, LayerModel, place_layers
from explgraph.mining.pose import WITNESSES

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
        mean = 0.2 + 0.6 * torch.rand(2, channels, nodes, generator=g).movedim(0, 2)
        log_weight = torch.full((channels, nodes), 0.2).log()
        log_weight[1, 1] = -torch.inf
        std = 0.08 + 0.08 * torch.rand(channels, nodes, generator=g)
        mixture = Mixture(mean, std, log_weight, torch.full((channels,), 0.3).log())
        loadings = 0.08 * torch.randn(channels * nodes, 2, 2, generator=g)
        loadings[nodes + 1] = 0
        parents = None
        if k:
            index = torch.randint(SMALL[0][0] * SMALL[0][1], (channels * nodes, 3), generator=g)
            weight = 0.4 * torch.rand(index.shape, generator=g)
            parents = Parents(index, torch.ones(index.shape), weight, torch.zeros(index.shape))
        models.append(LayerModel(mixture, loadings, parents))
    return near, models


def node_of(model, v):
    """Return mean place, std and loadings of a node, and whether it was not dropped."""
    mixture = model.mixture
    c, n = divmod(v, mixture.mean.shape[1])
    return (
        c,
        mixture.mean[c, n].double().numpy(),
        float(mixture.std[c, n]),
        model.loadings[v].double().numpy(),
        bool(torch.isfinite(mixture.log_weight[c, n])),
    )


def slow_places(near, models, image, pose, covariance):
    """{(layer, node): (expected place, place, evidence)} of one image, peak by peak."""
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
            variance = std**2 + np.trace(loadings @ covariance @ loadings.T) / 2
            total, moment = 0.0, np.zeros(2)
            for x in range(N_PEAKS):
                offset = (
                    np.array([float(peaks.row[c, x, image]), float(peaks.col[c, x, image])])
                    - expected
                )
                each = float(peaks.value[c, x, image]) * np.exp(-(offset @ offset) / 2 / variance)
                total, moment = total + each, moment + each * offset
            out[k, v] = expected, expected + moment / (total + MISSING), total
    return out


def slow_pose(models, found):
    """Pose and covariance of one image, given where the peaks alone place its nodes."""
    q = models[0].loadings.shape[2]
    swaying = sum(bool(loadings.any()) for model in models for loadings in model.loadings)
    left, right = np.eye(q), np.zeros(q)
    for (k, v), (expected, place, evidence) in found.items():
        _, mean, std, loadings, alive = node_of(models[k], v)
        sure = evidence / (evidence + MISSING)
        moved = expected + (place - expected) / max(sure, 1e-6) - mean
        weight = min(1, WITNESSES / swaying) * sure * alive / std**2
        left += weight * loadings.T @ loadings
        right += weight * loadings.T @ moved
    return np.linalg.solve(left, right), np.linalg.inv(left)


def slow_layers(near, models, image):
    """What `slow_places` finds in one image, and its pose: found in turn."""
    pose, covariance = np.zeros(2), np.eye(2)
    for _ in range(ROUNDS):
        pose, covariance = slow_pose(models, slow_places(near, models, image, pose, covariance))
    return slow_places(near, models, image, pose, covariance), pose


@pytest.fixture(scope="module")
def small():
    near, models = small_model()
    return near, models, place_layers(near, models)


def test_places_are_those_of_a_loop_around_where_pose_and_parents_expect_them(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        found, _ = slow_layers(near, models, image)
        for (k, v), (expected, place, evidence) in found.items():
            here = placed.layers[k]
            np.testing.assert_allclose(here.place[v, :, image], place, atol=1e-5)
            centres = placed.expected[k].centres().flatten(0, 1)
            np.testing.assert_allclose(centres[v, :, image], expected, atol=1e-5)
            assert float(here.evidence[v, image]) == pytest.approx(evidence, rel=1e-3, abs=1e-5)


def test_pose_and_places_are_found_in_turn(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        _, pose = slow_layers(near, models, image)
        np.testing.assert_allclose(placed.pose[:, image], pose, rtol=1e-3, atol=1e-3)


def test_scores_are_strength_of_evidence_times_how_well_the_object_is_explained(small):
    near, models, placed = small
    for image in range(N_IMAGES):
        found, _ = slow_layers(near, models, image)
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
        np.testing.assert_allclose(a.place, b.place[..., one], atol=1e-6)
        np.testing.assert_allclose(s, t[:, one], atol=1e-6)


def test_without_a_peak_every_node_is_at_its_mean_place_in_pose_zero(small):
    near, models, _ = small
    silent = [ChannelPeaks(torch.zeros_like(p.value), p.row, p.col) for p in near]
    placed = place_layers(silent, models)
    assert placed.pose.eq(0).all()
    for places, score, model in zip(placed.layers, placed.scores, models, strict=True):
        mean = model.mixture.mean.flatten(0, 1)[..., None].expand_as(places.place)
        np.testing.assert_allclose(places.place, mean, atol=1e-6)
        assert score.eq(0).all()


@pytest.mark.parametrize("elements", [1, 100])
def test_the_size_of_chunks_does_not_change_the_places(small, monkeypatch, elements):
    near, models, placed = small
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", elements)
    again = place_layers(near, models)
    np.testing.assert_allclose(again.pose, placed.pose, atol=1e-4)
    for a, b in zip(again.layers, placed.layers, strict=True):
        np.testing.assert_allclose(a.place, b.place, atol=1e-5)
