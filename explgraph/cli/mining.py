"""demo, layers, mine: from photographs to a workspace."""

from __future__ import annotations

import argparse
from pathlib import Path

from explgraph.cli.options import Commands, add_command, add_compute, add_model, add_quiet, positive
from explgraph.cli.printing import print_columns, print_described, print_json, print_skipped


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    demo = add_command(
        commands,
        "demo",
        _demo,
        "Mine generated creatures with the embedded network, the whole way.",
        "  explgraph demo --out demo-workspace",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("demo-workspace"),
        metavar="DIR",
        help="folder (default demo-workspace)",
    )
    add_quiet(demo)

    layers = add_command(
        commands,
        "layers",
        _layers,
        "List the conv-layers of a network with their measured geometry.",
        "  explgraph layers --model vgg16\n  explgraph layers --model mypackage.models:make_net --json",
    )
    add_model(layers, required=True, default_weights="random ones, which have the same layers")

    mine = add_command(
        commands,
        "mine",
        _mine,
        "Mine photographs into a workspace: peaks, part patterns, explanatory graph. The same command resumes.",
        "  explgraph mine photos/ --out ws --model resnet50 --layers layer3,layer4 --background other-photos/\n"
        "  explgraph mine zebra.json --out zebra --model squeezenet1_0 --weights weights.pth --layers features.10,features.12",
    )
    mine.add_argument(
        "source",
        metavar="SOURCE",
        help="folder of images (recursive) or COCO JSON file (each box one object)",
    )
    mine.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="WORKSPACE",
        help="folder of the results; made if missing",
    )
    add_model(mine, required=True)
    mine.add_argument(
        "--layers", required=True, metavar="A,B,..", help="dotted names, see 'explgraph layers'"
    )
    mine.add_argument(
        "--images", type=Path, metavar="FOLDER", help="images of a COCO file, if not beside it"
    )
    mine.add_argument(
        "--background",
        type=Path,
        metavar="FOLDER",
        help="photographs without the objects; responses are measured in their deviations",
    )
    facing = mine.add_mutually_exclusive_group()
    facing.add_argument(
        "--no-mirror",
        action="store_true",
        help="do not look at mirror images (no facing; half the time)",
    )
    facing.add_argument(
        "--flip-maps",
        action="store_true",
        help="tell the facing from flipped maps instead of mirror images (half the time, less exact)",
    )
    mine.add_argument(
        "--fit",
        choices=("stretch", "letterbox"),
        default="stretch",
        help="how a box becomes the network input",
    )
    mine.add_argument(
        "--nodes",
        type=positive,
        default=4,
        metavar="N",
        help="part patterns per channel at most (default 4)",
    )
    mine.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of every random choice (default 0)"
    )
    mine.add_argument("--limit", type=positive, metavar="N", help="only the first N objects")
    mine.add_argument(
        "--restart", action="store_true", help="throw away what WORKSPACE holds of another job"
    )
    mine.add_argument(
        "--db", metavar="URL", help="SQLAlchemy URL for the tables, instead of WORKSPACE/graph.db"
    )
    add_compute(mine)


def _demo(args: argparse.Namespace) -> None:
    from explgraph.demo.job import run_demo
    from explgraph.progress import ProgressReport

    with ProgressReport(quiet=args.quiet) as report:
        result = run_demo(args.out, report=report)
    print_described(result.to_dict(), result.to_text, as_json=args.json)


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
        print_json({"model": network.spec, "input": list(network.input.size), "layers": described})
        return
    pair = lambda values: (
        f"{values[0]:g}" if values[0] == values[1] else f"{values[0]:g} x {values[1]:g}"
    )
    print(
        f"{network.spec}, input {network.input.height} x {network.input.width}; centre: of the first cell, pixels counted from 1"
    )
    rows: list[tuple[str, ...]] = [
        ("layer", "kind", "channels", "map", "stride", "receptive field", "centre")
    ]
    for g in layers:
        centre = pair([v + 0.5 for v in g.first])
        rows.append(
            (
                g.name,
                g.kind,
                str(g.channels),
                f"{g.height} x {g.width}",
                pair(g.stride),
                pair(g.size),
                centre,
            )
        )
    print_columns(rows)


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
        print_json(done.to_dict())
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
    print_skipped(done.skipped)
    print(
        f"next: explgraph show {done.folder}   |   explgraph locate {done.folder} PHOTOS --draw pictures"
    )
