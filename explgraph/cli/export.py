"""`explgraph export`: the graph as a file for other programs."""

from __future__ import annotations

import argparse

from explgraph.cli.options import REQUIRED, WORKSPACE, Commands, add_command, add_options, path
from explgraph.cli.printing import print_json

# Named here too, as --help must not load what writes them.
FORMATS = ("gexf", "graphml", "cytoscape", "node-link", "dot", "parquet")


def add_commands(commands: Commands) -> None:
    """Add ``export``."""
    export = add_command(
        commands,
        "export",
        _export,
        "Write the graph to a file for Gephi, Cytoscape, Graphviz, networkx or data frames.",
        "explgraph export ws --format gexf --out graph.gexf",
    )
    formats = {"choices": FORMATS, "required": True}
    add_options(
        export,
        *WORKSPACE,
        ("--format", formats, "what the file is for, see docs/export.md"),
        ("--out", path("FILE") | REQUIRED, "in an existing folder; an older file is replaced"),
    )


def _export(args: argparse.Namespace) -> None:
    from explgraph.queries import export_workspace
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        exported = export_workspace(workspace, args.out, format=args.format)
    if args.json:
        print_json(exported.to_dict())
    else:
        print(f"{exported.out}: {exported.nodes} nodes, {exported.edges} edges")
