"""saliency, gradcam: which pixels and regions of an image speak for a class."""

from __future__ import annotations

import argparse
from pathlib import Path

from explgraph.cli.options import Commands, add_command, add_model, add_quiet
from explgraph.cli.printing import print_json, print_skipped
from explgraph.errors import UsageError


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    for name, summary in (
        ("saliency", "Draw which pixels a class score depends on: max over colours of |dS/dI|."),
        ("gradcam", "Draw which regions speak for a class: Grad-CAM."),
    ):
        maps = add_command(
            commands,
            name,
            _heat_map,
            summary,
            f"  explgraph {name} photo.jpg --model resnet50 --out maps\n  explgraph {name} *.jpg --workspace ws --target zebra --out maps",
        )
        maps.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
        add_model(maps, required=False)
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
        add_quiet(maps)


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
        print_json({"results": results, "skipped": [s.__dict__ for s in skipped]})
        return
    for one in results:
        print(f"{one['image']}: {one['class']} ({one['probability']:.1%}) -> {one['overlay']}")
    print_skipped(skipped)
