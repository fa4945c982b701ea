"""Flags generated from the options of a query, see `explgraph.queries.option`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def add_fields(parser: argparse.ArgumentParser, options: type) -> None:
    """Add a flag for each field of a dataclass: its type, choices, default and help.

    >>> from explgraph.queries import DeconvOptions
    >>> parser = argparse.ArgumentParser(add_help=False)
    >>> add_fields(parser, DeconvOptions)
    >>> read_fields(parser.parse_args(["--strongest", "5"]), DeconvOptions)
    DeconvOptions(layer=None, channel=None, strongest=5, guided=False)
    """
    types = get_type_hints(options)  # the types of fields are texts here, as annotations are
    for one in fields(options):
        # A field may have another flag where the plain name is taken or odd to type.
        flag = one.metadata.get("flag", f"--{one.name.replace('_', '-')}")
        parser.add_argument(flag, dest=one.name, **_settings(one, types[one.name]))


def read_fields(args: argparse.Namespace, options: type[T]) -> T:
    """The options that the parsed arguments say."""
    values = {}
    for one in fields(options):  # type: ignore[arg-type]
        value = getattr(args, one.name)
        if one.default == ():  # a flag that can be given several times, or never
            read = one.metadata.get("read", str)
            value = tuple(read(text) for text in value or ())
        values[one.name] = value
    return options(**values)


def _settings(one: Field[Any], kind: Any) -> dict[str, Any]:
    """What `argparse` needs to know of a field."""
    settings = {"help": one.metadata["help"]}
    if kind is bool:
        return settings | {"action": "store_true"}
    # Flags without a value take none; argparse would refuse it.
    settings["metavar"] = one.metadata.get("metavar")
    if get_origin(kind) is tuple:  # `read_fields` reads it: what is wrong is said in our words
        return settings | {"action": "append"}
    settings["default"] = one.default
    if one.default is not None:
        settings["help"] += f" (default {one.default})"
    kinds = [part for part in get_args(kind) if part is not NoneType]
    if get_origin(kind) is Literal:
        return settings | {"choices": kinds}
    return settings | {"type": _reader(kinds[0] if kinds else kind, one.metadata)}


def _reader(kind: Callable[[str], Any], bounds: Mapping[str, Any]) -> Callable[[str], Any]:
    """Makes a value of a text, and refuses numbers out of bounds."""
    # argparse would call the function by its name in its message; this one says what is wanted.
    least, most = bounds.get("least"), bounds.get("most", float("inf"))
    if least is None:
        return kind
    wanted = (
        f"share between {least} and {most}"
        if kind is float
        else f"whole number of at least {least}"
    )

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a {wanted}, got {text!r}")
        return value

    return read
