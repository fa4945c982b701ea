"""Keeping freed memory for the next forward pass.

glibc gives every large block back to the system when it is freed, and a forward pass frees its activations layer by layer: the pages of
each are mapped and zeroed again for every batch. On a CPU that was half of the time of SqueezeNet's forward pass (measured: 25 ms per
input, 21 ms of two cores' system time; 13-15 ms without).
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt's parameters and glibc's own values for them (malloc.h, mallopt(3))
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_DEFAULTS = {_TRIM_THRESHOLD: 128 << 10, _TOP_PAD: 0, _MMAP_MAX: 65536}
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_MAX: 0}
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
if not (hasattr(_LIBC, "mallopt") and hasattr(_LIBC, "malloc_trim")):
    _LIBC = None
_depth = 0  # of nested contexts


@contextmanager
def reuse_memory() -> Iterator[None]:
    """Let the process keep memory that it frees, and give it back at the end; does nothing where glibc is not the allocator.

    The peak does not grow: what is kept is what was needed at once. Contexts may be nested; the outermost gives the memory back.
    """
    global _depth
    libc = _LIBC
    if libc is None:
        yield
        return
    if not _depth:
        for parameter, value in _KEEPING.items():
            libc.mallopt(parameter, value)
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
        if not _depth:
            for parameter, value in _DEFAULTS.items():
                libc.mallopt(parameter, value)
            libc.malloc_trim(0)
