"""Nodes at places: of a graph of one node, and of any in the layers of the tiny network."""

import torch
from builders.networks import HEIGHT, WIDTH
from builders.tiny_network import MIDDLE, TOP, Tiny

from explgraph.attribution import PlacedNode
from explgraph.graph import ExplanatoryGraph, Layer
from explgraph.network import feature_maps, measure_geometry

SIZE = Tiny.input_size


def graph():
    """A graph of one node, of layer 2."""
    found = ExplanatoryGraph()
    found.graph["layers"] = (Layer("2", 7, 9, 12, (2.0, 2.0), (0.5, 0.5), (7.0, 7.0)),)
    rest = {
        "weight": 1.0,
        "none": 0.1,
        "support": 5.0,
        "score": 0.5,
        "communality": 0.5,
        "kind": "part",
    }
    found.add_pattern(layer="2", channel=3, index=0, row=0.5, col=0.5, std=0.1, **rest)
    return found


def placed(place):
    """The node of `graph` at a place."""
    return PlacedNode.of(graph(), "2:3:0", place, input_size=(HEIGHT, WIDTH))


def graph_at(network, places):
    """A graph of the tiny network with one node per (layer, channel, row, col, std)."""
    rest = {"weight": 1.0, "none": 0.1, "support": 1.0, "score": 0.5, "communality": 0.5}
    layers = tuple(measure_geometry(network, [TOP, MIDDLE]).values())
    graph = ExplanatoryGraph(layers=layers, n_images=1)
    for index, (layer, channel, row, col, std) in enumerate(places):
        place = {"row": row, "col": col, "std": std}
        graph.add_pattern(layer=layer, channel=channel, index=index, kind="part", **place, **rest)
    return graph.check()


def maps_at(network, image, layer):
    """Copies of a layer's maps of an image."""
    with torch.no_grad():
        return feature_maps(network.model, image, [layer])[layer]
