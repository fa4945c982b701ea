"""`correspondence`: does the network know a part again?"""

from __future__ import annotations

import argparse

from explgraph.cli.generated import add_fields, read_fields
from explgraph.cli.networks import add_network, open_network
from explgraph.cli.options import (
    COUNT,
    DEVICE,
    IMAGES,
    OUTSIDE,
    QUIET,
    Commands,
    add_command,
    add_options,
    names_of,
    text,
)
from explgraph.cli.printing import print_columns, print_hint, print_json
from explgraph.cli.sources import OBJECT, read_asked
from explgraph.queries import CorrespondenceOptions


def add_commands(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "correspondence",
        _correspondence,
        "Say whether a network changes in the same way "
        "when the same part is hidden in different images.",
        "explgraph correspondence zebra.json --workspace ws "
        "--landmark head --landmark legs --window 1",
        "explgraph correspondence photos/ --model vgg16 "
        "--layers features.28 --box head=0,0,0.3,0.3",
    )
    add_options(parser, ("source", text("SOURCE"), "folder of images or COCO JSON file"))
    add_network(parser, "network, layers, nodes and facing of this workspace")
    layers = text("A,B,..") | {"type": names_of, "default": ()}
    add_options(parser, ("--layers", layers, "dotted names; default: those of the workspace"))
    add_fields(parser, CorrespondenceOptions)
    limit = COUNT | {"default": 60}  # every two images are compared
    add_options(
        parser,
        OBJECT,
        IMAGES,
        OUTSIDE,
        ("--limit", limit, "only the first N objects (default 60)"),
        DEVICE,
        QUIET,
    )


def _correspondence(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import correspondence_table

    options = read_fields(args, CorrespondenceOptions)
    source = read_asked(args)  # before the network is loaded
    with ProgressReport(quiet=args.quiet) as report, open_network(args) as (network, workspace):
        table = correspondence_table(
            network, source, args.layers, options, workspace=workspace, report=report
        )
    if args.json:
        print_json(table.to_dict())
        return
    print_hint(table.hint)
    head = ("layer", "part", "images", "pairs", "distance", "spread")
    rows = [
        (
            one.layer,
            one.part,
            str(one.n_images),
            str(one.pairs),
            f"{one.mean:.4f}",
            f"{one.std:.4f}",
            f"{one.random_mean:.4f} +- {one.random_error:.4f}",
            f"{one.shuffled_mean:.4f} +- {one.shuffled_error:.4f}",
        )
        for one in table.rows
    ]
    print_columns([(*head, "random places", "other images' places"), *rows])
