"""show, locate, evaluate, export: questions to a workspace."""

from __future__ import annotations

import argparse
from pathlib import Path

from explgraph.cli.options import (
    Commands,
    add_command,
    add_compute,
    add_workspace,
    channel_of,
    positive,
)
from explgraph.cli.parts import add_few_shot, evaluate_few_shot
from explgraph.cli.printing import (
    described_text,
    print_columns,
    print_described,
    print_json,
    print_skipped,
)

PRINTED = 5  # nodes of each object that the terminal shows


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    show = add_command(
        commands,
        "show",
        _show,
        "Show a workspace: its layers and strongest nodes, one node with parents and children, one channel.",
        "  explgraph show ws\n  explgraph show ws --node features.12:7:0 --out node.png\n  explgraph show ws --channel features.12:7",
    )
    add_workspace(show)
    which = show.add_mutually_exclusive_group()
    which.add_argument(
        "--node", metavar="ID", help="one node: attributes, parents, children, best images"
    )
    which.add_argument("--channel", metavar="LAYER:CHANNEL", help="the nodes of one channel")
    show.add_argument(
        "--top",
        type=positive,
        default=10,
        metavar="N",
        help="how many of the strongest nodes (default 10)",
    )
    show.add_argument(
        "--out", type=Path, metavar="FILE.png", help="draw the nodes' patches as a contact sheet"
    )

    locate = add_command(
        commands,
        "locate",
        _locate,
        "Find every node of the graph in new images.",
        "  explgraph locate ws new-photos/ --out places.parquet\n  explgraph locate ws photo.jpg --top 10 --draw pictures/",
    )
    add_workspace(locate)
    locate.add_argument(
        "source", metavar="SOURCE", help="folder of images, COCO JSON file, or one image"
    )
    locate.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help=".parquet, .csv or .json; without it the best nodes are printed",
    )
    locate.add_argument(
        "--top",
        type=positive,
        metavar="N",
        help="only the N best nodes of each object (printed: 5)",
    )
    locate.add_argument(
        "--draw",
        type=Path,
        metavar="DIR",
        help="draw the places of the graph's strongest nodes on every image",
    )
    locate.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it"
    )
    locate.add_argument("--limit", type=positive, metavar="N", help="only the first N objects")
    locate.add_argument(
        "--weights", metavar="FILE", help="the network's weights, if the file has moved"
    )
    add_compute(locate)

    evaluate = add_command(
        commands,
        "evaluate",
        _evaluate,
        "Score the nodes' places against annotated landmarks, beside the raw filters.",
        "  explgraph evaluate zebra --dataset zebra.json\n"
        "  explgraph evaluate zebra --dataset zebra.json --few-shot splits.json --out predictions.parquet",
    )
    add_workspace(evaluate)
    evaluate.add_argument(
        "--dataset",
        type=Path,
        required=True,
        metavar="COCO.json",
        help="the file that was mined, with keypoints",
    )
    add_few_shot(evaluate)

    export = add_command(
        commands,
        "export",
        _export,
        "Write the graph to a file for Gephi, Cytoscape, Graphviz, networkx or data frames.",
        "  explgraph export ws --format gexf --out graph.gexf",
    )
    add_workspace(export)
    formats = ("gexf", "graphml", "cytoscape", "node-link", "dot", "parquet")
    export.add_argument(
        "--format", choices=formats, required=True, help="what the file is for, see docs/export.md"
    )
    export.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="FILE",
        help="in an existing folder; an older file is replaced",
    )


def _show(args: argparse.Namespace) -> None:
    from explgraph.queries import describe_channel, describe_node, describe_workspace, draw_nodes
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        if args.node:
            described = describe_node(workspace, args.node)
            if args.out:
                described["figure"] = str(draw_nodes(workspace, [args.node], args.out))
        elif args.channel:
            described = describe_channel(workspace, *channel_of(args.channel))
        else:
            described = describe_workspace(workspace, top=args.top)
            if args.out:
                described["figure"] = str(
                    draw_nodes(workspace, [n["node"] for n in described["strongest"]], args.out)
                )
    print_described(described, lambda: described_text(described), as_json=args.json)


def _locate(args: argparse.Namespace) -> None:
    from explgraph.images import read_source
    from explgraph.progress import ProgressReport
    from explgraph.queries import locate_source
    from explgraph.workspace import Workspace

    source = read_source(args.source, images=args.images, limit=args.limit)
    with (
        Workspace(args.workspace, db=args.db) as workspace,
        ProgressReport(quiet=args.quiet) as report,
    ):
        located = locate_source(
            workspace,
            source,
            network=workspace.network(weights=args.weights, device=args.device),
            out=args.out,
            draw=args.draw,
            top=args.top or (None if args.out else PRINTED),
            batch_size=args.batch_size,
            workers=args.workers,
            report=report,
        )
    if args.json:
        print_json(located.to_dict())
        return
    if args.out:
        print(f"{args.out}: {located.rows} rows, {located.objects} objects")
    else:
        keys = ("image", "annotation_id", "node", "x", "y", "score", "mirrored")
        cell = lambda v: f"{v:.1f}" if isinstance(v, float) else str(v)
        rows = [tuple(cell(row[key]) for key in keys) for row in located.locations]
        print_columns([("image", "object", "node", "x", "y", "score", "mirrored"), *rows])
    if located.pictures:
        print(f"{len(located.pictures)} pictures in {args.draw}")
    print_skipped(located.skipped)


def _evaluate(args: argparse.Namespace) -> None:
    if args.few_shot or args.out:
        return evaluate_few_shot(args)
    from explgraph.queries import evaluate_workspace
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        figures = evaluate_workspace(workspace, args.dataset)
    if args.json:
        print_json(figures.to_dict())
        return
    facing = "-" if figures.facing is None else f"{figures.facing:.3f}"
    print(
        f"{figures.objects} objects, facing {facing}; fractions of the box diagonal, lower is better"
    )
    rows: list[tuple[str, ...]] = [
        ("layer", "", "nodes", "instability", "of 100 best", "landmark error", "constant", "ratio")
    ]
    for name, score in figures.nodes.items():
        for what, s in (("nodes", score), ("raw filters", figures.raw_filters[name])):
            figures_of = (
                f"{v:.4f}"
                for v in (s.instability, s.instability_100, s.landmark_error, s.constant_error)
            )
            rows.append((name, what, str(s.nodes), *figures_of, f"{s.landmark_ratio:.3f}"))
    print_columns(rows)
    print("\nwhat the graph explains of the filters' activation")
    shares: list[tuple[str, ...]] = [("layer", "patterns per filter", "part", "texture", "nothing")]
    for name, account in figures.explained.items():
        if account:
            parts = (f"{account[key]:.3f}" for key in ("part", "texture", "nothing"))
            shares.append((name, f"{account['patterns']:.2f}", *parts))
    print_columns(shares)


def _export(args: argparse.Namespace) -> None:
    from explgraph.formats import export_graph
    from explgraph.queries.parts import graph_with_parts
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        graph = graph_with_parts(workspace)
    path = export_graph(graph, args.out, format=args.format)
    summary = {
        "out": str(path),
        "format": args.format,
        "nodes": graph.number_of_nodes(),
        "edges": graph.number_of_edges(),
    }
    print_described(
        summary,
        lambda: f"{path}: {summary['nodes']} nodes, {summary['edges']} edges",
        as_json=args.json,
    )
