"""saliency, gradcam, deconv, occlusion, nodemap: which pixels and regions of an image speak for a class, a channel or a node."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from explgraph.cli.options import (
    Commands,
    add_command,
    add_device,
    add_model,
    add_quiet,
    channel_of,
    positive,
)
from explgraph.cli.printing import print_json, print_skipped
from explgraph.errors import UsageError

_SUMMARIES = {
    "saliency": "Draw which pixels a score depends on: max over colours of |dS/dI|.",
    "gradcam": "Draw which regions speak for a class: Grad-CAM, Grad-CAM++, LayerCAM.",
    "deconv": "Draw which structure in the image made an activation: DeconvNet, guided backpropagation.",
    "occlusion": "Draw what the network says when a grey square hides each part of the image.",
}
_EXAMPLES = {
    "saliency": "  explgraph saliency photo.jpg --model resnet50 --views crops --segment --out maps\n"
    "  explgraph saliency photo.jpg --workspace ws --node features.12:7:0 --out maps",
    "gradcam": "  explgraph gradcam photo.jpg --model resnet50 --out maps\n"
    "  explgraph gradcam *.jpg --workspace ws --target zebra --guided --out maps",
    "deconv": "  explgraph deconv photo.jpg --model vgg16 --layer features.28 --strongest 3 --out maps\n"
    "  explgraph deconv photo.jpg --model vgg16 --layer features.28 --channel 7 --guided --out maps",
    "occlusion": "  explgraph occlusion photo.jpg --model vgg16 --size 48 --stride 16 --layer features.28 --out maps",
}


def add_commands(commands: Commands) -> None:
    """Add the commands of this module."""
    for name, summary in _SUMMARIES.items():
        maps = add_command(commands, name, _heat_map, summary, _EXAMPLES[name])
        maps.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
        add_model(maps, required=False)
        maps.add_argument(
            "--workspace",
            type=Path,
            metavar="DIR",
            help="take the network, and the nodes, of this workspace",
        )
        asked = maps.add_mutually_exclusive_group()
        default = (
            "the strongest activations of --layer"
            if name == "deconv"
            else "the network's own first choice"
        )
        asked.add_argument(
            "--target", metavar="CLASS", help=f"class index or name; default: {default}"
        )
        asked.add_argument(
            "--node",
            metavar="ID",
            help="a node of the workspace's graph, where it is found in the image",
        )
        if name in ("saliency", "gradcam"):
            asked.add_argument(
                "--channel", metavar="LAYER:CHANNEL", help="a channel's total activation"
            )
        _OPTIONS[name](maps)
        maps.add_argument(
            "--fit",
            choices=("stretch", "letterbox"),
            default="letterbox",
            help="how a picture becomes the network input; with --node as the graph was mined",
        )
        maps.add_argument(
            "--out",
            type=Path,
            required=True,
            metavar="DIR",
            help="folder for overlay (.png), raw map (.npy) and record (.json)",
        )
        add_device(maps)
        add_quiet(maps)

    nodes = add_command(
        commands,
        "nodemap",
        _node_map,
        "Draw where the best nodes of each layer are in an image, beside Grad-CAM; or what one node looks at.",
        "  explgraph nodemap photo.jpg --workspace ws --out maps\n"
        "  explgraph nodemap photo.jpg --workspace ws --node features.12:7:0 --out maps",
    )
    nodes.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="image files")
    nodes.add_argument(
        "--workspace",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder made by 'explgraph mine'",
    )
    nodes.add_argument(
        "--node", metavar="ID", help="draw this node: gradient, receptive field, patch"
    )
    nodes.add_argument("--layer", metavar="NAME", help="only this layer; default: all of the graph")
    nodes.add_argument(
        "--top",
        type=_share,
        default=0.5,
        metavar="SHARE",
        help="share of a layer's nodes that counts",
    )
    nodes.add_argument(
        "--segment",
        dest="segmented",
        action="store_true",
        help="add the GraphCut segmentation that each map seeds",
    )
    nodes.add_argument(
        "--target",
        metavar="CLASS",
        help="class of Grad-CAM; default: the network's own first choice",
    )
    nodes.add_argument(
        "--weights", metavar="FILE", help="the network's weights, if the file has moved"
    )
    nodes.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for overlay (.png), map (.npy), record (.json)",
    )
    add_device(nodes)
    add_quiet(nodes)


def _saliency_options(maps: argparse.ArgumentParser) -> None:
    maps.add_argument("--times-input", action="store_true", help="gradient x input, signed")
    maps.add_argument(
        "--samples",
        type=positive,
        default=1,
        metavar="N",
        help="SmoothGrad over N noisy copies (default 1: none)",
    )
    maps.add_argument(
        "--noise",
        type=_share,
        default=0.15,
        metavar="SHARE",
        help="their noise, share of the image's range",
    )
    maps.add_argument(
        "--views",
        choices=("one", "mirror", "crops"),
        default="one",
        help="average over the mirror image, or over ten crops",
    )
    maps.add_argument(
        "--segment",
        dest="segmented",
        action="store_true",
        help="add the GraphCut segmentation and its box",
    )


def _gradcam_options(maps: argparse.ArgumentParser) -> None:
    maps.add_argument(
        "--layer", metavar="NAME", help="layer to look at; default: the last one with maps"
    )
    maps.add_argument(
        "--weighting",
        choices=("gradcam", "gradcam++", "layercam"),
        default="gradcam",
        help="of the channels",
    )
    maps.add_argument(
        "--signed", action="store_true", help="also show what speaks against the class"
    )
    maps.add_argument("--guided", action="store_true", help="add guided Grad-CAM")
    maps.add_argument(
        "--segment",
        dest="segmented",
        action="store_true",
        help="add the GraphCut segmentation and its box",
    )


def _deconv_options(maps: argparse.ArgumentParser) -> None:
    maps.add_argument(
        "--layer",
        metavar="NAME",
        help="layer whose strongest activations are projected; default: the last one with maps",
    )
    maps.add_argument(
        "--channel", type=int, metavar="N", help="only activations of this channel of --layer"
    )
    maps.add_argument(
        "--strongest",
        type=positive,
        default=3,
        metavar="N",
        help="how many activations (default 3)",
    )
    maps.add_argument(
        "--guided", action="store_true", help="guided backpropagation instead of DeconvNet"
    )


def _occlusion_options(maps: argparse.ArgumentParser) -> None:
    maps.add_argument(
        "--size",
        type=positive,
        default=48,
        metavar="PIXELS",
        help="side of the square in the input (default 48)",
    )
    maps.add_argument(
        "--stride",
        type=positive,
        default=16,
        metavar="PIXELS",
        help="distance of two squares (default 16)",
    )
    maps.add_argument(
        "--layer",
        metavar="NAME",
        help="also show the total activation of this layer's strongest map",
    )
    maps.add_argument("--channel", type=int, metavar="N", help="of this map of --layer instead")
    maps.add_argument(
        "--batch-size",
        type=positive,
        default=32,
        metavar="N",
        help="squares per forward pass (default 32)",
    )


_OPTIONS = {
    "saliency": _saliency_options,
    "gradcam": _gradcam_options,
    "deconv": _deconv_options,
    "occlusion": _occlusion_options,
}
_PASSED = {
    "saliency": ("times_input", "samples", "noise", "views", "segmented"),
    "gradcam": ("layer", "weighting", "signed", "guided", "segmented"),
    "deconv": ("layer", "channel", "strongest", "guided"),
    "occlusion": ("size", "stride", "layer", "channel", "batch_size"),
}


def _heat_map(args: argparse.Namespace) -> None:
    from explgraph.attribution import Activation
    from explgraph.network import load_network
    from explgraph.progress import ProgressReport
    from explgraph.queries import node_views, with_node
    from explgraph.queries.map_files import draw_maps
    from explgraph.queries.map_methods import draw_heat_maps, method_of
    from explgraph.workspace import Workspace

    if (args.model is None) == (args.workspace is None):
        raise UsageError(
            "give either --model or --workspace, so that it is clear which network is asked"
        )
    if args.node and args.workspace is None:
        raise UsageError("--node is a node of a mined graph; say with --workspace which")
    options = {key: getattr(args, key) for key in _PASSED[args.command]}
    with ProgressReport(quiet=args.quiet) as report:
        if args.node:
            with Workspace(args.workspace) as workspace:
                network = workspace.network(weights=args.weights, device=args.device)
                views = (
                    with_node(view, args.node)
                    for view in node_views(workspace, network, args.images, report=report)
                )
                draw = method_of(args.command, network, **options)
                done = draw_maps(args.command, views, args.images, args.out, draw, report=report)
        else:
            if args.workspace:
                with Workspace(args.workspace) as workspace:
                    network = workspace.network(weights=args.weights, device=args.device)
            else:
                network = load_network(
                    args.model, weights=args.weights, device=args.device, input_size=args.input_size
                )
            target: Any = args.target
            if args.command in ("saliency", "gradcam") and args.channel:
                target = Activation(*channel_of(args.channel))
            done = draw_heat_maps(
                args.command,
                network,
                args.images,
                args.out,
                target=target,
                fit=args.fit,
                report=report,
                **options,
            )
    _print_maps(args, *done)


def _node_map(args: argparse.Namespace) -> None:
    from explgraph.progress import ProgressReport
    from explgraph.queries import node_views
    from explgraph.queries.map_files import draw_maps
    from explgraph.queries.node_methods import draw_node, draw_node_maps
    from explgraph.workspace import Workspace

    with Workspace(args.workspace) as workspace, ProgressReport(quiet=args.quiet) as report:
        network = workspace.network(weights=args.weights, device=args.device)
        views = node_views(workspace, network, args.images, target=args.target, report=report)
        layers = [args.layer] if args.layer else []
        draw: Any = (
            (lambda view: draw_node(network, view, node=args.node))
            if args.node
            else (
                lambda view: draw_node_maps(
                    network, view, top=args.top, layers=layers, segmented=args.segmented
                )
            )
        )
        done = draw_maps("nodemap", views, args.images, args.out, draw, report=report)
    _print_maps(args, *done)


def _print_maps(
    args: argparse.Namespace, results: list[dict[str, Any]], skipped: list[Any]
) -> None:
    if args.json:
        print_json({"results": results, "skipped": [s.__dict__ for s in skipped]})
        return
    for one in results:
        said = (
            f"{one['class']} ({one['probability']:.1%})"
            if one["probability"] is not None
            else f"{one['class']} ({one['score']:.3g})"
        )
        print(f"{one['image']}: {said} -> {one['overlay']}")
    print_skipped(skipped)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be a share between 0 and 1, got {text!r}")
    return value
