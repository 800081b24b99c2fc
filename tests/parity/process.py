"""One process of several that train a student together; the first writes its weights and its history.

Arguments: the run's folder, the file to write, and the number of optimizer steps after which it stops, if any.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from kdcore import interrupt
from kdcore.distil import training
from tests.distilling import descent, encoder, examples, objective, phases_of, trainer, weights


def main(folder: Path, out: Path, stop: int | None) -> None:
    torch.set_num_threads(1)
    training.adamw = descent  # type: ignore[assignment]
    # 11 rows in batches of 5, 5 and 1: the last has no row for the second process.
    student, what = encoder(layers=2, seed=1, dropout=False), objective("sid", encoder(), hard_label_weight=0.5)
    found, stretch = examples(rows=11, unlabelled=(2,)), phases_of("sid", trains="head")
    loop = trainer(student, found, stretch, what, folder, batch_size=5, accumulate=2, clip=1.0, weight_decay=0.1)
    steps = iter(range(1, 1000))

    def stop_in_time() -> int:
        return 15 if next(steps) == stop else 0

    interrupt.requested = stop_in_time
    try:
        history = loop.train().history
    except interrupt.Interrupted:
        return
    if loop.accelerator.is_main_process:
        save_file(weights(student), out.with_suffix(".safetensors"))
        out.write_text(json.dumps({"processes": loop.accelerator.num_processes, "history": history}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
