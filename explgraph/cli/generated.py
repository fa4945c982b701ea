"""Flags generated from the options of a query, see `explgraph.queries.options.option`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from explgraph.queries import Option, option_of

T = TypeVar("T")


def add_fields(parser: argparse.ArgumentParser, options: type) -> None:
    """Add a flag for each field of a dataclass: its type, choices, default and help.

    >>> from explgraph.queries.heat_maps import DeconvOptions
    >>> parser = argparse.ArgumentParser(add_help=False)
    >>> add_fields(parser, DeconvOptions)
    >>> read_fields(parser.parse_args(["--strongest", "5"]), DeconvOptions)
    DeconvOptions(layer=None, channel=None, strongest=5, guided=False)
    """
    types = get_type_hints(options)
    for one in fields(options):
        said = option_of(one)
        flag = said.flag or f"--{one.name.replace('_', '-')}"
        parser.add_argument(flag, dest=one.name, **_settings(one, types[one.name], said))


def read_fields(args: argparse.Namespace, options: type[T]) -> T:
    """The options that the parsed arguments say."""
    values = {}
    for one in fields(options):  # type: ignore[arg-type]
        value, read = getattr(args, one.name), option_of(one).read
        if one.default == ():
            value = tuple(read(text) if read else text for text in value or ())
        values[one.name] = value
    return options(**values)


def _settings(one: Field[Any], kind: Any, said: Option) -> dict[str, Any]:
    """What `argparse` needs to know of a field."""
    kinds = [part for part in get_args(kind) if part is not NoneType]
    if kind is bool:
        return {"action": "store_true", "help": said.help}
    if get_origin(kind) is tuple:  # read later: what is wrong with it is misuse in our words
        return {"action": "append", "metavar": said.metavar, "help": said.help}
    default = "" if one.default is None else f" (default {one.default})"
    settings = {"default": one.default, "help": said.help + default, "metavar": said.metavar}
    if get_origin(kind) is Literal:
        return settings | {"choices": kinds}
    scalar = kind if not kinds else kinds[0]
    return settings | {"type": scalar if said.least is None else _bounded(scalar, said)}


def _bounded(kind: Callable[[str], Any], said: Option) -> Callable[[str], Any]:
    """A reader of numbers that refuses those out of bounds."""
    what, bounds = "whole number", f"of at least {said.least:g}"
    if said.most is not None:
        what, bounds = "share", f"between {said.least:g} and {said.most:g}"

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        most = float("inf") if said.most is None else said.most
        if value is None or not said.least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a {what} {bounds}, got {text!r}")
        return value

    return read
