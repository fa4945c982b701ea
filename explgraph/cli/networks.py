"""Which network a command asks: one by its name, or that of a workspace."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from explgraph.cli.options import (
    DB,
    REQUIRED,
    WEIGHTS_MOVED,
    add_model,
    add_options,
    given,
    path,
)
from explgraph.errors import UsageError

if TYPE_CHECKING:
    from explgraph.network import Network
    from explgraph.workspace import Workspace


def add_network(parser: argparse.ArgumentParser, workspace: str) -> None:
    """Add --model with its options, and --workspace, whose help is ``workspace``."""
    add_model(parser, required=False)
    add_options(parser, ("--workspace", path("DIR"), workspace), DB)


def add_network_of_workspace(parser: argparse.ArgumentParser) -> None:
    """Add --workspace, which must be given, and --weights."""
    mined = "folder made by 'explgraph mine'"
    add_options(parser, ("--workspace", path("DIR") | REQUIRED, mined), DB, WEIGHTS_MOVED)
    parser.set_defaults(model=None)  # for `open_network`, which asks for either


@contextmanager
def open_network(args: argparse.Namespace) -> Iterator[tuple[Network, Workspace | None]]:
    """The network that the arguments name, and the workspace while it is open, if it is one's.

    Raises:
        UsageError: both --model and --workspace are given, or neither.
    """
    from explgraph.network import load_network
    from explgraph.workspace import Workspace

    if (args.model is None) == (args.workspace is None):
        raise UsageError(
            "give either --model or --workspace, so that it is clear which network is asked"
        )
    if args.workspace is None:
        shown = given(args, "input_size", "mean", "std")
        yield load_network(args.model, weights=args.weights, device=args.device, **shown), None
        return
    with Workspace(args.workspace, db=args.db) as workspace:
        yield workspace.network(weights=args.weights, device=args.device), workspace
