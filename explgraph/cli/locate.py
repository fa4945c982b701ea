"""`explgraph locate`: where the nodes are in new images."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    COMPUTE,
    COUNT,
    WEIGHTS_MOVED,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    given,
    path,
)
from explgraph.cli.printing import print_columns, print_hint, print_json, print_skipped, say
from explgraph.cli.sources import SOURCE, read_asked

if TYPE_CHECKING:
    from explgraph.queries import Located

PRINTED = 5  # nodes of each object that the terminal shows
SHOWN = ("image", "annotation_id", "node", "x", "y", "score", "mirrored")
DIGITS = {"x": "%.1f", "y": "%.1f", "score": "%.3f"}  # scores of one object lie close together


def add_commands(commands: Commands) -> None:
    """Add ``locate``."""
    locate = add_command(
        commands,
        "locate",
        _locate,
        "Find every node of the graph in new images.",
        "explgraph locate ws new-photos/ --out places.parquet",
        "explgraph locate ws photo.jpg --box 120,40,310,260 --top 10 --draw pictures/",
    )
    draw = (
        "draw each object with its box and its best nodes of different filters at different places"
    )
    add_options(
        locate,
        *WORKSPACE,
        ("--out", path("FILE"), ".parquet, .csv or .json; without it the best nodes are printed"),
        ("--top", COUNT, f"only the N best nodes of each object (printed: {PRINTED})"),
        ("--draw", path("DIR"), draw),
        *SOURCE,
        WEIGHTS_MOVED,
        *COMPUTE,
    )


def _locate(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import locate_source
    from explgraph.workspace import Workspace

    source = read_asked(args)
    with (
        Workspace(args.workspace, db=args.db) as workspace,
        ProgressReport(quiet=args.quiet) as report,
    ):
        located = locate_source(
            workspace,
            source,
            network=workspace.network(weights=args.weights, device=args.device),
            # A file takes all nodes; the terminal the best, as there are thousands on each object.
            top=args.top or (None if args.out else PRINTED),
            report=report,
            **given(args, "out", "draw", "batch_size", "workers"),
        )
    if args.json:
        print_json(located.to_dict())
        return
    print_hint(located.hint)
    if args.out:
        say(f"{args.out}: {located.rows} rows, {located.objects} objects")
    else:
        shown = lambda row: row | {key: digits % row[key] for key, digits in DIGITS.items()}
        note = lambda row: row.get("name") or "" if row["found"] else "not found"
        rows = [(*(str(shown(row)[key]) for key in SHOWN), note(row)) for row in located.locations]
        print_columns([("image", "object", *SHOWN[2:], ""), *rows])
    _print_explained(located)
    if located.pictures:
        say(f"{len(located.pictures)} pictures in {args.draw}")
    print_skipped(located.skipped)


def _print_explained(located: Located) -> None:
    """What is part, texture and nothing: of each object that was listed, or of all on average."""
    from explgraph.graph import SHARES, Shares

    rows = located.explained
    if located.out and rows:
        mean = Shares(*(sum(row[name] for row in rows) / len(rows) for name in SHARES))
        say(f"activation of the {len(rows)} objects: {mean}")
    elif rows:
        said = [
            (row["image"], str(row["annotation_id"]), str(Shares(*(row[k] for k in SHARES))))
            for row in rows
        ]
        print_columns([("image", "object", "activation"), *said])
