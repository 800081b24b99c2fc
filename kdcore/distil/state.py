"""What a checkpoint of the loop holds: where it is, what it has seen, weights, optimizer moments and random states."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from kdcore.model.encoder import Encoder


@dataclass
class Position:
    """Where the loop is: the next batch of an epoch of a phase; `epochs` counts those finished in all."""

    phase: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    epochs: int = 0


@dataclass
class Record:
    """What the loop has seen: finished epochs, and the sums of the one in progress."""

    history: list[dict[str, Any]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    gflop: float = 0.0
    seconds: float = 0.0


def tensors(encoder: Encoder, optimizer: Any) -> dict[str, Tensor]:
    """Weights and optimizer moments by parameter name."""
    found = {f"model.{name}": value.contiguous() for name, value in encoder.state_dict().items()}
    for name, parameter in encoder.named_parameters():
        for slot, value in optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{slot}.{name}"] = value
    return found


def load(found: Mapping[str, Tensor], encoder: Encoder, optimizer: Any) -> None:
    """Put back what `tensors` took."""
    encoder.load_state_dict({k.removeprefix("model."): v for k, v in found.items() if k.startswith("model.")})
    parameters = dict(encoder.named_parameters())
    for key, value in found.items():
        if key.startswith("optimizer."):
            _, slot, name = key.split(".", 2)
            parameter = parameters[name]
            optimizer.state[parameter][slot] = value.to(parameter.device)


def random_states(accelerator: Accelerator) -> Tensor:
    """(processes, bytes): the generator that dropout draws from, of every process."""
    device = accelerator.device
    state = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
    return accelerator.gather(state.to(device)[None]).cpu()


def set_random_states(accelerator: Accelerator, states: Tensor) -> bool:
    """Put this process's generator back; False where the states are those of another number of processes."""
    if len(states) != accelerator.num_processes:
        return False
    state = states[accelerator.process_index].clone()  # torch reads a view of it from the wrong place
    if accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state, accelerator.device)
    else:
        torch.set_rng_state(state)
    return True
