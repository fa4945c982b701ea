"""Flags that are generated from a dataclass of options."""

import argparse
from dataclasses import dataclass
from typing import Literal

import pytest

from explgraph.cli.generated import add_fields, read_fields
from explgraph.queries import option


def pair(text):
    name, _, value = text.partition("=")
    return name, int(value)


@dataclass(frozen=True)
class Options:
    layer: str | None = option(None, "which layer", metavar="NAME")
    n_steps: int = option(50, "how many steps", metavar="N", least=1)
    share: float = option(0.5, "of the nodes", least=0, most=1)
    kind: Literal["one", "two"] = option("one", "which of them")
    signed: bool = option(False, "with a sign")
    boxes: tuple[tuple[str, int], ...] = option((), "repeatable", flag="--box", read=pair)


@pytest.fixture
def parser():
    parser = argparse.ArgumentParser()
    add_fields(parser, Options)
    return parser


def test_without_flags_the_options_are_the_defaults(parser):
    assert read_fields(parser.parse_args([]), Options) == Options()


def test_every_field_is_read_with_its_type(parser):
    words = "--layer a.1 --n-steps 7 --share .25 --kind two --signed --box a=1 --box b=2"
    read = read_fields(parser.parse_args(words.split()), Options)
    assert read == Options("a.1", 7, 0.25, "two", True, (("a", 1), ("b", 2)))


def test_the_help_names_every_default(parser):
    said = " ".join(parser.format_help().split())
    for text in ("(default 50)", "(default 0.5)", "(default one)", "{one,two}", "--layer NAME"):
        assert text in said
    assert "default None" not in said
    assert "default False" not in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--n-steps 0", "must be a whole number of at least 1, got '0'"),
        ("--n-steps many", "must be a whole number of at least 1, got 'many'"),
        ("--share 1.5", "must be a share between 0 and 1, got '1.5'"),
        ("--share nan", "must be a share between 0 and 1, got 'nan'"),
        ("--kind three", "invalid choice"),
    ],
)
def test_values_out_of_bounds_are_misuse(parser, capsys, words, message):
    with pytest.raises(SystemExit) as left:
        parser.parse_args(words.split())
    assert left.value.code == 2
    assert message in capsys.readouterr().err
