"""`explgraph export`: the graph as a file for other programs."""

from __future__ import annotations

import argparse

from explgraph.cli.generated import add_fields, read_fields
from explgraph.cli.options import REQUIRED, WORKSPACE, Commands, add_command, add_options, path
from explgraph.cli.printing import print_json, say
from explgraph.queries import ExportOptions

# Named here too, as --help must not load what writes them.
FORMATS = ("gexf", "graphml", "cytoscape", "node-link", "dot", "parquet")


def add_commands(commands: Commands) -> None:
    """Add ``export``."""
    export = add_command(
        commands,
        "export",
        _export,
        "Write the graph to a file for Gephi, Cytoscape, Graphviz, networkx or data frames.",
        "explgraph export ws --out graph.gexf",
        "explgraph export ws --out head.graphml --part head --min-weight 0.05",
        "explgraph export ws --out few.dot --top 20",
    )
    add_options(
        export,
        *WORKSPACE,
        ("--out", path("FILE") | REQUIRED, "in an existing folder; an older file is replaced"),
        ("--format", {"choices": FORMATS}, "of --out, if its suffix does not say it"),
    )
    add_fields(export, ExportOptions)


def _export(args: argparse.Namespace) -> None:
    from explgraph.queries import export_workspace
    from explgraph.workspace import Workspace

    with Workspace(args.workspace, db=args.db) as workspace:
        options = read_fields(args, ExportOptions)
        exported = export_workspace(workspace, args.out, format=args.format, options=options)
    if args.json:
        print_json(exported.to_dict())
    else:
        files = " and ".join(str(one) for one in (exported.out, exported.edges_out) if one)
        say(f"{files}: {exported.nodes} nodes, {exported.edges} edges")
