"""Where every node is on an image, and how surely: the graph applied to peaks from the top layer.

p_V(I) is the posterior mean place of node V around the place m_V(I) where the object's pose and
the node's parents expect it (`explgraph.mining.place`), in the facing of the image that the
graph's facing model finds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from explgraph.errors import GraphError
from explgraph.graph import CO_FIRING, LOADINGS, Account, ExplanatoryGraph, Layer, Shares
from explgraph.mining import (
    NO_PARENT,
    ChannelPeaks,
    FacingModel,
    LayerModel,
    Mixture,
    Parents,
    explain_images,
    image_shares,
    place_layers,
)
from explgraph.peaks import LayerPeaks, MapPeaks, as_stored

# From this score on a node counts as found. Measured (docs/method.md): where there is no object one
# node in twenty reaches it.
FOUND = 0.15


@dataclass(frozen=True)
class NodeLocations:
    """Where every node of a graph is on a batch of images.

    Args:
        nodes: ids, in the graph's order.
        place: (row, column), fractions of the network input of the image as photographed.
        score: how sure that is, 0..1; below `FOUND` the node was not found, and at 0 its place is
            the expected one.
        mirrored: whether the image was understood through its mirror image; places are already
            mapped back.
        explained: shares of part, texture and nothing of each image's activation; None where the
            graph does not know what chance explains.
        sureness: how probable each flag is, from 0.5, a guess, to 1; NaN where no facing was
            told, None where nothing is known of it.

    >>> found = Locator(graph).locate(peaks)
    >>> found.nodes == graph.ordered_nodes(), found.mirrored.shape
    (True, (48,))
    """

    nodes: tuple[str, ...]
    place: Float32[np.ndarray, "image node 2"]
    score: Float32[np.ndarray, "image node"]
    mirrored: Bool[np.ndarray, " image"]
    explained: Float64[np.ndarray, "image 3"] | None = None
    sureness: Float32[np.ndarray, " image"] | None = None

    def shares(self, image: int) -> Shares | None:
        """How much of an image's activation the graph explains, where the graph can tell."""
        return None if self.explained is None else Shares(*self.explained[image].tolist())

    @property
    def found(self) -> Bool[np.ndarray, "image node"]:
        """Which nodes were found: those with a score of at least `FOUND`."""
        return self.score >= FOUND

    def __repr__(self) -> str:
        return f"<NodeLocations: {len(self.nodes):,} nodes on {len(self.mirrored):,} images>"


@dataclass(frozen=True)
class _Layer:
    """One layer of the graph as arrays: every channel is padded to the largest number of nodes."""

    n_nodes: int  # per channel
    slot: dict[str, int]  # channel * n_nodes + index of each node of the graph
    model: LayerModel


class Locator:
    """A graph made ready to be asked; to ask it takes a few array operations.

    >>> Locator(graph).locate(peaks).place.shape == (48, len(graph), 2)
    True
    """

    def __init__(self, graph: ExplanatoryGraph, *, device: str | torch.device = "cpu") -> None:
        """Turn ``graph`` into arrays on ``device``; raises GraphError if it has no node."""
        if not graph.number_of_nodes():
            raise GraphError(
                "the graph has no nodes, nothing can be located; mine more images or other layers"
            )
        self.graph = graph
        self.device = torch.device(device)
        # Built once here: a workspace is located batch by batch, with the same arrays.
        self._facing = None if graph.facing is None else FacingModel.from_dict(graph.facing)
        # Loadings are stored flat, 2 x q. At least one dimension, so that no tensor is empty.
        lengths = (len(x) for _, x in graph.nodes(data=LOADINGS, default=()))
        self._n_dimensions = max(lengths, default=0) // 2 or 1
        self._layers: list[_Layer] = []
        for layer in graph.layers:
            self._layers.append(self._build(layer, self._layers[-1] if self._layers else None))

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Ids of the nodes, layer by layer from the top, in the order of the answers."""
        return self.graph.ordered_nodes()

    def locate(self, peaks: Mapping[str, LayerPeaks]) -> NodeLocations:
        """Where every node is in every image of ``peaks``.

        Images of which both facings were looked at get the facing that the graph's facing model
        finds. Others stay as they are.

        Args:
            peaks: layer -> peaks, for all layers of the graph and of the same images.

        Raises:
            GraphError: a layer of the graph is missing in ``peaks``, or has other channels; the
                layers differ in their images.
        """
        near = [self._peaks_of(peaks, layer) for layer in self.graph.layers]
        if len({(x.n_images, x.n_facings) for x in near}) > 1:
            raise GraphError(
                "the peaks of all layers must be of the same images and facings;"
                " extract them together"
            )
        near, mirrored, sureness = self._facings_of(near)
        resolved = [ChannelPeaks.resolved(x, mirrored) for x in near]
        # All layers at once: they share one pose, and a place is expected from the layer above.
        found = place_layers(resolved, [layer.model for layer in self._layers])
        # The padding of channels with fewer nodes falls out here.
        slots = [list(layer.slot.values()) for layer in self._layers]
        places = [here.place[slot] for here, slot in zip(found.layers, slots, strict=True)]
        scores = [score[slot] for score, slot in zip(found.scores, slots, strict=True)]
        row, col = torch.cat(places).unbind(1)
        # Out of the resolved facing again: callers ask about the image as photographed.
        as_photographed = torch.where(mirrored, 1 - col, col)
        place = torch.stack([row, as_photographed], -1).transpose(0, 1)
        score = torch.cat(scores).T
        arrays = (t.contiguous().cpu().numpy() for t in (place, score, mirrored))
        found_at = NodeLocations(self.nodes, *arrays)
        explained = self._explain(resolved, found.expected)
        return replace(found_at, explained=explained, sureness=sureness.cpu().numpy())

    @cached_property
    def _accounts(self) -> list[Account] | None:
        """Of each layer, where the graph knows what chance explains."""
        explained = self.graph.explained
        known = [explained[x.name] for x in self.graph.layers if x.name in explained]
        told = len(known) == len(self.graph.layers) and all(x.chance is not None for x in known)
        return known if told else None

    def _explain(
        self, near: list[ChannelPeaks], expected: list[Mixture]
    ) -> Float64[np.ndarray, "image 3"] | None:
        """The shares of each image, from the nodes where they were looked for."""
        if self._accounts is None:
            return None
        # The graph's own word for texture, as the settings of mining may not have come with it.
        widths = [x["std"] for _, x in self.graph.nodes(data=True) if x["kind"] == "texture"]
        texture_std = min(widths, default=math.inf)
        masses = []
        for peaks, mixture, account in zip(near, expected, self._accounts, strict=True):
            masses.append(explain_images(peaks, mixture, account, texture_std=texture_std))
        return image_shares(torch.stack(masses).sum(0)).cpu().numpy()

    def _facings_of(
        self, near: list[LayerPeaks]
    ) -> tuple[list[LayerPeaks], Bool[Tensor, " image"], Float[Tensor, " image"]]:
        """The peaks, with a second facing where the graph's rule needs one; flags and sureness."""
        unknown = torch.full((near[0].n_images,), torch.nan, device=self.device)
        # Mining was told to leave it alone, or found none.
        if self._facing is None:
            return near, torch.zeros_like(unknown, dtype=torch.bool), unknown
        if self._facing.flipped:
            # The rule was learned from flipped maps, so it is asked about the same.
            near = [x.with_flipped_maps() if x.n_facings == 1 else x for x in near]
        if near[0].n_facings == 1:
            return near, torch.zeros_like(unknown, dtype=torch.bool), unknown
        return near, self._facing.mirrored(near), self._facing.sureness(near).float()

    def _peaks_of(self, peaks: Mapping[str, LayerPeaks], layer: Layer) -> LayerPeaks:
        if layer.name not in peaks:
            known = ", ".join(peaks) or "none"
            raise GraphError(
                f"no peaks of layer {layer.name!r}, which the graph needs; got {known}"
            )
        found = peaks[layer.name]
        if found.n_channels != layer.channels:
            raise GraphError(
                f"layer {layer.name!r} has {layer.channels} channels, got peaks of"
                f" {found.n_channels}; use the network of the graph"
            )
        return found.to(self.device)

    def _build(self, layer: Layer, upper: _Layer | None) -> _Layer:
        nodes = {name: self.graph.nodes[name] for name in self.graph.nodes_of(layer.name)}
        n_nodes = 1 + max((node["index"] for node in nodes.values()), default=0)
        slot = {name: node["channel"] * n_nodes + node["index"] for name, node in nodes.items()}
        shape, at = (layer.channels, n_nodes), list(slot.values())

        def spread(key: str, empty: float) -> Tensor:
            values = [node[key] for node in nodes.values()]
            out = torch.full((layer.channels * n_nodes,), empty)
            out[at] = torch.tensor(values, dtype=torch.float32)
            return out.reshape(shape).to(self.device)

        # An empty slot has weight 0 and so takes no peak; its std of 1 keeps divisions finite.
        # The weight of V_none stands at every node of a channel, hence the smallest: 1 is padding.
        mixture = Mixture(
            mean=torch.stack([spread("row", 0.5), spread("col", 0.5)], -1),
            std=spread("std", 1.0),
            log_weight=spread("weight", 0.0).log(),
            log_none=spread("none", 1.0).amin(1).log(),
        )
        loadings = torch.zeros(layer.channels * n_nodes, 2, self._n_dimensions)
        for name, node in nodes.items():
            # Nodes may know fewer dimensions, or none; they do not sway with the others.
            values = torch.tensor(node.get(LOADINGS, ()), dtype=torch.float32).reshape(2, -1)
            loadings[slot[name], :, : values.shape[1]] = values
        parents = None
        if upper is not None and upper.slot:
            parents = self._parents(slot, upper.slot, len(loadings))
        return _Layer(n_nodes, slot, LayerModel(mixture, loadings.to(self.device), parents))

    def _parents(self, slot: Mapping[str, int], upper: Mapping[str, int], n_slots: int) -> Parents:
        # Also rows without an edge get one, of weight 0: tensors need one width.
        n_parents = max((self.graph.in_degree(name) for name in slot), default=0) or 1
        index = torch.zeros(n_slots, n_parents, dtype=torch.int64)
        std = torch.full((n_slots, n_parents), NO_PARENT)
        weight, co_firing = torch.zeros(2, n_slots, n_parents)
        # In the order of the graph's edges, which the store keeps: sums over parents round alike.
        for name, own in slot.items():
            edges = list(self.graph.in_edges(name, data=True))
            n = len(edges)
            index[own, :n] = torch.tensor([upper[p] for p, _, _ in edges], dtype=torch.int64)
            std[own, :n] = torch.tensor([e["std"] for _, _, e in edges])
            weight[own, :n] = torch.tensor([e["weight"] for _, _, e in edges])
            co_firing[own, :n] = torch.tensor([e.get(CO_FIRING, 0.0) for _, _, e in edges])
        return Parents(*(t.to(self.device) for t in (index, std, weight, co_firing)))


def layer_peaks(graph: ExplanatoryGraph, peaks: Mapping[str, MapPeaks]) -> dict[str, LayerPeaks]:
    """Batch peaks as the dense arrays that `Locator` reads, in the store's precision.

    Args:
        graph: which layers.
        peaks: layer -> arrays with the axes (facing, image, channel, ...).

    >>> batch = MapPeaks(*torch.zeros(3, 2, 5, 96, 4), torch.zeros(2, 5, 96, 8))
    >>> layer_peaks(graph, {"features.14": batch})["features.14"].value.shape
    torch.Size([2, 96, 4, 5])
    """
    return {name: as_stored(graph.layer(name), [found]) for name, found in peaks.items()}
