"""What answers have in common."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

Record = dict[str, Any]


class Result:
    """A frozen dataclass, the answer of a query: plain values, paths, and results in it.

    >>> from explgraph.queries import SuggestedImages
    >>> SuggestedImages("head", suggested=()).to_dict()
    {'part': 'head', 'suggested': ()}
    """

    def to_dict(self) -> Record:
        """What ``--json`` prints."""
        own = fields(self)  # type: ignore[arg-type]
        return {one.name: _plain(getattr(self, one.name)) for one in own}


def _plain(value: Any) -> Any:
    if hasattr(value, "to_dict"):
        return value.to_dict()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    return str(value) if isinstance(value, Path) else value
