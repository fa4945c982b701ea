"""The allocator of the process: keeping freed memory for the next forward pass."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt (malloc.h, mallopt(3)) and the values that keep memory.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_KEEPING = {_TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 << 20, _MMAP_MAX: 0}


def keep_freed_memory() -> bool:
    """Let the process keep the memory that it frees; False where its allocator is not glibc's.

    For programs, not for libraries: it changes the whole process, for good. It makes forward
    passes on a CPU faster. They free their activations layer by layer, and glibc gives every
    large block back to the system, which maps and clears its pages again for the next batch. For
    SqueezeNet that was half of the time (measured: 25 ms per input, 13-15 ms with memory kept).
    The process never holds more than it once needed at the same time.

    >>> keep_freed_memory() in (True, False)
    True
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not (hasattr(libc, "mallopt") and hasattr(libc, "gnu_get_libc_version")):
        return False
    done = [libc.mallopt(parameter, value) == 1 for parameter, value in _KEEPING.items()]
    return all(done)
