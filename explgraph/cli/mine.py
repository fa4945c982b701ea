"""`explgraph mine`: from photographs to a workspace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    COMPUTE,
    COUNT,
    FLAG,
    IMAGES,
    LIMIT,
    OUTSIDE,
    REQUIRED,
    Commands,
    add_command,
    add_model,
    add_options,
    given,
    names_of,
    path,
    text,
)
from explgraph.cli.printing import print_json, print_skipped, say

if TYPE_CHECKING:
    from explgraph.workspace import MineReport

# Named here too, as --help must not load NumPy.
FITS = ("stretch", "letterbox")


def add_commands(commands: Commands) -> None:
    """Add ``mine``."""
    mine = add_command(
        commands,
        "mine",
        _mine,
        "Mine photographs into a workspace: peaks, part patterns, explanatory graph. The same "
        "command resumes.",
        "explgraph mine photos/ --out ws --model resnet50 --layers layer3,layer4 "
        "--background other-photos/",
        "explgraph mine zebra.json --out zebra --model squeezenet1_0 --weights weights.pth "
        "--layers features.10,features.12",
    )
    source = "folder of images (recursive) or COCO JSON file (each box one object)"
    background = "photographs without the objects; responses are measured in their deviations"
    add_options(
        mine,
        ("source", text("SOURCE"), source),
        ("--out", path("WORKSPACE") | REQUIRED, "folder of the results; made if missing"),
    )
    layers = (
        "dotted names, see 'explgraph layers'; default: the last of each of the last two stages"
    )
    add_model(mine, required=True)
    add_options(
        mine,
        ("--layers", text("A,B,.."), layers),
        IMAGES,
        OUTSIDE,
        ("--background", path("FOLDER"), background),
    )
    _add_settings(mine)


def _add_settings(mine: argparse.ArgumentParser) -> None:
    flipped = "tell the facing from flipped maps instead of mirror images "
    flipped += "(half the time, less exact)"
    add_options(
        mine.add_mutually_exclusive_group(),
        ("--no-mirror", FLAG, "do not look at mirror images (no facing; half the time)"),
        ("--flip-maps", FLAG, flipped),
    )
    add_options(
        mine,
        ("--fit", {"choices": FITS}, "how a box becomes the network input (default stretch)"),
        ("--nodes", COUNT, "part patterns per channel at most (default 4)"),
        ("--seed", text("S") | {"type": int}, "seed of every random choice (default 0)"),
        LIMIT,
        ("--restart", FLAG, "throw away what WORKSPACE holds of another job"),
        ("--db", text("URL"), "SQLAlchemy URL for the tables, instead of WORKSPACE/graph.db"),
        *COMPUTE,
    )


def _mine(args: argparse.Namespace) -> None:
    from explgraph.mining import MiningConfig
    from explgraph.progress import ProgressReport
    from explgraph.workspace import MineJob, mine_workspace

    job = MineJob(
        source=Path(args.source),
        model=args.model,
        layers=() if args.layers is None else names_of(args.layers),
        # Without mirror images the facing can still be told, from maps that are flipped.
        mirror=not (args.no_mirror or args.flip_maps),
        # Only --no-mirror gives up the facing.
        allow_outside=args.allow_outside,
        mining=MiningConfig(facing=not args.no_mirror, **given(args, "nodes", "seed")),
        **given(
            args, "weights", "input_size", "mean", "std", "images", "background", "fit", "limit"
        ),
    )
    with ProgressReport(quiet=args.quiet) as report:
        done = mine_workspace(
            args.out,
            job,
            db=args.db,
            restart=args.restart,
            report=report,
            **given(args, "device", "batch_size", "workers"),
        )
    if args.json:
        print_json(done.to_dict())
    else:
        if args.layers is None:
            say(f"layers, by default: {', '.join(done.nodes)} (--layers names others)")
        _print_report(done)


def _print_report(done: MineReport) -> None:
    # The same command resumes, so it may also find nothing to do; that is a success.
    if done.relocate:
        say(f"{done.folder} was mined already, from another place; to have it read from this one:")
        say(f"  {done.relocate}")
    elif done.unchanged:
        say(f"{done.folder} is complete already, nothing to do")
    nodes = ", ".join(f"{n} in {name}" for name, n in done.nodes.items())
    say(
        f"{done.folder}: {done.objects} objects, {done.edges} edges, nodes: {nodes}; "
        f"{done.mirrored} objects face the other way"
    )
    for name, converged in done.converged.items():
        # A note and no warning: the graph is good, some rounds more would move nodes a little.
        if not converged:
            say(f"note: EM in {name} stopped at its round limit, still gaining a little")
    if done.dropped_names:
        names = ", ".join(f"{name} ({target})" for target, name in done.dropped_names)
        say(f"note: dropped, since the graph has no such node any more: {names}")
    if done.note:
        say(f"note: {done.note}")
    print_skipped(done.skipped)
    draw = f"explgraph locate {done.folder} PHOTOS --draw pictures"
    say(f"next: explgraph show {done.folder}   |   {draw}")
