"""The pose of an object: what the places of all its nodes vary with together.

The published top layer hangs on one virtual parent V_dummy that never moves. Here it moves: every
node of every layer is expected at

    m_V(I) = mu_V + Lambda_V t(I),   t(I) ~ N(0, 1) in q dimensions, one t for the whole object,

a factor analysis of the nodes' places (the point distribution model of Cootes et al. 1995, with
missing points and a noise variance of its own for each node). The loadings Lambda_V say how a node
sways when the object turns, stretches or bends. The share of a node's variance that they explain
is its communality. Measured: docs/mining-notes.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.mining.mixture import chunks

Loadings = Float[Tensor, "node 2 pose"]
Poses = Float[Tensor, "pose image"]
Covariance = Float[Tensor, "image pose pose"]

DIMENSIONS = 16  # q at most
IMAGES_PER_DIMENSION = 15  # measured: more dimensions overfit below 200 images
ROUNDS = 8  # of alternating least squares; later fits start from the pose before and take half
RIDGE = 5.0  # weight of the prior "loadings are 0", in images
# Many channels respond to the same peak: together the nodes count as so many independent ones.
WITNESSES = 50.0
OVERSAMPLING = 8  # of the random subspace, as usual [Halko et al. 2011: 5 or 10]


@dataclass(frozen=True)
class Displaced:
    """How far the nodes of a layer lie from their mean places, and how surely.

    Args:
        displacement: place minus mu_V, fractions.
        presence: 0..1; 0 where a node was dropped.
    """

    displacement: Float[Tensor, "node 2 image"]
    presence: Float[Tensor, "node image"]


@dataclass(frozen=True)
class Witness:
    """What a layer says about the pose.

    Args:
        displaced: where the peaks alone place its nodes.
        loadings: Lambda_V.
        noise: s_V^2 per axis.
        mean: displacement at pose 0; None = 0.
    """

    displaced: Displaced
    loadings: Loadings
    noise: Float[Tensor, " node"]
    mean: Float[Tensor, "node 2"] | None = None


def n_dimensions(n_images: int) -> int:
    """The dimensions q of the pose for a number of images.

    >>> n_dimensions(90), n_dimensions(260), n_dimensions(5)
    (6, 16, 1)
    """
    return max(1, min(DIMENSIONS, n_images // IMAGES_PER_DIMENSION))


def fit_pose(
    displaced: Displaced, pose: Poses | None, *, seed: int = 0
) -> tuple[Loadings, Float[Tensor, "node 2"], Poses]:
    """The loadings and mean displacements of the nodes, and the poses of the images.

    Alternates two weighted least-squares problems: the loadings of each node given the poses
    (ridge: loadings ~ 0 by RIDGE images), and the pose of each image given the loadings (prior
    t ~ N(0, 1), see `pose_posterior`). Poses have mean 0 and variance 1 over images.

    Args:
        displaced: where the peaks alone place the nodes of all layers.
        pose: poses to start from; None = the leading principal components of the displacements.
        seed: of the random start of the principal components.
    """
    n_rounds = ROUNDS // 2
    if pose is None:
        n_rounds = ROUNDS
        pose = _principal_components(displaced, n_dimensions(displaced.presence.shape[1]), seed)
    for _ in range(n_rounds):
        pose = standardised(pose)
        loadings, mean, noise = regress(displaced, pose)
        pose, _ = pose_posterior([Witness(displaced, loadings, noise, mean)])
    pose = standardised(pose)
    loadings, mean, _ = regress(displaced, pose)
    return loadings, mean, pose


def pose_posterior(
    layers: Sequence[Witness], *, witnesses: float = WITNESSES
) -> tuple[Poses, Covariance]:
    """The expectation and the covariance of t(I) given where the nodes are.

    (1 + tau sum_V w_V Lambda_V' Lambda_V / s_V^2) t
        = tau sum_V w_V Lambda_V' (e_V - mean_V) / s_V^2

    with w_V the presence and tau = min(1, witnesses / number of nodes). The inverse of the matrix
    on the left is the covariance.
    """
    # Counted by loadings, not by presence: the same for one image as for many.
    n_nodes = sum(int(one.loadings.any(2).any(1).sum()) for one in layers)
    tau = min(1.0, witnesses / max(n_nodes, 1))
    q, n_images = layers[0].loadings.shape[2], layers[0].displaced.presence.shape[1]
    # The prior N(0, 1): an image that shows no node gets pose 0.
    precision = torch.eye(q, device=layers[0].loadings.device).repeat(n_images, 1, 1)
    right = torch.zeros(n_images, q, device=precision.device)
    for one in layers:
        for part in chunks(len(one.loadings), 4 * n_images):
            lam = one.loadings[part]
            weight = tau * one.displaced.presence[part] / one.noise[part, None]
            e = one.displaced.displacement[part]
            if one.mean is not None:
                e = e - one.mean[part, :, None]
            # All images in one matrix product: Lambda' Lambda is the same for each of them.
            square = (lam.transpose(1, 2) @ lam).flatten(1)
            precision += (weight.T @ square).reshape(n_images, q, q)
            weighted = (e * weight[:, None]).flatten(0, 1)
            right += weighted.T @ lam.flatten(0, 1)
    pose: Poses = torch.linalg.solve(precision, right[..., None])[..., 0].T.contiguous()
    return pose, torch.linalg.inv(precision)


def leading_axes(
    loadings: Loadings, noise: Float[Tensor, " node"], pose: Poses, q: int
) -> Float[Tensor, "axis image"]:
    """The q directions of pose along which the nodes sway most, each in its own noise.

    Args:
        loadings: of the nodes; 0 for dropped ones.
        noise: s_V^2 per axis.
        pose: of the images.
        q: how many; with 0 one axis of zeros.
    """
    if q == 0:
        return torch.zeros_like(pose[:1])
    each = (loadings / noise.sqrt()[:, None, None]).flatten(0, 1)
    spread = torch.linalg.cholesky(pose @ pose.T / pose.shape[1] + 1e-6 * _eye(pose))
    # What the nodes' movement is worth along the whitened axes of the poses.
    power = spread.T @ (each.T @ each) @ spread
    axes = torch.linalg.eigh(power)[1].flip(1)[:, :q]  # eigenvalues ascend
    return standardised(axes.T @ torch.linalg.solve_triangular(spread, pose, upper=False))


def _eye(pose: Poses) -> Float[Tensor, "pose pose"]:
    return torch.eye(len(pose), device=pose.device)


def sway(loadings: Loadings, pose: Poses) -> Float[Tensor, "node 2 image"]:
    """The movement Lambda_V t(I)."""
    moved: Float[Tensor, "node 2 image"] = (loadings.flatten(0, 1) @ pose).unflatten(0, (-1, 2))
    return moved


def openness(loadings: Loadings, covariance: Covariance) -> Float[Tensor, "node image"]:
    """The variance per axis of the movement Lambda_V t(I) that is left open: tr(L C L') / 2.

    >>> openness(torch.full((1, 2, 1), 0.1), torch.ones(3, 1, 1))
    tensor([[0.0100, 0.0100, 0.0100]])
    """
    square = (loadings.transpose(1, 2) @ loadings).flatten(1)
    return square @ covariance.flatten(1).T / 2


def communality(loadings: Loadings, std: Float[Tensor, " node"]) -> Float[Tensor, " node"]:
    """The share of a node's variance that the pose explains.

    |Lambda_V|^2 / (|Lambda_V|^2 + 2 sigma_V^2)

    >>> communality(torch.full((1, 2, 1), 0.1), torch.tensor([0.1]))
    tensor([0.5000])
    """
    explained = loadings.square().sum((1, 2))
    return explained / (explained + 2 * std.square())


def regress(
    displaced: Displaced, pose: Poses
) -> tuple[Loadings, Float[Tensor, "node 2"], Float[Tensor, " node"]]:
    """The loadings, mean displacements and residual variances per axis."""
    q, n_images = pose.shape
    design = torch.cat([pose, torch.ones(1, n_images, device=pose.device)])
    pairs = (design[:, None] * design).reshape(-1, n_images)
    # The mean displacement has no prior; 1e-3 keeps the equations of an unseen node regular.
    ridge = torch.diag(torch.tensor([RIDGE] * q + [1e-3], device=pose.device))
    parts = []
    for part in chunks(len(displaced.presence), 4 * n_images):
        e, weight = displaced.displacement[part], displaced.presence[part]
        normal = (weight @ pairs.T).unflatten(1, (q + 1, q + 1)) + ridge
        weighted = (e * weight[:, None]).flatten(0, 1)
        right = (weighted @ design.T).unflatten(0, (-1, 2))
        solved = torch.linalg.solve(normal, right.transpose(1, 2))
        loadings, mean = solved[:, :q].transpose(1, 2).contiguous(), solved[:, q]
        left = e - sway(loadings, pose) - mean[..., None]
        residual = left.square().sum(1)
        noise = (residual * weight).sum(1) / (2 * weight.sum(1)).clamp_min(1e-6)
        # At least 0.3% of the input per axis: a node found in one image fits it perfectly.
        parts.append((loadings, mean, noise + 1e-5))
    loadings, mean, noise = (torch.cat(t) for t in zip(*parts, strict=True))
    return loadings, mean, noise


def _principal_components(displaced: Displaced, q: int, seed: int) -> Poses:
    """The q leading right singular vectors of the weighted displacements, nodes at unit scale.

    By subspace iteration, so that time grows linearly with images and nodes. (torch.svd_lowrank
    is no faster at the same precision and starts from the global generator: measured.)
    """
    weight = displaced.presence
    total = weight.sum(1).clamp_min(1e-6)
    mean = (displaced.displacement * weight[:, None]).sum(2) / total[:, None]
    # Weighted by presence: a missing point counts as one at the mean.
    centred = (displaced.displacement - mean[..., None]) * weight[:, None]
    variance = centred.square().sum((1, 2)) / total / 2
    scale = variance.sqrt().clamp_min(0.005)
    matrix = (centred / scale[:, None, None]).flatten(0, 1)
    n_images = matrix.shape[1]
    generator = torch.Generator().manual_seed(seed)
    n_basis = min(q + OVERSAMPLING, n_images)
    basis = torch.randn(n_images, n_basis, generator=generator).to(matrix)
    # 8 rounds capture 99.9% of the variance of the exact components (docs/mining-notes.md).
    for _ in range(8):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis))[0]
    right = torch.linalg.svd(matrix @ basis, full_matrices=False)[2]
    pose: Poses = (basis @ right[:q].T).T.contiguous()
    return pose


def standardised(pose: Poses) -> Poses:
    """The poses with mean 0 and variance 1 over the images.

    >>> standardised(torch.tensor([[1.0, 3.0]]))
    tensor([[-1.,  1.]])
    """
    centred = pose - pose.mean(1, keepdim=True)
    return centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
