"""Facing, the largest single source of variance, resolved without labels.

Every object comes with the maps of its image (facing 0) and of its mirror image (facing 1). The
latent z_I says which of the two shows the object in the common facing. What decides is the
*profile* of each map, its activation summed over the rows: a head is left or right of the body
whether it grazes or looks up. A map with rows takes the rump of a grazing horse for the neck of
one that looks up (measured: docs/mining-notes.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from explgraph.peaks import COLUMNS, LayerPeaks

Profile = Float[Tensor, "facing channel column image"]
Kernel = Float64[Tensor, "image image"]
Signs = Float64[Tensor, " image"]

SURE = 0.75  # probability of a flag from which on it counts as sure: nearer to 1 than to a guess
CLAIM = 3.0  # standard deviations of chance beyond which two halves agree on a facing
SHARPNESS = 5.0  # of the kernel exp(SHARPNESS cos): how much near neighbours count before far ones
RIDGE = 1.0  # of both regressions, in units of one image's own kernel value
N_ITERATIONS = 50
N_HALVINGS = 4
N_MIXTURE = 200  # rounds of EM on one number per image
N_REFERENCE = 1000  # images among which the facing is found; the model learnt classifies the rest
STRENGTH_OF_NONE = 1e-6  # of a channel that is symmetric in all images
TINY = 1e-9  # keeps divisions by nothing at 0
ROUNDING = 1e-5  # relative difference of two float32 sums that means nothing
BANDWIDTH = 0.1  # of a peak where only peaks are known, fraction of the input


@dataclass(frozen=True)
class Views:
    """How the margins of the images are spread: from the left, from the right, from the front.

    A mixture of three Gaussians of the same deviation, at -mean, 0 and mean, which are the margins
    of the two sideways views and of a frontal one.

    Args:
        mean: margin of a sideways view.
        std: deviation of a margin within its view.
        frontal: share of the frontal view.
    """

    mean: float
    std: float
    frontal: float

    def sureness(self, margin: Signs) -> Float64[Tensor, " image"]:
        """The probability, 0.5 to 1, that an image has the facing of its margin's sign.

        Seen from the front both facings are as good: half of the frontal view's share counts.

        >>> views, margin = Views(mean=1.0, std=0.3, frontal=0.2), torch.tensor([0.0, -1.0])
        >>> views.sureness(margin.double()) > SURE
        tensor([False,  True])
        """
        right, _, front = self.shares(margin.abs())
        probability: Signs = right + front / 2
        return probability

    def shares(self, margin: Signs) -> tuple[Signs, Signs, Signs]:
        """The probabilities of the views of positive margin, negative margin, and the front."""
        side = math.log(max(1 - self.frontal, 1e-9) / 2)
        at = ((self.mean, side), (-self.mean, side), (0.0, math.log(max(self.frontal, 1e-9))))
        square = lambda centre: ((margin - centre) / self.std).square() / 2
        logs = torch.stack([share - square(centre) for centre, share in at])
        right, left, front = logs.softmax(0)
        return right, left, front


@dataclass(frozen=True)
class FacingModel:
    """A linear function of the profiles, antisymmetric under mirroring, that tells the facings.

    z_I = mirrored where the sum of weight * (profile of facing 0 - profile of facing 1) < 0. That
    sum over the length of the difference is the image's *margin*.

    Args:
        weight: (channel, column) per layer.
        flipped: whether flipped maps stood in for mirror images.
        unit: per layer and channel what the difference is measured in.
        views: how the margins are spread; None in graphs of older versions.
    """

    weight: Mapping[str, Float[Tensor, "_ column"]]
    flipped: bool
    unit: Mapping[str, Float[Tensor, " _channel"]] = field(default_factory=dict)
    views: Views | None = None

    def mirrored(self, layers: Sequence[LayerPeaks]) -> Bool[Tensor, " image"]:
        """The flags z_I; False where both facings look alike, or only one is there."""
        mirrored: Bool[Tensor, " image"] = self.margins(layers) < 0
        return mirrored

    def sureness(self, layers: Sequence[LayerPeaks]) -> Float64[Tensor, " image"]:
        """How probable each flag is, 0.5 (a guess) to 1; NaN in graphs of older versions."""
        margins = self.margins(layers)
        return (
            torch.full_like(margins, math.nan)
            if self.views is None
            else self.views.sureness(margins)
        )

    def margins(self, layers: Sequence[LayerPeaks]) -> Signs:
        """How clearly each image shows its facing, negative = mirrored; 0 = both look alike."""
        value = layers[0].value
        summed = torch.zeros(value.shape[3], dtype=torch.float64, device=value.device)
        square = torch.zeros_like(summed)
        if layers[0].n_facings == 1:
            return summed
        for peaks in layers:
            name = peaks.layer.name
            difference = _difference(profile_of(peaks)).double()
            weight = self.weight[name].to(value.device).double()
            summed += torch.einsum("ck,cki->i", weight, difference)
            unit = self.unit.get(name, torch.ones(len(weight))).to(value.device).double()
            square += (difference / unit[:, None, None]).square().sum((0, 1))
        margin: Signs = summed / square.sqrt().clamp_min(TINY)
        return margin

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; numbers come back bit by bit."""
        weight = {name: w.double().tolist() for name, w in self.weight.items()}
        plain: dict[str, Any] = {"flipped": self.flipped, "weight": weight}
        if self.views is not None:
            unit = {name: u.double().tolist() for name, u in self.unit.items()}
            plain |= {"unit": unit, "views": asdict(self.views)}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> FacingModel:
        """The model of `to_dict`.

        >>> plain = {"flipped": False, "weight": {"conv": [[1.0, -1.0]]}}
        >>> FacingModel.from_dict(plain).to_dict() == plain
        True
        """
        weight = {name: torch.tensor(w).float() for name, w in plain["weight"].items()}
        unit = {name: torch.tensor(u).float() for name, u in plain.get("unit", {}).items()}
        views = Views(**plain["views"]) if "views" in plain else None
        return cls(weight, plain["flipped"], unit, views)


def resolve_facing(
    layers: Sequence[LayerPeaks], *, flipped: bool = False, seed: int = 0
) -> tuple[FacingModel | None, Bool[Tensor, " image"]]:
    """The facing model of a set of images, and which images to mirror so that all face one way.

    D_I, the difference between the profiles of an image and of its mirror image, changes its sign
    under mirroring. So does the kernel

        K_IJ = k(a_I, a_J) + k(b_I, b_J) - k(a_I, b_J) - k(b_I, a_J),   k = exp(SHARPNESS cos)

    with a the profiles of the image and b those of its mirror image. The sign of K's leading
    eigenvector splits the images by facing. Then each image takes the sign that the *others* give
    it (leave-one-out kernel ridge regression on the signs, until nothing changes), so that near
    neighbours decide, pose by pose. What the others give it is its margin. A linear ridge
    regression on D_I / |D_I| learns the margins for images to come: frontal views, whose margins
    are small, teach it little.

    Where the two halves of the images do not agree on a facing, none is claimed: there is no model
    and nothing is mirrored.

    Args:
        layers: peaks of both facings, any number of layers.
        flipped: noted in the model.
        seed: of the choice of reference images, where there are more than N_REFERENCE, and halves.
    """
    generator = torch.Generator().manual_seed(seed)
    n_images, device = layers[0].n_images, layers[0].value.device
    chosen = torch.randperm(n_images, generator=generator)[:N_REFERENCE].sort()[0].to(device)
    profiles = [profile_of(peaks)[..., chosen] for peaks in layers]
    differences = [_difference(profile) for profile in profiles]
    units = [_unit(d) for d in differences]
    features = [(p / u).flatten(1, 2).mT for p, u in zip(profiles, units, strict=True)]
    antisymmetric = torch.cat(
        [(d / u).flatten(0, 1) for d, u in zip(differences, units, strict=True)]
    ).T
    antisymmetric = antisymmetric / antisymmetric.norm(dim=1, keepdim=True).clamp_min(TINY)
    kernel = _kernel(torch.cat(features, 2))  # facing, image, channel * column
    # There are far more features than images, so all is done with n x n matrices.
    gram = (antisymmetric @ antisymmetric.T).double()
    if not _claimed(kernel, gram, generator):
        return None, torch.zeros(n_images, dtype=torch.bool, device=device)
    of_image = _linear_rule(gram, _leave_one_out(kernel))
    margins = gram @ of_image
    weight = antisymmetric.T @ of_image.to(antisymmetric)
    # Which of the two facings is the common one is arbitrary: the one that mirrors fewer images.
    if _mostly_mirrored(margins < 0):
        weight = -weight
    of_layer = weight.split([d.shape[0] * COLUMNS for d in differences])
    names = [peaks.layer.name for peaks in layers]
    rule = zip(names, of_layer, units, strict=True)
    weights = {name: (w.reshape(-1, COLUMNS) / unit[..., 0]).cpu() for name, w, unit in rule}
    unit = {name: u.flatten().cpu() for name, u in zip(names, units, strict=True)}
    model = FacingModel(weights, flipped, unit, fit_views(margins))
    return model, model.mirrored(layers)


def fit_views(margins: Signs) -> Views:
    """The views of images whose margins are known, by EM; the signs do not matter.

    >>> g = torch.Generator().manual_seed(0)
    >>> margins = 0.2 * torch.randn(400, generator=g) + (torch.arange(400) % 4 > 0)
    >>> round(fit_views(margins.double()).frontal, 1)
    0.3
    """
    size = margins.abs().double()
    scale = float(size.square().mean().sqrt().clamp_min(TINY))
    views = Views(float(size.quantile(0.75).clamp_min(TINY)), scale, 1 / 3)
    for _ in range(N_MIXTURE):
        right, left, front = views.shares(size)
        mean = float(((right - left) * size).sum() / (right + left).sum().clamp_min(TINY))
        squares = right * (size - mean) ** 2 + left * (size + mean) ** 2 + front * size**2
        # Not 0, should all margins be alike.
        std = max(float(squares.mean().sqrt()), 0.01 * scale)
        views = Views(mean, std, float(front.mean()))
    return views


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


def _unit(
    difference: Float[Tensor, "channel column image"],
) -> Float[Tensor, "channel 1 1"]:
    """What a layer's differences are measured in.

    Layers count alike, channels by the root of their strength: those that answer strongly to the
    object know more, and yet a few of them must not decide alone (measured: docs/mining-notes.md).
    """
    strength = difference.square().mean((1, 2), keepdim=True).sqrt() + STRENGTH_OF_NONE
    length = difference.square().div(strength).sum((0, 1)).mean().sqrt()
    unit: Float[Tensor, "channel 1 1"] = strength.sqrt() * length.clamp_min(TINY)
    return unit


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
    """What kernel ridge regression on the others' signs gives each image, in agreement."""
    leading = torch.linalg.eigh(kernel)[1][:, -1]  # eigenvalues ascend
    sign = _sign(leading)
    ridge = RIDGE * torch.eye(len(kernel), device=kernel.device, dtype=kernel.dtype)
    smoother = kernel @ torch.linalg.inv(kernel + ridge)
    own = smoother.diagonal()
    for _ in range(N_ITERATIONS):
        # The prediction for each image without it, in closed form: no n fits are needed.
        margin: Signs = (smoother @ sign - own * sign) / (1 - own)
        new = _sign(margin)
        if torch.equal(new, sign):
            break
        sign = new
    return margin


def _linear_rule(gram: Kernel, margin: Signs) -> Signs:
    """Linear ridge regression on margins: what each image adds to the weights."""
    ridge = RIDGE * torch.eye(len(gram), device=gram.device, dtype=gram.dtype)
    solved: Signs = torch.linalg.solve(gram + ridge, margin)
    return solved


def _claimed(kernel: Kernel, gram: Kernel, generator: torch.Generator) -> bool:
    """Whether rules learnt from halves of the images split them alike, in the mean of halvings.

    A sum of n signs of chance has the deviation sqrt(n). On random profiles of 260 images the
    share of agreement, less that of contradiction, is 0 +- .06, on six categories of photographs
    .77 to .98. One halving alone may part the few images of a pose from their likes.
    """
    n = len(gram)
    told = int((gram.diagonal() > 0).sum())  # the others are their own mirror images
    agreement = 0.0
    for _ in range(N_HALVINGS):
        signs = torch.ones(n, device=gram.device, dtype=gram.dtype)
        for half in torch.randperm(n, generator=generator).to(gram.device).tensor_split(2):
            margin = _leave_one_out(kernel[half][:, half])
            signs *= (gram[:, half] @ _linear_rule(gram[half][:, half], margin)).sign()
        agreement += abs(float(signs.sum())) / N_HALVINGS
    return agreement > CLAIM * math.sqrt(told)


def _sign(x: Signs) -> Signs:
    return torch.where(x < 0, -1.0, 1.0).to(torch.float64)


def _mostly_mirrored(mirrored: Bool[Tensor, " image"]) -> bool:
    """Whether the opposite flags mirror fewer images (or not the first one, in a tie)."""
    twice = 2 * int(mirrored.sum())
    return twice > len(mirrored) or (twice == len(mirrored) and bool(mirrored[0]))
