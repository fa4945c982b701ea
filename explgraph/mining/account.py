"""How much of a filter the graph explains: its activation mass shared out among part patterns, texture and nothing.

The activation mass of a channel is the sum of F(x) over its peaks in all images: the published mixture counts a peak F(x) times. Under
the fitted mixture each peak belongs to a node V with probability r_V(x), to none with r_none(x):

    part     = sum of F(x) r_V(x) over nodes of kind "part": the pattern keeps a place relative to the object
    texture  = the same over nodes of kind "texture", plus, of what belongs to no node, the share that lies scattered: in each image
               Simpson's index 1 - sum_x s_x^2, the chance that two units of unexplained activation lie at different peaks
    nothing  = the rest: single activations at no stable place

each as a share of the mass. The three sum to 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from explgraph.graph import Account
from explgraph.mining.mixture import ChannelPeaks, Mixture, chunks, densities


def explain_channels(peaks: ChannelPeaks, mixture: Mixture, is_texture: Tensor) -> Account:
    """Return which share of each channel's activation is explained by what.

    Args:
        peaks: in the resolved facing.
        mixture: with the nodes expected where the graph has them in each image.
        is_texture: (channel, node) bool, the nodes of kind "texture".
    """
    parts = []
    for part in chunks(len(peaks.value), mixture.row.shape[1] * peaks.value[0].numel()):
        near, local = peaks.channels(part), mixture.channels(part)
        density, none, total = densities(near, local)
        resp = density.mul_((near.value / total)[:, None]).double().sum((2, 3))
        texture = is_texture[part] & local.alive
        left = (near.value * none / total).double()  # channel, peak, image
        of_image = left.sum(1)
        scattered = of_image - left.square().sum(1) / of_image.clamp_min(1e-12)
        mass = near.value.double().sum((1, 2))
        parts.append((mass, (resp * ~texture).sum(1), (resp * texture).sum(1) + scattered.sum(1)))
    mass, by_part, by_texture = (torch.cat(t) for t in zip(*parts, strict=True))
    part_share, texture_share = (t / mass.clamp_min(1e-12) for t in (by_part, by_texture))
    patterns = (mixture.alive & ~is_texture).sum(1)
    nothing = torch.where(mass > 0, (1 - part_share - texture_share).clamp_min(0), 0.0)
    mean_mass = mass / peaks.value.shape[2]
    columns = (mean_mass, part_share, texture_share, nothing, patterns)
    return Account(*(t.cpu().numpy() for t in columns))


def summarise(accounts: Sequence[Account]) -> dict[str, float]:
    """The account of a layer, or of a network from all its layers: channels weighted by their mass.

    Returns:
        part, texture, nothing: shares of the whole mass; patterns: part nodes per filter.
    """
    joined = lambda name: [x for one in accounts for x in getattr(one, name).tolist()]
    masses, patterns = joined("mass"), joined("patterns")
    total = sum(masses) or 1.0
    shares = {
        name: sum(m * x for m, x in zip(masses, joined(name), strict=True)) / total
        for name in ("part", "texture", "nothing")
    }
    return {**shares, "patterns": sum(patterns) / max(len(patterns), 1)}
