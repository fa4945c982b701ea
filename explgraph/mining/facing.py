"""Facing, the largest single source of variance, resolved without labels.

Every object comes with the maps of its image (facing 0) and of its mirror image (facing 1); the latent z_I says which of the two
shows the object in the common facing. What decides is the *profile* of each map, its activation summed over the rows: a head is left or
right of the body whether it grazes or looks up, while a map with rows takes the rump of a grazing horse for the neck of one that
looks up (measured: docs/mining-notes.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from explgraph.peaks import COLUMNS, LayerPeaks

SHARPNESS = (
    5.0  # of the kernel exp(SHARPNESS cos): how much more near neighbours count than far ones
)
RIDGE = 1.0  # of both regressions, in units of one image's own kernel value
N_ITERATIONS = 50
N_REFERENCE = 1000  # images among which the facing is found; more are classified by the model learnt from these
ROUNDING = 1e-5  # relative difference of two float32 sums that is none
BANDWIDTH = 0.1  # of a peak where only peaks are known, fraction of the input


@dataclass(frozen=True)
class FacingModel:
    """A linear function of the profiles, antisymmetric under mirroring, that tells the two facings apart.

    Args:
        weight: (channel, COLUMNS) per layer; z_I = mirrored where sum of weight * (profile of facing 0 - profile of facing 1) < 0.
        flipped: whether flipped maps stood in for mirror images.
    """

    weight: Mapping[str, Tensor]
    flipped: bool

    def mirrored(self, layers: Sequence[LayerPeaks]) -> Tensor:
        """Return z_I, (image,) bool; where both facings look alike, or only one is there, the flag stays "not mirrored"."""
        value = layers[0].value
        margin, size = torch.zeros(2, value.shape[3], dtype=torch.float64, device=value.device)
        if layers[0].n_facings == 1:
            return torch.zeros(value.shape[3], dtype=torch.bool, device=value.device)
        for peaks in layers:
            weight = self.weight[peaks.layer.name].to(value.device).double()
            profile = profile_of(peaks)
            one, other = (torch.einsum("ck,cki->i", weight, p.double()) for p in profile)
            margin += one - other
            size += torch.einsum("ck,cki->i", weight.abs(), profile.abs().sum(0).double())
        decided: Tensor = margin < -ROUNDING * size
        return decided

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; numbers come back bit by bit."""
        return {
            "flipped": self.flipped,
            "weight": {name: w.double().tolist() for name, w in self.weight.items()},
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FacingModel:
        """Return the model of `to_dict`."""
        return cls(
            {name: torch.tensor(w, dtype=torch.float32) for name, w in plain["weight"].items()},
            plain["flipped"],
        )


def resolve_facing(
    layers: Sequence[LayerPeaks], *, flipped: bool = False, seed: int = 0
) -> tuple[FacingModel, Tensor]:
    """Return the facing model of a set of images, and which images to mirror so that all face the same way, (image,) bool.

    D_I, the difference between the profiles of an image and of its mirror image, changes its sign under mirroring, and so does the kernel

        K_IJ = k(a_I, a_J) + k(b_I, b_J) - k(a_I, b_J) - k(b_I, a_J),   k = exp(SHARPNESS cos)

    with a the profiles of the image and b those of its mirror image. The sign of K's leading eigenvector splits the images by facing;
    then each image takes the sign that the *others* give it (leave-one-out kernel ridge regression on the signs, until nothing
    changes), so that near neighbours decide, pose by pose. A linear ridge regression on D_I learns the result for images to come.

    Args:
        layers: peaks of both facings, any number of layers.
        flipped: noted in the model.
        seed: of the choice of reference images, where there are more than N_REFERENCE.
    """
    n_images = layers[0].n_images
    chosen = torch.randperm(n_images, generator=torch.Generator().manual_seed(seed))[
        :N_REFERENCE
    ].sort()[0]
    profiles = [profile_of(peaks)[..., chosen.to(peaks.value.device)] for peaks in layers]
    scales, features = [], []
    for profile in profiles:
        difference = _difference(profile)
        scale = difference.square().mean((1, 2), keepdim=True).sqrt() + 1e-6
        scales.append(scale)
        features.append(
            (profile / scale).flatten(1, 2).transpose(1, 2)
        )  # facing, image, channel * COLUMNS
    both = torch.cat(features, 2)
    sign = _leave_one_out(_kernel(both))
    antisymmetric = torch.cat(
        [(_difference(p) / s).flatten(0, 1) for p, s in zip(profiles, scales, strict=True)]
    ).T
    length = antisymmetric.norm(dim=1, keepdim=True)
    weight = _linear_rule(antisymmetric / length.clamp_min(1e-9), sign)
    if _mostly_mirrored((antisymmetric @ weight) < 0):
        weight = -weight
    weights, start = {}, 0
    for peaks, scale in zip(layers, scales, strict=True):
        n = peaks.n_channels * COLUMNS
        weights[peaks.layer.name] = (
            weight[start : start + n].reshape(-1, COLUMNS) / scale[..., 0]
        ).cpu()
        start += n
    model = FacingModel(weights, flipped)
    return model, model.mirrored(layers)


def profile_of(peaks: LayerPeaks) -> Tensor:
    """Return the profiles, (facing, channel, COLUMNS, image); where only peaks are known, those of the peaks, blurred."""
    if peaks.profile is not None:
        return peaks.profile
    axis = ((torch.arange(COLUMNS) + 0.5) / COLUMNS).tolist()
    window = lambda at: torch.exp((peaks.col - at).square() * (-0.5 / BANDWIDTH**2))
    return torch.stack([(window(at) * peaks.value).sum(2) for at in axis], 2)


def _difference(profile: Tensor) -> Tensor:
    """Return D, (channel, COLUMNS, image); rounding is no difference: scaled up it would split images that are symmetric."""
    difference = profile[0] - profile[1]
    visible: Tensor = difference.masked_fill(
        difference.abs() < ROUNDING * (profile[0] + profile[1]), 0.0
    )
    return visible


def _kernel(features: Tensor) -> Tensor:
    """Return K with a diagonal of 1, (image, image) float64; features (facing, image, feature)."""
    both = features.flatten(0, 1)
    both = both - both.mean(0)
    both = both / both.norm(dim=1, keepdim=True).clamp_min(1e-9)
    similar = (both @ both.T).double().mul_(SHARPNESS).exp_()
    n = features.shape[1]
    kernel = similar[:n, :n] + similar[n:, n:] - similar[:n, n:] - similar[n:, :n]
    size = kernel.diagonal().clamp_min(0).sqrt()
    size = torch.where(
        size > ROUNDING, size, torch.inf
    )  # its own mirror image: says nothing about others
    normalised: Tensor = kernel / size[:, None] / size
    return normalised


def _leave_one_out(kernel: Tensor) -> Tensor:
    """Return a sign for each image that agrees with what kernel ridge regression on the others' signs says, (image,) float64."""
    sign = _sign(torch.linalg.eigh(kernel)[1][:, -1])
    smoother = kernel @ torch.linalg.inv(
        kernel + RIDGE * torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
    )
    own = smoother.diagonal()
    for _ in range(N_ITERATIONS):
        new = _sign((smoother @ sign - own * sign) / (1 - own))
        if torch.equal(new, sign):
            break
        sign = new
    return sign


def _linear_rule(antisymmetric: Tensor, sign: Tensor) -> Tensor:
    """Return the weights of linear ridge regression on signs, (feature,), by way of the Gram matrix."""
    gram = (antisymmetric @ antisymmetric.T).double()
    dual = torch.linalg.solve(
        gram + RIDGE * torch.eye(len(gram), device=gram.device, dtype=gram.dtype), sign
    )
    weight: Tensor = antisymmetric.T @ dual.to(antisymmetric)
    return weight


def _sign(x: Tensor) -> Tensor:
    return torch.where(x < 0, -1.0, 1.0).to(torch.float64)


def _mostly_mirrored(mirrored: Tensor) -> bool:
    """Return whether the complement of the flags, which says the same, mirrors fewer images (or not the first one, in a tie)."""
    twice = 2 * int(mirrored.sum())
    return twice > len(mirrored) or (twice == len(mirrored) and bool(mirrored[0]))
