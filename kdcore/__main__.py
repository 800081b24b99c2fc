"""`python -m kdcore`: one command per stage of the pipeline."""

import os
import signal
from types import FrameType


def _stopped(signum: int, frame: FrameType | None) -> None:
    os.write(2, f"stopped by {signal.Signals(signum).name}: nothing had begun\n".encode())
    os._exit(128 + signum)


def main() -> None:
    for signum in (signal.SIGINT, signal.SIGTERM):  # until the command itself takes them
        signal.signal(signum, _stopped)
    from kdcore.memory import freeze_modules

    freeze_modules()
    from kdcore import cli

    cli.main()


if __name__ == "__main__":
    main()
