"""One command in several processes, as torchrun or `accelerate launch` start them: they train together.

The first does everything else, alone: it holds the run, writes, scores and speaks.
"""

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kdcore.errors import UserError, shown

# Variables that accelerate reads, or `accelerate launch` sets from the user's configuration.
REFUSED = {
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed trains in another way",
    "ACCELERATE_USE_FSDP": "models are not sharded here",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM trains in another way",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "batches and models are not cut in other ways here",
    "ACCELERATE_USE_SAGEMAKER": "SageMaker's own processes are not known here",
    "ACCELERATE_TORCH_DEVICE": "the device is a CUDA GPU, or the CPU with ACCELERATE_USE_CPU=true",
}

_dismissed = False
_apart = False


def check() -> None:
    """Raises UserError where LOCAL_RANK says that a launcher started this, and its other variables are wrong."""
    if "LOCAL_RANK" not in os.environ:  # clusters set the others for jobs of one process too
        return
    wrong = [
        f"{name} must be a number of at least {least}, found {shown(os.environ.get(name, 'nothing'))}"
        for name, least in {"LOCAL_RANK": 0, "RANK": 0, "WORLD_SIZE": 1, "MASTER_PORT": 1}.items()
        if (number := _number(name)) is None or number < least
    ]
    wrong += [] if "MASTER_ADDR" in os.environ else ["MASTER_ADDR must be a host, found 'nothing'"]
    if wrong:
        advice = "unset LOCAL_RANK, or start with torchrun or `accelerate launch`"
        raise UserError("LOCAL_RANK is set as by a launcher", f"{', '.join(wrong)}: {advice}")


def _number(name: str) -> int | None:
    value = os.environ.get(name, "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None


def launched() -> int:
    """How many processes the launcher started for this command."""
    return _number("WORLD_SIZE") or 1 if "LOCAL_RANK" in os.environ else 1


def count() -> int:
    """How many processes work together now."""
    return 1 if _dismissed or _apart else launched()


def first() -> bool:
    return count() == 1 or not _number("RANK")


def speaks() -> bool:
    """Whether this process says what happens: the first of those that the launcher started."""
    return launched() == 1 or not _number("RANK")


@contextmanager
def apart() -> Iterator[None]:
    """Inside, each process works for itself: for what the first of them to come makes, and the others then find."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def agreed(find: Callable[[], int]) -> int:
    """What `find` gives in the first process, for every process; all of them must call this."""
    if count() == 1:
        return find()
    import torch
    from accelerate.utils import broadcast

    return int(broadcast(torch.tensor([find() if first() else 0], device=_joined().device)).item())


def _joined() -> Any:
    """accelerate's state, with the processes joined. Without a GPU accelerate joins them only where it is told to."""
    check_environment()
    from accelerate import PartialState

    from kdcore.model.encoder import device

    # torch has a newer name for what the trainer asks of it through accelerate, which does not know that name yet.
    warnings.filterwarnings("ignore", "`broadcast_buffers` is deprecated", FutureWarning)
    state = PartialState(cpu=device().type == "cpu")
    if state.num_processes != launched():
        raise UserError("processes", f"{launched()} were started, and accelerate joins only {state.num_processes}")
    return state


def check_environment() -> None:
    """Raises UserError where the environment makes accelerate train other weights under the same name."""
    problems = [f"{name}: {what}" for name, what in REFUSED.items() if os.environ.get(name, "false").lower() != "false"]
    if problems:
        raise UserError("environment", [f"{problem}; take it out" for problem in problems])


def dismiss() -> None:
    """The others have done their part and end here, without an error; the first goes on alone."""
    global _dismissed
    if not first():
        raise SystemExit(0)
    _dismissed = _dismissed or not _apart
