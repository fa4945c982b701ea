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
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from explgraph.errors import ExplgraphError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # which only a write can meet
_REMEDIES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room or choose another place"),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), "choose a place you may write to"),
    errno.EEXIST: "it is a file; choose another name",
    errno.ENOTDIR: "a part of its path is a file; choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}
NAME_BYTES = 255  # that a name of a file may take on the usual file systems
_replaced: ContextVar[list[Path] | None] = ContextVar("replaced", default=None)


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
    # Of this process alone: another that writes the same file at the same time has its own.
    token = secrets.token_hex(6)
    # The suffix stays the last part of the name: some writers choose their format by it.
    temporary = path.with_name(f".{token}.{path.name[-50:]}")
    block_ended, replaced = False, _replaced.get()
    try:
        yield temporary
        block_ended = True
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        if replaced is not None and os.path.exists(path):
            replaced.append(path)
        os.replace(temporary, path)
    except OSError as error:
        # An error names the file that could not be opened, in `filename` or, from Arrow, only in
        # its text. A full disk shows in a write, which names none.
        ours = block_ended or token in str(error) or error.errno in _DISK_FULL
        if not ours:
            raise
        raise _not_written(f"write {path}", error) from error
    finally:
        with suppress(OSError):  # on a disk that has become read-only, say: the first error counts
            temporary.unlink(missing_ok=True)


def _not_written(what: str, error: OSError) -> ExplgraphError:
    remedy = _REMEDIES.get(error.errno or 0, "choose another place")
    return ExplgraphError(f"cannot {what}: {error.strerror or error}; {remedy}")


@contextmanager
def noting_replaced() -> Iterator[list[Path]]:
    """The files that `whole_file` replaces while the context lasts: older ones of their names.

    >>> with noting_replaced() as replaced:
    ...     for number in (1, 2):
    ...         _ = write_json({"number": number}, out / "number.json")
    >>> [path.name for path in replaced]
    ['number.json']
    """
    noted: list[Path] = []
    before = _replaced.set(noted)
    try:
        yield noted
    finally:
        _replaced.reset(before)


def make_folder(path: str | os.PathLike[str]) -> Path:
    """``path``, at which there is a folder now.

    Raises:
        ExplgraphError: it cannot be made (no permission, disk full, a file is there).

    >>> make_folder(out / "a" / "b").is_dir()
    True
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_written(f"make the folder {path}", error) from error
    return path


def short_stem(stem: str, room: int = 40) -> str:
    """The stem of a file's name that may be long; its end is a hash if it was shortened.

    Args:
        stem: such as the name of a photograph.
        room: bytes that what follows it may take: ``.integrated-gradients.json``.

    >>> short_stem("zebra"), len(short_stem(250 * "z")), short_stem(250 * "z")[-14:]
    ('zebra', 215, 'z-84d01f4bbee6')
    """
    content, most = os.fsencode(stem), NAME_BYTES - room
    if len(content) <= most:
        return stem
    end = f"-{hashlib.sha256(content).hexdigest()[:12]}"
    # A letter that is cut in the middle is left out.
    return content[: most - len(end)].decode("utf-8", "ignore") + end


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

    One that leaves no room for what the files add to it is shortened, see `short_stem`.

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
        unique = next(n for n in map(short_stem, candidates) if n.lower() not in taken)
        taken.add(unique.lower())
        names.append(unique)
    return names
