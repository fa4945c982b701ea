"""Figures as text: one per line, or as Markdown tables; progress on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Values = dict[str, dict[str, list[float]]]  # what -> class -> one value per photograph


def progress(stage: str, done: int, total: int) -> None:
    """Rewrite a line on stderr, and end it when all is done."""
    end = "" if done < total else "\n"
    print(f"\r{stage} {done}/{total}          ", end=end, file=sys.stderr, flush=True)


def flat(figures: Mapping[str, Any], indent: str = "") -> str:
    """Nested figures, one per line."""
    lines = []
    for key, value in figures.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}", flat(value, indent + "  ")]
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            lines.append(f"{indent}{key:36s} {shown}")
    return "\n".join(lines)


def table(rows: Mapping[str, Mapping[str, float]], *, digits: int = 3) -> str:
    """A Markdown table; a row may lack columns."""
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for name, row in rows.items():
        cells = [f"{row[column]:.{digits}f}" if column in row else "" for column in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def summary(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Each class's mean, the mean of the classes, and its standard error over the photographs."""
    known = {name: np.array(one) for name, one in values.items() if len(one)}
    means = {name: float(one.mean()) for name, one in known.items()}
    errors = [one.var(ddof=1) / len(one) if len(one) > 1 else np.nan for one in known.values()]
    return {
        **means,
        "mean": float(np.mean(list(means.values()))),
        "error": float(np.sqrt(np.sum(errors)) / len(errors)),
    }
