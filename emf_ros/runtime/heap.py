"""The C library's heap: kept for the next images at work, given back at rest."""

from __future__ import annotations

import ctypes

#: Size of a block from which glibc gets it from the system, and gives it back, bytes: the maximum
#: that glibc accepts.
MMAP_THRESHOLD = 32 * 2**20

#: Free memory at the end of the heap from which glibc gives it back to the system, bytes.
TRIM_THRESHOLD = 256 * 2**20

#: Numbers of these settings in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def keep_freed_memory() -> None:
    """Have glibc keep the memory of images for the next ones.

    The system clears each page that it gives out, which costs more than the copy of an image.
    Elsewhere than with glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, MMAP_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, TRIM_THRESHOLD)
    # The heaps of further arenas are small, and given back as soon as they are empty.
    mallopt(_M_ARENA_MAX, 1)


def give_back_freed_memory() -> None:
    """Give all free pages of the heap back to the system, also those between blocks in use.

    Images leave gaps, and what comes next does not always fit: the heap grows each time the work
    ends and begins anew. Elsewhere than with glibc nothing changes.
    """
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return
    trim(0)
