"""What this machine has: free disk where runs live, memory for a process (the GPU's where there is one), idle cores."""

import os
import shutil
from pathlib import Path

import torch

from kdcore.artefacts import store


def free_disk() -> int:
    return shutil.disk_usage(store()).free


def available_memory() -> int:
    """Bytes that a new process may use without swapping; of the whole machine where it does not say."""
    if torch.cuda.is_available():
        return torch.cuda.mem_get_info()[0]
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["MemAvailable"].split()[0]) * 1024
    except (OSError, LookupError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def load() -> float:
    """Processes that ran or waited to run in the last minute, on average."""
    return os.getloadavg()[0]


def cores() -> int:
    return os.cpu_count() or 1
