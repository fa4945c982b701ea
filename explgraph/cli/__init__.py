"""The command line: parses, makes one library call, prints. Results to stdout, progress to stderr.

Each module adds its commands to the parser. Exit codes: 0 done, 1 failed (one clear line), 2 misuse, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from explgraph import __version__
from explgraph.cli import asking, correspondence, explain, heat_maps, mining, parts
from explgraph.errors import ExplgraphError, UsageError

COMMANDS = (mining, asking, parts, explain, correspondence, heat_maps)  # in the order of --help


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `docs/cli.md` is checked against it."""
    parser = argparse.ArgumentParser(
        prog="explgraph",
        description="Finds the part patterns that a pretrained CNN has learned, how they hang together, and where they are in an image.",
        epilog="Start with: explgraph demo",
    )
    parser.add_argument("--version", action="version", version=f"explgraph {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for module in COMMANDS:
        module.add_commands(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
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
    except ExplgraphError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        print(
            "explgraph: interrupted; what is finished is kept, the same command goes on from there",
            file=sys.stderr,
        )
        return 130
    except BrokenPipeError:  # e.g. piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # no permission, disk full, a file where a folder should be
        return _fail(error, 1)


def _fail(error: Exception, code: int) -> int:
    print(f"explgraph: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code
