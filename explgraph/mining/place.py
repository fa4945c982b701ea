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
    Covariance,
    Displaced,
    Loadings,
    Poses,
    Witness,
    communality,
    openness,
    pose_posterior,
    sway,
)

Shift = Float[Tensor, "node 2 image"]
Score = Float[Tensor, "node image"]
# Of every layer: their numbers of nodes differ.
Scores = list[Float[Tensor, "_node image"]]

# In deviations of the unit, measured (docs/mining-notes.md): the evidence at which ...
MISSING = 0.1  # ... a node counts as half found
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
        expected: the mixture of each layer with its nodes where they were looked for.
    """

    layers: list[Places]
    scores: Scores
    pose: Poses
    expected: list[Mixture]


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
    n_images, q = near[0].value.shape[2], models[0].loadings.shape[2]
    # At first all is open: t(I) ~ N(0, 1).
    pose = torch.zeros(q, n_images, device=near[0].value.device)
    covariance = torch.eye(q, device=pose.device).expand(n_images, q, q)
    for _ in range(ROUNDS):
        places, expected = _top_down(near, models, pose, covariance)
        layers = []
        for here, model, mixture in zip(places, models, expected, strict=True):
            noise = model.mixture.std.flatten().square()
            layers.append(Witness(observe(here, mixture), model.loadings, noise))
        pose, covariance = pose_posterior(layers)
    places, expected = _top_down(near, models, pose, covariance)
    return Placed(places, _scores(places, models, expected), pose, expected)


def _top_down(
    near: Sequence[ChannelPeaks], models: Sequence[LayerModel], pose: Poses, covariance: Covariance
) -> tuple[list[Places], list[Mixture]]:
    """The places given the pose, and the mixtures with their nodes where they were looked for."""
    places: list[Places] = []
    expected: list[Mixture] = []
    above: Shift | None = None
    for peaks, model in zip(near, models, strict=True):
        shift = swayed = sway(model.loadings, pose)
        if model.parents is not None and above is not None:
            shift = swayed + predicted_shift(model.parents, above)
        # Wide where the pose is not known: a narrow window would find what it expects.
        mixture = model.mixture.shifted(shift, openness(model.loadings, covariance))
        here = place_nodes(peaks, mixture)
        above = here.displaced(model.mixture).displacement - swayed
        places.append(here)
        expected.append(mixture)
    return places, expected


def place_nodes(peaks: ChannelPeaks, mixture: Mixture) -> Places:
    """The posterior mean place of every node of a layer in every image.

    Each peak of the node's channel is a candidate with evidence
    e_x = F(x) exp(-|p_x - m_V|^2 / 2 s_V^2), where s_V^2 is sigma_V^2 and what the pose leaves
    open. That the node is missing is one more, with evidence MISSING, at the place m_V where the
    node is expected:

        p_V = m_V + sum over x of e_x (p_x - m_V) / (sum of e_x + MISSING)

    The published inference takes the single strongest peak (the arg-max of F(x) P(p_x | V)).
    The posterior mean errs less where two peaks compete or the evidence is weak (measured:
    docs/mining-notes.md).
    """
    place, evidence = by_channel(_place_nodes, peaks, mixture)
    return Places(place.flatten(0, 1), evidence.flatten(0, 1))


def _place_nodes(peaks: ChannelPeaks, mixture: Mixture) -> tuple[Tensor, Tensor]:
    d_row, d_col = offsets(peaks, mixture)
    precision = -0.5 / mixture.variance()[:, :, None]
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


def _scores(
    places: list[Places], models: Sequence[LayerModel], mixtures: Sequence[Mixture]
) -> Scores:
    """S_V(I), 0..1: strength of the evidence x how well the graph explains the object.

    The strength is e_V / (e_V + STRONG). The object's factor is the geometric mean, over nodes,
    of the Gaussian exp(-|q_V - m_V|^2 / 2 sigma_V^2) of the place q_V where the peaks alone place
    the node; nodes weigh presence x communality in it. It ranks objects: where it is low,
    landmarks predicted from the nodes err more (measured: docs/mining-notes.md).
    """
    misfit = total = torch.zeros((), device=places[0].place.device)
    for here, model, mixture in zip(places, models, mixtures, strict=True):
        std, alive = model.mixture.std.flatten(), model.mixture.alive.flatten()
        # A node that moves on its own says nothing about how well the object is understood.
        weight = here.presence * (communality(model.loadings, std) * alive)[:, None]
        # The peaks alone lie (p - m) / presence from the expected place.
        expected = mixture.centres().flatten(0, 1)
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
