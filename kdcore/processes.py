"""One command in several processes, as torchrun or `accelerate launch` start them: they train together.

The first does everything else, alone: it holds the run, writes, scores and speaks.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

from kdcore.errors import UserError

TOGETHER = ("teacher", "student", "point")  # the commands that train

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


def launched() -> int:
    """How many processes the launcher started for this command."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def count() -> int:
    """How many processes work together now."""
    return 1 if _dismissed else launched()


def first() -> bool:
    return count() == 1 or os.environ.get("RANK", "0") == "0"


def agreed(find: Callable[[], int]) -> int:
    """What `find` gives in the first process, in every process; all of them must ask."""
    if count() == 1:
        return find()
    import torch
    from accelerate.utils import broadcast

    return int(broadcast(torch.tensor([find() if first() else 0], device=_joined().device)).item())


def _joined() -> Any:
    """accelerate's state, with the processes joined. Without a GPU it would leave them apart unless told."""
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
    """Raises UserError for what the environment tells accelerate and would train other weights under the same name."""
    problems = [f"{name}: {what}" for name, what in REFUSED.items() if os.environ.get(name, "false").lower() != "false"]
    if problems:
        raise UserError("environment", [f"{problem}; take it out" for problem in problems])


def dismiss() -> None:
    """The others have done their part and end here, without an error; the first goes on alone."""
    global _dismissed
    if not first():
        raise SystemExit(0)
    _dismissed = True
