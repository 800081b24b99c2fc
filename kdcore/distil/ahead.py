"""The next batches, made by a thread while a GPU computes with this one.

Reading signals and padding them takes as long as a small model's step on a GPU, which would wait for it. On a CPU all
cores compute already, so there batches are made when their turn comes, by the same code.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeAlias, TypeVar

import torch

from kdcore.data.batches import Batch
from kdcore.distil.signals import Teaching

DEPTH = 2  # batches that wait for their turn on a GPU, each with its maps
Item = TypeVar("Item")
Made = TypeVar("Made")
Fetched: TypeAlias = tuple[Batch, Teaching | None]


def depth(device: torch.device) -> int:
    """How many batches are made ahead."""
    return DEPTH if device.type == "cuda" else 0


def fetched(
    fetch: Callable[[Item], Fetched], items: Iterable[Item], device: torch.device, depth: int
) -> Generator[Fetched, None, None]:
    """fetch(item) for each, in order, `depth` ahead. On a GPU its copies run beside the computation, on a stream of
    their own, and the one that computes waits for those of its batch. Close it: its thread then ends.
    """
    side = torch.cuda.Stream(device) if device.type == "cuda" else None

    def make(item: Item) -> tuple[Fetched, torch.cuda.Event | None]:
        if side is None:
            return fetch(item), None
        with torch.cuda.device(device), torch.cuda.stream(side):
            return fetch(item), side.record_event()

    with closing(ahead(make, items, depth)) as made:
        for (batch, teaching), there in made:
            if there is not None:
                computing = torch.cuda.current_stream(device)
                computing.wait_event(there)
                for tensor in (*batch.tensors(), *(teaching.tensors() if teaching else ())):
                    tensor.record_stream(computing)  # its memory is not given away before this stream is done with it
            yield batch, teaching


def ahead(make: Callable[[Item], Made], items: Iterable[Item], depth: int) -> Generator[Made, None, None]:
    """make(item) for each, in order, by a thread that is at most `depth` ahead; 0 is for no thread.

    What `make` raises is raised here, in its turn. Once this is closed, or at its end, the thread has ended too.
    """
    if not depth:
        yield from map(make, items)
        return
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(make, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for unwanted in waiting:
                unwanted.cancel()
