"""Freed memory stays with the process, where the next step takes it again.

glibc gives large blocks back to the kernel as they are freed, and a training step frees all of its activations: the
next one then meets a page fault for every 4 KiB of them (docs/performance.md).
"""

import ctypes
import os

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGEST_BLOCK = 32 * 2**20  # bytes that glibc takes from its heap at most; larger ones are always the kernel's
KEPT = 512 * 2**20  # bytes free at the heap's end
TOLD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")  # glibc's own variables for the same, in bytes


def keep_freed() -> bool:
    """Tell this process's malloc to keep what is freed.

    False where it is not glibc's, or where the environment says how much: less memory costs speed.
    """
    if any(name in os.environ for name in TOLD):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and mallopt(M_TRIM_THRESHOLD, KEPT))
