"""`explgraph show`: what a workspace, a node or a channel is."""

from __future__ import annotations

import argparse

from explgraph.cli.options import (
    COUNT,
    WORKSPACE,
    Commands,
    add_command,
    add_options,
    channel_of,
    given,
    path,
    text,
)
from explgraph.cli.printing import print_described
from explgraph.errors import UsageError

LISTED = 10  # children of a node, and its other relatives, that the terminal names
SHEET = "The strongest nodes of different filters at different places, patches of their best images"


def add_commands(commands: Commands) -> None:
    """Add ``show``."""
    show = add_command(
        commands,
        "show",
        _show,
        "Show a workspace: its layers and strongest nodes, one node with parents and children, "
        "one channel.",
        "explgraph show ws --graph graph.png",
        "explgraph show ws --node features.12:7:0 --out node.png",
        "explgraph show ws --channel features.12:7 --out channel.png",
    )
    add_options(show, *WORKSPACE)
    add_options(
        show.add_mutually_exclusive_group(),
        ("--node", text("ID"), "one node: attributes, parents, children, best images"),
        ("--channel", text("LAYER:CHANNEL"), "the nodes of one channel"),
    )
    top = (
        "how many of each layer's strongest nodes; with --node, of its strongest relatives "
        "(default 10)"
    )
    sheet = (
        "draw patches of the node, of the channel's nodes, or of each layer's strongest nodes of "
        "different filters at different places"
    )
    graph = (
        "draw the graph: each layer's telling nodes over the mean object; with --node its "
        "parents and children"
    )
    add_options(
        show,
        ("--top", COUNT, top),
        ("--out", path("FILE.png"), sheet),
        ("--graph", path("FILE.png"), graph),
    )


def _show(args: argparse.Namespace) -> None:
    # Loaded when the command runs, here and in all others: --help loads no PyTorch.
    from explgraph.queries import (
        describe_channel,
        describe_node,
        describe_workspace,
        draw_graph,
        draw_nodes,
        strong_nodes,
    )
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        title, most = "", args.top or LISTED
        if args.channel:
            if args.graph:
                raise UsageError("--graph draws all layers or, with --node, a node's relatives")
            described = describe_channel(workspace, *channel_of(args.channel)).to_dict()
            nodes = [node["node"] for node in described["nodes"]]
        elif args.node:
            described = describe_node(workspace, args.node).to_dict()
            nodes = [args.node]
        else:
            described = describe_workspace(workspace, **given(args, "top")).to_dict()
            # There --top counts the nodes of each layer, and what it asks for is not cut again.
            title, most = SHEET, None
            nodes = strong_nodes(workspace, **given(args, "top")) if args.out else []
        if args.out:
            described["figure"] = str(draw_nodes(workspace, nodes, args.out, title=title))
        if args.graph:
            described["graph"] = str(draw_graph(workspace, args.graph, node=args.node))
    print_described(described, as_json=args.json, most=most)
