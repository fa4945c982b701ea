"""What commands print: one JSON object, or columns and nested values as text.

All that is printed passes `say` or `print_json`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from explgraph.errors import Skipped
from explgraph.text import one_line

LISTED = 10  # skipped files named on the terminal; the database names all


def print_described(described: dict[str, Any], *, as_json: bool, most: int | None = None) -> None:
    """Print plain values as JSON or as text; of each table in the text the first ``most`` rows."""
    if as_json:
        print_json(described)
    else:
        say(*described_lines(described, most=most))


def say(*lines: str, error: bool = False) -> None:
    r"""Print lines for people, each of which stays one line: see `explgraph.text.one_line`.

    Args:
        error: to stderr.

    >>> say("a\nb: 3 nodes")
    a\nb: 3 nodes
    """
    stream = sys.stderr if error else sys.stdout
    text = "\n".join(map(one_line, lines))
    # A terminal or a pipe that knows ASCII only gets escapes of the letters that it lacks.
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)


def print_json(described: dict[str, Any]) -> None:
    """Print one JSON object.

    >>> print_json({"error": float("nan")})
    {"error": null}
    """
    from explgraph.files import finite  # loads hashlib, which --help does without

    print(json.dumps(finite(described), allow_nan=False))


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print the rows as aligned columns; the first is the head.

    Plain text of any width: rich's tables cut long cells where the output is piped, take the
    brackets in a file's name for markup, and need 1.5 s for 5,000 rows (measured).

    >>> print_columns([("node", "score"), ("features.12:7:0", "0.93")])
    node             score
    features.12:7:0  0.93
    """
    say(*columns(rows))


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines of aligned columns."""
    # As wide as the widest cell: nothing is cut, also where the output is piped.
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = ((cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return ["  ".join(row).rstrip() for row in padded]


def print_hint(hint: str | None) -> None:
    """Say on stderr what is doubtful about the question, if there is something."""
    if hint:
        say(f"explgraph: hint: {hint}", error=True)


def print_skipped(skipped: Sequence[Skipped]) -> None:
    """Print which images were skipped, and why; the first few by name."""
    if not skipped:
        return
    say(f"skipped {len(skipped)}:")
    for one in skipped[:LISTED]:
        say(f"  {one.path}: {one.reason}")
    if len(skipped) > LISTED:
        say(f"  ... and {len(skipped) - LISTED} more (--json names all)")


def described_lines(described: dict[str, Any], *, most: int | None = None) -> list[str]:
    """Nested plain values as indented lines; lists of records as columns of at most ``most`` rows.

    >>> described_lines({"part": "head", "votes": [{"node": "a:1:0", "weight": 0.25}]})
    ['part: head', 'votes:', '  node   weight', '  a:1:0  0.25']
    """
    lines: list[str] = []
    for key, item in described.items():
        # A list of records is a table; a list of numbers stays on its line.
        if isinstance(item, dict):
            inner = described_lines(item, most=most)
        elif isinstance(item, list | tuple) and item and isinstance(item[0], dict):
            rows = (tuple(map(_cell, one.values())) for one in item[:most])
            inner = columns([tuple(item[0]), *rows])
            if most is not None and len(item) > most:
                inner.append(f"... and {len(item) - most} more (--json names all)")
        else:
            lines.append(f"{key}: {_cell(item)}")
            continue
        lines += [f"{key}:", *(f"  {line}" for line in inner)]
    return lines


def _cell(value: Any) -> str:
    if isinstance(value, float):
        # Four digits for people; --json has all of them.
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value)) or "-"
    return "-" if value is None else str(value)
