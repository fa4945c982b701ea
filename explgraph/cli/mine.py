"""`explgraph mine`: from photographs to a workspace."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    COUNT,
    PATH,
    Commands,
    add_command,
    add_compute,
    add_images,
    add_model,
    given,
    names_of,
)
from explgraph.cli.printing import print_json, print_skipped

if TYPE_CHECKING:
    from explgraph.workspace import MineReport


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
    mine.add_argument("source", metavar="SOURCE", help=source)
    out = "folder of the results; made if missing"
    mine.add_argument("--out", **PATH, required=True, metavar="WORKSPACE", help=out)
    add_model(mine, required=True)
    layers = "dotted names, see 'explgraph layers'"
    mine.add_argument("--layers", required=True, metavar="A,B,..", help=layers)
    add_images(mine)
    background = "photographs without the objects; responses are measured in their deviations"
    mine.add_argument("--background", **PATH, metavar="FOLDER", help=background)
    _add_settings(mine)
    restart = "throw away what WORKSPACE holds of another job"
    mine.add_argument("--restart", action="store_true", help=restart)
    db = "SQLAlchemy URL for the tables, instead of WORKSPACE/graph.db"
    mine.add_argument("--db", metavar="URL", help=db)
    add_compute(mine)


def _add_settings(mine: argparse.ArgumentParser) -> None:
    facing = mine.add_mutually_exclusive_group()
    facing.add_argument(
        "--no-mirror",
        action="store_true",
        help="do not look at mirror images (no facing; half the time)",
    )
    facing.add_argument(
        "--flip-maps",
        action="store_true",
        help="tell the facing from flipped maps instead of mirror images (half the time, less "
        "exact)",
    )
    fit = "how a box becomes the network input (default stretch)"
    mine.add_argument("--fit", choices=("stretch", "letterbox"), help=fit)
    mine.add_argument("--nodes", **COUNT, help="part patterns per channel at most (default 4)")
    seed = "seed of every random choice (default 0)"
    mine.add_argument("--seed", type=int, metavar="S", help=seed)
    mine.add_argument("--limit", **COUNT, help="only the first N objects")


def _mine(args: argparse.Namespace) -> None:
    from explgraph.mining import MiningConfig
    from explgraph.progress import ProgressReport
    from explgraph.workspace import MineJob, mine_workspace

    job = MineJob(
        source=Path(args.source),
        model=args.model,
        layers=names_of(args.layers),
        mirror=not (args.no_mirror or args.flip_maps),
        mining=MiningConfig(facing=not args.no_mirror, **given(args, "nodes", "seed")),
        **given(args, "weights", "input_size", "images", "background", "fit", "limit"),
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
        _print_report(done)


def _print_report(done: MineReport) -> None:
    if done.unchanged:
        print(f"{done.folder} is complete already, nothing to do")
    nodes = ", ".join(f"{n} in {name}" for name, n in done.nodes.items())
    print(
        f"{done.folder}: {done.objects} objects, {done.edges} edges, nodes: {nodes}; "
        f"{done.mirrored} objects face the other way"
    )
    for name, converged in done.converged.items():
        if not converged:
            print(f"note: EM in {name} stopped at its round limit, still gaining a little")
    print_skipped(done.skipped)
    draw = f"explgraph locate {done.folder} PHOTOS --draw pictures"
    print(f"next: explgraph show {done.folder}   |   {draw}")
