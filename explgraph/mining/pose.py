"""The pose of an object: what the places of all its nodes vary with together.

The published top layer hangs on one virtual parent V_dummy that never moves. Here it moves: every node of every layer is expected at

    m_V(I) = mu_V + Lambda_V t(I),   t(I) ~ N(0, 1) in q dimensions, one t for the whole object,

a factor analysis of the nodes' places (the point distribution model of Cootes et al. 1995, with missing points and a noise variance
of its own for each node). The loadings Lambda_V say how a node sways when the object turns, stretches or bends; the share of a
node's variance that they explain is its communality. Measured: docs/mining-notes.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explgraph.mining.mixture import chunks

DIMENSIONS = 16  # q at most
IMAGES_PER_DIMENSION = (
    15  # a dimension for each so many images (measured: more overfit below 200 images)
)
ROUNDS = 8  # of alternating least squares; later fits start from the pose before and take fewer
RIDGE = 5.0  # weight of the prior "loadings are 0", in images
WITNESSES = (
    50.0  # nodes see one another's peaks: all together count as so many independent ones at most
)
OVERSAMPLING = 8


@dataclass(frozen=True)
class Observed:
    """Where the peaks alone see the nodes of a layer, relative to their mean places.

    Args:
        displacement: evidence-weighted mean of the peaks' places minus mu_V, (node, 2, image), fractions.
        presence: how surely the node was seen, (node, image), 0..1; 0 for nodes that were dropped.
    """

    displacement: Tensor
    presence: Tensor


def n_dimensions(n_images: int) -> int:
    """Return q for a number of images.

    >>> n_dimensions(90), n_dimensions(260), n_dimensions(5)
    (6, 16, 1)
    """
    return max(1, min(DIMENSIONS, n_images // IMAGES_PER_DIMENSION))


def fit_pose(
    observed: Observed, pose: Tensor | None, *, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return loadings (node, 2, q), mean displacement (node, 2) and the poses of the images (q, image).

    Alternates two weighted least-squares problems: the loadings of each node given the poses (ridge: loadings ~ 0 by RIDGE images), and
    the pose of each image given the loadings (prior t ~ N(0, 1); see `pose_posterior`). Poses have mean 0 and variance 1 over images.

    Args:
        observed: of all nodes of all layers.
        pose: poses to start from; None = the leading principal components of the presence-weighted displacements.
        seed: of the random start of the principal components.
    """
    n_images = observed.presence.shape[1]
    fresh = pose is None
    if pose is None:
        pose = _principal_components(observed, n_dimensions(n_images), seed)
    for _ in range(ROUNDS if fresh else ROUNDS // 2):
        pose = _standardised(pose)
        loadings, mean, noise = _regress(observed, pose)
        pose = pose_posterior([(observed, loadings, noise)], mean=[mean])
    pose = _standardised(pose)
    loadings, mean, _ = _regress(observed, pose)
    return loadings, mean, pose


def pose_posterior(
    layers: list[tuple[Observed, Tensor, Tensor]],
    *,
    mean: list[Tensor] | None = None,
    witnesses: float = WITNESSES,
) -> Tensor:
    """Return E[t(I)] given where the nodes were seen, (q, image).

    (1 + tau sum_V w_V Lambda_V' Lambda_V / s_V^2) t = tau sum_V w_V Lambda_V' (e_V - mean_V) / s_V^2, with w_V the presence and
    tau = min(1, WITNESSES / number of nodes): many channels see the same peak, so nodes are no independent witnesses.

    Args:
        layers: for each what was observed, the loadings (node, 2, q) and the noise variance s_V^2 per axis (node,).
        mean: displacement at pose 0, (node, 2) per layer; None = 0.
        witnesses: as above.
    """
    n_nodes = sum(
        int(loadings.any(2).any(1).sum()) for _, loadings, _ in layers
    )  # the same for one image as for many
    tau = min(1.0, witnesses / max(n_nodes, 1))
    q, n_images = layers[0][1].shape[2], layers[0][0].presence.shape[1]
    precision = torch.eye(q, device=layers[0][1].device).repeat(n_images, 1, 1)
    right = torch.zeros(n_images, q, device=precision.device)
    for i, (observed, loadings, noise) in enumerate(layers):
        for part in chunks(len(loadings), 4 * n_images):
            lam, weight = loadings[part], tau * observed.presence[part] / noise[part, None]
            e = (
                observed.displacement[part]
                if mean is None
                else observed.displacement[part] - mean[i][part, :, None]
            )
            square = (lam.transpose(1, 2) @ lam).flatten(1)
            precision += (weight.T @ square).reshape(n_images, q, q)
            right += (e * weight[:, None]).flatten(0, 1).T @ lam.flatten(0, 1)
    pose: Tensor = torch.linalg.solve(precision, right[..., None])[..., 0].T.contiguous()
    return pose


def sway(loadings: Tensor, pose: Tensor) -> Tensor:
    """Return Lambda_V t(I), (node, 2, image)."""
    moved: Tensor = (loadings.flatten(0, 1) @ pose).unflatten(0, (-1, 2))
    return moved


def communality(loadings: Tensor, std: Tensor) -> Tensor:
    """Return the share of each node's variance that the pose explains, (node,): |Lambda_V|^2 / (|Lambda_V|^2 + 2 sigma_V^2)."""
    explained = loadings.square().sum((1, 2))
    return explained / (explained + 2 * std.square())


def _regress(observed: Observed, pose: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return loadings (node, 2, q), mean displacement (node, 2) and residual variance per axis (node,)."""
    q, n_images = pose.shape
    design = torch.cat([pose, torch.ones(1, n_images, device=pose.device)])
    pairs = (design[:, None] * design).reshape(-1, n_images)
    ridge = torch.diag(torch.tensor([RIDGE] * q + [1e-3], device=pose.device))
    parts = []
    for part in chunks(len(observed.presence), 4 * n_images):
        e, weight = observed.displacement[part], observed.presence[part]
        normal = (weight @ pairs.T).unflatten(1, (q + 1, q + 1)) + ridge
        right = (
            ((e * weight[:, None]).flatten(0, 1) @ design.T).unflatten(0, (-1, 2)).transpose(1, 2)
        )
        solved = torch.linalg.solve(normal, right)
        loadings, mean = solved[:, :q].transpose(1, 2).contiguous(), solved[:, q]
        residual = (e - sway(loadings, pose) - mean[..., None]).square().sum(1)
        noise = (residual * weight).sum(1) / (2 * weight.sum(1)).clamp_min(1e-6)
        parts.append((loadings, mean, noise + 1e-5))
    loadings, mean, noise = (torch.cat(t) for t in zip(*parts, strict=True))
    return loadings, mean, noise


def _principal_components(observed: Observed, q: int, seed: int) -> Tensor:
    """Return the q leading right singular vectors of the weighted displacements, each node at unit scale, (q, image).

    By subspace iteration, so that time grows linearly with images and nodes.
    """
    weight = observed.presence
    total = weight.sum(1).clamp_min(1e-6)
    mean = (observed.displacement * weight[:, None]).sum(2) / total[:, None]
    centred = (observed.displacement - mean[..., None]) * weight[:, None]
    scale = (centred.square().sum((1, 2)) / total / 2).sqrt().clamp_min(0.005)
    matrix = (centred / scale[:, None, None]).flatten(0, 1)
    n_images = matrix.shape[1]
    generator = torch.Generator().manual_seed(seed)
    basis = torch.randn(n_images, min(q + OVERSAMPLING, n_images), generator=generator).to(matrix)
    for _ in range(8):
        basis = torch.linalg.qr(matrix.T @ (matrix @ basis))[0]
    _, _, right = torch.linalg.svd(matrix @ basis, full_matrices=False)
    components: Tensor = (basis @ right[:q].T).T.contiguous()
    return components


def _standardised(pose: Tensor) -> Tensor:
    centred = pose - pose.mean(1, keepdim=True)
    standard: Tensor = centred / centred.square().mean(1, keepdim=True).sqrt().clamp_min(1e-6)
    return standard
