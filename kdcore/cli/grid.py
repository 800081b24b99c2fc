"""Many runs on many machines: which jobs there are, and an engine that runs them."""

import json
from typing import Annotated

import typer

from kdcore.cli.command import NAMES, command

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
