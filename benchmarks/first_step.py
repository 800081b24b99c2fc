"""Run a kdcore command up to its first optimizer step, and print the seconds since this process was started.

`python -m benchmarks.first_step STARTED student movies sid 0 data/movies …` serves `start.py`.
"""

import os
import sys
import time
from typing import Any


def main() -> None:
    """STARTED: `time.time()` of the moment before the process was started."""
    started = float(sys.argv.pop(1))
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from kdcore import cli

    def stop(*_: Any) -> None:
        print(f"first step after {time.time() - started:.4f} s", flush=True)
        os._exit(0)

    register_optimizer_step_post_hook(stop)
    cli.main()


if __name__ == "__main__":
    main()
