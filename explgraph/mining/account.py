"""How much of a filter the graph explains: its activation mass shared out, beyond chance.

The activation mass of a channel is the sum of F(x) over the COUNTED strongest peaks of its maps,
in all images. Under the fitted mixture a peak belongs to the part-like nodes with probability
r(x), the sum of r_V(x).

    part     what the nodes take beyond chance, (o - c) / (1 - c): o is their share of the mass,
             c the share that they would take of the same peaks in permuted images, of J's peaks
             where the nodes are expected in I. A share a of the mass that keeps its place, and a
             rest that lies as chance has it, give o = a + (1 - a) c.
    texture  of the rest the share that fires in several places of an image: of all pairs of
             activations at places far from each other in one image, those that are more than
             there would be in two images
    nothing  what chance explains

each as a share of the mass. The three sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from explgraph.graph import Account
from explgraph.mining.mixture import ChannelPeaks, Mixture, by_channel, densities, offsets
from explgraph.peaks import COLUMNS

Profile = Float[Tensor, "channel column image"]
Taken = Float64[Tensor, "channel image"]

# Peaks of a map. With all that are kept the shares would depend on how many are kept: the weaker a
# peak the less it keeps a place (measured: docs/mining-notes.md).
COUNTED = 2
FAR = 3  # strips from one place of an image to another: nearer ones share the cells of one peak
# Of a channel's mass, where its nodes take everything by chance: what is beyond would be noise.
BEYOND_CHANCE = 0.05


def explain_channels(
    peaks: ChannelPeaks, mixture: Mixture, profile: Profile | None, *, texture_std: float
) -> Account:
    """The share of each channel's activation that is explained by what.

    Args:
        peaks: in the resolved facing.
        mixture: with the nodes where the graph expects them in each image.
        profile: of the maps, in the resolved facing; without it no texture is told.
        texture_std: sigma from which a node is texture.
    """
    near, n_images = _counted(peaks), peaks.value.shape[2]
    mass = near.value.double().sum((1, 2))
    total = mass.clamp_min(1e-12)
    taken = _taken(near, mixture, texture_std).sum(1) / total
    # Every image meets the places of two others; more would cost more than they tell.
    shifts = {max(n_images // 3, 1), max(n_images // 2, 1)}
    others = (_permuted(near, by) for by in shifts)
    chance = sum(_taken(one, mixture, texture_std).sum(1) for one in others) / len(shifts) / total
    part = _beyond(taken, chance).clamp(0, 1)
    repeated = torch.zeros_like(part) if profile is None else repeats(profile)
    heard = (mass > 0).to(mass)  # a silent channel has no share at all, not one of nothing
    texture = (1 - part) * repeated * heard
    patterns = (mixture.alive & (mixture.std < texture_std)).sum(1)
    columns = (mass / n_images, part, texture, heard - part - texture, patterns, chance, repeated)
    return Account(*(t.cpu().numpy() for t in columns))


def explain_images(
    peaks: ChannelPeaks, mixture: Mixture, account: Account, *, texture_std: float
) -> Float64[Tensor, "share image"]:
    """What parts and texture explain of each image, and its activation mass, in deviations.

    Args:
        peaks: of a layer, in the resolved facing.
        mixture: with the nodes where the graph expects them in each image.
        account: of the layer: what chance is was learned from the mined images.
        texture_std: sigma from which a node is texture.

    >>> from explgraph.mining import MiningConfig, mine
    >>> mined = mine([peaks["features.14"]], MiningConfig(nodes=1, n_rounds=2, pose_rounds=1))
    >>> near = ChannelPeaks.resolved(peaks["features.14"], mined.mirrored)
    >>> layer = mined.layers[0]
    >>> explain_images(near, layer.model.mixture, layer.explained, texture_std=0.15).shape
    torch.Size([3, 48])
    """
    near = _counted(peaks)
    mass = near.value.double().sum(1)
    known = (torch.from_numpy(np.asarray(t)) for t in (account.chance, account.repeats))
    chance, repeated = (t.to(mass)[:, None] for t in known)
    # Not cut off at zero, channel by channel: what falls short of chance must weigh as well.
    part = _beyond(_taken(near, mixture, texture_std), chance, mass)
    return torch.stack([t.sum(0) for t in (part, (mass - part) * repeated, mass)])


def image_shares(masses: Float64[Tensor, "share image"]) -> Float64[Tensor, "image share"]:
    """The shares of part, texture and nothing of each image; 0 where it is silent.

    Args:
        masses: the sum of `explain_images` over the layers.

    >>> image_shares(torch.tensor([[1.0], [0.5], [2.0]]).double()).tolist()
    [[0.5, 0.25, 0.25]]
    """
    part, texture, mass = masses
    heard = (mass > 0).to(mass)
    part = (part / mass.clamp_min(1e-12)).clamp(0, 1) * heard
    texture = (texture / mass.clamp_min(1e-12)).clamp_min(0).minimum(heard - part)
    return torch.stack([part, texture, heard - part - texture], 1)


def repeats(profile: Profile) -> Float64[Tensor, " channel"]:
    """How much more often a channel fires at two places of one image than of two images, 0..1.

    Of all pairs of activations in strips far from each other, the share that pairs from different
    images would not have: 1 - (mean of a_I b_J) / (mean of a_I b_I), a and b the strips.

    >>> profile = torch.tensor([3.0, 0.0]).expand(1, 8, 2)  # all over the first of two images
    >>> repeats(profile).tolist()
    [1.0]
    """
    strips = profile.double()
    n_images = strips.shape[2]
    at = torch.arange(strips.shape[1], device=strips.device)
    far = (at[:, None] - at).abs() >= FAR * strips.shape[1] / COLUMNS
    pairs = lambda a, b: (torch.bmm(a, b.transpose(1, 2)) * far).sum((1, 2))
    within = pairs(strips, strips) / n_images
    total = strips.sum(2, keepdim=True)
    between = (pairs(total, total) / n_images - within) / max(n_images - 1, 1)
    # A silent channel repeats nothing.
    share = 1 - between / within.clamp_min(1e-12)
    return torch.where(within > 0, share.clamp(0, 1), 0.0)


def summarise(accounts: Sequence[Account]) -> dict[str, Any]:
    """The shares of the mass over one or more layers, and the part-like nodes per filter.

    ``filters`` has the share of filters with 0, 1, 2, ... such nodes.

    >>> import numpy as np
    >>> one, half, none = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> summarise([Account(one, half, none, half, np.array([3]))])
    {'part': 0.5, 'texture': 0.0, 'nothing': 0.5, 'patterns': 3.0, 'filters': [0.0, 0.0, 0.0, 1.0]}
    """
    joined = lambda name: [x for one in accounts for x in getattr(one, name).tolist()]
    masses, patterns = joined("mass"), joined("patterns")
    total = sum(masses) or 1.0
    shares: dict[str, Any] = {}
    for name in ("part", "texture", "nothing"):
        # Weighted by mass: a loud channel has more to be explained.
        weighted = (m * share for m, share in zip(masses, joined(name), strict=True))
        shares[name] = sum(weighted) / total
    n_filters = max(len(patterns), 1)
    filters = (np.bincount(np.array(patterns, np.int64)) / n_filters).tolist()
    return {**shares, "patterns": sum(patterns) / n_filters, "filters": filters}


def _counted(peaks: ChannelPeaks) -> ChannelPeaks:
    """The strongest peaks of each map; they come first."""
    return ChannelPeaks(*(t[:, :COUNTED] for t in (peaks.value, peaks.row, peaks.col)))


def _permuted(peaks: ChannelPeaks, by: int) -> ChannelPeaks:
    return ChannelPeaks(*(t.roll(by, 2) for t in (peaks.value, peaks.row, peaks.col)))


def _taken(peaks: ChannelPeaks, mixture: Mixture, texture_std: float) -> Taken:
    """The mass that the part-like nodes take, sum of F(x) r_V(x), of each channel and image."""

    def step(near: ChannelPeaks, local: Mixture) -> tuple[Tensor, ...]:
        d_row, d_col = offsets(near, local)
        density, _, total = densities(d_row, d_col, local)
        of_parts = density.mul_((local.std < texture_std)[..., None, None]).sum(1)
        return ((near.value * of_parts / total).double().sum(1),)

    return by_channel(step, peaks, mixture)[0]


def _beyond(taken: Tensor, chance: Tensor, mass: Tensor | float = 1.0) -> Tensor:
    """What was taken beyond chance, of all that could be."""
    return (taken - chance * mass) / (1 - chance).clamp_min(BEYOND_CHANCE)
