"""Files that users get: whole or not there, and in an order of their own."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explgraph.errors import ExplgraphError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # which only a write can meet


@contextmanager
def whole_file(path: str | os.PathLike[str], *, sync: bool = False) -> Iterator[Path]:
    """A temporary name beside ``path``; the file gets its real name when the block ends well.

    After an exception nothing is left behind, and an older file of that name is untouched.

    Args:
        path: of the file.
        sync: wait until the bytes are on disk, so that a power cut cannot leave a hollow file.

    Raises:
        UsageError: there can be no file at ``path`` (see `check_place`).
        ExplgraphError: writing failed (no permission, disk full). What else fails in the block,
            such as reading from the network, is raised as it is.

    >>> with whole_file(out / "answer.txt") as temporary:
    ...     _ = temporary.write_text("42")
    >>> (out / "answer.txt").read_text()
    '42'
    """
    path = check_place(path)
    token = secrets.token_hex(6)
    # The suffix stays the last part of the name: some writers choose their format by it.
    temporary = path.with_name(f".{token}.{path.name[-100:]}")
    block_ended = False
    try:
        yield temporary
        block_ended = True
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        # An error names the file that could not be opened, in `filename` or, from Arrow, only in
        # its text. A full disk shows in a write, which names none.
        ours = block_ended or token in str(error) or error.errno in _DISK_FULL
        if not ours:
            raise
        raise ExplgraphError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_place(path: str | os.PathLike[str], *, suffixes: Sequence[str] = ()) -> Path:
    """``path``, if a file can be there; call it before long work, not after it.

    Args:
        path: of the file.
        suffixes: one of which the name must have, in any case; any will do if there are none.

    Raises:
        UsageError: the suffix is another, the folder is missing, or ``path`` is a folder.

    >>> check_place("answer.csv", suffixes=(".json", ".parquet"))
    Traceback (most recent call last):
    explgraph.errors.UsageError: answer.csv must end in .json or .parquet, got '.csv'
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{path} must end in {' or '.join(suffixes)}, got {path.suffix!r}")
    if os.path.isdir(path):  # unlike Path.is_dir no error for a name that is too long
        raise UsageError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UsageError(f"folder {path.parent} does not exist; create it or choose another")
    return path


def sha256_of(path: str | os.PathLike[str]) -> str:
    """The sha256 of a file's content; 0.6 to 2 GB/s (measured).

    >>> _ = (out / "answer.txt").write_text("42")
    >>> sha256_of(out / "answer.txt")[:12]
    '73475cb40a56'
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(value: Any, path: str | os.PathLike[str]) -> Path:
    """``path``, to which ``value`` was written as strict JSON (see `finite`).

    >>> write_json({"error": float("nan")}, out / "answer.json").read_text().split()
    ['{', '"error":', 'null', '}']
    """
    with whole_file(path) as temporary:
        text = json.dumps(finite(value), indent=1, allow_nan=False)
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def guarded(table: pa.Table) -> pa.Table:
    """The table for a CSV file: text that a spreadsheet would run as a formula begins with a quote.

    These are the first characters that OWASP names under "CSV injection", and their full-width
    forms. A photograph's name comes from anyone. Numbers stay numbers.

    >>> import pyarrow as pa
    >>> guarded(pa.table({"image": ["=1+1.jpg", "a=b.jpg"], "x": [-1.5, 2]})).to_pylist()
    [{'image': "'=1+1.jpg", 'x': -1.5}, {'image': 'a=b.jpg', 'x': 2.0}]
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    for k, field in enumerate(table.schema):
        if pa.types.is_string(field.type):
            text = pc.replace_substring_regex(
                table[k], pattern="^([=+@\t\r\n\uff1d\uff0b\uff0d\uff20-])", replacement=r"'\1"
            )
            table = table.set_column(k, field, text)
    return table


def finite(value: Any) -> Any:
    """Plain values with None where JSON has no number: NaN and infinity.

    >>> finite({"error": float("nan"), "layers": (1.5, float("inf"))})
    {'error': None, 'layers': [1.5, None]}
    """
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def unique_names(images: Sequence[Path]) -> list[str]:
    """A name for the files of each image: its stem, with its folder where that is taken.

    >>> unique_names([Path("a/1.jpg"), Path("b/1.jpg"), Path("b/2.jpg")])
    ['a-1-jpg', 'b-1-jpg', '2']
    """
    # Some file systems take A.png for a.png.
    stems = Counter(path.stem.lower() for path in images)
    names: list[str] = []
    taken: set[str] = set()
    for path in images:
        long = f"{path.parent.name}-{path.name.replace('.', '-')}".lstrip("-")
        name = path.stem if stems[path.stem.lower()] == 1 else long
        candidates = chain([name], (f"{name}-{k}" for k in count(2)))
        unique = next(n for n in candidates if n.lower() not in taken)
        taken.add(unique.lower())
        names.append(unique)
    return names
