"""saliency, gradcam, deconv, occlusion, nodemap: a command for every registered heat map."""

from __future__ import annotations

import argparse
from typing import Any

from explgraph.cli.generated import add_fields, read_fields
from explgraph.cli.networks import add_network, add_network_of_workspace, open_network
from explgraph.cli.options import (
    DEVICE,
    QUIET,
    REQUIRED,
    Commands,
    add_command,
    add_options,
    channel_of,
    path,
)
from explgraph.cli.printing import print_hint, print_json, print_skipped, say
from explgraph.cli.sources import add_images, read_images
from explgraph.queries import METHODS


def add_commands(commands: Commands) -> None:
    """Add a command for each method."""
    for name, method in METHODS.items():
        examples = [f"explgraph {name} {example}" for example in method.examples]
        parser = add_command(commands, name, _draw, method.summary, *examples)
        add_images(parser, "+")
        if method.needs_nodes:
            add_network_of_workspace(parser)
        else:
            add_network(parser, "take the network, and the nodes, of this workspace")
        _add_targets(parser, method.targets, method.target_help)
        add_fields(parser, method.options)
        if not method.needs_nodes:
            fit = "how a picture becomes the network input; default: letterbox, but with --node, "
            fit += "and boxes with --workspace, as the graph was mined"
            fits = {"choices": ("stretch", "letterbox")}
            add_options(parser, ("--fit", fits, fit))
        out = "folder for overlay (.png), raw map (.npy) and record (.json)"
        add_options(parser, ("--out", path("DIR") | REQUIRED, out), DEVICE, QUIET)


def _add_targets(
    parser: argparse.ArgumentParser, targets: tuple[str, ...], which_class: str
) -> None:
    helps = {
        "class": ("--target", "CLASS", which_class),
        "node": ("--node", "ID", "a node of the workspace's graph, where it is found in the image"),
        "channel": ("--channel", "LAYER:CHANNEL", "a channel's total activation"),
    }
    group = parser.add_mutually_exclusive_group()
    for target in targets:
        flag, metavar, said = helps[target]
        # Not under their own names: an option of the method may be called so too (nodemap's node).
        group.add_argument(flag, dest=f"asked_{target}", metavar=metavar, help=said)


def _draw(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import draw_heat_maps, object_title

    source, method = read_images(args), METHODS[args.command]  # before the network is loaded
    with ProgressReport(quiet=args.quiet) as report, open_network(args) as (network, workspace):
        answer = draw_heat_maps(
            args.command,
            network,
            source,
            args.out,
            options=read_fields(args, method.options),
            target=_target(args),
            node=getattr(args, "asked_node", None),
            workspace=workspace,
            # Methods that need nodes show images as the graph was mined, and have no --fit.
            fit=getattr(args, "fit", None),
            report=report,
        )
    if args.json:
        print_json(answer.to_dict())
        return
    print_hint(answer.hint)
    for one in answer.results:
        say(f"{object_title(one.obj)}: {one.said()} -> {one.overlay}")
        if one.empty:
            say(f"  {one.empty}")
    print_skipped(answer.skipped)


def _target(args: argparse.Namespace) -> Any:
    from explgraph.attribution import Activation

    channel = getattr(args, "asked_channel", None)
    return Activation(*channel_of(channel)) if channel else args.asked_class
