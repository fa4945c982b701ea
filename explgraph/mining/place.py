"""Where the nodes are on a set of images, and how surely: shared by mining and `Locator`.

Layer by layer from the top every node is looked for around

    m_V(I) = mu_V + Lambda_V t(I)
             + sum over its parents V' of w_VV' (p_V'(I) - mu_V' - Lambda_V' t(I))

The pose t (`explgraph.mining.pose`) says where the object's nodes lean together. The parents pass
on what the pose leaves of their displacement (Zhang et al. 2018, eq. 3-4; there the top layer does
not move). The pose follows from the places, so both are found in turn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from explgraph.mining.mixture import LOG_ZERO, ChannelPeaks, Mixture, by_channel, offsets
from explgraph.mining.parents import Parents, predicted_shift
from explgraph.mining.pose import (
    Displaced,
    Loadings,
    Poses,
    Witness,
    communality,
    pose_posterior,
    sway,
)

Shift = Float[Tensor, "node 2 image"]
Score = Float[Tensor, "node image"]
# Of every layer: their numbers of nodes differ.
Shifts = list[Float[Tensor, "_node 2 image"]]
Scores = list[Float[Tensor, "_node image"]]

# In deviations of the unit, measured (docs/mining-notes.md): the evidence at which ...
MISSING = 0.3  # ... a node counts as half found
STRONG = 2.0  # ... a node is half sure
ROUNDS = 3  # of places and pose in turn; more move places by less than 0.01 cells (measured)


@dataclass(frozen=True)
class LayerModel:
    """One layer of the graph as arrays, node = channel * n_nodes + index.

    Args:
        mixture: the channels' mixtures, without shifts.
        loadings: Lambda_V, fractions per unit of pose; 0 for dropped nodes.
        parents: into the layer above; None in the top layer.
    """

    mixture: Mixture
    loadings: Loadings
    parents: Parents | None


@dataclass(frozen=True)
class Places:
    """Where the nodes of a layer are in each image, in the resolved facing.

    Args:
        place: (row, column), fractions of the network input.
        evidence: sum over the channel's peaks of F(x) exp(-|p_x - m_V|^2 / 2 sigma_V^2).
    """

    place: Float[Tensor, "node 2 image"]
    evidence: Float[Tensor, "node image"]

    @property
    def presence(self) -> Score:
        """How surely the node was found, 0..1: evidence / (evidence + MISSING)."""
        return self.evidence / (self.evidence + MISSING)

    @property
    def strength(self) -> Score:
        """How strong the evidence is, 0..1; it saturates later than presence."""
        return self.evidence / (self.evidence + STRONG)

    def displaced(self, mixture: Mixture) -> Displaced:
        """The places relative to the mean places mu_V."""
        return Displaced(self.place - mixture.mean.flatten(0, 1)[..., None], self.presence)


@dataclass(frozen=True)
class Placed:
    """Where everything is on a set of images.

    Args:
        layers: the places of each layer's nodes.
        scores: how sure they are, 0..1, per layer.
        pose: t(I).
        shifts: m_V(I) - mu_V, per layer.
    """

    layers: list[Places]
    scores: Scores
    pose: Poses
    shifts: Shifts


def place_layers(near: Sequence[ChannelPeaks], models: Sequence[LayerModel]) -> Placed:
    """Where every node is in every image.

    Args:
        near: the peaks of each layer in the resolved facing, top layer first.
        models: the layers.

    >>> from explgraph.mining import MiningConfig, mine
    >>> mined = mine([peaks["features.14"]], MiningConfig(nodes=1, n_rounds=2, pose_rounds=1))
    >>> near = ChannelPeaks.resolved(peaks["features.14"], mined.mirrored)
    >>> place_layers([near], [mined.layers[0].model]).layers[0].place.shape
    torch.Size([96, 2, 48])
    """
    n_images = near[0].value.shape[2]
    pose = torch.zeros(models[0].loadings.shape[2], n_images, device=near[0].value.device)
    for _ in range(ROUNDS):
        places, shifts = _top_down(near, models, pose)
        layers = []
        for here, model, shift in zip(places, models, shifts, strict=True):
            displaced = observe(here, model.mixture.shifted(shift))
            noise = model.mixture.std.flatten().square()
            layers.append(Witness(displaced, model.loadings, noise))
        pose = pose_posterior(layers)
    places, shifts = _top_down(near, models, pose)
    return Placed(places, _scores(places, models, shifts), pose, shifts)


def _top_down(
    near: Sequence[ChannelPeaks], models: Sequence[LayerModel], pose: Poses
) -> tuple[list[Places], Shifts]:
    """The places given the pose, and the shifts around which they were looked for."""
    places: list[Places] = []
    shifts: Shifts = []
    above: Shift | None = None
    for peaks, model in zip(near, models, strict=True):
        shift = swayed = sway(model.loadings, pose)
        if model.parents is not None and above is not None:
            shift = swayed + predicted_shift(model.parents, above)
        here = place_nodes(peaks, model.mixture.shifted(shift))
        above = here.displaced(model.mixture).displacement - swayed
        places.append(here)
        shifts.append(shift)
    return places, shifts


def place_nodes(peaks: ChannelPeaks, mixture: Mixture) -> Places:
    """The posterior mean place of every node of a layer in every image.

    Each peak of the node's channel is a candidate with evidence
    e_x = F(x) exp(-|p_x - m_V|^2 / 2 sigma_V^2). That the node is missing is one more, with
    evidence MISSING, at the place m_V where the node is expected:

        p_V = m_V + sum over x of e_x (p_x - m_V) / (sum of e_x + MISSING)

    The published inference takes the single strongest peak (the arg-max of F(x) P(p_x | V)).
    The posterior mean errs less where two peaks compete or the evidence is weak (measured:
    docs/mining-notes.md).
    """
    place, evidence = by_channel(_place_nodes, peaks, mixture)
    return Places(place.flatten(0, 1), evidence.flatten(0, 1))


def _place_nodes(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, Tensor]:
    d_row, d_col = offsets(peaks, mixture)
    precision = (-0.5 / mixture.std**2)[..., None, None]
    each = d_row.square().addcmul_(d_col, d_col).mul_(precision)
    each = each.clamp_min_(LOG_ZERO).exp_().mul_(peaks.value[:, None])
    evidence = each.sum(2)
    moment = torch.stack([d_row.mul_(each).sum(2), d_col.mul_(each).sum(2)], 2)
    # "Missing" has no moment: it lies at m_V itself, and only draws the mean towards it.
    pull = moment / (evidence + MISSING)[:, :, None]
    return mixture.centres() + pull, evidence


def observe(places: Places, mixture: Mixture) -> Displaced:
    """Where the peaks alone place the nodes: without the pull towards m_V, relative to mu_V."""
    expected = mixture.centres().flatten(0, 1)
    # presence = evidence / (evidence + MISSING): to divide by it takes "missing" out again. The
    # pose would else learn from its own expectation.
    pulled = places.place - expected
    alone = expected + pulled / places.presence.clamp_min(1e-6)[:, None]
    presence = places.presence * mixture.alive.flatten()[:, None]
    return Displaced(alone - mixture.mean.flatten(0, 1)[..., None], presence)


def _scores(places: list[Places], models: Sequence[LayerModel], shifts: Shifts) -> Scores:
    """S_V(I), 0..1: strength of the evidence x how well the graph explains the object.

    The strength is e_V / (e_V + STRONG). The object's factor is the geometric mean, over nodes,
    of the Gaussian exp(-|q_V - m_V|^2 / 2 sigma_V^2) of the place q_V where the peaks alone place
    the node; nodes weigh presence x communality in it. It ranks objects: where it is low,
    landmarks predicted from the nodes err more (measured: docs/mining-notes.md).
    """
    misfit = total = torch.zeros((), device=shifts[0].device)
    for here, model, shift in zip(places, models, shifts, strict=True):
        std, alive = model.mixture.std.flatten(), model.mixture.alive.flatten()
        # A node that moves on its own says nothing about how well the object is understood.
        weight = here.presence * (communality(model.loadings, std) * alive)[:, None]
        # The peaks alone lie (p - m) / presence from the expected place.
        expected = model.mixture.mean.flatten(0, 1)[..., None] + shift
        row, col = (here.place - expected).square().unbind(1)
        square = (row + col) / here.presence.clamp_min(1e-6).square()
        exponent = weight * square / (2 * std[:, None].square())
        misfit = misfit + exponent.sum(0)
        total = total + weight.sum(0)
    likelihood = torch.exp(-misfit / total.clamp_min(1e-9))
    found = []
    for here, model in zip(places, models, strict=True):
        found.append(here.strength * model.mixture.alive.flatten()[:, None] * likelihood)
    return found
