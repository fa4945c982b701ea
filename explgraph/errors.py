"""The exceptions: every message says what was expected, what was got, and the remedy."""

from dataclasses import asdict, dataclass


class ExplgraphError(Exception):
    """Base of every error that the caller can fix; the command line exits with 1.

    >>> issubclass(ImageError, ExplgraphError)
    True
    """


class UsageError(ExplgraphError):
    """The request itself is wrong (unknown name, impossible option): exit with 2."""


class SourceError(ExplgraphError):
    """A source of images is missing, empty or malformed."""


class ImageError(ExplgraphError):
    """One image cannot be used (broken, truncated, too large); jobs skip, count and name it."""


class NetworkError(ExplgraphError):
    """A network cannot be built or its weights do not fit."""


class LayerError(UsageError):
    """A layer name is unknown or the layer yields no feature map."""


class GraphError(ExplgraphError):
    """A graph violates the attribute schema, or an asked node is not in it."""


class MiningError(ExplgraphError):
    """There is not enough to mine (too few images, no activation)."""


class StoreError(ExplgraphError):
    """A database is foreign, newer than this program, or locked by another writer."""


class WorkspaceError(ExplgraphError):
    """A workspace is missing, incomplete, or was made with other weights, layers or settings."""


@dataclass(frozen=True)
class Skipped:
    """A file that a job left out, and why.

    Args:
        path: of the file, as its source names it.
        reason: one sentence for people.

    >>> Skipped("zebra/7.txt", "not an image").to_dict()
    {'path': 'zebra/7.txt', 'reason': 'not an image'}
    """

    path: str
    reason: str

    def to_dict(self) -> dict[str, str]:
        """Plain values for JSON."""
        return asdict(self)
