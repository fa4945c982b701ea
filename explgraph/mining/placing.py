"""Where all nodes of all layers are on a set of images: what mining ends with, and all that inference does.

Layer by layer from the top every node is looked for around

    m_V(I) = mu_V + Lambda_V t(I) + sum over its parents V' of w_VV' (p_V'(I) - mu_V' - Lambda_V' t(I)):

the pose t (`explgraph.mining.pose`) says where the object's nodes lean together, the parents pass on what the pose leaves of their
displacement (Zhang et al. 2018, eq. 3-4, whose top layer does not move). The pose is that of the nodes as they were seen; both are
found in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from explgraph.mining.mixture import ChannelPeaks, Mixture
from explgraph.mining.parents import Parents, predicted_shift
from explgraph.mining.place import Places, observe, place_nodes
from explgraph.mining.pose import communality, pose_posterior, sway

STRONG = 2.0  # evidence, in deviations of the unit, at which a node is half sure (measured: docs/mining-notes.md)
ROUNDS = 3  # of places and pose in turn; later ones move places by less than a hundredth of a cell (measured)


@dataclass(frozen=True)
class LayerModel:
    """One layer of the graph as arrays; nodes have the axis node = channel * n_nodes + index.

    Args:
        mixture: the channels' mixtures, without shifts.
        loadings: Lambda_V, (node, 2, q), fractions per unit of pose; 0 for dropped nodes.
        parents: into the layer above; None in the top layer.
    """

    mixture: Mixture
    loadings: Tensor
    parents: Parents | None


@dataclass(frozen=True)
class Placed:
    """The answer for a set of images.

    Args:
        layers: where the nodes of each layer are.
        scores: how sure that is, 0..1, (node, image) per layer.
        pose: t(I), (q, image).
        shifts: m_V(I) - mu_V, (node, 2, image) per layer.
    """

    layers: tuple[Places, ...]
    scores: tuple[Tensor, ...]
    pose: Tensor
    shifts: tuple[Tensor, ...]


def place_layers(near: Sequence[ChannelPeaks], models: Sequence[LayerModel]) -> Placed:
    """Return where every node is in every image.

    Args:
        near: the peaks of each layer in the resolved facing, top layer first.
        models: the layers.
    """
    n_images = near[0].value.shape[2]
    pose = torch.zeros(models[0].loadings.shape[2], n_images, device=near[0].value.device)
    for _ in range(ROUNDS):
        places, shifts = _top_down(near, models, pose)
        seen = [
            observe(p, shifted(m.mixture, s))
            for p, m, s in zip(places, models, shifts, strict=True)
        ]
        noise = [m.mixture.std.flatten().square() for m in models]
        pose = pose_posterior(
            [(o, m.loadings, n) for o, m, n in zip(seen, models, noise, strict=True)]
        )
    places, shifts = _top_down(near, models, pose)
    return Placed(tuple(places), tuple(scores(places, models, shifts)), pose, tuple(shifts))


def scores(
    places: Sequence[Places], models: Sequence[LayerModel], shifts: Sequence[Tensor]
) -> list[Tensor]:
    """Return S_V(I), (node, image) per layer, 0..1: strength of the evidence x how well the graph explains the object.

    The strength is e_V / (e_V + STRONG). The object's factor is the geometric mean, over nodes, of the Gaussian
    exp(-|q_V - m_V|^2 / 2 sigma_V^2) of the place where the peaks alone see the node about the place where the graph expects it; nodes
    weigh presence x communality in it. It ranks objects: where it is low, landmarks predicted from the nodes err more (measured:
    docs/mining-notes.md).
    """
    misfit = total = torch.zeros((), device=shifts[0].device)
    for p, m, s in zip(places, models, shifts, strict=True):
        std = m.mixture.std.flatten()
        weight = p.presence * (communality(m.loadings, std) * m.mixture.alive.flatten())[:, None]
        expected_row, expected_col = (
            m.mixture.row.flatten()[:, None] + s[:, 0],
            m.mixture.col.flatten()[:, None] + s[:, 1],
        )
        # The peaks alone lie (p - m) / presence from the expected place.
        square = (
            (p.row - expected_row).square() + (p.col - expected_col).square()
        ) / p.presence.clamp_min(1e-6).square()
        misfit = misfit + (weight * square / (2 * std[:, None].square())).sum(0)
        total = total + weight.sum(0)
    likelihood = torch.exp(-misfit / total.clamp_min(1e-9))
    return [
        p.evidence / (p.evidence + STRONG) * m.mixture.alive.flatten()[:, None] * likelihood
        for p, m in zip(places, models, strict=True)
    ]


def shifted(mixture: Mixture, shift: Tensor) -> Mixture:
    """Return the mixture with its nodes expected at mu_V + shift, (node, 2, image)."""
    shape = (*mixture.row.shape, shift.shape[2])
    return replace(
        mixture, shift_row=shift[:, 0].reshape(shape), shift_col=shift[:, 1].reshape(shape)
    )


def left_over(places: Places, mixture: Mixture, swayed: Tensor) -> tuple[Tensor, Tensor]:
    """Return p_V(I) - mu_V - Lambda_V t(I), rows and columns, (node, image): what children hear of."""
    return places.row - mixture.row.flatten()[:, None] - swayed[
        :, 0
    ], places.col - mixture.col.flatten()[:, None] - swayed[:, 1]


def _top_down(
    near: Sequence[ChannelPeaks], models: Sequence[LayerModel], pose: Tensor
) -> tuple[list[Places], list[Tensor]]:
    places, shifts = [], []
    above: tuple[Tensor, Tensor] | None = None
    for peaks, model in zip(near, models, strict=True):
        swayed = sway(model.loadings, pose)
        shift = swayed
        if model.parents is not None and above is not None:
            shift = swayed + torch.stack(predicted_shift(model.parents, *above), 1)
        here = place_nodes(peaks, shifted(model.mixture, shift))
        above = left_over(here, model.mixture, swayed)
        places.append(here)
        shifts.append(shift)
    return places, shifts
