"""Mining: peaks -> facing, mixtures, pose and parents -> places -> the explanatory graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from explgraph.errors import MiningError
from explgraph.graph import ExplanatoryGraph
from explgraph.mining.assemble import assemble_graph
from explgraph.mining.config import MiningConfig
from explgraph.mining.facing import FacingModel, resolve_facing
from explgraph.mining.held_out import choose_dimensions, hold_out
from explgraph.mining.layer import LayerFit, MinedLayer
from explgraph.mining.mixture import ChannelPeaks
from explgraph.mining.place import place_layers
from explgraph.mining.pose import Displaced, Poses, fit_pose
from explgraph.peaks import LayerPeaks
from explgraph.progress import Report, silent


@dataclass(frozen=True)
class Mined:
    """The result of mining.

    Args:
        graph: the explanatory graph of the nodes that were kept.
        mirrored: facing of each image.
        pose: t(I) of each image.
        layers: everything about each layer, top layer first.
        kept: per layer the numbers (channel * n_nodes + index) of the graph's nodes, in order.

    >>> mined = mine([peaks["features.14"]], MiningConfig(nodes=1, n_rounds=2, pose_rounds=1))
    >>> mined.mirrored.shape, len(mined.kept[0]) == len(mined.graph)
    (torch.Size([48]), True)
    """

    graph: ExplanatoryGraph
    mirrored: Bool[Tensor, " image"]
    pose: Poses
    layers: tuple[MinedLayer, ...]
    kept: tuple[Int[Tensor, " _"], ...]

    @property
    def converged(self) -> bool:
        """Whether the last run of EM converged in every layer; `graph.converged` says which."""
        return all(self.graph.converged.values())


def mine(
    layers: Sequence[LayerPeaks],
    config: MiningConfig | None = None,
    *,
    chance: Sequence[LayerPeaks] | None = None,
    report: Report = silent,
) -> Mined:
    """The explanatory graph of a set of images, with all that was found on the way.

    Args:
        layers: the peaks of each layer over the same images, top layer first. Where they have one
            facing, flipped maps stand in for the other, unless ``config.facing`` is off.
        config: settings.
        chance: peaks of the same layers in images in which nothing keeps a place, such as rolled
            ones: they tell parts from what the network prefers by itself, such as its border.
        report: told of each stage.

    Raises:
        MiningError: too few images, no layer, not one peak in a layer, or no part pattern.

    >>> mined = mine([peaks["features.14"]], MiningConfig(nodes=1, n_rounds=2, pose_rounds=1))
    >>> mined.graph.n_images, [layer.name for layer in mined.graph.layers]
    (48, ['features.14'])
    """
    config = config or MiningConfig()
    _check(layers, config)
    report("mine facing", 0, 0)
    layers, facing, mirrored = _face(layers, config)
    generator = torch.Generator().manual_seed(config.seed)
    work: list[LayerFit] = []
    for k, peaks in enumerate(layers):
        report(f"mine {peaks.layer.name}: mixtures", 0, 0)
        by_chance = None if chance is None else _unplaced(chance[k])
        work.append(LayerFit(peaks, mirrored, config, generator, by_chance))
        work[-1].fit(config.n_rounds)

    pose: Poses | None = None
    for number in range(1, config.pose_rounds + 1):
        report(f"mine pose, round {number}", 0, 0)
        last = number == config.pose_rounds
        for one in work:
            one.prune()
        if number == 2:
            pose = choose_dimensions([one.fitted for one in work])
        # Before the pose is known nodes are wide and explain little: chance shows at the end.
        if last:
            widening = _drop_chance(work, config)
        pose = _fit_pose(work, pose, config.seed)
        # Parents pass on what the pose leaves, so they wait for the last pose.
        if last:
            for upper, lower in pairwise(work):
                lower.follow_parents(upper, pose)
        for one in work:
            one.fit(config.pose_em_rounds)
    for one, factor in zip(work, widening, strict=True):
        one.widen(factor)

    report("mine places", 0, 0)
    # As for images to come, so that a mined image gets the same places when it is located again.
    placed = place_layers([one.near for one in work], [one.model for one in work])
    found = zip(work, placed.layers, placed.scores, placed.expected, strict=True)
    mined = tuple(one.finish(places, score, near) for one, places, score, near in found)
    graph, kept = assemble_graph(mined, facing, config)
    return Mined(graph, mirrored, placed.pose, mined, kept)


def _face(
    layers: Sequence[LayerPeaks], config: MiningConfig
) -> tuple[list[LayerPeaks], FacingModel | None, Bool[Tensor, " image"]]:
    """The layers with both facings, the model that tells them apart, and each image's flag."""
    if not config.facing:
        value = layers[0].value
        unmirrored = torch.zeros(value.shape[3], dtype=torch.bool, device=value.device)
        return [peaks.facing(unmirrored) for peaks in layers], None, unmirrored
    flipped = layers[0].n_facings == 1
    both = [peaks.with_flipped_maps() for peaks in layers] if flipped else list(layers)
    return both, *resolve_facing(both, flipped=flipped, seed=config.seed)


def _unplaced(peaks: LayerPeaks) -> ChannelPeaks:
    """The peaks of images of chance: their facing does not matter."""
    unmirrored = torch.zeros(peaks.n_images, dtype=torch.bool, device=peaks.value.device)
    return ChannelPeaks.resolved(peaks, unmirrored)


def _drop_chance(work: Sequence[LayerFit], config: MiningConfig) -> list[float]:
    """Drop the nodes that are no more than chance; by how much the others want to be wider."""
    found = hold_out([one.fitted for one in work])
    for one, evidence in zip(work, found.evidence, strict=True):
        known = evidence.known(sure=config.min_evidence, false_share=config.false_share)
        one.keep(known.to(one.near.value.device))
    if not any(bool(one.model.mixture.alive.any()) for one in work):
        names = ", ".join(one.peaks.layer.name for one in work)
        raise MiningError(
            f"no part pattern found: in {work[0].peaks.n_images} images no filter of {names} is"
            " active at a place that can be told better than by chance; take other layers, more"
            " photographs, or photographs whose boxes hold one kind of object"
        )
    return found.widening


def _fit_pose(work: Sequence[LayerFit], pose: Poses | None, seed: int) -> Poses:
    """Fit one pose to the nodes of all layers, and expect each node where the pose has it."""
    alone = [one.observe() for one in work]
    # One pose for all layers: each alone knows it less well (docs/mining-notes.md).
    displacement = torch.cat([one.displacement for one in alone])
    presence = torch.cat([one.presence for one in alone])
    loadings, mean, pose = fit_pose(Displaced(displacement, presence), pose, seed=seed)
    sizes = [len(one.presence) for one in alone]
    for one, lam, moved in zip(work, loadings.split(sizes), mean.split(sizes), strict=True):
        one.follow_pose(lam, moved, pose)
    return pose


def _check(layers: Sequence[LayerPeaks], config: MiningConfig) -> None:
    if not layers:
        raise MiningError("expected at least one layer of peaks, got none")
    first = layers[0]
    if first.n_images < config.min_images:
        raise MiningError(
            f"expected at least {config.min_images} usable images, got {first.n_images}: fewer do"
            " not tell the place of a part pattern and its spread (100 and more give steady"
            " graphs); add photographs"
        )
    for peaks in layers:
        if (peaks.n_images, peaks.n_facings) != (first.n_images, first.n_facings):
            raise MiningError(
                f"all layers must cover the same {first.n_images} images and facings;"
                f" {peaks.layer.name} does not"
            )
        if not bool((peaks.value > 0).any()):
            raise MiningError(
                f"layer {peaks.layer.name} has no activation in any image; choose another layer"
                " or check the weights"
            )
