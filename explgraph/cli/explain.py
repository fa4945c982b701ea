"""`explain`: why this class? And what if a filter or a node were taken away?"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from explgraph.cli.generated import add_fields, read_fields
from explgraph.cli.networks import add_network_of_workspace, open_network
from explgraph.cli.options import (
    DEVICE,
    QUIET,
    Commands,
    add_command,
    add_options,
    path,
    text,
)
from explgraph.cli.printing import print_columns, print_hint, print_json, print_skipped, say
from explgraph.cli.sources import add_images, read_images
from explgraph.errors import Skipped, UsageError
from explgraph.queries import ExplainOptions

if TYPE_CHECKING:
    from explgraph.images import Source
    from explgraph.queries import Repair

LISTED = 20  # images of another answer that the terminal names


def add_commands(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "explain",
        _explain,
        "Say why the network sees a class: its nodes in the image, "
        "ranked by what the score loses without each.",
        "explgraph explain photo.jpg --workspace ws --out why",
        "explgraph explain photo.jpg --workspace ws --target zebra --json",
        "explgraph explain --workspace ws --ablate features.12:4 --accuracy photos-by-class/",
    )
    add_images(parser, "*")
    add_network_of_workspace(parser)
    add_fields(parser, ExplainOptions)
    accuracy = "with --ablate: accuracy before and after, "
    accuracy += "on images in subfolders named after their classes, or of --target"
    classes = "what the subfolders' names mean: lines of name and class, or JSON; ImageNet's wnids "
    classes += "are known where all 1000 are there or timm is installed"
    add_options(
        parser,
        ("--accuracy", text("SOURCE"), accuracy),
        ("--classes", path("FILE"), classes),
        ("--out", path("DIR"), "folder for a figure and a record of each image"),
        DEVICE,
        QUIET,
    )


def _explain(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import box_hint, explain_images, read_classes, try_repair

    if not args.asked and not args.accuracy:
        raise UsageError("give at least one IMAGE to explain, or --ablate with --accuracy SOURCE")
    # Checked before the network is loaded.
    if args.accuracy and not args.ablate:
        raise UsageError(
            "--accuracy measures what --ablate changes; say which filter or node to take away"
        )
    if args.classes and not args.accuracy:
        raise UsageError("--classes says what the labels of --accuracy SOURCE mean; give both")
    asked = read_images(args) if args.asked else None
    source = _labelled(args) if args.accuracy else None
    options, repair = read_fields(args, ExplainOptions), None
    classes = read_classes(args.classes) if args.classes else None
    hint = None
    answers: list[Any] = []
    with ProgressReport(quiet=args.quiet) as report, open_network(args) as (network, workspace):
        # `open_network` may go without one, but this command requires it.
        assert workspace is not None
        if asked is not None:
            answers += explain_images(
                workspace, network, asked, options, out=args.out, report=report
            )
            hint = box_hint(workspace, asked.objects)
        if source is not None:
            how = {"target": args.target, "classes": classes, "report": report}
            repair = try_repair(workspace, network, source, options.ablate, **how)
    skipped = [one for one in answers if isinstance(one, Skipped)]
    explained = [one for one in answers if not isinstance(one, Skipped)]
    if args.json:
        answer = {
            "results": [one.to_dict() for one in explained],
            "hint": hint,
            "skipped": [one.to_dict() for one in skipped],
        }
        print_json(answer | ({"repair": repair.to_dict()} if repair else {}))
        return
    print_hint(hint)
    for k, one in enumerate(explained):
        say(*([""] if k else []), *one.to_text().splitlines())
    if repair:
        _print_repair(repair)
        skipped += repair.skipped
    print_skipped(skipped)


def _labelled(args: argparse.Namespace) -> Source:
    """The images of --accuracy."""
    from explgraph.images import read_source

    return read_source(
        args.accuracy,
        images=args.images,
        limit=args.limit,
        allow_outside=args.allow_outside,
    )


def _print_repair(repair: Repair) -> None:
    before, after = repair.correct_before / repair.images, repair.correct_after / repair.images
    removed, n_changed = ", ".join(repair.removed), len(repair.changed)
    say(f"without {removed}: accuracy {before:.1%} -> {after:.1%} of {repair.images} images")
    if repair.changed:
        rows = [(one.image, one.wanted, one.before, one.after) for one in repair.changed[:LISTED]]
        print_columns([("image", "class", "said before", "says now"), *rows])
    if n_changed > LISTED:
        say(f"... and {n_changed - LISTED} more (--json names all)")
