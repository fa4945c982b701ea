"""part fit, list, show, locate, suggest, remove: semantic parts from a few annotations."""

from __future__ import annotations

import argparse
from pathlib import Path

from explgraph.cli.options import Commands, add_command, add_compute, add_workspace, positive
from explgraph.cli.printing import (
    described_text,
    print_columns,
    print_described,
    print_json,
    print_skipped,
)
from explgraph.errors import UsageError

UNSURE = 0.15  # expected error from which an answer is called unsure: a constant guess errs about so much


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    part = commands.add_parser(
        "part",
        help="Semantic parts from one to a few annotations: fit, list, show, locate, suggest, remove.",
        description="Semantic parts from one to a few annotations: fit, list, show, locate, suggest, remove.",
    )
    actions = part.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_fit(actions)
    _add_list_and_show(actions)
    _add_locate(actions)
    _add_suggest_and_remove(actions)


def add_few_shot(evaluate: argparse.ArgumentParser) -> None:
    """Add --few-shot and --out to the command ``evaluate``."""
    evaluate.add_argument(
        "--few-shot",
        type=Path,
        metavar="SPLITS.json",
        help="score semantic parts on these splits instead",
    )
    evaluate.add_argument(
        "--out", type=Path, metavar="FILE.parquet", help="their predictions; goes with --few-shot"
    )


def evaluate_few_shot(args: argparse.Namespace) -> None:
    """Score semantic parts on fixed splits, and print the figures."""
    from explgraph.queries.few_shot import evaluate_few_shot
    from explgraph.workspace import Workspace

    if not (args.few_shot and args.out):
        raise UsageError(
            "--few-shot SPLITS.json and --out FILE.parquet go together: which splits, and where the predictions go"
        )
    with Workspace(args.workspace, db=args.db) as workspace:
        figures = evaluate_few_shot(workspace, args.dataset, args.few_shot, args.out)
    if args.json:
        print_json({"out": str(args.out), "shots": {str(f.shots): f.to_dict() for f in figures}})
        return
    print(
        "fractions of the box diagonal, lower is better; constant: predicting the mean place of the annotations"
    )
    cells = lambda f: (
        f"{f.shots}",
        f"{f.splits}",
        f"{f.error:.4f}",
        f"{f.constant:.4f}",
        f"{f.ratio:.3f}",
        f"{f.best_half:.3f}",
    )
    print_columns(
        [
            ("annotations", "splits", "error", "constant", "ratio", "surest half / all"),
            *map(cells, figures),
        ]
    )
    print(f"predictions in {args.out}")


def _add_fit(actions: Commands) -> None:
    fit = add_command(
        actions,
        "fit",
        _fit,
        "Fit a part from marked objects of the workspace, and store it; without marks, fit it again from those that are stored.",
        "  explgraph part fit zebra --name head --annotations zebra.json --ids 3,17,40\n"
        "  explgraph part fit zebra --name muzzle --at 0007.jpg:120,85 --at 0012.jpg:64,90",
    )
    add_workspace(fit)
    _add_name(fit)
    fit.add_argument(
        "--annotations",
        type=Path,
        metavar="COCO.json",
        help="COCO keypoints file of the photographs that were mined",
    )
    fit.add_argument(
        "--ids", type=_ids, metavar="A,B,..", help="ids of the annotations in it that may be used"
    )
    fit.add_argument(
        "--landmark", metavar="NAME", help="its keypoint; the part's own name if left out"
    )
    fit.add_argument(
        "--at",
        action="append",
        metavar="IMAGE:x,y",
        help="the part in an image, pixels; repeatable",
    )
    fit.add_argument(
        "--add", action="store_true", help="keep the annotations that are stored, and add these"
    )


def _add_list_and_show(actions: Commands) -> None:
    parts = add_command(
        actions, "list", _list, "List the parts of a workspace.", "  explgraph part list zebra"
    )
    add_workspace(parts)
    show = add_command(
        actions,
        "show",
        _show,
        "Show a part: its annotations and the nodes that have most to say; as a picture, each template with its votes.",
        "  explgraph part show zebra --name head --out head.png",
    )
    add_workspace(show)
    _add_name(show)
    show.add_argument(
        "--top", type=positive, default=10, metavar="N", help="how many nodes (default 10)"
    )
    show.add_argument(
        "--out",
        type=Path,
        metavar="FILE.png",
        help="draw the templates: annotated patch, chosen nodes, votes",
    )


def _add_locate(actions: Commands) -> None:
    locate = add_command(
        actions,
        "locate",
        _locate,
        "Find parts in images; objects of the workspace itself are answered from its cached locations, without the network.",
        "  explgraph part locate zebra --name head new-photos/ --out heads.csv\n"
        "  explgraph part locate zebra --name head --name leg --joint zebra.json --out parts.json\n"
        "  explgraph part locate zebra --name head new-photos/ --format label-studio --out tasks.json",
    )
    add_workspace(locate)
    locate.add_argument(
        "source", metavar="SOURCE", help="folder of images, COCO JSON file, or one image"
    )
    locate.add_argument(
        "--name", action="append", required=True, metavar="PART", help="which part; repeatable"
    )
    locate.add_argument(
        "--joint",
        action="store_true",
        help="locate the parts together, by their mutual displacement too",
    )
    locate.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".json (COCO keypoints), .csv or .parquet; else printed",
    )
    locate.add_argument(
        "--format",
        choices=("coco", "csv", "parquet", "label-studio"),
        help="of --out, if its suffix does not say it",
    )
    locate.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it"
    )
    locate.add_argument("--limit", type=positive, metavar="N", help="only the first N objects")
    locate.add_argument(
        "--weights", metavar="FILE", help="the network's weights, if the file has moved"
    )
    add_compute(locate)


def _add_suggest_and_remove(actions: Commands) -> None:
    suggest = add_command(
        actions,
        "suggest",
        _suggest,
        "Name the images that are most worth annotating next, with the gain to expect.",
        "  explgraph part suggest zebra --name head --top 3",
    )
    add_workspace(suggest)
    _add_name(suggest)
    suggest.add_argument(
        "--top", type=positive, default=3, metavar="N", help="how many images (default 3)"
    )
    remove = add_command(
        actions,
        "remove",
        _remove,
        "Remove a part with its annotations.",
        "  explgraph part remove zebra --name head",
    )
    add_workspace(remove)
    _add_name(remove)


def _add_name(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--name", required=True, metavar="PART", help="name of the part")


def _ids(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers joined by commas such as 3,17,40, got {text!r}"
        ) from None


def _fit(args: argparse.Namespace) -> None:
    from explgraph.queries.parts import Annotations, fit_workspace_part, strongest_votes

    annotations = Annotations(args.annotations, args.ids or (), args.landmark, tuple(args.at or ()))
    part = fit_workspace_part(args.workspace, args.name, annotations, add=args.add, db=args.db)
    objects = [one.object_id for one in part.annotations]
    n_nodes = len(part.templates[0].nodes)
    text = f"{part.name}: {len(objects)} annotated objects ({', '.join(map(str, objects))}), {n_nodes} nodes vote"
    print_described(
        {
            "part": part.name,
            "annotated": objects,
            "nodes": n_nodes,
            "strongest": strongest_votes(part, 10),
        },
        lambda: (
            f"{text}\nnext: explgraph part locate {args.workspace} --name {part.name} PHOTOS --out places.csv"
        ),
        as_json=args.json,
    )


def _list(args: argparse.Namespace) -> None:
    from explgraph.queries.parts import describe_parts
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        described = describe_parts(workspace)
    print_described(
        described,
        lambda: (
            described_text(described) if described["parts"] else f"{args.workspace} has no parts"
        ),
        as_json=args.json,
    )


def _show(args: argparse.Namespace) -> None:
    from explgraph.queries.part_picture import draw_part
    from explgraph.queries.parts import describe_part
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        described = describe_part(workspace, args.name, top=args.top)
        if args.out:
            described["figure"] = str(draw_part(workspace, args.name, args.out))
    print_described(described, lambda: described_text(described), as_json=args.json)


def _locate(args: argparse.Namespace) -> None:
    from explgraph.formats.part_tables import COLUMNS, part_format, write_parts
    from explgraph.images import read_source
    from explgraph.progress import ProgressReport
    from explgraph.queries.part_locate import locate_parts
    from explgraph.workspace import Workspace

    if args.out:
        part_format(args.out, args.format)  # before the work, not after it
    source = read_source(args.source, images=args.images, limit=args.limit)
    with (
        Workspace(args.workspace, db=args.db) as workspace,
        ProgressReport(quiet=args.quiet) as report,
    ):
        located = locate_parts(
            workspace,
            args.name,
            source,
            network=lambda: workspace.network(weights=args.weights, device=args.device),
            joint=args.joint,
            batch_size=args.batch_size,
            workers=args.workers,
            report=report,
        )
    if args.out:
        write_parts(located.places, args.out, format=args.format)
    skipped = [*source.skipped, *located.skipped]
    unsure = sum(place.expected_error >= UNSURE for place in located.places)
    hidden = sum(not place.visible for place in located.places)
    if args.json:
        rows = [{name: getattr(place, name) for name in COLUMNS} for place in located.places]
        summary: dict[str, object] = {
            "places": len(rows),
            "known": located.known,
            "unsure": unsure,
            "not_visible": hidden,
        }
        summary |= {"out": str(args.out)} if args.out else {"parts": rows}
        print_json(summary | {"skipped": [one.__dict__ for one in skipped]})
        return
    if args.out:
        print(
            f"{args.out}: {len(located.places)} places; {unsure} of them unsure, {hidden} not visible"
        )
    else:
        table: list[tuple[str, ...]] = [
            ("image", "object", "part", "x", "y", "score", "expected error", "")
        ]
        for place in located.places:
            note = (
                "not visible"
                if not place.visible
                else "unsure"
                if place.expected_error >= UNSURE
                else ""
            )
            figures = (
                f"{place.x:.1f}",
                f"{place.y:.1f}",
                f"{place.score:.2f}",
                f"{place.expected_error:.2f}",
            )
            table.append((place.image, str(place.annotation_id), place.part, *figures, note))
        print_columns(table)
    print_skipped(skipped)


def _suggest(args: argparse.Namespace) -> None:
    from explgraph.queries.parts import suggest_images
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        found = {"part": args.name, "suggested": suggest_images(workspace, args.name, n=args.top)}
    print_described(found, lambda: described_text(found), as_json=args.json)


def _remove(args: argparse.Namespace) -> None:
    from explgraph.queries.parts import remove_workspace_part

    remove_workspace_part(args.workspace, args.name, db=args.db)
    print_described({"removed": args.name}, lambda: f"removed {args.name}", as_json=args.json)
