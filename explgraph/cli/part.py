"""`explgraph part ...`: semantic parts from one to a few marks."""

from __future__ import annotations

import argparse

from explgraph.cli.options import (
    COMPUTE,
    COUNT,
    FLAG,
    REQUIRED,
    WEIGHTS_MOVED,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    given,
    numbers,
    path,
    text,
)
from explgraph.cli.printing import (
    print_columns,
    print_described,
    print_hint,
    print_json,
    print_skipped,
    say,
)
from explgraph.cli.sources import SOURCE, read_asked

SUMMARY = "Semantic parts from one to a few annotations: fit, list, show, locate, suggest, remove."
NAME = ("--name", text("PART") | REQUIRED, "name of the part")
# Named here too, as --help must not load what writes them.
FORMATS = ("coco", "csv", "parquet", "cvat", "label-studio")
HEAD = ("image", "object", "part", "x", "y", "score", "expected error", "")


def add_commands(commands: Commands) -> None:
    """Add the family ``part``."""
    part = commands.add_parser("part", help=SUMMARY, description=SUMMARY)
    actions = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_fit(actions)
    _add_list_and_show(actions)
    _add_locate(actions)
    _add_suggest_and_remove(actions)


def _add_fit(actions: Commands) -> None:
    fit = add_command(
        actions,
        "fit",
        _fit,
        "Fit a part from marked objects of the workspace, and store it; without marks, fit it "
        "again from those that are stored.",
        "explgraph part fit zebra --name head --annotations zebra.json --ids 3,17,40",
        "explgraph part fit zebra --name muzzle --at 0007.jpg:120,85 --at 0012.jpg:64,90",
    )
    # An empty default, so that no marks at all mean: fit again from those that are stored.
    marks = text("IMAGE:x,y") | {"action": "append", "default": []}
    ids = text("A,B,..") | {"type": numbers, "default": ()}
    dataset = "COCO keypoints file of the photographs that were mined"
    add_options(
        fit,
        *WORKSPACE,
        NAME,
        ("--annotations", path("COCO.json"), dataset),
        ("--ids", ids, "ids of the annotations in it that may be used"),
        ("--landmark", text("NAME"), "its keypoint; the part's own name if left out"),
        ("--at", marks, "the part in an image, pixels; repeatable"),
    )
    add_options(
        fit.add_mutually_exclusive_group(),
        ("--add", FLAG, "keep the annotations that are stored, and add these"),
        ("--replace", FLAG, "drop the annotations that are stored"),
    )


def _add_list_and_show(actions: Commands) -> None:
    summary = "List the parts of a workspace."
    parts = add_command(actions, "list", _list, summary, "explgraph part list zebra")
    add_options(parts, *WORKSPACE)
    show = add_command(
        actions,
        "show",
        _show,
        "Show a part: its annotations and the nodes that have most to say; as a picture, each "
        "template with its votes.",
        "explgraph part show zebra --name head --out head.png",
    )
    add_options(
        show,
        *WORKSPACE,
        NAME,
        ("--top", COUNT, "how many nodes (default 10)"),
        ("--out", path("FILE.png"), "draw the templates: annotated patch, chosen nodes, votes"),
    )


def _add_locate(actions: Commands) -> None:
    locate = add_command(
        actions,
        "locate",
        _locate,
        "Find parts in images; objects of the workspace itself are answered from its cached "
        "locations, without the network.",
        "explgraph part locate zebra --name head new-photos/ --out heads.csv",
        "explgraph part locate zebra --name head --name leg --joint zebra.json --out parts.json",
        "explgraph part locate zebra --name head new-photos/ --format label-studio "
        "--out tasks.json",
    )
    # Several parts in one call: they share one pass of the network over the images.
    names = text("PART") | REQUIRED | {"action": "append"}
    prefix = (
        "for Label Studio: before each photograph's name, /data/local-files/?d= or https://.../"
    )
    add_options(
        locate,
        *WORKSPACE,
        ("--name", names, "which part; repeatable"),
        ("--joint", FLAG, "locate the parts together, by their mutual displacement too"),
        (
            "--out",
            path("FILE"),
            ".json (COCO keypoints), .csv, .parquet, .xml (CVAT); else printed",
        ),
        ("--draw", path("DIR"), "draw each object with its box and its parts"),
        ("--format", {"choices": FORMATS}, "of --out, if its suffix does not say it"),
        ("--image-prefix", text("URL"), prefix),
        *SOURCE,
        WEIGHTS_MOVED,
        *COMPUTE,
    )


def _add_suggest_and_remove(actions: Commands) -> None:
    suggest = add_command(
        actions,
        "suggest",
        _suggest,
        "Name the images that are most worth annotating next, with the gain to expect.",
        "explgraph part suggest zebra --name head --top 3",
    )
    add_options(suggest, *WORKSPACE, NAME, ("--top", COUNT, "how many images (default 3)"))
    remove = add_command(
        actions,
        "remove",
        _remove,
        "Remove a part with its annotations.",
        "explgraph part remove zebra --name head",
    )
    add_options(remove, *WORKSPACE, NAME)


def _fit(args: argparse.Namespace) -> None:
    from explgraph.parts import Marked
    from explgraph.queries import fit_workspace_part

    marked = Marked(args.annotations, args.ids, args.landmark, tuple(args.at))
    kept = {"add": args.add, "replace": args.replace}
    part = fit_workspace_part(args.workspace, args.name, marked, db=args.db, **kept)
    if args.json:
        print_json(part.to_dict())
        return
    objects = ", ".join(map(str, part.annotated))
    say(
        f"{part.part}: {len(part.annotated)} annotated objects ({objects}), {part.nodes} nodes vote"
    )
    locate = f"explgraph part locate {args.workspace} --name {part.part}"
    say(f"next: {locate} PHOTOS --out places.csv")


def _list(args: argparse.Namespace) -> None:
    from explgraph.queries import list_parts
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        found = list_parts(workspace)
    # Programs get an empty list, people a sentence.
    if found.parts or args.json:
        print_described(found.to_dict(), as_json=args.json)
    else:
        say(f"{args.workspace} has no parts")


def _show(args: argparse.Namespace) -> None:
    from explgraph.queries import describe_part, draw_part
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        described = describe_part(workspace, args.name, **given(args, "top")).to_dict()
        if args.out:
            described["figure"] = str(draw_part(workspace, args.name, args.out))
    print_described(described, as_json=args.json)


def _locate(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import locate_parts
    from explgraph.workspace import Workspace

    source = read_asked(args)
    # The network is loaded only if an object is new: known ones are answered from the workspace.
    with (
        Workspace(args.workspace, db=args.db) as workspace,
        ProgressReport(quiet=args.quiet) as report,
    ):
        found = locate_parts(
            workspace,
            args.name,
            source,
            network=lambda: workspace.network(weights=args.weights, device=args.device),
            joint=args.joint,
            report=report,
            **given(args, "out", "draw", "format", "image_prefix", "batch_size", "workers"),
        )
    if args.json:
        print_json(found.to_dict())
        return
    print_hint(found.hint)
    if args.out:
        counts = f"{found.unsure} of them unsure, {found.not_visible} not visible"
        say(f"{args.out}: {len(found.places)} places; {counts}")
    else:
        rows = [HEAD]
        for p in found.places:
            figures = f"{p.x:.1f}", f"{p.y:.1f}", f"{p.score:.3f}", f"{p.expected_error:.3f}"
            rows.append((p.image, str(p.annotation_id), p.part, *figures, p.doubt))
        print_columns(rows)
    if found.pictures:
        say(f"{len(found.pictures)} pictures in {args.draw}")
    print_skipped(found.skipped)


def _suggest(args: argparse.Namespace) -> None:
    from explgraph.queries import suggest_images
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        found = suggest_images(workspace, args.name, **given(args, "top"))
    print_described(found.to_dict(), as_json=args.json)


def _remove(args: argparse.Namespace) -> None:
    from explgraph.queries import remove_workspace_part

    remove_workspace_part(args.workspace, args.name, db=args.db)
    if args.json:
        print_json({"removed": args.name})
    else:
        say(f"removed {args.name}")
