"""What commands print: tables, nested values as indented text, one JSON object."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

LISTED = 10  # skipped files named on the terminal; the database names all


def print_described(described: dict[str, Any], text: Callable[[], str], *, as_json: bool) -> None:
    """Print ``described`` as JSON, or else the text."""
    if as_json:
        print_json(described)
    else:
        print(text())


def print_json(described: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(_finite(described), allow_nan=False))


def _finite(value: Any) -> Any:
    """Return the value with null for what JSON has no number for, such as a figure without enough objects."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_columns(rows: Sequence[Sequence[str]]) -> None:
    """Print the rows as aligned columns; the first is the head."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


def print_skipped(skipped: Sequence[Any]) -> None:
    """Print which images were skipped, and why; the first few by name."""
    if not skipped:
        return
    print(f"skipped {len(skipped)}:")
    for one in skipped[:LISTED]:
        print(f"  {one.path}: {one.reason}")
    if len(skipped) > LISTED:
        print(f"  ... and {len(skipped) - LISTED} more (--json names all)")


def described_text(value: Any, indent: str = "") -> str:
    """Return nested plain values as indented text; lists of alike records as columns."""
    lines = []
    for key, item in value.items():
        if isinstance(item, list) and item and isinstance(item[0], dict):
            columns = [tuple(item[0]), *(tuple(_cell(v) for v in one.values()) for one in item)]
            widths = [max(len(row[i]) for row in columns) for i in range(len(columns[0]))]
            lines.append(f"{indent}{key}:")
            lines += [
                "  "
                + indent
                + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()
                for row in columns
            ]
        elif isinstance(item, dict):
            lines += [f"{indent}{key}:", described_text(item, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {_cell(item)}")
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value) or "-"
    return "-" if value is None else str(value)
