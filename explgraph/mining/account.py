"""How much of a filter the graph explains: its activation mass shared out.

The activation mass of a channel is the sum of F(x) over its peaks in all images: the published
mixture counts a peak F(x) times. Under the fitted mixture each peak belongs to a node V with
probability r_V(x), to none with r_none(x):

    part     = sum of F(x) r_V(x) over part-like nodes: the pattern keeps a place on the object
    texture  = the same over nodes of kind "texture", plus, of what belongs to no node, the share
               that lies scattered: in each image Simpson's index 1 - sum_x s_x^2, the chance
               that two units of unexplained activation lie at different peaks
    nothing  = the rest: single activations at no stable place

each as a share of the mass. The three sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from explgraph.graph import Account
from explgraph.mining.mixture import ChannelPeaks, Mixture, by_channel, densities, offsets


def explain_channels(peaks: ChannelPeaks, mixture: Mixture, *, texture_std: float) -> Account:
    """The share of each channel's activation that is explained by what.

    Args:
        peaks: in the resolved facing.
        mixture: with the nodes where the graph expects them in each image.
        texture_std: sigma from which a node is texture.
    """
    is_texture = mixture.std >= texture_std

    def masses(near: ChannelPeaks, local: Mixture) -> tuple[Tensor, ...]:
        d_row, d_col = offsets(near, local)
        density, none, total = densities(d_row, d_col, local)
        share = near.value / total
        of_node = density.mul_(share[:, None]).double().sum((2, 3))
        texture = (local.std >= texture_std) & local.alive
        left = (near.value * none / total).double()
        of_image = left.sum(1)
        # Simpson's index times the mass that is left: 1 - sum s^2 with s = left / of_image.
        together = left.square().sum(1) / of_image.clamp_min(1e-12)
        scattered = of_image - together
        of_part = (of_node * ~texture).sum(1)
        of_texture = (of_node * texture).sum(1) + scattered.sum(1)
        return near.value.double().sum((1, 2)), of_part, of_texture

    mass, *explained = by_channel(masses, peaks, mixture)
    part, texture = (t / mass.clamp_min(1e-12) for t in explained)
    rest = (1 - part - texture).clamp_min(0)
    # A silent channel has no share at all, not one of nothing: the three then add up to 0.
    nothing = torch.where(mass > 0, rest, 0.0)
    patterns = (mixture.alive & ~is_texture).sum(1)
    n_images = peaks.value.shape[2]
    columns = (mass / n_images, part, texture, nothing, patterns)
    return Account(*(t.cpu().numpy() for t in columns))


def summarise(accounts: Sequence[Account]) -> dict[str, float]:
    """The shares of the mass over one or more layers, and the part-like nodes per filter.

    >>> import numpy as np
    >>> one, half, none = np.array([1.0]), np.array([0.5]), np.array([0.0])
    >>> summarise([Account(one, half, none, half, np.array([3]))])
    {'part': 0.5, 'texture': 0.0, 'nothing': 0.5, 'patterns': 3.0}
    """
    joined = lambda name: [x for one in accounts for x in getattr(one, name).tolist()]
    masses, patterns = joined("mass"), joined("patterns")
    total = sum(masses) or 1.0
    shares = {}
    for name in ("part", "texture", "nothing"):
        # Weighted by mass: a loud channel has more to be explained.
        weighted = (m * share for m, share in zip(masses, joined(name), strict=True))
        shares[name] = sum(weighted) / total
    return {**shares, "patterns": sum(patterns) / max(len(patterns), 1)}
