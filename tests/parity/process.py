"""One process of several that train students together; the first writes their weights and their histories.

Arguments: a folder to work in, the names of the cases (a;b;c), and when it stops, if at all: as often as it has looked
whether it should. Until then it goes the ways of GPUs, which look at every other step here, read late and work ahead.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from kdcore import interrupt
from kdcore.distil import training
from kdcore.distil.methods import METHODS
from tests.distilling import descent, encoder, examples, objective, phases_of, trainer, weights

# Every method, and what weights and schedules make of one: method and knobs of the objective and of the phases.
CASES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    **{method: (method, {}, {"trains": "head"}) for method in METHODS},
    "sid without kl": ("sid", {"weights": {"kl": 0.0}}, {}),
    "sid without cos": ("sid", {"weights": {"cos": 0.0}}, {}),
    "sid, frozen below": ("sid", {}, {"below": "freeze"}),
    "pid-kl, always classification": ("pid-kl", {}, {"classification": "always"}),
}


def main(folder: Path, cases: list[str], stop: int | None) -> None:
    torch.set_num_threads(1)
    training.adamw = descent  # type: ignore[assignment]
    looks = iter(range(1, 10**6))

    def stop_in_time() -> int:
        return 15 if next(looks) == stop else 0

    interrupt.requested = stop_in_time
    for case in cases:
        method, knobs, phases = CASES[case]
        # 11 rows in batches of 5, 5 and 1: the last has no row for the second process.
        rows = examples(rows=11, unlabelled=() if method == "none" else (2,))
        student, teacher = encoder(layers=2, seed=1, dropout=False), None if method == "none" else encoder()
        what, stretch = objective(method, teacher, hard_label_weight=0.5, **knobs), phases_of(method, **phases)
        run = folder / "runs" / case
        loop = trainer(student, rows, stretch, what, run, batch_size=5, accumulate=2, clip=1.0, weight_decay=0.1)
        if stop is not None:
            loop.checkpoints.many, loop.readings.many, loop.ahead = 2, 50, 2
        try:
            history = loop.train().history
        except interrupt.Interrupted:
            return
        if loop.accelerator.is_main_process:
            save_file(weights(student), folder / f"{case}.safetensors")
            facts = {"processes": loop.accelerator.num_processes, "history": history}
            (folder / f"{case}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2].split(";"), int(sys.argv[3]) if len(sys.argv) > 3 else None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
