"""The commands, one per stage of dvc.yaml and stages/dvc.yaml: where params and paths come together.

Heavy imports happen inside the commands, so that `--help` and a wrong value in params.yaml answer at once.
"""

from kdcore import door
from kdcore.cli import grid, own, pipeline, results, ship, study  # noqa: F401 - each registers its commands
from kdcore.cli.command import app

BY_HAND = ("init", "params", "plan", "doctor", "predict", "export", "push", "submission", "jobs", "launch")
# `--help` lists these first, and then the stages.
app.registered_commands.sort(key=lambda one: BY_HAND.index(one.name) if one.name in BY_HAND else len(BY_HAND))


def main() -> None:
    door.run(lambda: app(standalone_mode=False))
