"""The commands, one per stage of dvc.yaml and stages/dvc.yaml: where params and paths come together.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

from kdcore import door
from kdcore.cli import grid, own, pipeline, results, ship, study  # noqa: F401 - each registers its commands
from kdcore.cli.command import app


def main() -> None:
    door.run(lambda: app(standalone_mode=False))
