"""Mining: peaks -> facing, mixtures and parents, layer by layer from the top -> what the explanatory graph is made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from explgraph.errors import MiningError
from explgraph.graph import ExplanatoryGraph
from explgraph.mining.assemble import assemble_graph
from explgraph.mining.facing import decide, initial_facing, vote
from explgraph.mining.layer import MinedLayer, MiningConfig
from explgraph.mining.mixture import ChannelPeaks, Mixture, fit_mixture, initial_mixture
from explgraph.mining.parents import Parents, candidates, choose_parents, predicted_shift
from explgraph.mining.places import place_nodes
from explgraph.mining.prune import prune
from explgraph.peaks.peaks import LayerPeaks

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Mined:
    """The result of mining.

    Args:
        graph: the explanatory graph of the nodes that were kept.
        mirrored: facing of each image, (image,) bool.
        layers: everything about each layer, top layer first.
        kept: per layer the node numbers (channel * n_nodes + index) behind the graph's nodes, in the graph's order.
    """

    graph: ExplanatoryGraph
    mirrored: Tensor
    layers: tuple[MinedLayer, ...]
    kept: tuple[Tensor, ...]


def mine(layers: Sequence[LayerPeaks], config: MiningConfig | None = None, *, progress: Progress = lambda _: None) -> Mined:
    """Return the explanatory graph of a set of images.

    Args:
        layers: the peaks of each layer over the same images, top layer first.
        config: settings.
        progress: called with a short description of each step.

    Raises:
        MiningError: too few images, no layer, or not one peak in a layer.
    """
    config = config or MiningConfig()
    _check(layers, config)
    generator = torch.Generator().manual_seed(config.seed)
    progress("facing")
    mirrored = initial_facing(layers)
    mined: list[MinedLayer] = []
    for peaks in layers:
        progress(peaks.layer.name)
        if not mined:
            top, mirrored = _mine_top(peaks, mirrored, config, generator, progress)
            mined.append(top)
        else:
            mined.append(_mine_below(peaks, mined[-1], mirrored, config, generator, progress))
    graph, kept = assemble_graph(mined, config)
    return Mined(graph, mirrored, tuple(mined), kept)


def resolved(peaks: LayerPeaks, mirrored: Tensor) -> ChannelPeaks:
    """Return the peaks of each image in its resolved facing."""
    one = peaks.facing(mirrored)
    return ChannelPeaks(one.value[0].contiguous(), one.row[0].contiguous(), one.col[0].contiguous())


def _mine_top(
    peaks: LayerPeaks, mirrored: Tensor, config: MiningConfig, generator: torch.Generator, progress: Progress
) -> tuple[MinedLayer, Tensor]:
    """Fit the top layer and the facing in turn: EM, then every image takes the facing that its nodes explain better."""
    near = resolved(peaks, mirrored)
    mixture = initial_mixture(near, n_nodes=config.nodes, std=config.std_init, generator=generator)
    bounds, converged = [], False
    for round_ in range(config.facing_rounds):
        mixture, history, converged = _fit(near, mixture, peaks, config.n_rounds, config)
        bounds.append(history)
        if peaks.n_facings == 1:
            break
        new = decide(vote([peaks], [mixture]))
        progress(f"{peaks.layer.name}: facing round {round_ + 1}, {int((new ^ mirrored).sum())} images turned")
        if torch.equal(new, mirrored):
            break
        mirrored, near = new, resolved(peaks, new)
    mixture = prune(near, mixture, config)
    mixture, history, converged = _fit(near, mixture, peaks, config.parent_em_rounds, config)
    bounds.append(history)
    if peaks.n_facings == 2:
        mirrored = decide(vote([peaks], [mixture]))
        near = resolved(peaks, mirrored)
    return MinedLayer(peaks, mixture, None, place_nodes(near, mixture), bounds, converged), mirrored


def _mine_below(
    peaks: LayerPeaks, above: MinedLayer, mirrored: Tensor, config: MiningConfig, generator: torch.Generator, progress: Progress
) -> MinedLayer:
    """Fit a lower layer: EM without parents, then parents and EM in turn."""
    near = resolved(peaks, mirrored)
    mixture = initial_mixture(near, n_nodes=config.nodes, std=config.std_init, generator=generator)
    mixture, history, _ = _fit(near, mixture, peaks, config.n_rounds, config)
    mixture = prune(near, mixture, config)
    bounds, converged, parents = [history], False, None
    upper_row, upper_col = above.mixture.row.flatten(), above.mixture.col.flatten()
    upper = candidates(above.places, upper_row, upper_col, above.mixture.alive.flatten(), n_candidates=config.n_candidates)
    for round_ in range(config.parent_rounds):
        progress(f"{peaks.layer.name}: parents, round {round_ + 1}")
        places = place_nodes(near, mixture)
        parents = choose_parents(places, mixture.row.flatten(), mixture.col.flatten(), upper, n_parents=config.n_parents)
        mixture = with_shift(mixture, parents, *above.displacement)
        mixture, history, converged = _fit(near, mixture, peaks, config.parent_em_rounds, config)
        bounds.append(history)
    places = place_nodes(near, mixture)
    return MinedLayer(peaks, replace(mixture, shift_row=None, shift_col=None), parents, places, bounds, converged)


def with_shift(mixture: Mixture, parents: Parents, d_row: Tensor, d_col: Tensor) -> Mixture:
    """Return the mixture whose nodes are expected where their parents predict, given the upper nodes' displacements."""
    shape = (*mixture.row.shape, d_row.shape[1])
    shift_row, shift_col = predicted_shift(parents, d_row, d_col)
    return replace(mixture, shift_row=shift_row.reshape(shape), shift_col=shift_col.reshape(shape))


def _fit(
    near: ChannelPeaks, mixture: Mixture, peaks: LayerPeaks, n_rounds: int, config: MiningConfig
) -> tuple[Mixture, list[float], bool]:
    floor = config.std_min_cells * max(1 / peaks.layer.height, 1 / peaks.layer.width)
    ceiling = max(config.std_max, floor)
    return fit_mixture(near, mixture, n_rounds=n_rounds, tol=config.tol, std_min=floor, std_max=ceiling)


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
            raise MiningError(f"all layers must cover the same {n_images} images and facings; {peaks.layer.name} does not")
        if not bool((peaks.value > 0).any()):
            raise MiningError(
                f"layer {peaks.layer.name} has no activation in any image; choose another layer or check the weights"
            )
