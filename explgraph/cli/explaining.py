"""explain: why this class? correspondence: does the network know a part again?"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from explgraph.cli.options import Commands, add_command, add_device, add_model, add_quiet, positive
from explgraph.cli.printing import print_columns, print_json, print_skipped
from explgraph.errors import UsageError


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    explain = add_command(
        commands,
        "explain",
        _explain,
        "Say why the network sees a class: its nodes in the image, ranked by what the score loses without each.",
        "  explgraph explain photo.jpg --workspace ws --out why\n"
        "  explgraph explain photo.jpg --workspace ws --target zebra --json\n"
        "  explgraph explain --workspace ws --ablate features.12:4 --accuracy photos-by-class/",
    )
    explain.add_argument("images", nargs="*", type=Path, metavar="IMAGE", help="image files")
    explain.add_argument(
        "--workspace",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder made by 'explgraph mine'",
    )
    explain.add_argument(
        "--target",
        metavar="CLASS",
        help="class index or name; default: the network's own first choice",
    )
    explain.add_argument(
        "--nodes", type=positive, default=10, metavar="N", help="nodes to name (default 10)"
    )
    explain.add_argument(
        "--tested",
        type=positive,
        default=100,
        metavar="N",
        help="nodes of each layer to take away (default 100)",
    )
    explain.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for a figure and a record of each image"
    )
    explain.add_argument(
        "--ablate",
        action="append",
        default=[],
        metavar="LAYER:CHANNEL|ID",
        help="take this filter or node away for good and say what changes; repeatable",
    )
    explain.add_argument(
        "--accuracy",
        metavar="SOURCE",
        help="with --ablate: accuracy before and after, on images in subfolders named after their classes, or of --target",
    )
    explain.add_argument(
        "--images",
        dest="image_folder",
        type=Path,
        metavar="FOLDER",
        help="images of a COCO file, if not beside it",
    )
    explain.add_argument(
        "--limit", type=positive, metavar="N", help="only the first N objects of --accuracy"
    )
    explain.add_argument(
        "--weights", metavar="FILE", help="the network's weights, if the file has moved"
    )
    add_device(explain)
    add_quiet(explain)

    table = add_command(
        commands,
        "correspondence",
        _correspondence,
        "Say whether a network changes in the same way when the same part is hidden in different images.",
        "  explgraph correspondence zebra.json --workspace ws --landmark head --landmark legs --window 1\n"
        "  explgraph correspondence photos/ --model vgg16 --layers features.28 --box head=0,0,0.3,0.3",
    )
    table.add_argument("source", metavar="SOURCE", help="folder of images or COCO JSON file")
    add_model(table, required=False)
    table.add_argument(
        "--workspace",
        type=Path,
        metavar="DIR",
        help="network, layers, nodes and facing of this workspace",
    )
    table.add_argument(
        "--layers", metavar="A,B,..", help="dotted names; default: those of the workspace"
    )
    table.add_argument(
        "--landmark",
        action="append",
        default=[],
        metavar="NAME",
        help="part: a square about this landmark; repeatable",
    )
    table.add_argument(
        "--node",
        action="append",
        default=[],
        metavar="ID",
        help="part: a square about this node; repeatable",
    )
    table.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="NAME=x,y,w,h",
        help="part: a box in fractions of the object; repeatable",
    )
    table.add_argument(
        "--side",
        type=float,
        default=0.25,
        metavar="SHARE",
        help="side of the squares, share of the input (default 0.25)",
    )
    table.add_argument(
        "--window",
        type=int,
        metavar="CELLS",
        help="compare only the cells so far about the mask's centre, not whole maps",
    )
    table.add_argument(
        "--random",
        type=positive,
        default=5,
        metavar="N",
        help="repetitions of the controls (default 5)",
    )
    table.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it"
    )
    table.add_argument(
        "--limit",
        type=positive,
        default=60,
        metavar="N",
        help="only the first N objects (default 60)",
    )
    add_device(table)
    add_quiet(table)


def _explain(args: argparse.Namespace) -> None:
    from explgraph.images import read_source
    from explgraph.progress import ProgressReport
    from explgraph.queries import explain_images, try_repair
    from explgraph.workspace import Workspace

    if not args.images and not args.accuracy:
        raise UsageError("give at least one IMAGE to explain, or --ablate with --accuracy SOURCE")
    if args.accuracy and not args.ablate:
        raise UsageError(
            "--accuracy measures what --ablate changes; say which filter or node to take away"
        )
    answer: dict[str, Any] = {"results": [], "skipped": []}
    texts: list[str] = []
    skipped: list[Any] = []
    with Workspace(args.workspace) as workspace, ProgressReport(quiet=args.quiet) as report:
        network = workspace.network(weights=args.weights, device=args.device)
        if args.images:
            options = {
                "target": args.target,
                "n_shown": args.nodes,
                "n_tested": args.tested,
                "ablate": args.ablate,
            }
            for one in explain_images(
                workspace, network, args.images, out=args.out, report=report, **options
            ):
                if one.skipped is not None:
                    skipped.append(one.skipped)
                else:
                    answer["results"].append(one.record)
                    texts.append(one.text)
        if args.accuracy:
            source = read_source(args.accuracy, images=args.image_folder, limit=args.limit)
            repair = try_repair(
                workspace, network, source, args.ablate, target=args.target, report=report
            )
            answer["repair"] = repair.__dict__
    answer["skipped"] = [s.__dict__ for s in skipped]
    if args.json:
        print_json(answer)
        return
    print("\n\n".join(texts))
    if args.accuracy:
        _print_repair(repair)
    print_skipped(skipped)


def _print_repair(repair: Any) -> None:
    before, after = (
        count / repair.images for count in (repair.correct_before, repair.correct_after)
    )
    print(
        f"without {', '.join(repair.removed)}: accuracy {before:.1%} -> {after:.1%} of {repair.images} images"
    )
    if repair.changed:
        rows = [("image", "class", "said before", "says now")]
        rows += [
            (one["image"], one["wanted"], one["before"], one["after"])
            for one in repair.changed[:20]
        ]
        print_columns(rows)
        if len(repair.changed) > 20:
            print(f"... and {len(repair.changed) - 20} more (--json names all)")


def _correspondence(args: argparse.Namespace) -> None:
    from contextlib import nullcontext

    from explgraph.images import read_source
    from explgraph.network import load_network
    from explgraph.progress import ProgressReport
    from explgraph.queries import correspondence_table, parse_box
    from explgraph.workspace import Workspace

    if (args.model is None) == (args.workspace is None):
        raise UsageError(
            "give either --model or --workspace, so that it is clear which network is asked"
        )
    layers = [name.strip() for name in (args.layers or "").split(",") if name.strip()]
    if not layers and not args.workspace:
        raise UsageError("name the layers to compare with --layers; 'explgraph layers' lists them")
    source = read_source(args.source, images=args.images, limit=args.limit)
    opened: Any = Workspace(args.workspace) if args.workspace else nullcontext()
    with opened as workspace, ProgressReport(quiet=args.quiet) as report:
        if workspace is not None:
            network = workspace.network(weights=args.weights, device=args.device)
            layers = layers or list(workspace.job.peak_settings.layers)
        else:
            network = load_network(
                args.model, weights=args.weights, device=args.device, input_size=args.input_size
            )
        found = correspondence_table(
            network,
            source,
            layers,
            workspace=workspace,
            landmarks=args.landmark,
            nodes=args.node,
            boxes=dict(parse_box(text) for text in args.box),
            side=args.side,
            window=args.window,
            n_random=args.random,
            report=report,
        )
    if args.json:
        print_json({"results": found})
        return
    rows = [
        (
            "layer",
            "part",
            "images",
            "pairs",
            "distance",
            "spread",
            "random places",
            "other images' places",
        )
    ]
    for one in found:
        control = [
            f"{one[f'{kind}_mean']:.4f} +- {one[f'{kind}_error']:.4f}"
            for kind in ("random", "shuffled")
        ]
        figures = (
            str(one["n_images"]),
            str(one["pairs"]),
            f"{one['mean']:.4f}",
            f"{one['std']:.4f}",
            *control,
        )
        rows.append((one["layer"], one["part"], *figures))
    print_columns(rows)
