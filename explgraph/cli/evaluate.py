"""`explgraph evaluate`: how well nodes, or semantic parts, find annotated landmarks."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from explgraph.cli.options import REQUIRED, WORKSPACE, Commands, add_command, add_options, path
from explgraph.cli.printing import print_columns, print_json, say
from explgraph.errors import UsageError

if TYPE_CHECKING:
    from explgraph.queries import Evaluation, FewShotEvaluation

SCORES = ("instability", "instability_100", "landmark_error", "constant_error")
HEAD = ("layer", "", "nodes", "instability", "of 100 best", "landmark error", "constant", "ratio")
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
    )
    add_options(
        evaluate,
        *WORKSPACE,
        ("--dataset", path("COCO.json") | REQUIRED, "the file that was mined, with keypoints"),
        ("--few-shot", path("SPLITS.json"), "score semantic parts on these splits instead"),
        ("--out", path("FILE.parquet"), "their predictions; goes with --few-shot"),
    )


def _evaluate(args: argparse.Namespace) -> None:
    from explgraph.queries import evaluate_few_shot, evaluate_workspace
    from explgraph.workspace import Workspace

    # Without a file a judge other than ours could not score the predictions.
    if bool(args.few_shot) != bool(args.out):
        raise UsageError(
            "--few-shot SPLITS.json and --out FILE.parquet go together: which splits, and where "
            "the predictions go"
        )
    with Workspace(args.workspace, db=args.db) as workspace:
        if args.few_shot:
            few = evaluate_few_shot(workspace, args.dataset, args.few_shot, args.out)
            print_json(few.to_dict()) if args.json else _print_few_shot(few)
        else:
            found = evaluate_workspace(workspace, args.dataset)
            print_json(found.to_dict()) if args.json else _print_scores(found)


def _print_scores(found: Evaluation) -> None:
    facing = "-" if found.facing is None else f"{found.facing:.3f}"
    say(f"{found.objects} objects, facing {facing}; fractions of the box diagonal, lower is better")
    rows = [HEAD]
    for layer, nodes in found.nodes.items():
        for what, score in (("nodes", nodes), ("raw filters", found.raw_filters[layer])):
            i, of_100, error, constant = (f"{getattr(score, name):.4f}" for name in SCORES)
            # Over the constant predictor: the error alone depends on how much landmarks move.
            ratio = f"{score.landmark_ratio:.3f}"
            rows.append((layer, what, str(score.nodes), i, of_100, error, constant, ratio))
    print_columns(rows)
    say("", "what the graph explains of the filters' activation")
    shares = [
        (layer, f"{account['patterns']:.2f}", *(f"{account[key]:.3f}" for key in SHARES))
        for layer, account in found.explained.items()
        if account  # none in a graph that was mined before they were kept
    ]
    print_columns([("layer", "patterns per filter", *SHARES), *shares])


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
