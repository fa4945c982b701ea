"""Where a node is in an image, and how surely: the step that mining and inference share."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from explgraph.mining.mixture import LOG_ZERO, ChannelPeaks, Mixture, chunks
from explgraph.mining.pose import Observed

MISSING = 0.3  # evidence at which a node counts as half found, in deviations of the unit (measured, docs/mining-notes.md)


@dataclass(frozen=True)
class Places:
    """Where the nodes of a layer are in each image, in the resolved facing.

    Args:
        row: (node, image), fractions of the network input; col: likewise.
        evidence: sum over the channel's peaks of F(x) exp(-|p_x - m_V|^2 / 2 sigma_V^2), (node, image).
    """

    row: Tensor
    col: Tensor
    evidence: Tensor

    @property
    def presence(self) -> Tensor:
        """How surely the node was seen, 0..1, (node, image): evidence / (evidence + MISSING)."""
        return self.evidence / (self.evidence + MISSING)


def place_nodes(peaks: ChannelPeaks, mixture: Mixture) -> Places:
    """Return the posterior mean place of every node in every image; axes (channel * node, image).

    Each peak of the node's channel is a candidate with evidence e_x = F(x) exp(-|p_x - m_V|^2 / 2 sigma_V^2); that the node is
    missing is one more, with evidence MISSING, at the place m_V where the node is expected:

        p_V = m_V + sum over x of e_x (p_x - m_V) / (sum of e_x + MISSING)

    The published inference takes the single strongest peak (the arg-max of F(x) P(p_x | V)); the mean over the posterior has
    the smaller expected error where two peaks compete or the evidence is weak (measured: docs/mining-notes.md).
    """
    slices = chunks(len(peaks.value), mixture.row.shape[1] * peaks.value[0].numel())
    outputs = [_place(peaks.channels(part), mixture.channels(part)) for part in slices]
    return Places(*(torch.cat(t).flatten(0, 1) for t in zip(*outputs, strict=True)))


def observe(places: Places, mixture: Mixture) -> Observed:
    """Return where the peaks alone see the nodes: the place without its pull towards m_V, relative to mu_V."""
    presence = places.presence * mixture.alive.flatten()[:, None]
    n_nodes = len(places.row)
    axes = []
    for place, centre, mean in zip(
        (places.row, places.col), mixture.centres(), (mixture.row, mixture.col), strict=True
    ):
        expected = centre.reshape(n_nodes, -1)
        axes.append(
            expected
            + (place - expected) / places.presence.clamp_min(1e-6)
            - mean.reshape(n_nodes, 1)
        )
    return Observed(torch.stack(axes, 1), presence)


def _place(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, Tensor, Tensor]:
    precision = -0.5 / mixture.std**2
    centre_row, centre_col = mixture.centres()
    d_row = peaks.row[:, None] - centre_row[:, :, None]
    d_col = peaks.col[:, None] - centre_col[:, :, None]
    each = (
        d_row.square()
        .addcmul_(d_col, d_col)
        .mul_(precision[..., None, None])
        .clamp_min_(LOG_ZERO)
        .exp_()
        .mul_(peaks.value[:, None])
    )
    evidence = each.sum(2)
    row = centre_row + d_row.mul_(each).sum(2) / (evidence + MISSING)
    col = centre_col + d_col.mul_(each).sum(2) / (evidence + MISSING)
    return row, col, evidence
