"""What answers have in common."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

Record = dict[str, Any]


class Result:
    """A frozen dataclass of plain values, the answer of a query.

    >>> from explgraph.queries import SuggestedImages
    >>> SuggestedImages("head", suggested=()).to_dict()
    {'part': 'head', 'suggested': ()}
    """

    def to_dict(self) -> Record:
        """What ``--json`` prints."""
        plain: Record = asdict(self)  # type: ignore[call-overload]
        return plain
