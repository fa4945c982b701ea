"""The command line: each command is a module with its options, one query, and what is printed.

`options` holds what several commands share, `printing` columns and JSON. Results go to stdout,
progress to stderr. Exit codes: 0 done, 1 failed (one clear line), 2 misuse, 130 interrupted. What
ends a command is one line on stderr, and under --json also one JSON object on stdout.

The parser is argparse: importing typer takes 75 ms, all of ours 30 (measured).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from explgraph import __version__
from explgraph.cli import (
    check,
    correspondence,
    demo,
    evaluate,
    explain,
    export,
    heat_maps,
    layers,
    locate,
    mine,
    name,
    part,
    relocate,
    repair,
    shell,
    show,
)
from explgraph.cli.printing import print_json, say
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
    check,
    relocate,
    part,
    name,
    explain,
    repair,
    correspondence,
    heat_maps,
    shell,
)


INTERRUPTED = "interrupted; what is finished is kept, the same command goes on from there"


class Parser(argparse.ArgumentParser):
    """Leaves it to `main` to say what is wrong with the arguments."""

    def error(self, message: str) -> NoReturn:
        """Raise it with the usage of the command."""
        error = UsageError(message)
        error.add_note(self.format_usage().rstrip())
        raise error


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; `docs/cli.md` is written from it.

    >>> build_parser().parse_args(["show", "zebra", "--top", "3"]).top
    3
    """
    parser = Parser(
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
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    try:
        args = parser.parse_args(argv)
        # Not argparse's `required`, which says less than the help does.
        if args.command is None:
            parser.print_help()
            return 2
        if hasattr(args, "device"):  # the command runs a network
            from explgraph.memory import keep_freed_memory

            keep_freed_memory()
        from explgraph.files import noting_replaced  # loads hashlib, which --help does without

        with noting_replaced() as replaced:
            code = int(args.run(args) or 0)
        if replaced and args.command not in ("mine", "demo"):  # which go on from what is there
            more = f" and {len(replaced) - 1} more files" if len(replaced) > 1 else ""
            say(f"replaced {replaced[0]}{more}", error=True)
        return code
    except UsageError as error:
        return _fail(error, str(error), 2, argv)
    except (ExplgraphError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # e.g. piped into head
            # Python writes what is left at its exit, and would complain of the pipe again.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        # Other OSErrors: no permission, disk full, a file where a folder should be.
        return _fail(error, str(error), 1, argv)
    # 130 is what shells expect: 128 and the number of SIGINT.
    except KeyboardInterrupt as error:
        return _fail(error, INTERRUPTED, 130, argv)


def _fail(error: BaseException, message: str, code: int, argv: Sequence[str]) -> int:
    for note in getattr(error, "__notes__", []):  # the parser's usage
        say(*note.splitlines(), error=True)
    kind = "" if code == 130 else "error: "
    # One line, whatever a library put into its message.
    say(f"explgraph: {kind}{' '.join(message.split())}", error=True)
    # Misuse has no parsed arguments, so the words themselves are looked at; --js is --json too.
    if any(len(word) > 2 and "--json".startswith(word) for word in argv):
        said = {"type": type(error).__name__, "message": message, "exit_code": code}
        print_json({"error": said})
    return code
