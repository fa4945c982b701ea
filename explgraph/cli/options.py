"""Options that several commands share.

An option that is not given stays None and is not passed on (`given`), so that the library's own
default holds and stands in one place.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

from explgraph.errors import UsageError

MODEL = "torchvision:NAME, timm:NAME, package.module:NAME, or a bare torchvision NAME"
WEIGHTS = (
    "state dict (.pth, .safetensors), an entry of torchvision's weights enum, or 'none' for "
    "random ones"
)

Kind = dict[str, Any]
Row = tuple[str, Kind, str]
Commands = Any  # argparse's own type for the collection of sub-commands is private


def add_command(
    commands: Commands,
    name: str,
    run: Callable[[argparse.Namespace], int | None],
    summary: str,
    *examples: str,
) -> argparse.ArgumentParser:
    """The parser of a new command, with --json; ``run`` is called with the parsed arguments.

    >>> commands = argparse.ArgumentParser().add_subparsers()
    >>> sub = add_command(commands, "greet", print, "Say hello.", "explgraph greet you")
    >>> sub.epilog
    'examples:\\n  explgraph greet you'
    """
    # Examples are printed as they stand, which argparse's own formatter would fill into a
    # paragraph.
    lines = [line.strip() for example in examples for line in example.splitlines()]
    sub: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=summary,
        epilog="\n  ".join(["examples:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    sub.set_defaults(run=run)
    sub.add_argument("--json", action="store_true", help="print one JSON object")
    return sub


def given(args: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options of these names that were given.

    >>> given(argparse.Namespace(top=3, limit=None), "top", "limit")
    {'top': 3}
    """
    values = {name: getattr(args, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def add_options(sub: argparse._ActionsContainer, *options: Row) -> None:
    """Add options, each a row of its flag or name, its kind, and its help.

    >>> parser = argparse.ArgumentParser()
    >>> add_options(parser, ("--top", COUNT, "how many"), ("--draw", FLAG, "draw them too"))
    >>> parser.parse_args(["--top", "3"])
    Namespace(top=3, draw=False)
    """
    for name, kind, said in options:
        sub.add_argument(name, help=said, **kind)


def add_model(
    sub: argparse.ArgumentParser, *, required: bool, default_weights: str = "the pretrained ones"
) -> None:
    """Add --model, --weights, and what its input is like: --input-size, --mean, --std."""
    add_options(
        sub,
        ("--model", text("SPEC") | {"required": required}, MODEL),
        ("--weights", text("FILE|NAME"), f"{WEIGHTS}; default: {default_weights}"),
        ("--input-size", SIZE, "input size in pixels, instead of the network's own"),
        ("--mean", SHARES, "mean of each channel in 0..1, instead of the network's own"),
        ("--std", SHARES, "standard deviation of each channel, likewise"),
    )


def channel_of(text: str) -> tuple[str, int]:
    """Layer and channel from LAYER:CHANNEL.

    Raises:
        UsageError: the text is of another form.

    >>> channel_of("features.12:7")
    ('features.12', 7)
    """
    layer, _, channel = text.rpartition(":")
    # isdecimal: int() would also take " 7" and "-7". Of thousands of digits it makes no number.
    if not layer or not channel.isdecimal() or len(channel) > 18:
        raise UsageError(f"--channel must be LAYER:CHANNEL such as features.12:7, got {text!r}")
    return layer, int(channel)


def names_of(text: str) -> tuple[str, ...]:
    """The names in a list joined by commas.

    Raises:
        UsageError: there is none.

    >>> names_of("layer3, layer4")
    ('layer3', 'layer4')
    """
    # A comma at the end is no layer without a name.
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names:
        raise UsageError(f"expected names joined by commas such as layer3,layer4, got {text!r}")
    return names


def positive(text: str) -> int:
    """A whole number of at least 1."""
    # int() alone would also take "1_000" and blanks, which are mostly slips.
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from a list joined by commas."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers joined by commas such as 3,17,40, got {text!r}"
        ) from None


def shares(text: str) -> tuple[float, ...]:
    """Finite numbers from a list joined by commas.

    >>> shares("0.5"), shares("0.485,0.456,0.406")
    ((0.5,), (0.485, 0.456, 0.406))
    """
    try:
        found = tuple(float(number) for number in text.split(","))
    except ValueError:
        found = ()
    if not found or not all(map(isfinite, found)):
        raise argparse.ArgumentTypeError(
            f"must be numbers joined by commas such as 0.5 or 0.485,0.456,0.406, got {text!r}"
        )
    return found


def input_size(text: str) -> tuple[int, int]:
    """(height, width) from N or HEIGHTxWIDTH.

    >>> input_size("224"), input_size("224x320")
    ((224, 224), (224, 320))
    """
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(
            f"must be N or HEIGHTxWIDTH such as 224 or 224x320, got {text!r}"
        )
    return int(sides[0]), int(sides[-1])


# Kinds of options, as argparse has them.
FLAG: Kind = {"action": "store_true"}
COUNT: Kind = {"type": positive, "metavar": "N"}
SHARES: Kind = {"type": shares, "metavar": "R,G,B|GREY"}
SIZE: Kind = {"type": input_size, "metavar": "N|HxW"}
REQUIRED: Kind = {"required": True}


def text(metavar: str) -> Kind:
    """Any text."""
    return {"metavar": metavar}


def path(metavar: str) -> Kind:
    """A file or a folder."""
    return {"metavar": metavar, "type": Path}


# Options that several commands have.
DEVICE = ("--device", {"default": "auto"}, "auto (default), cpu, cuda, cuda:1, mps")
QUIET = ("--quiet", FLAG, "no progress on stderr")
COMPUTE = (
    DEVICE,
    ("--batch-size", COUNT, "objects per forward pass (default 16)"),
    ("--workers", COUNT, "decoding threads (default 2)"),
    QUIET,
)
DB = ("--db", text("URL"), "SQLAlchemy URL of the tables, if the workspace does not remember it")
WORKSPACE = (("workspace", path("WORKSPACE"), "folder made by 'explgraph mine'"), DB)
IMAGES = ("--images", path("FOLDER"), "images of a COCO file, if not beside it")
OUTSIDE = (
    "--allow-outside",
    FLAG,
    "read images that a COCO file names outside of their folder (absolute names, ..)",
)
LIMIT = ("--limit", COUNT, "only the first N objects")
WEIGHTS_MOVED = ("--weights", text("FILE"), "the network's weights, if the file has moved")
