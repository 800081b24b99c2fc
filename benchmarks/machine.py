"""What the machine gives at best, and what a process takes of it."""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SIZE = 2048  # of the square matrices whose product is the machine's best


class Sgemm(NamedTuple):
    """GFLOP/s of large single-precision matrix products by torch's own and by oneDNN, whichever our layers use.

    On a GPU the first is the GPU's, without TF32, and the second still the CPU's.
    """

    own: float
    onednn: float


def sgemm_rates(threads: int) -> Sgemm:
    import torch
    from torch.nn.functional import conv2d

    from kdcore.model.encoder import device

    def by_onednn(left: Any, right: Any) -> Any:
        tokens = left[None, None].permute(0, 3, 1, 2)
        return conv2d(tokens, right[:, :, None, None], dilation=2)  # as in kdcore.model.linear

    torch.set_num_threads(threads)
    left, right = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    there = left.to(device()), right.to(device())
    return Sgemm(_rate(lambda: torch.mm(*there)), _rate(lambda: by_onednn(left, right)))


def _rate(product: Callable[[], Any], times: int = 20) -> float:
    product()  # the first also allocates and warms up
    finish()
    start = time.perf_counter()
    for _ in range(times):
        product()
    finish()
    return times * 2 * SIZE**3 / (time.perf_counter() - start) / 1e9


def finish() -> None:
    """Wait until the GPU, where there is one, has done what it was told."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def description(threads: int) -> str:
    """One line: processor, GPU where it computes, threads and the versions of what computes."""
    import torch

    from kdcore.distil.folder import versions
    from kdcore.model.encoder import device

    gpu = f"{torch.cuda.get_device_name()}, " if device().type == "cuda" else ""
    known = versions()
    libraries = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers"))
    return f"{gpu}{known['processor']}, {threads} threads, Python {known['python']}, {libraries}"


def peak_resident(pid: int | str = "self") -> int:
    """Most bytes of a process that were ever in memory, mapped files included.

    Not from getrusage where there is another way: a child's figure there begins with its parent's.
    """
    found = _status(pid, "VmHWM")
    if found is not None:
        return found
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def private_now(pid: int | str = "self") -> int:
    """Bytes of a process that are its own at this moment; mapped files, which the system may drop, don't count."""
    return _status(pid, "RssAnon") or 0


def _status(pid: int | str, key: str) -> int | None:
    """A size of /proc/<pid>/status in bytes; None where there is no such thing, as on other systems."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    sizes = [line.split()[1] for line in lines if line.startswith(f"{key}:")]
    return int(sizes[0]) * 1024 if sizes else None
