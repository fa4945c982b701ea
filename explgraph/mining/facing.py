"""Facing, the largest single source of variance, resolved without labels.

Every object comes with the maps of its image (facing 0) and of its mirror image (facing 1). The
latent z_I says which of the two shows the object in the common facing. What decides is the
*profile* of each map, its activation summed over the rows: a head is left or right of the body
whether it grazes or looks up. A map with rows takes the rump of a grazing horse for the neck of
one that looks up (measured: docs/mining-notes.md).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from explgraph.peaks import COLUMNS, LayerPeaks

Profile = Float[Tensor, "facing channel column image"]
Kernel = Float64[Tensor, "image image"]
Signs = Float64[Tensor, " image"]

SHARPNESS = 5.0  # of the kernel exp(SHARPNESS cos): how much near neighbours count before far ones
RIDGE = 1.0  # of both regressions, in units of one image's own kernel value
N_ITERATIONS = 50
N_REFERENCE = 1000  # images among which the facing is found; the model learnt classifies the rest
ROUNDING = 1e-5  # relative difference of two float32 sums that means nothing
BANDWIDTH = 0.1  # of a peak where only peaks are known, fraction of the input


@dataclass(frozen=True)
class FacingModel:
    """A linear function of the profiles, antisymmetric under mirroring, that tells the facings.

    z_I = mirrored where the sum of weight * (profile of facing 0 - profile of facing 1) < 0.

    Args:
        weight: (channel, column) per layer.
        flipped: whether flipped maps stood in for mirror images.
    """

    weight: Mapping[str, Float[Tensor, "_ column"]]
    flipped: bool

    def mirrored(self, layers: Sequence[LayerPeaks]) -> Bool[Tensor, " image"]:
        """The flags z_I; False where both facings look alike, or only one is there."""
        value = layers[0].value
        if layers[0].n_facings == 1:
            return torch.zeros(value.shape[3], dtype=torch.bool, device=value.device)
        margin, size = torch.zeros(2, value.shape[3], dtype=torch.float64, device=value.device)
        for peaks in layers:
            weight = self.weight[peaks.layer.name].to(value.device).double()
            profile = profile_of(peaks)
            one, other = (torch.einsum("ck,cki->i", weight, p.double()) for p in profile)
            margin += one - other
            # What the sums would be without cancellation: the measure of their rounding.
            both = profile.abs().sum(0).double()
            size += torch.einsum("ck,cki->i", weight.abs(), both)
        mirrored: Bool[Tensor, " image"] = margin < -ROUNDING * size
        return mirrored

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers come back bit by bit."""
        weight = {name: w.double().tolist() for name, w in self.weight.items()}
        return {"flipped": self.flipped, "weight": weight}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FacingModel:
        """The model of `to_dict`.

        >>> plain = {"flipped": False, "weight": {"conv": [[1.0, -1.0]]}}
        >>> FacingModel.from_dict(plain).to_dict() == plain
        True
        """
        weight = {name: torch.tensor(w).float() for name, w in plain["weight"].items()}
        return cls(weight, plain["flipped"])


def resolve_facing(
    layers: Sequence[LayerPeaks], *, flipped: bool = False, seed: int = 0
) -> tuple[FacingModel, Bool[Tensor, " image"]]:
    """The facing model of a set of images, and which images to mirror so that all face one way.

    D_I, the difference between the profiles of an image and of its mirror image, changes its sign
    under mirroring. So does the kernel

        K_IJ = k(a_I, a_J) + k(b_I, b_J) - k(a_I, b_J) - k(b_I, a_J),   k = exp(SHARPNESS cos)

    with a the profiles of the image and b those of its mirror image. The sign of K's leading
    eigenvector splits the images by facing. Then each image takes the sign that the *others* give
    it (leave-one-out kernel ridge regression on the signs, until nothing changes), so that near
    neighbours decide, pose by pose. A linear ridge regression on D_I learns the result for images
    to come.

    Args:
        layers: peaks of both facings, any number of layers.
        flipped: noted in the model.
        seed: of the choice of reference images, where there are more than N_REFERENCE.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(layers[0].n_images, generator=generator)[:N_REFERENCE].sort()[0]
    profiles = [profile_of(peaks)[..., chosen.to(peaks.value.device)] for peaks in layers]
    differences = [_difference(profile) for profile in profiles]
    # Every channel counts alike, whatever its strength.
    scales = [d.square().mean((1, 2), keepdim=True).sqrt() + 1e-6 for d in differences]
    pairs = zip(profiles, scales, strict=True)
    scaled = [(p / s).flatten(1, 2).transpose(1, 2) for p, s in pairs]
    features = torch.cat(scaled, 2)  # facing, image, channel * column
    pairs = zip(differences, scales, strict=True)
    antisymmetric = torch.cat([(d / s).flatten(0, 1) for d, s in pairs]).T
    length = antisymmetric.norm(dim=1, keepdim=True)
    sign = _leave_one_out(_kernel(features))
    weight = _linear_rule(antisymmetric / length.clamp_min(1e-9), sign)
    # Which of the two facings is the common one is arbitrary: the one that mirrors fewer images.
    if _mostly_mirrored((antisymmetric @ weight) < 0):
        weight = -weight
    of_layer = weight.split([s.shape[0] * COLUMNS for s in scales])
    weights = {
        peaks.layer.name: (w.reshape(-1, COLUMNS) / s[..., 0]).cpu()
        for peaks, w, s in zip(layers, of_layer, scales, strict=True)
    }
    model = FacingModel(weights, flipped)
    return model, model.mirrored(layers)


def profile_of(peaks: LayerPeaks) -> Profile:
    """The profiles; where only peaks are known, those of the peaks, blurred."""
    if peaks.profile is not None:
        return peaks.profile
    centres = ((torch.arange(COLUMNS) + 0.5) / COLUMNS).tolist()
    window = lambda at: torch.exp((peaks.col - at).square() * (-0.5 / BANDWIDTH**2))
    strips = [(window(at) * peaks.value).sum(2) for at in centres]
    return torch.stack(strips, 2)


def _difference(profile: Profile) -> Float[Tensor, "channel column image"]:
    """D without rounding errors, which, scaled up, would split images that are symmetric."""
    difference = profile[0] - profile[1]
    rounding = ROUNDING * (profile[0] + profile[1])
    return difference.masked_fill(difference.abs() < rounding, 0.0)


def _kernel(features: Float[Tensor, "2 image feature"]) -> Kernel:
    """K, scaled to a diagonal of 1."""
    both = features.flatten(0, 1)
    both = both - both.mean(0)
    both = both / both.norm(dim=1, keepdim=True).clamp_min(1e-9)
    similar = (both @ both.T).double().mul_(SHARPNESS).exp_()
    n = features.shape[1]
    images, mirrored = slice(n), slice(n, None)
    alike = similar[images, images] + similar[mirrored, mirrored]
    kernel = alike - similar[images, mirrored] - similar[mirrored, images]
    size = kernel.diagonal().clamp_min(0).sqrt()
    # An image that is its own mirror image says nothing about others.
    size = torch.where(size > ROUNDING, size, torch.inf)
    scaled: Kernel = kernel / size[:, None] / size
    return scaled


def _leave_one_out(kernel: Kernel) -> Signs:
    """A sign for each image that agrees with kernel ridge regression on the others' signs."""
    leading = torch.linalg.eigh(kernel)[1][:, -1]  # eigenvalues ascend
    sign = _sign(leading)
    ridge = RIDGE * torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
    smoother = kernel @ torch.linalg.inv(kernel + ridge)
    own = smoother.diagonal()
    for _ in range(N_ITERATIONS):
        # The prediction for each image without it, in closed form: no n fits are needed.
        others = smoother @ sign - own * sign
        new = _sign(others / (1 - own))
        if torch.equal(new, sign):
            break
        sign = new
    return sign


def _linear_rule(
    antisymmetric: Float[Tensor, "image feature"], sign: Signs
) -> Float[Tensor, " feature"]:
    """The weights of linear ridge regression on signs, by way of the Gram matrix."""
    # There are far more features than images, so the n x n system is the small one.
    gram = (antisymmetric @ antisymmetric.T).double()
    ridge = RIDGE * torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
    of_image = torch.linalg.solve(gram + ridge, sign).to(antisymmetric)
    weight: Float[Tensor, " feature"] = antisymmetric.T @ of_image
    return weight


def _sign(x: Signs) -> Signs:
    return torch.where(x < 0, -1.0, 1.0).to(torch.float64)


def _mostly_mirrored(mirrored: Bool[Tensor, " image"]) -> bool:
    """Whether the opposite flags mirror fewer images (or not the first one, in a tie)."""
    twice = 2 * int(mirrored.sum())
    return twice > len(mirrored) or (twice == len(mirrored) and bool(mirrored[0]))
