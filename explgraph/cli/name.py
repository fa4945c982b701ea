"""`explgraph name`: what people call nodes and filters."""

from __future__ import annotations

import argparse

from explgraph.cli.options import WORKSPACE, Commands, add_command, add_options, path, text
from explgraph.cli.printing import print_columns, print_json, say
from explgraph.errors import UsageError

SHOWN = ("target", "name", "origin")


def add_commands(commands: Commands) -> None:
    """Add ``name``."""
    name = add_command(
        commands,
        "name",
        _name,
        "Name nodes and filters; every answer then calls them so. Without a target: list the "
        "names.",
        'explgraph name zebra features.12:7:0 "ear"',
        "explgraph name zebra --from-part head",
        "explgraph name zebra --from names.csv",
        "explgraph name zebra --remove features.12:7:0",
    )
    add_options(
        name,
        *WORKSPACE,
        ("target", text("TARGET") | {"nargs": "?"}, "a node's id, or a filter: LAYER:CHANNEL"),
        ("name", text("NAME") | {"nargs": "?"}, "what it shall be called"),
    )
    add_options(
        name.add_mutually_exclusive_group(),
        ("--from", path("FILE.csv") | {"dest": "file"}, "names with the columns target, name"),
        ("--from-part", text("PART"), "name the nodes that a semantic part rests on after it"),
        (
            "--remove",
            text("TARGET") | {"action": "append", "default": []},
            "forget this name; repeatable",
        ),
    )


def _name(args: argparse.Namespace) -> None:
    from explgraph.queries import (
        forget_names,
        list_names,
        name_from_part,
        name_nodes,
        read_names,
    )
    from explgraph.workspace import Workspace

    if bool(args.target) != bool(args.name) or (
        args.target and (args.file or args.from_part or args.remove)
    ):
        raise UsageError(
            "expected TARGET and NAME, or --from FILE.csv, or --from-part PART, or --remove "
            "TARGET; without any of them the names are listed"
        )
    if args.remove:
        forget_names(args.workspace, args.remove, db=args.db)
    elif args.from_part:
        name_from_part(args.workspace, args.from_part, db=args.db)
    elif args.file or args.target:
        names = read_names(args.file) if args.file else {args.target: args.name}
        name_nodes(args.workspace, names, db=args.db)
    with Workspace(args.workspace, db=args.db) as workspace:
        found = list_names(workspace)
    if args.json:
        print_json(found.to_dict())
    elif found.names:
        print_columns([SHOWN, *(tuple(one[key] for key in SHOWN) for one in found.names)])
    else:
        say(f"{args.workspace} has no names")
