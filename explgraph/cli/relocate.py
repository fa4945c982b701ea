"""`explgraph relocate`: photographs or weights have moved."""

from __future__ import annotations

import argparse

from explgraph.cli.options import (
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    given,
    path,
)
from explgraph.cli.printing import print_json, say
from explgraph.errors import UsageError

MOVED = ("source", "images", "weights", "background")


def add_commands(commands: Commands) -> None:
    """Add ``relocate``."""
    relocate = add_command(
        commands,
        "relocate",
        _relocate,
        "Have a workspace read its photographs, COCO file and weights from where they are now; "
        "they must be those that were mined.",
        "explgraph relocate ws --images /new/photos",
        "explgraph relocate ws --source /new/zebra.json --weights /new/weights.pth",
    )
    add_options(
        relocate,
        *WORKSPACE,
        ("--source", path("SOURCE"), "the COCO file, or the folder that was mined"),
        ("--images", path("FOLDER"), "the photographs"),
        ("--weights", path("FILE"), "the network's weights"),
        ("--background", path("FOLDER"), "the background photographs"),
    )


def _relocate(args: argparse.Namespace) -> None:
    from explgraph.queries import relocate_workspace

    if not given(args, *MOVED, "db"):
        raise UsageError("say what has moved: --images, --source, --weights, --background or --db")
    done = relocate_workspace(args.workspace, db=args.db, **given(args, *MOVED))
    if args.json:
        print_json(done.to_dict())
        return
    how = "by their content" if done.hashed else "by names, sizes and boxes (no hashes are kept)"
    say(f"{done.workspace}: {done.photographs} photographs are those that were mined, {how}")
    for what, place in done.moved.items():
        say(f"{what}: {place}")
