"""Options of a query: the fields of a frozen dataclass; the command line is generated from them."""

from __future__ import annotations

from dataclasses import field
from typing import Any

FIRST_CHOICE = "class index or name; default: the network's own first choice"


def option(default: Any, help: str, **more: Any) -> Any:
    """A dataclass field that is an option of a command.

    The field's type is int, float, str, bool, a Literal, one of these or None, or a tuple of
    any number of one of them (``tuple[str, ...]``: the option can be given several times).

    Args:
        default: its value where it is not given; the help names it.
        help: one line for people.
        **more: ``metavar`` stands for the value in the help. ``flag`` is by default the field's
            name, ``--times-input``. ``least`` and ``most`` are the bounds of a number. ``read``
            makes the value of a text, where the field's type is not enough.

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     samples: int = option(1, "how many noisy copies", metavar="N", least=1)
    >>> Options()
    Options(samples=1)
    """
    return field(default=default, metadata={"help": help, **more})
