"""Freed memory stays with the process, where the next step takes it again, and comes in huge pages; what modules make
while they load is not looked at for garbage.

glibc gives large blocks back to the kernel as they are freed, and a training step frees all of its activations: the
next one then meets a page fault for every 4 KiB of them (docs/performance.md).
"""

import atexit
import ctypes
import gc
import mmap
import os
import sys
from types import FrameType
from typing import Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # malloc.h
LARGEST_BLOCK = 32 * 2**20  # bytes that glibc takes from its heap at most; larger ones are always the kernel's
KEPT = 2**31 - 1  # bytes free at the heap's end: as many as mallopt can be told
HUGE_PAGE = 2 * 2**20
HEAP = 3 * 2**29  # bytes of the heap that come in huge pages; those never used take addresses, and no memory
BLOCKS_FROM_KERNEL = 65_536  # glibc's own most
TOLD = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_")  # glibc's own variables for the same, in bytes


def keep_freed() -> bool:
    """Tell this process's malloc to keep what is freed.

    False where it is not glibc's, or where the environment says how much: less memory costs speed.
    """
    if any(name in os.environ for name in TOLD):
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt"):
        return False
    kept = libc.mallopt(M_MMAP_THRESHOLD, LARGEST_BLOCK) and libc.mallopt(M_TRIM_THRESHOLD, KEPT)
    if kept:
        _take_huge_pages(libc)
    return bool(kept)


def _take_huge_pages(libc: Any) -> None:
    """Have the heap's next HEAP bytes come 2 MiB at a time, where the kernel has such pages: the 4 KiB of a virtual
    machine can take it microseconds each.
    """
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.restype, libc.free.argtypes = None, [ctypes.c_void_p]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    libc.mallopt(M_MMAP_MAX, 0)  # the block has to be the heap's own
    block = libc.malloc(HEAP)
    libc.mallopt(M_MMAP_MAX, BLOCKS_FROM_KERNEL)
    if block is None:  # no such room, as under a limit
        return
    start = -(-block // HUGE_PAGE) * HUGE_PAGE
    libc.madvise(start, (block + HEAP - start) // HUGE_PAGE * HUGE_PAGE, mmap.MADV_HUGEPAGE)
    libc.free(block)


def freeze_modules() -> None:
    """Have Python's garbage collector leave out what modules make while they load.

    torch and transformers make a million objects, which stay; the collector would go through all of them again and
    again as they come.
    """
    gc.callbacks.append(_freeze_while_loading)
    atexit.register(gc.callbacks.remove, _freeze_while_loading)  # what it needs goes before the last collection


def _freeze_while_loading(phase: str, facts: dict[str, int]) -> None:
    """Before a collection of more than the youngest objects."""
    if phase == "start" and facts["generation"] and _loads(sys._getframe().f_back):
        gc.freeze()


def _loads(frame: FrameType | None) -> bool:
    """Whether an import is in progress there."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None
