"""`explgraph repair`: a network without its faulty filters, as weights."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    DEVICE,
    IMAGES,
    LIMIT,
    OUTSIDE,
    QUIET,
    WEIGHTS_MOVED,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    path,
    positive,
    text,
)
from explgraph.cli.printing import print_columns, print_json, print_skipped, say
from explgraph.errors import UsageError

if TYPE_CHECKING:
    from explgraph.queries import RepairedNetwork, RepairList

METHOD = {"choices": ("zero", "damp", "retrain", "best"), "default": "zero"}


def add_commands(commands: Commands) -> None:
    """Add ``repair``."""
    repair = add_command(
        commands,
        "repair",
        _repair,
        "Repair the network on labelled images, say what that does to its accuracy, and write the "
        "weights. Without images: list the repairs of the workspace.",
        "explgraph repair ws --ablate features.12:4 --accuracy photos-by-class/ "
        "--out repaired.safetensors",
        "explgraph repair ws --ablate features.12:4 --accuracy photos-by-class/ --method best "
        "--out repaired.safetensors",
        "explgraph repair ws --write 1 --out repaired.pth",
    )
    filters = text("LAYER:CHANNEL") | {"action": "append", "default": []}
    method = (
        "silence the filters (zero, the default), scale them by the factor that does best (damp), "
        "fit the last layer anew (retrain), or the best of these; chosen on half of the images, "
        "judged on the other"
    )
    add_options(
        repair,
        *WORKSPACE,
        ("--ablate", filters, "the filter to repair, or its name; repeatable"),
        ("--accuracy", text("SOURCE"), "images in subfolders named after their classes, or COCO"),
        ("--method", METHOD, method),
        ("--target", text("CLASS"), "the class of all images, if their labels do not say"),
        ("--classes", path("FILE"), "what the subfolders' names mean, see 'explgraph explain'"),
        ("--out", path("FILE"), "the weights: .safetensors, or .pth for torch's own"),
        ("--write", {"type": positive, "metavar": "N"}, "write a kept repair to --out again"),
        ("--remove", {"type": positive, "metavar": "N"}, "forget a kept repair"),
        IMAGES,
        OUTSIDE,
        LIMIT,
        WEIGHTS_MOVED,
        DEVICE,
        QUIET,
    )


def _repair(args: argparse.Namespace) -> None:
    from explgraph.queries import list_repairs, remove_repair, write_repair
    from explgraph.workspace import Workspace

    if args.accuracy:
        done = _repaired(args)
        print_json(done.to_dict()) if args.json else _print_repaired(done)
        return
    if args.ablate or args.method != "zero":
        raise UsageError("a repair is judged on images: give --accuracy SOURCE")
    if args.write and not args.out:
        raise UsageError("--write N needs --out FILE: where the weights go")
    if args.remove:
        remove_repair(args.workspace, args.remove, db=args.db)
    with Workspace(args.workspace, db=args.db) as workspace:
        if args.write:
            network = workspace.network(weights=args.weights, device=args.device)
            out = write_repair(workspace, args.write, args.out, network=network)
            print_json({"out": str(out)}) if args.json else say(f"weights in {out}")
            return
        found = list_repairs(workspace)
    print_json(found.to_dict()) if args.json else _print_list(found)


def _repaired(args: argparse.Namespace) -> RepairedNetwork:
    from explgraph.images import read_source
    from explgraph.progress import ProgressReport
    from explgraph.queries import read_classes, repair_network
    from explgraph.workspace import Workspace

    where = {"images": args.images, "limit": args.limit, "allow_outside": args.allow_outside}
    source = read_source(args.accuracy, **where)
    with ProgressReport(quiet=args.quiet) as report:
        with Workspace(args.workspace, db=args.db) as workspace:
            network = workspace.network(weights=args.weights, device=args.device)
        return repair_network(
            args.workspace,
            source,
            args.ablate,
            args.method,
            out=args.out,
            network=network,
            target=args.target,
            classes=read_classes(args.classes) if args.classes else None,
            db=args.db,
            report=report,
        )


def _print_repaired(done: RepairedNetwork) -> None:
    rows = [("tried", "setting", "loss")]
    rows += [(t["method"], f"{t['setting']:g}", f"{t['loss']:.4f}") for t in done.tried]
    print_columns(rows)
    found, what = done.accuracy, " ".join([done.method, *done.filters])
    say(
        f"{what}: accuracy {found.before:.1%} -> {found.after:.1%} of {found.images} images "
        f"({found.change:+.1%}, standard error {found.standard_error:.1%})"
    )
    if done.number is None:
        say("no repair pays on these images; nothing was kept")
    else:
        say(f"kept as repair {done.number}" + (f", weights in {done.out}" if done.out else ""))
    print_skipped(done.skipped)


def _print_list(found: RepairList) -> None:
    rows = [("number", "method", "filters", "setting", "accuracy", "change", "standard error")]
    for one in found.repairs:
        figures = f"{one['before']:.1%} -> {one['after']:.1%}", f"{one['change']:+.1%}"
        filters = ", ".join(one["filters"])
        rows.append(
            (
                str(one["number"]),
                one["method"],
                filters,
                f"{one['setting']:g}",
                *figures,
                f"{one['standard_error']:.1%}",
            )
        )
    if found.repairs:
        print_columns(rows)
    else:
        say(f"{found.workspace} has no repairs")
