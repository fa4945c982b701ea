"""One layer on its way through mining: its mixtures, then its pose, then its parents."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from explgraph.graph import Account
from explgraph.mining.account import explain_channels
from explgraph.mining.agreement import Behaviour, standardised
from explgraph.mining.config import MiningConfig
from explgraph.mining.held_out import Fitted
from explgraph.mining.mixture import ChannelPeaks, Mixture, fit_mixture, initial_mixture
from explgraph.mining.parents import choose_parents, predicted_shift, weigh_by_gain
from explgraph.mining.place import LayerModel, Places, Score, Shift, observe, place_nodes
from explgraph.mining.pose import Displaced, Loadings, Poses, n_dimensions, sway
from explgraph.mining.prune import prune
from explgraph.peaks import LayerPeaks


@dataclass(frozen=True)
class MinedLayer:
    """One layer after mining, node = channel * n_nodes + index.

    Args:
        peaks: of the layer.
        model: the channels' mixtures, the nodes' loadings and parents.
        places: of every node in every image, in the resolved facing.
        score: S_V(I).
        explained: how much of each channel the nodes explain.
        lower_bound: mean log-likelihood per activation entity before each EM round, one list for
            every run of EM.
        converged: whether the last run of EM converged.
    """

    peaks: LayerPeaks
    model: LayerModel
    places: Places
    score: Score
    explained: Account
    lower_bound: list[list[float]]
    converged: bool


class LayerFit:
    """One layer while it is mined: the model so far, and the shift where its nodes are expected."""

    def __init__(
        self,
        peaks: LayerPeaks,
        mirrored: Bool[Tensor, " image"],
        config: MiningConfig,
        generator: torch.Generator,
        chance: ChannelPeaks | None = None,
    ) -> None:
        self.peaks = peaks
        self.config = config
        self.chance = chance
        faced = peaks.facing(mirrored)
        self.near = ChannelPeaks.resolved(faced, mirrored)
        self.profile = None if faced.profile is None else faced.profile[0]
        mixture = initial_mixture(
            self.near, n_nodes=config.nodes, std=config.std_init, generator=generator
        )
        q = n_dimensions(peaks.n_images)
        loadings = torch.zeros(mixture.std.numel(), 2, q, device=mixture.std.device)
        self.model = LayerModel(mixture, loadings, None)
        self.shift: Shift | None = None
        self.lower_bound: list[list[float]] = []
        self.converged = False

    @property
    def expected(self) -> Mixture:
        """The mixture with its nodes at mu_V + shift."""
        mixture = self.model.mixture
        return mixture if self.shift is None else mixture.shifted(self.shift)

    @property
    def bounds(self) -> tuple[float, float]:
        """Of sigma."""
        grid, config = self.peaks.layer, self.config
        # A place is not known better than the cells it was read from.
        std_min = config.std_min_cells * max(1 / grid.height, 1 / grid.width)
        # The cells of a coarse layer may be wider than the bound.
        return std_min, max(config.std_max, std_min)

    @property
    def fitted(self) -> Fitted:
        """What is judged by `explgraph.mining.held_out`."""
        return Fitted(self.near, self.model, self.bounds, self.chance)

    def fit(self, n_rounds: int) -> None:
        """Run EM with the nodes expected at mu_V + shift."""
        std_min, std_max = self.bounds
        mixture, history, self.converged = fit_mixture(
            self.near,
            self.expected,
            n_rounds=n_rounds,
            tol=self.config.tol,
            std_min=std_min,
            std_max=std_max,
        )
        self.lower_bound.append(history)
        # The shift is kept apart: the model must also serve images that were not mined.
        self.model = replace(self.model, mixture=replace(mixture, shift=None))

    def prune(self) -> None:
        """Drop the nodes that explain nothing, and doubles."""
        mixture = prune(self.near, self.expected, min_support=self.config.min_support)
        self.model = replace(self.model, mixture=replace(mixture, shift=None))

    def keep(self, known: Bool[Tensor, "channel node"]) -> None:
        """Drop all other nodes."""
        mixture = self.model.mixture
        log_weight = torch.where(known, mixture.log_weight, -torch.inf)
        self.model = replace(self.model, mixture=replace(mixture, log_weight=log_weight))

    def widen(self, factor: float) -> None:
        """Widen sigma^2 by a factor; what was not texture does not become so."""
        mixture, texture = self.model.mixture, self.config.texture_std
        std = (mixture.std * factor**0.5).clamp_max(0.99 * texture)
        std = torch.where(mixture.std < texture, torch.maximum(std, mixture.std), mixture.std)
        self.model = replace(self.model, mixture=replace(mixture, std=std))

    def places(self) -> Places:
        """Where the nodes are."""
        return place_nodes(self.near, self.expected)

    def observe(self) -> Displaced:
        """Where the peaks alone place the nodes."""
        return observe(self.places(), self.expected)

    def follow_pose(self, loadings: Loadings, mean: Float[Tensor, "node 2"], pose: Poses) -> None:
        """Move the mean places by ``mean``, and expect each node where the pose has it."""
        mixture = self.model.mixture
        alive = mixture.alive.flatten()
        loadings = loadings * alive[:, None, None]
        moved = (mean * alive[:, None]).reshape(mixture.mean.shape)
        mixture = replace(mixture, mean=mixture.mean + moved)
        self.model = replace(self.model, mixture=mixture, loadings=loadings)
        self.shift = sway(loadings, pose)

    def behaviour(self) -> Behaviour:
        """What the nodes do in the images, by which parents are chosen."""
        places, mixture = self.places(), self.model.mixture
        alive = mixture.alive.flatten()
        firing = places.strength / places.strength[alive].mean(0).clamp_min(1e-9)
        # p - m_V is pulled by presence; by its root the noise of all images is alike.
        beyond = places.place - self.expected.centres().flatten(0, 1)
        residual = beyond / places.presence.sqrt().clamp_min(1e-3)[:, None]
        here = places.displaced(mixture)
        mean, moved = mixture.mean.flatten(0, 1), (here.presence, here.displacement)
        return Behaviour(mean, *moved, standardised(firing), standardised(residual))

    def follow_parents(self, upper: LayerFit, pose: Poses) -> None:
        """Choose the nodes' parents, which pass on what the pose leaves of their displacement."""
        here, above = self.behaviour(), upper.behaviour()
        alive, others = (
            one.model.mixture.alive.flatten().nonzero().flatten() for one in (self, upper)
        )
        parents = choose_parents(
            here.nodes(alive),
            above.nodes(others),
            n_parents=self.config.n_parents,
            seed=self.config.seed,
        ).renumbered(alive, others, len(here.mean))
        # Without what sways with the pose: a node has that already, and must not get it twice.
        swayed = sway(self.model.loadings, pose)
        passed_on = above.displacement - sway(upper.model.loadings, pose)
        parents = weigh_by_gain(parents, here.presence, here.displacement - swayed, passed_on)
        self.model = replace(self.model, parents=parents)
        self.shift = swayed + predicted_shift(parents, passed_on)

    def finish(self, places: Places, score: Score, expected: Mixture) -> MinedLayer:
        """The mined layer, given where its nodes are and where they were expected."""
        explained = explain_channels(
            self.near, expected, self.profile, texture_std=self.config.texture_std
        )
        how = (explained, self.lower_bound, self.converged)
        return MinedLayer(self.peaks, self.model, places, score, *how)
