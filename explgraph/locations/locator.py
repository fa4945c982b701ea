"""Which node is where on an image, and how surely: the graph applied to peaks, layer by layer from the top.

p_V(I) is the posterior mean place of node V (`explgraph.mining.place.place_nodes`) around the place m_V(I) where the object's pose and
the node's parents expect it (`explgraph.mining.placing`), in the facing of the image that the graph's facing model finds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from explgraph.errors import GraphError
from explgraph.graph import LOADINGS, ExplanatoryGraph, Layer
from explgraph.mining import FacingModel, LayerModel, Mixture, Parents, place_layers, resolved
from explgraph.peaks import LayerPeaks, MapPeaks

NO_PARENT = 1.0  # std of a padding edge; its weight is 0


@dataclass(frozen=True)
class NodeLocations:
    """Where every node of a graph is on a batch of images.

    Args:
        nodes: ids, in the graph's order.
        place: (image, node, 2), (row, column), fractions of the network input of the image as photographed, float32.
        score: how sure that is, 0..1, (image, node), float32; 0 = nothing seen, the place is then the expected one.
        mirrored: (image,) bool, whether the image was understood through its mirror image (places are already mapped back).
    """

    nodes: tuple[str, ...]
    place: NDArray[np.float32]
    score: NDArray[np.float32]
    mirrored: NDArray[np.bool_]


@dataclass(frozen=True)
class _Layer:
    """One layer of the graph as arrays: the mixtures of its channels, padded to the largest number of nodes."""

    model: LayerModel
    slot: Tensor  # (node,) position channel * n_nodes + index of each node of the graph


class Locator:
    """A graph made ready to be asked; building it takes as long as reading the graph, asking it is a few array operations."""

    def __init__(self, graph: ExplanatoryGraph, *, device: str | torch.device = "cpu") -> None:
        """Turn ``graph`` into arrays on ``device``; raises GraphError if it has no node."""
        if not graph.number_of_nodes():
            raise GraphError(
                "the graph has no nodes, nothing can be located; mine more images or other layers"
            )
        self.graph = graph
        self.device = torch.device(device)
        facing = graph.facing
        self._facing = None if facing is None else FacingModel.from_dict(facing)
        self._n_dimensions = (
            max((len(x) // 2 for _, x in graph.nodes(data=LOADINGS, default=())), default=0) or 1
        )
        self._layers: list[_Layer] = []
        slots: dict[str, int] = {}
        for layer in graph.layers:
            names = list(graph.nodes_of(layer.name))
            built, slots = self._build(layer.channels, names, slots)
            self._layers.append(built)

    @cached_property
    def nodes(self) -> tuple[str, ...]:
        """Ids of the nodes, layer by layer from the top, in the order of the answers."""
        return self.graph.ordered_nodes()

    def locate(self, peaks: Mapping[str, LayerPeaks]) -> NodeLocations:
        """Return where every node is in every image of ``peaks`` (layer -> peaks; all layers of the graph, the same images).

        Images of which both facings were looked at get the facing that the graph's facing model finds; others stay as they are.

        Raises:
            GraphError: a layer of the graph is missing in ``peaks``, or has other channels; the layers differ in their images.
        """
        near = [self._peaks_of(peaks, layer) for layer in self.graph.layers]
        if len({(x.n_images, x.n_facings) for x in near}) > 1:
            raise GraphError(
                "the peaks of all layers must be of the same images and facings; extract them together"
            )
        if self._facing is not None and self._facing.flipped:
            near = [x.with_flipped_maps() if x.n_facings == 1 else x for x in near]
        mirrored = torch.zeros(near[0].n_images, dtype=torch.bool, device=self.device)
        if self._facing is not None:
            mirrored = self._facing.mirrored(near)
        placed = place_layers(
            [resolved(x, mirrored) for x in near], [layer.model for layer in self._layers]
        )
        pick = lambda of_layers: torch.cat(
            [t[layer.slot] for t, layer in zip(of_layers, self._layers, strict=True)]
        )
        col = pick([p.col for p in placed.layers])
        place = torch.stack(
            [pick([p.row for p in placed.layers]), torch.where(mirrored, 1 - col, col)], -1
        )
        return NodeLocations(
            self.nodes,
            place.transpose(0, 1).contiguous().cpu().numpy(),
            pick(placed.scores).T.contiguous().cpu().numpy(),
            mirrored.cpu().numpy(),
        )

    def _peaks_of(self, peaks: Mapping[str, LayerPeaks], layer: Layer) -> LayerPeaks:
        if layer.name not in peaks:
            raise GraphError(
                f"no peaks of layer {layer.name!r}, which the graph needs; got {', '.join(peaks) or 'none'}"
            )
        found = peaks[layer.name]
        if found.n_channels != layer.channels:
            raise GraphError(
                f"layer {layer.name!r} has {layer.channels} channels, got peaks of {found.n_channels}; use the network of the graph"
            )
        return found.to(self.device)

    def _build(
        self, n_channels: int, names: list[str], upper_slots: Mapping[str, int]
    ) -> tuple[_Layer, dict[str, int]]:
        nodes = [self.graph.nodes[name] for name in names]
        n_nodes = 1 + max((node["index"] for node in nodes), default=0)
        slots = {
            name: node["channel"] * n_nodes + node["index"]
            for name, node in zip(names, nodes, strict=True)
        }
        slot = torch.tensor(list(slots.values()), dtype=torch.int64)

        def spread(key: str, empty: float) -> Tensor:
            out = torch.full((n_channels * n_nodes,), empty)
            out[slot] = torch.tensor([node[key] for node in nodes], dtype=torch.float32)
            return out.reshape(n_channels, n_nodes).to(self.device)

        log_none = spread("none", 1.0).amin(1).log()
        mixture = Mixture(
            spread("row", 0.5),
            spread("col", 0.5),
            spread("std", 1.0),
            spread("weight", 0.0).log(),
            log_none,
        )
        loadings = torch.zeros(n_channels * n_nodes, 2, self._n_dimensions)
        for name, node in zip(names, nodes, strict=True):
            if LOADINGS in node:
                values = torch.tensor(node[LOADINGS], dtype=torch.float32).reshape(2, -1)
                loadings[slots[name], :, : values.shape[1]] = values
        parents = (
            self._parents(names, slots, upper_slots, n_channels * n_nodes) if upper_slots else None
        )
        return _Layer(
            LayerModel(mixture, loadings.to(self.device), parents), slot.to(self.device)
        ), slots

    def _parents(
        self, names: list[str], slots: Mapping[str, int], upper: Mapping[str, int], n_slots: int
    ) -> Parents:
        edges = {
            name: [
                (upper[p], e["std"], e["weight"])
                for p, _, e in self.graph.in_edges(name, data=True)
            ]
            for name in names
        }
        n_parents = max((len(e) for e in edges.values()), default=0) or 1
        index = np.zeros((n_slots, n_parents), np.int64)
        std, weight = (
            np.full((n_slots, n_parents), NO_PARENT, np.float32),
            np.zeros((n_slots, n_parents), np.float32),
        )
        for name, of_node in edges.items():
            for k, edge in enumerate(of_node):
                index[slots[name], k], std[slots[name], k], weight[slots[name], k] = edge
        return Parents(*(torch.from_numpy(a).to(self.device) for a in (index, std, weight)))


def layer_peaks(graph: ExplanatoryGraph, peaks: Mapping[str, MapPeaks]) -> dict[str, LayerPeaks]:
    """Return batch peaks, layer -> arrays with the axes (facing, image, channel, ...), as the dense arrays that `Locator` reads."""
    dense = {}
    for name, found in peaks.items():
        value, row, col, profile = (t.permute(0, 2, 3, 1).contiguous() for t in found)
        # In the store's precision.
        dense[name] = LayerPeaks(
            graph.layer(name), value.half().float(), row, col, profile.half().float()
        )
    return dense
