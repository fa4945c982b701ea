"""`layers`: what of a network can be mined, and with which geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from explgraph.graph import Layer
from explgraph.network import Network, list_layers, list_vectors


@dataclass(frozen=True)
class NetworkLayers:
    """The layers of a network.

    Args:
        model: its specification.
        input: (height, width), pixels.
        layers: in the order of the forward pass.
        neurons: of each layer that yields vectors, which can be asked and not mined.
    """

    model: str
    input: tuple[int, int]
    layers: tuple[Layer, ...]
    neurons: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; a receptive field without limit is infinite."""
        layers = [
            {
                "name": layer.name,
                "kind": layer.kind,
                "channels": layer.channels,
                "height": layer.height,
                "width": layer.width,
                "stride": list(layer.stride),
                "receptive_field": list(layer.size),
                # The first pixel's centre is 0.5 here; for people it is pixel 1.
                "centre": list(layer.first),
                "centre_pixel": [first + 0.5 for first in layer.first],
            }
            for layer in self.layers
        ]
        shown: dict[str, Any] = {"model": self.model, "input": list(self.input), "layers": layers}
        return shown | {"neurons": dict(self.neurons)}


def describe_layers(network: Network) -> NetworkLayers:
    """Every layer of a network that can be mined, and those whose neurons can be asked.

    >>> [layer.name for layer in describe_layers(network).layers][-2:]
    ['features.14', 'features']
    """
    layers, neurons = tuple(list_layers(network)), list_vectors(network)
    return NetworkLayers(network.spec, network.input.size, layers, neurons)
