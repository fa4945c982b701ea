"""Options that are not given have the library's defaults, and the help names these."""

import argparse
import inspect
import re

import pytest

from explgraph.cli import build_parser
from explgraph.cli.options import add_command, given
from explgraph.mining import MiningConfig
from explgraph.queries import (
    describe_part,
    describe_workspace,
    locate_parts,
    locate_source,
    suggest_images,
)
from explgraph.workspace import MineJob, mine_workspace


def default(function, name):
    return inspect.signature(function).parameters[name].default


DEFAULTS = [
    ("mine", "--nodes", MiningConfig().nodes),
    ("mine", "--seed", MiningConfig().seed),
    ("mine", "--fit", MineJob.fit),
    ("mine", "--batch-size", default(mine_workspace, "batch_size")),
    ("mine", "--workers", default(mine_workspace, "workers")),
    ("show", "--top", default(describe_workspace, "top")),
    ("locate", "--batch-size", default(locate_source, "batch_size")),
    ("locate", "--workers", default(locate_source, "workers")),
    ("part locate", "--batch-size", default(locate_parts, "batch_size")),
    ("part locate", "--workers", default(locate_parts, "workers")),
    ("part show", "--top", default(describe_part, "top")),
    ("part suggest", "--top", default(suggest_images, "top")),
]


def action(command, flag):
    parser = build_parser()
    for word in command.split():
        (family,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = family.choices[word]
    (found,) = (a for a in parser._actions if flag in a.option_strings)
    return found


@pytest.mark.parametrize(("command", "flag", "value"), DEFAULTS)
def test_the_help_names_the_default_of_the_library(command, flag, value):
    option = action(command, flag)
    assert option.default is None
    assert re.search(r"default (\w+)", option.help).group(1) == str(value)


def test_what_is_not_given_is_not_passed_on():
    args = build_parser().parse_args(["show", "ws"])
    assert given(args, "top", "node") == {}
    args = build_parser().parse_args(["show", "ws", "--top", "3"])
    assert given(args, "top", "node") == {"top": 3}


def test_examples_are_listed_line_by_line():
    commands = argparse.ArgumentParser().add_subparsers()
    sub = add_command(commands, "greet", print, "Say hello.", "greet a", "  greet b\n  greet c")
    assert sub.epilog == "examples:\n  greet a\n  greet b\n  greet c"
