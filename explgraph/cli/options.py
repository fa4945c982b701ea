"""Options that several commands share.

An option that is not given stays None and is not passed on (`given`), so that the library's own
default holds and stands in one place.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from explgraph.errors import UsageError

MODEL = "torchvision:NAME, timm:NAME, package.module:factory, or a bare torchvision NAME"
WEIGHTS = (
    "state dict (.pth, .safetensors), an entry of torchvision's weights enum, or 'none' for "
    "random ones"
)

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


def add_quiet(sub: argparse.ArgumentParser) -> None:
    """Add --quiet."""
    sub.add_argument("--quiet", action="store_true", help="no progress on stderr")


def add_model(
    sub: argparse.ArgumentParser, *, required: bool, default_weights: str = "the pretrained ones"
) -> None:
    """Add --model, --weights and --input-size."""
    weights, size = f"{WEIGHTS}; default: {default_weights}", "input size in pixels, instead of"
    sub.add_argument("--model", metavar="SPEC", required=required, help=MODEL)
    sub.add_argument("--weights", metavar="FILE|NAME", help=weights)
    sub.add_argument(
        "--input-size", type=input_size, metavar="N|HxW", help=f"{size} the network's own"
    )


def add_compute(sub: argparse.ArgumentParser) -> None:
    """Add --device, --batch-size, --workers and --quiet."""
    add_device(sub)
    sub.add_argument("--batch-size", **COUNT, help="objects per forward pass (default 16)")
    sub.add_argument("--workers", **COUNT, help="decoding threads (default 2)")
    add_quiet(sub)


def add_device(sub: argparse.ArgumentParser) -> None:
    """Add --device."""
    sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")


def add_workspace(sub: argparse.ArgumentParser) -> None:
    """Add WORKSPACE and --db."""
    db = "SQLAlchemy URL of the tables, if not WORKSPACE/graph.db"
    sub.add_argument(
        "workspace", **PATH, metavar="WORKSPACE", help="folder made by 'explgraph mine'"
    )
    sub.add_argument("--db", metavar="URL", help=db)


def add_new_images(sub: argparse.ArgumentParser) -> None:
    """Add SOURCE, --images and --limit, and --weights for a network that has moved."""
    sub.add_argument(
        "source", metavar="SOURCE", help="folder of images, COCO JSON file, or one image"
    )
    add_images(sub)
    sub.add_argument("--limit", **COUNT, help="only the first N objects")
    sub.add_argument(
        "--weights", metavar="FILE", help="the network's weights, if the file has moved"
    )


def add_images(sub: argparse.ArgumentParser) -> None:
    """Add --images."""
    sub.add_argument(
        "--images", **PATH, metavar="FOLDER", help="images of a COCO file, if not beside it"
    )


def channel_of(text: str) -> tuple[str, int]:
    """Layer and channel from LAYER:CHANNEL.

    Raises:
        UsageError: the text is of another form.

    >>> channel_of("features.12:7")
    ('features.12', 7)
    """
    layer, _, channel = text.rpartition(":")
    if not layer or not channel.isdecimal():
        raise UsageError(f"--channel must be LAYER:CHANNEL such as features.12:7, got {text!r}")
    return layer, int(channel)


def names_of(text: str) -> tuple[str, ...]:
    """The names in a list joined by commas.

    >>> names_of("layer3, layer4")
    ('layer3', 'layer4')
    """
    return tuple(name.strip() for name in text.split(",") if name.strip())


def positive(text: str) -> int:
    """A whole number of at least 1."""
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


# What most arguments of a kind have in common.
PATH: dict[str, Any] = {"type": Path}
COUNT: dict[str, Any] = {"type": positive, "metavar": "N"}
