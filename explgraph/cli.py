"""The command line: parses, makes one library call, prints. Results to stdout, progress to stderr.

Exit codes: 0 done, 1 failed (one clear line), 2 misuse, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from explgraph import __version__
from explgraph.errors import ExplgraphError, UsageError

LISTED = 10  # skipped files named on the terminal; the database names all
MODEL = "torchvision:NAME, timm:NAME, package.module:factory, or a bare torchvision NAME"
WEIGHTS = "state dict (.pth, .safetensors), an entry of torchvision's weights enum, or 'none' for random ones"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = build_parser()
    args = parser.parse_args(argv)
    if args.command is None:
        parser.print_help()
        return 2
    try:
        return int(args.run(args) or 0)
    except UsageError as error:
        return _fail(error, 2)
    except ExplgraphError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        print("explgraph: interrupted; what is finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    except BrokenPipeError:  # e.g. piped into head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # no permission, disk full, a file where a folder should be
        return _fail(error, 1)


def _fail(error: Exception, code: int) -> int:
    print(f"explgraph: error: {' '.join(str(error).split())}", file=sys.stderr)
    return code


# Commands


def _demo(args: argparse.Namespace) -> None:
    from explgraph.demo.job import run_demo
    from explgraph.progress import ProgressReport

    with ProgressReport(quiet=args.quiet) as report:
        result = run_demo(args.out, report=report)
    _print(result.to_dict(), result.to_text, as_json=args.json)


def _layers(args: argparse.Namespace) -> None:
    from explgraph.network import list_layers, load_network

    network = load_network(args.model, weights=args.weights or "none", input_size=args.input_size)
    layers = list_layers(network)
    if args.json:
        described = [
            {
                "name": g.name,
                "kind": g.kind,
                "channels": g.channels,
                "height": g.height,
                "width": g.width,
                "stride": list(g.stride),
                "receptive_field": list(g.size),  # null: unlimited
                "centre": list(g.first),
                "centre_pixel": [v + 0.5 for v in g.first],
            }
            for g in layers
        ]
        _print_json({"model": network.spec, "input": list(network.input.size), "layers": described})
        return
    pair = lambda values: f"{values[0]:g}" if values[0] == values[1] else f"{values[0]:g} x {values[1]:g}"
    print(
        f"{network.spec}, input {network.input.height} x {network.input.width}; centre: of the first cell, pixels counted from 1"
    )
    rows: list[tuple[str, ...]] = [("layer", "kind", "channels", "map", "stride", "receptive field", "centre")]
    for g in layers:
        centre = pair([v + 0.5 for v in g.first])
        rows.append((g.name, g.kind, str(g.channels), f"{g.height} x {g.width}", pair(g.stride), pair(g.size), centre))
    _print_columns(rows)


def _mine(args: argparse.Namespace) -> None:
    from explgraph.mining import MiningConfig
    from explgraph.progress import ProgressReport
    from explgraph.workspace import MineJob, mine_workspace

    job = MineJob(
        source=Path(args.source),
        model=args.model,
        layers=tuple(name.strip() for name in args.layers.split(",") if name.strip()),
        weights=args.weights,
        input_size=args.input_size,
        images=args.images,
        background=args.background,
        mirror=not (args.no_mirror or args.flip_maps),
        fit=args.fit,
        limit=args.limit,
        mining=MiningConfig(nodes=args.nodes, facing=not args.no_mirror, seed=args.seed),
    )
    with ProgressReport(quiet=args.quiet) as report:
        done = mine_workspace(
            args.out,
            job,
            db=args.db,
            device=args.device,
            batch_size=args.batch_size,
            workers=args.workers,
            restart=args.restart,
            report=report,
        )
    if args.json:
        summary = {**done.__dict__, "folder": str(done.folder), "skipped": [s.__dict__ for s in done.skipped]}
        _print_json(summary)
        return
    if done.unchanged:
        print(f"{done.folder} is complete already, nothing to do")
    per_layer = ", ".join(f"{n} in {name}" for name, n in done.nodes.items())
    print(
        f"{done.folder}: {done.objects} objects, {done.edges} edges, nodes: {per_layer}; {done.mirrored} objects face the other way"
    )
    for name, converged in done.converged.items():
        if not converged:
            print(f"note: EM in {name} stopped at its round limit, still gaining a little")
    _print_skipped(done.skipped)
    print(f"next: explgraph show {done.folder}   |   explgraph locate {done.folder} PHOTOS --draw pictures")


def _show(args: argparse.Namespace) -> None:
    from explgraph.workspace import Workspace, describe_channel, describe_node, describe_workspace, draw_nodes

    with Workspace(args.workspace, db=args.db) as workspace:
        if args.node:
            described = describe_node(workspace, args.node)
            if args.out:
                described["figure"] = str(draw_nodes(workspace, [args.node], args.out))
        elif args.channel:
            layer, _, channel = args.channel.rpartition(":")
            if not layer or not channel.isdecimal():
                raise UsageError(f"--channel must be LAYER:CHANNEL such as features.12:7, got {args.channel!r}")
            described = describe_channel(workspace, layer, int(channel))
        else:
            described = describe_workspace(workspace, top=args.top)
            if args.out:
                described["figure"] = str(draw_nodes(workspace, [n["node"] for n in described["strongest"]], args.out))
    _print(described, lambda: _described(described), as_json=args.json)


def _locate(args: argparse.Namespace) -> None:
    from explgraph.images import read_source
    from explgraph.progress import ProgressReport
    from explgraph.workspace import DrawLocations, Workspace, locate_source, locate_to_file, location_rows

    source = read_source(args.source, images=args.images, limit=args.limit)
    rows: list[Any] = []
    with Workspace(args.workspace, db=args.db) as workspace:
        network = workspace.network(weights=args.weights, device=args.device)
        draw = [DrawLocations(source, args.draw)] if args.draw else []
        options = {"network": network, "batch_size": args.batch_size, "workers": args.workers}
        with ProgressReport(quiet=args.quiet) as report:
            if args.out:
                n_rows, skipped = locate_to_file(workspace, source, args.out, top=args.top, also=draw, report=report, **options)
            else:
                top = args.top or 5

                def collect(found: Any, batch: Any) -> None:
                    rows.extend(location_rows(source, found, batch, top=top).to_pylist())
                    for one in draw:
                        one(found, batch)

                skipped = locate_source(workspace, source, on_batch=collect, report=report, **options)
                n_rows = len(rows)
    pictures = [str(path) for one in draw for path in one.paths]
    if args.json:
        summary = {"objects": len(source.objects) - len(skipped), "rows": n_rows, "pictures": pictures}
        summary |= {"out": str(args.out)} if args.out else {"locations": rows}
        _print_json(summary | {"skipped": [s.__dict__ for s in (*source.skipped, *skipped)]})
        return
    if args.out:
        print(f"{args.out}: {n_rows} rows, {len(source.objects) - len(skipped)} objects")
    else:
        table: list[tuple[str, ...]] = [("image", "object", "node", "x", "y", "score", "mirrored")]
        keys = ("image", "annotation_id", "node", "x", "y", "score", "mirrored")
        table += [tuple(f"{r[k]:.1f}" if isinstance(r[k], float) else str(r[k]) for k in keys) for r in rows]
        _print_columns(table)
    if pictures:
        print(f"{len(pictures)} pictures in {args.draw}")
    _print_skipped([*source.skipped, *skipped])


def _heat_map(args: argparse.Namespace) -> None:
    from explgraph.export.map_files import draw_heat_maps
    from explgraph.network import load_network
    from explgraph.progress import ProgressReport
    from explgraph.workspace import Workspace

    if (args.model is None) == (args.workspace is None):
        raise UsageError("give either --model or --workspace, so that it is clear which network is asked")
    if args.workspace:
        with Workspace(args.workspace) as workspace:
            network = workspace.network(weights=args.weights, device=args.device)
    else:
        network = load_network(args.model, weights=args.weights, device=args.device, input_size=args.input_size)
    with ProgressReport(quiet=args.quiet) as report:
        results, skipped = draw_heat_maps(
            args.command,
            network,
            args.images,
            args.out,
            target=args.target,
            layer=getattr(args, "layer", None),
            fit=args.fit,
            report=report,
        )
    if args.json:
        _print_json({"results": results, "skipped": [s.__dict__ for s in skipped]})
        return
    for one in results:
        print(f"{one['image']}: {one['class']} ({one['probability']:.1%}) -> {one['overlay']}")
    _print_skipped(skipped)


def _evaluate(args: argparse.Namespace) -> None:
    from explgraph.workspace import Workspace, evaluate_workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        figures = evaluate_workspace(workspace, args.dataset)
    if args.json:
        _print_json(figures.to_dict())
        return
    facing = "-" if figures.facing is None else f"{figures.facing:.3f}"
    print(f"{figures.objects} objects, facing {facing}; fractions of the box diagonal, lower is better")
    rows: list[tuple[str, ...]] = [("layer", "", "nodes", "instability", "of 100 best", "landmark error", "constant", "ratio")]
    for name, score in figures.nodes.items():
        for what, s in (("nodes", score), ("raw filters", figures.raw_filters[name])):
            figures_of = (f"{v:.4f}" for v in (s.instability, s.instability_100, s.landmark_error, s.constant_error))
            rows.append((name, what, str(s.nodes), *figures_of, f"{s.landmark_ratio:.3f}"))
    _print_columns(rows)
    print("\nwhat the graph explains of the filters' activation")
    shares: list[tuple[str, ...]] = [("layer", "patterns per filter", "part", "texture", "nothing")]
    for name, account in figures.explained.items():
        if account:
            parts = (f"{account[key]:.3f}" for key in ("part", "texture", "nothing"))
            shares.append((name, f"{account['patterns']:.2f}", *parts))
    _print_columns(shares)


def _export(args: argparse.Namespace) -> None:
    from explgraph.export import export_graph
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        graph = workspace.store.load_graph()
    path = export_graph(graph, args.out, format=args.format)
    summary = {"out": str(path), "format": args.format, "nodes": graph.number_of_nodes(), "edges": graph.number_of_edges()}
    _print(summary, lambda: f"{path}: {summary['nodes']} nodes, {summary['edges']} edges", as_json=args.json)


# Printing


def _print(described: dict[str, Any], text: Callable[[], str], *, as_json: bool) -> None:
    if as_json:
        _print_json(described)
    else:
        print(text())


def _print_json(described: dict[str, Any]) -> None:
    print(json.dumps(_finite(described), allow_nan=False))


def _finite(value: Any) -> Any:
    """Return the value with null for what JSON has no number for, such as a figure without enough objects."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print_columns(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_skipped(skipped: Sequence[Any]) -> None:
    if not skipped:
        return
    print(f"skipped {len(skipped)}:")
    for one in skipped[:LISTED]:
        print(f"  {one.path}: {one.reason}")
    if len(skipped) > LISTED:
        print(f"  ... and {len(skipped) - LISTED} more (--json names all)")


def _described(value: Any, indent: str = "") -> str:
    """Return nested plain values as indented text; lists of alike records as columns."""
    lines = []
    for key, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            columns = [tuple(item[0]), *(tuple(_cell(v) for v in one.values()) for one in item)]
            widths = [max(len(row[i]) for row in columns) for i in range(len(columns[0]))]
            lines.append(f"{indent}{key}:")
            lines += ["  " + indent + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in columns]
        elif isinstance(item, dict):
            lines += [f"{indent}{key}:", _described(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_cell(item)}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value) or "-"
    return "-" if value is None else str(value)


# Parsing


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; `docs/cli.md` is checked against it."""
    parser = argparse.ArgumentParser(
        prog="explgraph",
        description="Finds the part patterns that a pretrained CNN has learned, how they hang together, and where they are in an image.",
        epilog="Start with: explgraph demo",
    )
    parser.add_argument("--version", action="version", version=f"explgraph {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def command(name: str, run: Any, summary: str, example: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(
            name,
            help=summary,
            description=summary,
            epilog=f"examples:\n{example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(run=run)
        sub.add_argument("--json", action="store_true", help="print one JSON object")
        return sub

    def quiet(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--quiet", action="store_true", help="no progress on stderr")

    def model(sub: argparse.ArgumentParser, *, required: bool, default_weights: str = "the pretrained ones") -> None:
        sub.add_argument("--model", metavar="SPEC", required=required, help=MODEL)
        sub.add_argument("--weights", metavar="FILE|NAME", help=f"{WEIGHTS}; default: {default_weights}")
        sub.add_argument("--input-size", type=_size, metavar="N|HxW", help="input size in pixels, instead of the network's own")

    def compute(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
        sub.add_argument("--batch-size", type=_positive, default=16, metavar="N", help="objects per forward pass (default 16)")
        sub.add_argument("--workers", type=_positive, default=2, metavar="N", help="decoding threads (default 2)")
        quiet(sub)

    def workspace(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("workspace", type=Path, metavar="WORKSPACE", help="folder made by 'explgraph mine'")
        sub.add_argument("--db", metavar="URL", help="SQLAlchemy URL of the tables, if not WORKSPACE/graph.db")

    demo = command(
        "demo",
        _demo,
        "Mine generated creatures with the embedded network, the whole way.",
        "  explgraph demo --out demo-workspace",
    )
    demo.add_argument("--out", type=Path, default=Path("demo-workspace"), metavar="DIR", help="folder (default demo-workspace)")
    quiet(demo)

    layers = command(
        "layers",
        _layers,
        "List the conv-layers of a network with their measured geometry.",
        "  explgraph layers --model vgg16\n  explgraph layers --model mypackage.models:make_net --json",
    )
    model(layers, required=True, default_weights="random ones, which have the same layers")

    mine = command(
        "mine",
        _mine,
        "Mine photographs into a workspace: peaks, part patterns, explanatory graph. The same command resumes.",
        "  explgraph mine photos/ --out ws --model resnet50 --layers layer3,layer4 --background other-photos/\n"
        "  explgraph mine zebra.json --out zebra --model squeezenet1_0 --weights weights.pth --layers features.10,features.12",
    )
    mine.add_argument("source", metavar="SOURCE", help="folder of images (recursive) or COCO JSON file (each box one object)")
    mine.add_argument("--out", type=Path, required=True, metavar="WORKSPACE", help="folder of the results; made if missing")
    model(mine, required=True)
    mine.add_argument("--layers", required=True, metavar="A,B,..", help="dotted names, see 'explgraph layers'")
    mine.add_argument("--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it")
    mine.add_argument(
        "--background",
        type=Path,
        metavar="FOLDER",
        help="photographs without the objects; responses are measured in their deviations",
    )
    facing = mine.add_mutually_exclusive_group()
    facing.add_argument("--no-mirror", action="store_true", help="do not look at mirror images (no facing; half the time)")
    facing.add_argument(
        "--flip-maps",
        action="store_true",
        help="tell the facing from flipped maps instead of mirror images (half the time, less exact)",
    )
    mine.add_argument("--fit", choices=("stretch", "letterbox"), default="stretch", help="how a box becomes the network input")
    mine.add_argument("--nodes", type=_positive, default=4, metavar="N", help="part patterns per channel at most (default 4)")
    mine.add_argument("--seed", type=int, default=0, metavar="S", help="seed of every random choice (default 0)")
    mine.add_argument("--limit", type=_positive, metavar="N", help="only the first N objects")
    mine.add_argument("--restart", action="store_true", help="throw away what WORKSPACE holds of another job")
    mine.add_argument("--db", metavar="URL", help="SQLAlchemy URL for the tables, instead of WORKSPACE/graph.db")
    compute(mine)

    show = command(
        "show",
        _show,
        "Show a workspace: its layers and strongest nodes, one node with parents and children, one channel.",
        "  explgraph show ws\n  explgraph show ws --node features.12:7:0 --out node.png\n  explgraph show ws --channel features.12:7",
    )
    workspace(show)
    which = show.add_mutually_exclusive_group()
    which.add_argument("--node", metavar="ID", help="one node: attributes, parents, children, best images")
    which.add_argument("--channel", metavar="LAYER:CHANNEL", help="the nodes of one channel")
    show.add_argument("--top", type=_positive, default=10, metavar="N", help="how many of the strongest nodes (default 10)")
    show.add_argument("--out", type=Path, metavar="FILE.png", help="draw the nodes' patches as a contact sheet")

    locate = command(
        "locate",
        _locate,
        "Find every node of the graph in new images.",
        "  explgraph locate ws new-photos/ --out places.parquet\n  explgraph locate ws photo.jpg --top 10 --draw pictures/",
    )
    workspace(locate)
    locate.add_argument("source", metavar="SOURCE", help="folder of images, COCO JSON file, or one image")
    locate.add_argument("--out", type=Path, metavar="FILE", help=".parquet, .csv or .json; without it the best nodes are printed")
    locate.add_argument("--top", type=_positive, metavar="N", help="only the N best nodes of each object (printed: 5)")
    locate.add_argument("--draw", type=Path, metavar="DIR", help="draw the places of the graph's strongest nodes on every image")
    locate.add_argument("--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it")
    locate.add_argument("--limit", type=_positive, metavar="N", help="only the first N objects")
    locate.add_argument("--weights", metavar="FILE", help="the network's weights, if the file has moved")
    compute(locate)

    for name, summary in (
        ("saliency", "Draw which pixels a class score depends on: max over colours of |dS/dI|."),
        ("gradcam", "Draw which regions speak for a class: Grad-CAM."),
    ):
        maps = command(
            name,
            _heat_map,
            summary,
            f"  explgraph {name} photo.jpg --model resnet50 --out maps\n  explgraph {name} *.jpg --workspace ws --target zebra --out maps",
        )
        maps.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
        model(maps, required=False)
        maps.add_argument("--workspace", type=Path, metavar="DIR", help="take the network of this workspace")
        maps.add_argument("--target", metavar="CLASS", help="class index or name; default: the network's own first choice")
        if name == "gradcam":
            maps.add_argument("--layer", metavar="NAME", help="layer to look at; default: the last one with maps")
        maps.add_argument(
            "--fit", choices=("stretch", "letterbox"), default="letterbox", help="how a picture becomes the network input"
        )
        maps.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="folder for overlay (.png), raw map (.npy) and boxes (.json)"
        )
        maps.add_argument("--device", default="auto", help="auto (default), cpu, cuda, cuda:1, mps")
        quiet(maps)

    evaluate = command(
        "evaluate",
        _evaluate,
        "Score the nodes' places against annotated landmarks, beside the raw filters.",
        "  explgraph evaluate zebra --dataset zebra.json",
    )
    workspace(evaluate)
    evaluate.add_argument(
        "--dataset", type=Path, required=True, metavar="COCO.json", help="the file that was mined, with keypoints"
    )

    export = command(
        "export",
        _export,
        "Write the graph to a file for Gephi, Cytoscape, Graphviz, networkx or data frames.",
        "  explgraph export ws --format gexf --out graph.gexf",
    )
    workspace(export)
    formats = ("gexf", "graphml", "cytoscape", "node-link", "dot", "parquet")
    export.add_argument("--format", choices=formats, required=True, help="what the file is for, see docs/export.md")
    export.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="in an existing folder; an older file is replaced"
    )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text!r}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) > 2 or not all(side.isdecimal() and int(side) for side in sides):
        raise argparse.ArgumentTypeError(f"must be N or HEIGHTxWIDTH such as 224 or 224x320, got {text!r}")
    return int(sides[0]), int(sides[-1])


if __name__ == "__main__":
    sys.exit(main())
