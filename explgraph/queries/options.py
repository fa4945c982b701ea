"""Options of a query: the fields of a frozen dataclass, from which the command line is generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import Field, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Option:
    """What a dataclass field says about itself on the command line.

    Args:
        help: one line for people; the default is added to it.
        metavar: stands for the value in the help.
        flag: by default the field's name with dashes, ``--times-input``.
        least: smallest value allowed.
        most: largest value allowed.
        read: makes the value of one text, where the field's type is not enough.
    """

    help: str
    metavar: str | None = None
    flag: str | None = None
    least: float | None = None
    most: float | None = None
    read: Callable[[str], Any] | None = None


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field with a default and what `Option` says of it; ``more`` as there.

    The field's type is int, float, str, bool, a Literal, one of these or None, or a tuple of
    any number of them (``tuple[str, ...]``: the option can be given several times).

    >>> @dataclass(frozen=True)
    ... class Options:
    ...     samples: int = option(1, "how many noisy copies", metavar="N", least=1)
    >>> Options().samples, option_of(Options.__dataclass_fields__["samples"]).metavar
    (1, 'N')
    """
    return field(default=default, metadata={"option": Option(help, **more)})


def option_of(one: Field[Any]) -> Option:
    """What `option` said of a field."""
    found: Option = one.metadata["option"]
    return found
