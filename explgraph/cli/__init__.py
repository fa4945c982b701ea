"""The command line: each command is a module with its options, one query, and what is printed.

`options` holds what several commands share, `printing` columns and JSON. Results go to stdout,
progress to stderr. Exit codes: 0 done, 1 failed (one clear line), 2 misuse, 130 interrupted.

The parser is argparse: importing typer takes 75 ms, all of ours 30 (measured).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from explgraph import __version__
from explgraph.cli import (
    correspondence,
    demo,
    evaluate,
    explain,
    export,
    heat_maps,
    layers,
    locate,
    mine,
    part,
    show,
)
from explgraph.errors import ExplgraphError, UsageError

# In the order of --help.
COMMANDS = (
    demo,
    layers,
    mine,
    show,
    locate,
    evaluate,
    export,
    part,
    explain,
    correspondence,
    heat_maps,
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `docs/cli.md` is written from it.

    >>> build_parser().parse_args(["show", "zebra", "--top", "3"]).top
    3
    """
    parser = argparse.ArgumentParser(
        prog="explgraph",
        description="Finds the part patterns that a pretrained CNN has learned, how they hang "
        "together, and where they are in an image.",
        epilog="Start with: explgraph demo",
    )
    parser.add_argument("--version", action="version", version=f"explgraph {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in COMMANDS:
        module.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    >>> main(["part", "remove", str(folder), "--name", "head"])
    removed head
    0
    """
    parser = build_parser()
    args = parser.parse_args(argv)
    # Not argparse's `required`, which says less than the help does.
    if args.command is None:
        parser.print_help()
        return 2
    if hasattr(args, "device"):  # the command runs a network
        from explgraph.memory import keep_freed_memory

        keep_freed_memory()
    try:
        return int(args.run(args) or 0)
    except UsageError as error:
        return _fail(error, 2)
    except (ExplgraphError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # e.g. piped into head
            # Python writes what is left at its exit, and would complain of the pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        # Other OSErrors: no permission, disk full, a file where a folder should be.
        return _fail(error, 1)
    # 130 is what shells expect: 128 and the number of SIGINT.
    except KeyboardInterrupt:
        print(
            "explgraph: interrupted; what is finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130


def _fail(error: Exception, code: int) -> int:
    # One line, whatever a library put into its message.
    print(f"explgraph: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
