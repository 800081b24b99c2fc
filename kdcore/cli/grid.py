"""Many runs on many machines: which jobs there are, and an engine that runs them."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from kdcore import door
from kdcore.cli.command import NAMES, command
from kdcore.console import say
from kdcore.errors import UserError

if TYPE_CHECKING:
    from kdcore.grid.launch import Engine

ENGINES = ("ray", "slurm")

StudyArgument = Annotated[str | None, typer.Argument(**NAMES)]


@command(reads=())
def jobs(
    study: StudyArgument = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only those with something left to make.")] = False,
) -> None:
    """List what the headline run, or a study, asks for: one JSON line per stage that makes data, signals or models."""
    from kdcore.cli.asked import asked
    from kdcore.grid.jobs import jobs as listed

    for job in listed(study, asked):
        if not (missing and job.asked.found):
            print(json.dumps(job.shown()))


@command(reads=())
def launch(
    engine: Annotated[str, typer.Argument(help="ray | slurm", callback=door.one_of(ENGINES))],
    study: StudyArgument = None,
    gpus: Annotated[
        float, typer.Option(min=0, callback=door.finite, help="GPUs of a job; Ray lets a fraction share one.")
    ] = 0,
    sbatch: Annotated[str, typer.Option(help="More options of sbatch, `--partition=long --time=4:00:00`.")] = "",
) -> None:
    """Run what `kdcore jobs --missing` lists on the machines of an engine, which share this folder; then `dvc repro`
    only assembles."""
    from kdcore.cli.asked import asked
    from kdcore.grid.jobs import jobs as listed
    from kdcore.grid.jobs import prepare, take_over
    from kdcore.grid.launch import launch as run

    if sbatch and engine != "slurm":
        raise UserError("--sbatch", "is for slurm")
    chosen = _engine(engine, gpus, sbatch)
    prepare(study)
    missing = [job for job in listed(study, asked) if not job.asked.found]
    for job in missing:
        if job.serves:
            say(f"{job.stage}: one run for {', '.join(job.serves)} too")
    take_over(missing)
    if missing and not run(missing, chosen):
        raise UserError("launch", "some jobs failed, as said above; the same command tries those again")
    say(f"now `dvc repro{f' stages/dvc.yaml:{study}' if study else ''}` assembles the results, and trains nothing")


def _engine(name: str, gpus: float, sbatch: str) -> "Engine":
    from kdcore.grid.on_ray import Ray
    from kdcore.grid.on_slurm import Slurm

    return Ray(gpus) if name == "ray" else Slurm(gpus, sbatch)
