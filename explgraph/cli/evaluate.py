"""`explgraph evaluate`: how well nodes, or semantic parts, find annotated landmarks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    COUNT,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    given,
    path,
)
from explgraph.cli.printing import print_columns, print_json, say
from explgraph.errors import UsageError

if TYPE_CHECKING:
    from explgraph.evaluation import RatersScore
    from explgraph.queries import Evaluation, FewShotEvaluation, RatersSheet

SCORES = ("instability", "instability_100", "landmark_error", "constant_error")
ERRORS = ("instability", "of 100 best", "landmark error", "constant", "ratio")
HEAD = ("layer", "", "nodes", *ERRORS, "purity", "by chance")
ANSWERS = path("FILE") | {"action": "append", "default": []}
SHARES = ("part", "texture", "nothing")


def add_commands(commands: Commands) -> None:
    """Add ``evaluate``."""
    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score the nodes' places against annotated landmarks, beside the raw filters.",
        "explgraph evaluate zebra --dataset zebra.json",
        "explgraph evaluate zebra --dataset zebra.json --few-shot splits.json "
        "--out predictions.parquet",
        "explgraph evaluate zebra --raters sheet",
        "explgraph evaluate zebra --answers ann.json --answers ben.csv --key sheet.key.json",
    )
    add_options(
        evaluate,
        *WORKSPACE,
        ("--dataset", path("COCO.json"), "the file that was mined, with keypoints"),
        ("--few-shot", path("SPLITS.json"), "score semantic parts on these splits instead"),
        ("--out", path("FILE.parquet"), "their predictions; goes with --few-shot"),
        ("--raters", path("DIR"), "write a blinded sheet: do people see one part in the patches?"),
        ("--rows", COUNT, "rows of nodes on it, and as many of raw filters (default 20)"),
        ("--seed", {"type": int, "metavar": "N"}, "of the draw of its rows (default 0)"),
        ("--answers", ANSWERS, "score what a rater saved; repeatable"),
        ("--key", path("FILE.json"), "key of the sheet that --answers answer"),
    )


def _evaluate(args: argparse.Namespace) -> None:
    from explgraph.queries import (
        evaluate_few_shot,
        evaluate_workspace,
        score_raters,
        write_raters,
    )
    from explgraph.workspace import Workspace

    # Without a file a judge other than ours could not score the predictions.
    if bool(args.few_shot) != bool(args.out):
        raise UsageError(
            "--few-shot SPLITS.json and --out FILE.parquet go together: which splits, and where "
            "the predictions go"
        )
    if bool(args.answers) != bool(args.key):
        raise UsageError("--answers FILE and --key FILE.json go together: the key tells the rows")
    if sum(map(bool, (args.dataset, args.raters, args.answers))) != 1:
        raise UsageError("give --dataset COCO.json, or --raters DIR, or --answers FILE --key FILE")
    with Workspace(args.workspace, db=args.db) as workspace:
        if args.raters:
            sheet = write_raters(workspace, args.raters, **given(args, "rows", "seed"))
            print_json(sheet.to_dict()) if args.json else _print_sheet(sheet)
        elif args.answers:
            rated = score_raters(args.answers, args.key)
            print_json(rated.to_dict()) if args.json else _print_rated(rated)
        elif args.few_shot:
            few = evaluate_few_shot(workspace, args.dataset, args.few_shot, args.out)
            print_json(few.to_dict()) if args.json else _print_few_shot(few)
        else:
            found = evaluate_workspace(workspace, args.dataset)
            print_json(found.to_dict()) if args.json else _print_scores(found)


def _print_scores(found: Evaluation) -> None:
    facing = "-" if found.facing is None else f"{found.facing:.3f}"
    say(
        f"{found.objects} objects, facing {facing}; fractions of the box diagonal, lower is "
        "better; purity: share of a node's 20 best patches nearest to one landmark"
    )
    rows = [HEAD]
    for layer, nodes in found.nodes.items():
        for what, score in (("nodes", nodes), ("raw filters", found.raw_filters[layer])):
            i, of_100, error, constant = (f"{getattr(score, name):.4f}" for name in SCORES)
            # Over the constant predictor: the error alone depends on how much landmarks move.
            ratio = f"{score.landmark_ratio:.3f}"
            pure = found.purity[layer][what.replace(" ", "_")]
            share = f"{pure.purity:.3f}", f"{pure.chance:.3f}"
            rows.append((layer, what, str(score.nodes), i, of_100, error, constant, ratio, *share))
    print_columns(rows)
    _print_images(found)
    say("", "what the graph explains of the filters' activation")
    shares = [
        (
            layer,
            f"{account['patterns']:.2f}",
            *(f"{account[key]:.3f}" for key in SHARES),
            " ".join(f"{share:.2f}" for share in account["filters"]),
        )
        for layer, account in found.explained.items()
        if account  # none in a graph that was mined before they were kept
    ]
    spread = "filters with 0, 1, 2, ... patterns"
    print_columns([("layer", "patterns per filter", *SHARES, spread), *shares])


def _print_sheet(sheet: RatersSheet) -> None:
    say(
        f"{sheet.sheet}: {sheet.rows} rows; give it to raters with, or instead of, {sheet.template}"
    )
    say(f"{sheet.key} says which row is what; keep it from them")


def _print_rated(found: RatersScore) -> None:
    rows = [("", "rows", "purity", "standard error")]
    for kind, one in found.kinds.items():
        rows.append((kind, str(one.rows), f"{one.purity:.3f}", f"{one.standard_error:.3f}"))
    print_columns(rows)
    say(f"difference {found.difference:.3f}, standard error {found.standard_error:.3f}")
    if found.raters > 1:
        say(f"{found.raters} raters, agreement {found.agreement:.3f}, kappa {found.kappa:.3f}")


def _print_images(found: Evaluation) -> None:
    """How much the shares differ from photograph to photograph."""
    rows, said = found.explained_images, []
    for name in SHARES if rows else ():
        ordered = sorted(row[name] for row in rows)
        low, half, high = (ordered[round(q * (len(rows) - 1))] for q in (0.1, 0.5, 0.9))
        said.append(f"{name} {half:.0%} ({low:.0%}-{high:.0%})")
    if said:
        say(f"of one object's activation (eight of ten objects): {', '.join(said)}")


def _print_few_shot(found: FewShotEvaluation) -> None:
    say(
        "fractions of the box diagonal, lower is better; constant: predicting the mean place of "
        "the annotations"
    )
    rows = [("annotations", "splits", "error", "constant", "ratio", "surest half / all")]
    for s in found.scores:
        shares = f"{s.ratio:.3f}", f"{s.best_half:.3f}"
        rows.append((f"{s.shots}", f"{s.splits}", f"{s.error:.4f}", f"{s.constant:.4f}", *shares))
    print_columns(rows)
    say(f"predictions in {found.out}")
