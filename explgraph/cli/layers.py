"""`explgraph layers`: what of a network can be mined."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from explgraph.cli.options import Commands, add_command, add_model, given
from explgraph.cli.printing import print_columns, print_json, say

HEAD = ("layer", "kind", "channels", "map", "stride", "receptive field", "centre")


def add_commands(commands: Commands) -> None:
    """Add ``layers``."""
    layers = add_command(
        commands,
        "layers",
        _layers,
        "List the conv-layers of a network with their measured geometry.",
        "explgraph layers --model vgg16",
        "explgraph layers --model mypackage.models:make_net --json",
    )
    add_model(layers, required=True, default_weights="random ones, which have the same layers")


def _layers(args: argparse.Namespace) -> None:
    from explgraph.network import load_network
    from explgraph.queries import describe_layers

    # Random weights, unless others are named: nobody shall wait for a download to see layers.
    shown = given(args, "input_size", "mean", "std")
    network = load_network(args.model, weights=args.weights or "none", **shown)
    described = describe_layers(network)
    if args.json:
        print_json(described.to_dict())
        return
    height, width = described.input
    say(
        f"{described.model}, input {height} x {width}; centre: of the first cell, pixels counted "
        "from 1"
    )
    rows = [HEAD]
    for layer in described.layers:
        size, stride = f"{layer.height} x {layer.width}", _pair(layer.stride)
        centre = _pair([first + 0.5 for first in layer.first])
        field = _pair(layer.size)
        rows.append((layer.name, layer.kind, f"{layer.channels}", size, stride, field, centre))
    print_columns(rows)
    if described.neurons:
        listed = ", ".join(f"{name} ({count})" for name, count in described.neurons.items())
        say(f"neurons, asked as NAME:NUMBER: {listed}")


def _pair(values: Sequence[float]) -> str:
    """One number where height and width agree, else both."""
    return " x ".join(f"{value:g}" for value in dict.fromkeys(values))
