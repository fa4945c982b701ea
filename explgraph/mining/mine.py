"""Mining: peaks -> facing, mixtures, pose and parents -> what the explanatory graph is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor

from explgraph.errors import MiningError
from explgraph.graph import Account, ExplanatoryGraph
from explgraph.mining.account import explain_channels
from explgraph.mining.assemble import assemble_graph
from explgraph.mining.config import MinedLayer, MiningConfig
from explgraph.mining.facing import FacingModel, resolve_facing
from explgraph.mining.mixture import ChannelPeaks, Mixture, fit_mixture, initial_mixture
from explgraph.mining.parents import candidates, choose_parents, predicted_shift, weigh_by_gain
from explgraph.mining.place import Places, observe, place_nodes
from explgraph.mining.placing import LayerModel, left_over, place_layers, shifted
from explgraph.mining.pose import Observed, fit_pose, n_dimensions, sway
from explgraph.mining.prune import prune
from explgraph.peaks import LayerPeaks

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Mined:
    """The result of mining.

    Args:
        graph: the explanatory graph of the nodes that were kept.
        mirrored: facing of each image, (image,) bool.
        pose: t(I) of each image, (q, image).
        layers: everything about each layer, top layer first.
        kept: per layer the node numbers (channel * n_nodes + index) behind the graph's nodes, in the graph's order.
    """

    graph: ExplanatoryGraph
    mirrored: Tensor
    pose: Tensor
    layers: tuple[MinedLayer, ...]
    kept: tuple[Tensor, ...]


@dataclass
class _Layer:
    """One layer on its way: its peaks in the resolved facing, its model so far, and how EM went."""

    peaks: LayerPeaks
    near: ChannelPeaks
    model: LayerModel
    shift: Tensor | None
    bounds: list[list[float]]
    converged: bool

    @property
    def expected(self) -> Mixture:
        """The mixture with its nodes at mu_V + shift."""
        return self.model.mixture if self.shift is None else shifted(self.model.mixture, self.shift)

    def fit(self, n_rounds: int, config: MiningConfig) -> None:
        """Run EM with the nodes expected at mu_V + shift."""
        grid = self.peaks.layer
        floor = config.std_min_cells * max(1 / grid.height, 1 / grid.width)
        ceiling = max(config.std_max, floor)
        mixture, history, self.converged = fit_mixture(
            self.near,
            self.expected,
            n_rounds=n_rounds,
            tol=config.tol,
            std_min=floor,
            std_max=ceiling,
        )
        self.bounds.append(history)
        self._set_mixture(mixture)

    def prune(self, config: MiningConfig) -> None:
        """Drop the nodes that explain nothing or no more than chance, and doubles."""
        self._set_mixture(prune(self.near, self.expected, config))

    def places(self) -> tuple[Places, Observed]:
        """Return where the nodes are and where the peaks alone see them."""
        mixture = self.expected
        places = place_nodes(self.near, mixture)
        return places, observe(places, mixture)

    def account(self, shift: Tensor, config: MiningConfig) -> Account:
        """Return how much of each channel the nodes explain."""
        mixture = self.model.mixture
        return explain_channels(
            self.near, shifted(mixture, shift), mixture.std >= config.texture_std
        )

    def _set_mixture(self, mixture: Mixture) -> None:
        self.model = replace(self.model, mixture=replace(mixture, shift_row=None, shift_col=None))


def mine(
    layers: Sequence[LayerPeaks],
    config: MiningConfig | None = None,
    *,
    progress: Progress = lambda _: None,
) -> Mined:
    """Return the explanatory graph of a set of images.

    Args:
        layers: the peaks of each layer over the same images, top layer first. Of peaks with one facing the flipped maps stand in for the
            other, unless ``config.facing`` is off.
        config: settings.
        progress: called with a short description of each step.

    Raises:
        MiningError: too few images, no layer, or not one peak in a layer.
    """
    config = config or MiningConfig()
    _check(layers, config)
    progress("facing")
    layers, facing, mirrored = _face(layers, config)
    generator = torch.Generator().manual_seed(config.seed)
    work = []
    for peaks in layers:
        progress(f"{peaks.layer.name}: mixtures")
        near = resolved(peaks, mirrored)
        mixture = initial_mixture(
            near, n_nodes=config.nodes, std=config.std_init, generator=generator
        )
        loadings = torch.zeros(
            mixture.row.numel(), 2, n_dimensions(peaks.n_images), device=near.value.device
        )
        work.append(_Layer(peaks, near, LayerModel(mixture, loadings, None), None, [], False))
        work[-1].fit(config.n_rounds, config)
    pose: Tensor | None = None
    for round_ in range(config.pose_rounds):
        progress(f"pose, round {round_ + 1}")
        last = round_ == config.pose_rounds - 1
        # Before the pose is known nodes are wide and seem to explain little: what is no more than chance shows at the end.
        pose = _fit_pose(work, pose, config if last else replace(config, min_evidence=-math.inf))
        if last:
            _choose_parents(work, pose, config)
        for one in work:
            one.fit(config.pose_em_rounds, config)
    progress("places")
    placed = place_layers([one.near for one in work], [one.model for one in work])
    mined = [
        MinedLayer(
            one.peaks,
            one.model,
            places,
            score,
            one.account(shift, config),
            one.bounds,
            one.converged,
        )
        for one, places, score, shift in zip(
            work, placed.layers, placed.scores, placed.shifts, strict=True
        )
    ]
    graph, kept = assemble_graph(mined, facing, config)
    return Mined(graph, mirrored, placed.pose, tuple(mined), kept)


def resolved(peaks: LayerPeaks, mirrored: Tensor) -> ChannelPeaks:
    """Return the peaks of each image in its resolved facing."""
    one = peaks.facing(mirrored)
    return ChannelPeaks(one.value[0].contiguous(), one.row[0].contiguous(), one.col[0].contiguous())


def _face(
    layers: Sequence[LayerPeaks], config: MiningConfig
) -> tuple[list[LayerPeaks], FacingModel | None, Tensor]:
    """Return the layers with the facings that are told apart, the rule that does it, and each image's flag."""
    if not config.facing:
        unmirrored = torch.zeros(
            layers[0].n_images, dtype=torch.bool, device=layers[0].value.device
        )
        return [peaks.facing(unmirrored) for peaks in layers], None, unmirrored
    flipped = layers[0].n_facings == 1
    layers = [peaks.with_flipped_maps() for peaks in layers] if flipped else list(layers)
    model, mirrored = resolve_facing(layers, flipped=flipped, seed=config.seed)
    return layers, model, mirrored


def _fit_pose(work: Sequence[_Layer], pose: Tensor | None, config: MiningConfig) -> Tensor:
    """Drop nodes that explain nothing, fit one pose to the nodes of all layers, and expect each node where the pose has it."""
    for one in work:
        one.prune(config)
    seen = [one.places()[1] for one in work]
    together = Observed(
        torch.cat([s.displacement for s in seen]), torch.cat([s.presence for s in seen])
    )
    loadings, mean, pose = fit_pose(together, pose, seed=config.seed)
    sizes = [len(s.presence) for s in seen]
    for one, lam, moved in zip(work, loadings.split(sizes), mean.split(sizes), strict=True):
        mixture = one.model.mixture
        alive = mixture.alive.flatten()
        lam, moved = lam * alive[:, None, None], moved * alive[:, None]
        row, col = (
            mixture.row + moved[:, 0].reshape(mixture.row.shape),
            mixture.col + moved[:, 1].reshape(mixture.col.shape),
        )
        one.model = replace(one.model, mixture=replace(mixture, row=row, col=col), loadings=lam)
        one.shift = sway(lam, pose)
    return pose


def _choose_parents(work: Sequence[_Layer], pose: Tensor, config: MiningConfig) -> None:
    """Give the nodes of every layer but the top one their parents, which pass on what the pose leaves of their displacement."""
    for upper, lower in pairwise(work):
        above, here = upper.places()[0], lower.places()[0]
        mixture = upper.model.mixture
        some = candidates(
            above,
            mixture.row.flatten(),
            mixture.col.flatten(),
            mixture.alive.flatten(),
            n_candidates=config.n_candidates,
        )
        row, col = lower.model.mixture.row.flatten(), lower.model.mixture.col.flatten()
        parents = choose_parents(here, row, col, some, n_parents=config.n_parents)
        passed_on = left_over(above, mixture, sway(upper.model.loadings, pose))
        swayed = sway(lower.model.loadings, pose)
        parents = weigh_by_gain(
            parents, here.presence, left_over(here, lower.model.mixture, swayed), passed_on
        )
        lower.model = replace(lower.model, parents=parents)
        lower.shift = swayed + torch.stack(predicted_shift(parents, *passed_on), 1)


def _check(layers: Sequence[LayerPeaks], config: MiningConfig) -> None:
    if not layers:
        raise MiningError("expected at least one layer of peaks, got none")
    n_images = layers[0].n_images
    if n_images < config.min_images:
        raise MiningError(
            f"expected at least {config.min_images} usable images, got {n_images}: the place of a part pattern and its spread "
            f"cannot be estimated from fewer (100 and more give steady graphs); add photographs"
        )
    for peaks in layers:
        if peaks.n_images != n_images or peaks.n_facings != layers[0].n_facings:
            raise MiningError(
                f"all layers must cover the same {n_images} images and facings; {peaks.layer.name} does not"
            )
        if not bool((peaks.value > 0).any()):
            raise MiningError(
                f"layer {peaks.layer.name} has no activation in any image; choose another layer or check the weights"
            )
