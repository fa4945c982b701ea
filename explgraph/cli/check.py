"""`explgraph check`: is all of a workspace as it was?"""

from __future__ import annotations

import argparse

from explgraph.cli.options import (
    COMPUTE,
    FLAG,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    given,
)
from explgraph.cli.printing import print_columns, print_json, say


def add_commands(commands: Commands) -> None:
    """Add ``check``."""
    check = add_command(
        commands,
        "check",
        _check,
        "Check all that a workspace consists of, and all that it was made from; "
        "exit code 1 where something is wrong.",
        "explgraph check ws",
        "explgraph check ws --repair",
    )
    repair = "make anew what is missing or damaged (mines on; a broken database is renamed)"
    add_options(check, *WORKSPACE, ("--repair", FLAG, repair), *COMPUTE)


def _check(args: argparse.Namespace) -> int:
    from explgraph.progress import ProgressReport
    from explgraph.queries import check_workspace, repair_workspace

    if args.repair:
        with ProgressReport(quiet=args.quiet) as report:
            checked = repair_workspace(
                args.workspace,
                db=args.db,
                report=report,
                **given(args, "device", "batch_size", "workers"),
            )
    else:
        checked = check_workspace(args.workspace, db=args.db)
    if args.json:
        print_json(checked.to_dict())
    else:
        print_columns([(one.what, one.state, one.said) for one in checked.findings])
        for remedy in dict.fromkeys(one.remedy for one in checked.findings if one.remedy):
            say(f"remedy: {remedy}")
        if checked.repaired:
            say(f"made anew: {', '.join(checked.repaired)}")
        say(f"{checked.workspace} is {'well' if checked.well else 'not well'}")
    return 0 if checked.well else 1
