"""What a command is asked about: photographs, folders, COCO files, and the objects in them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from explgraph.cli.options import IMAGES, LIMIT, OUTSIDE, Kind, Row, add_options, path, text

if TYPE_CHECKING:
    from explgraph.images import Box, Source


def box_of(text: str) -> Box:
    """x, y, width and height from a list joined by commas.

    >>> box_of("10,20,64,48")
    (10.0, 20.0, 64.0, 48.0)
    """
    try:
        x, y, width, height = (float(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be x,y,width,height in pixels of the image such as 10,20,64,48, got {text!r}"
        ) from None
    return x, y, width, height


_MANY: Kind = {"action": "append"}
BOX: Row = (
    "--box",
    {"type": box_of, "metavar": "x,y,w,h"} | _MANY,
    "an object in the image: left, top, width and height in its pixels; repeatable",
)
OBJECT: Row = (
    "--object",
    {"type": int, "metavar": "ID"} | _MANY,
    "only the object of this annotation id in the COCO file; repeatable",
)
SOURCE = (
    ("source", text("SOURCE"), "folder of images, COCO JSON file, or one image"),
    BOX,
    OBJECT,
    IMAGES,
    OUTSIDE,
    LIMIT,
)


def add_images(parser: argparse.ArgumentParser, nargs: str) -> None:
    """Add IMAGE, any number of them, and the options that say which objects in them are meant."""
    # The place has another name in the arguments: --images is the folder of a COCO file's images.
    images = path("IMAGE") | {"nargs": nargs}
    add_options(parser, ("asked", images, "image files, or a folder, or a COCO JSON file"))
    add_options(parser, BOX, OBJECT, IMAGES, OUTSIDE, LIMIT)


def read_images(args: argparse.Namespace) -> Source:
    """The objects that IMAGE and its options name.

    Raises:
        SourceError: not one of the images can be opened.
    """
    from explgraph.images import check_images
    from explgraph.queries import asked_source

    source = asked_source(args.asked, box=args.box, **_which(args))
    check_images([one.path for one in source.objects])
    return source


def read_asked(args: argparse.Namespace) -> Source:
    """The objects that SOURCE and its options name."""
    from explgraph.images import read_source

    return read_source(args.source, box=getattr(args, "box", None), **_which(args))


def _which(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "objects": tuple(args.object or ()),
        "images": args.images,
        "limit": args.limit,
        "allow_outside": args.allow_outside,
    }
