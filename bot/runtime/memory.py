"""What a process that runs for months does first: have memory that is free given back."""

import ctypes
import os

_MMAP_THRESHOLD, _ARENA_MAX = -3, -8  # of glibc's malloc.h
_LARGE_BYTES = 128 << 10  # from here on a block is the kernel's, and goes back to it when it is freed


def give_memory_back() -> None:
    """Have the C library keep little of what is free; before any thread begins, and before Arrow is imported.

    By default each thread may get an arena of its own, and what is freed in one serves no other; and the first large
    block that is freed lets ever larger ones be cut from the heap, which they leave with holes. Arrow's own allocator
    takes and gives back 2 MiB at a time, every few seconds for months, for tables of some KiB.

    Where the C library is not glibc, only Arrow's is changed.
    """
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # its parts in C++ read it once, when they are loaded
    adjust = getattr(ctypes.CDLL(None), "mallopt", None)
    if adjust is not None:
        adjust(_ARENA_MAX, 1)
        adjust(_MMAP_THRESHOLD, _LARGE_BYTES)
