"""One writer at a time: an advisory lock file that names its holder and that the system drops when the holder dies."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

from explgraph.errors import StoreError
from explgraph_storage.migrations import now

if sys.platform != "win32":
    import fcntl

_held: set[WriterLock] = set()


class WriterLock:
    """The right to write to one database file, from construction to `release`.

    ``graph.db.lock`` stays behind as an empty file: removing it would let two writers lock two different files.

    Args:
        database: the database file.

    Raises:
        StoreError: another process (or another store of this one) holds the lock, or no lock file can be made.
    """

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._descriptor: int | None = None
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise StoreError(
                f"cannot write to {database}: its folder takes no lock file ({error.strerror}); open it for reading, or copy it"
            ) from error
        try:
            _lock(descriptor, database)
            os.ftruncate(descriptor, 0)
            os.write(descriptor, _describe_self())
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(self)

    def release(self) -> None:
        """Let the next writer in; a second call does nothing."""
        _held.discard(self)
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            self._forget()

    def _forget(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None


def _lock(descriptor: int, database: Path) -> None:
    if sys.platform == "win32":  # no flock: there SQLite's own lock is all
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = _describe_holder(descriptor)
        raise StoreError(
            f"{database} is being written by {holder}; wait until it ends or stop it, reading is possible"
        ) from error
    except OSError as error:
        raise StoreError(
            f"the file system of {database} has no locks ({error.strerror}); keep it on a local disk"
        ) from error


def _describe_self() -> bytes:
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:200]
    return json.dumps(
        {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": now()}
    ).encode()


def _describe_holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['pid']} on {holder['host']} ({holder['command']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):  # the holder has not written its name yet
        return "another process"


def _forget_in_child() -> None:
    # a forked data loader would keep the lock of a killed parent for as long as it lives itself
    for lock in list(_held):
        lock._forget()
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
