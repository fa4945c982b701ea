"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explgraph.errors import UsageError

MODEL = "torchvision:NAME, timm:NAME, package.module:factory, or a bare torchvision NAME"
WEIGHTS = "state dict (.pth, .safetensors), an entry of torchvision's weights enum, or 'none' for random ones"

Commands = Any  # argparse's own type for the collection of sub-commands is private


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    examples: str,
) -> argparse.ArgumentParser:
    """Return the parser of a new command, with --json; ``run`` is called with the parsed arguments."""
    sub: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(run=run)
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    return sub


def add_quiet(sub: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    sub.add_argument("--quiet", action="store_true", help="no progress on stderr")


def add_model(
    sub: argparse.ArgumentParser, *, required: bool, default_weights: str = "the pretrained ones"
) -> None:
    """Add --model, --weights and --input-size."""
    sub.add_argument("--model", metavar="SPEC", required=required, help=MODEL)
    sub.add_argument(
        "--weights", metavar="FILE|NAME", help=f"{WEIGHTS}; default: {default_weights}"
    )
    sub.add_argument(
        "--input-size",
        type=size,
        metavar="N|HxW",
        help="input size in pixels, instead of the network's own",
    )


def add_compute(sub: argparse.ArgumentParser) -> None:
    """Add --device, --batch-size, --workers and --quiet."""
    add_device(sub)
    sub.add_argument(
        "--batch-size",
        type=positive,
        default=16,
        metavar="N",
        help="objects per forward pass (default 16)",
    )
    sub.add_argument(
        "--workers", type=positive, default=2, metavar="N", help="decoding threads (default 2)"
    )
    add_quiet(sub)


def add_workspace(sub: argparse.ArgumentParser) -> None:
    """Add WORKSPACE and --db."""
    sub.add_argument(
        "workspace", type=Path, metavar="WORKSPACE", help="folder made by 'explgraph mine'"
    )
    sub.add_argument(
        "--db", metavar="URL", help="SQLAlchemy URL of the tables, if not WORKSPACE/graph.db"
    )


def add_device(sub: argparse.ArgumentParser) -> None:
    """Add --device."""
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")


def channel_of(text: str) -> tuple[str, int]:
    """Return layer and channel from LAYER:CHANNEL.

    Raises:
        UsageError: the text is of another form.
    """
    layer, _, channel = text.rpartition(":")
    if not layer or not channel.isdecimal():
        raise UsageError(f"--channel must be LAYER:CHANNEL such as features.12:7, got {text!r}")
    return layer, int(channel)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def size(text: str) -> tuple[int, int]:
    """Return (height, width) from N or HEIGHTxWIDTH."""
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"must be N or HEIGHTxWIDTH such as 224 or 224x320, got {text!r}"
        )
    return int(sides[0]), int(sides[-1])
