"""`explgraph demo`: the whole way, on generated creatures."""

from __future__ import annotations

import argparse
from pathlib import Path

from explgraph.cli.options import QUIET, Commands, add_command, add_options, path
from explgraph.cli.printing import print_json, say

FOLDER = Path("demo-workspace")


def add_commands(commands: Commands) -> None:
    """Add ``demo``."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "Mine generated creatures with the embedded network, the whole way.",
        "explgraph demo --out demo-workspace",
    )
    out = path("DIR") | {"default": FOLDER}
    add_options(demo, ("--out", out, f"folder (default {FOLDER})"), QUIET)


def _demo(args: argparse.Namespace) -> None:
    from explgraph.demo import run_demo
    from explgraph.progress import ProgressReport

    with ProgressReport(quiet=args.quiet) as report:
        result = run_demo(args.out, report=report)
    if args.json:
        print_json(result.to_dict())
    else:
        say(*result.to_text().splitlines())
