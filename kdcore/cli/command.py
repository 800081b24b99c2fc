"""What makes a function a command: the params that it declares, its arguments, and the libraries that it loads."""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from kdcore import __version__, door, processes, rounding
from kdcore.distil.methods import METHODS
from kdcore.memory import keep_freed
from kdcore.studies import OWN, STUDIES

app = typer.Typer(
    name="kdcore",
    help="Distil a transformer classifier from its internal representations. The commands from `init` to `launch` are "
    "typed by hand, the others are stages of the pipeline, which `dvc repro` runs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(asked: bool) -> None:
    if asked:
        print(f"kdcore {__version__}")
        raise typer.Exit


@app.callback()
def _before_every_command(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


DataFolder = Annotated[Path, typer.Argument(help="Prepared data of the task.")]
TeachersFolder = Annotated[Path, typer.Argument(help="Folder of the task's teachers, s<seed> each.")]
StudentsFolder = Annotated[Path, typer.Argument(help="Folder of the task's students, <method>-s<seed> each.")]
TargetsFolder = Annotated[Path, typer.Argument(help="Folder of their signals, s<seed> each.")]
LatenciesOption = Annotated[
    Path | None, typer.Option("--latencies", help="Folder of what `latency` measured, <task>.json each, if any.")
]
Method = Annotated[str, typer.Argument(help=f"One of {', '.join(METHODS)}.", callback=door.one_of(METHODS))]
NAMES: Any = {"help": "A name under `study:` in params.yaml.", "callback": door.one_of(tuple(STUDIES))}
StudyName = Annotated[str, typer.Argument(**NAMES)]
StudyOption = Annotated[str | None, typer.Option(**NAMES)]
OwnStudyOption = Annotated[
    str | None,
    typer.Option(
        help="A study with tasks of its own.",
        callback=door.one_of(tuple(name for name, study in STUDIES.items() if study.own)),
    ),
]
BATCH = 64
BatchSize = Annotated[int, typer.Option(min=1, help="Rows per forward pass.")]
PointsOption = Annotated[
    Path | None, typer.Option(help="Points that the card's scores are of; metrics/main/points/<task> unless named.")
]
SET_PARAM = inspect.Parameter(
    "set_param",
    inspect.Parameter.KEYWORD_ONLY,
    default=None,
    annotation=Annotated[
        list[str] | None,
        typer.Option("--set-param", "-S", metavar="KEY=VALUE", help="In params.yaml, as `dvc exp run -S`."),
    ],
)


Body: TypeAlias = Callable[..., None]
declared: dict[str, tuple[str, ...]] = {}  # command -> the keys that it reads
_study_of: dict[str, str] = {}  # command -> the study that it belongs to


def keys(command: str, study: str | None = None, task: str | None = None) -> list[str]:
    """The keys of params.yaml that a command reads, with those of the study and of the task where it is given one."""
    given = {"study": study, "task": task}
    absent = [f"{{{name}}}" for name, value in given.items() if not value]
    found = [key.format(**given) for key in declared[command] if not any(name in key for name in absent)]
    if study and STUDIES[study].own and f"study.{study}" not in found:
        sections = dict.fromkeys(key.partition(".")[0] for key in found)
        found += [f"study.{study}.{section}" for section in sections if section in OWN]
    return found


def command(
    reads: tuple[str, ...], *, trains: bool = False, changes: bool = False, of: str | None = None
) -> Callable[[Body], Body]:
    """Make the function a command: it gets the params that it declares, before its arguments.

    reads: keys of params.yaml, {study} and {task} being the command's arguments; a command that reads none needs no
    such file, and gets no params; trains: whether every process of a launcher runs it, and not the first alone;
    changes: whether it takes `-S key=value`; of: the study that it belongs to, where it does not take that as an
    argument. Its params are those of its arguments `task` and `method`, where it has them: kdcore/params/overrides.py.
    """

    def register(body: Body) -> Body:
        name = body.__name__.rstrip("_")
        declared[name] = reads
        if of:
            _study_of[name] = of

        @functools.wraps(body)
        def run(**arguments: Any) -> None:
            if not trains:
                processes.dismiss()
            if not reads:
                body(**arguments)
                return
            given = given_to(name, arguments)
            arguments.pop("set_param", None)
            with door.speaking_of_params(given.names):
                body(given.params, **arguments)

        own = [*inspect.signature(body).parameters.values()][bool(reads) :]
        run.__signature__ = inspect.Signature(own + [SET_PARAM] * changes)  # type: ignore[attr-defined]
        return app.command(name)(run)

    return register


def given_to(name: str, arguments: Mapping[str, Any]) -> door.Given:
    """The params that a command gets with these arguments."""
    study, task = arguments.get("study", _study_of.get(name)), arguments.get("task")
    changed = arguments.get("set_param") or ()
    return door.params_for(keys(name, study, task), study, changed, task, arguments.get("method"))


def parsed(line: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command line, `student movies …`, by name, as the command would get them."""
    parser: Any = typer.main.get_command(app)
    return parser.commands[line[0]].make_context(line[0], list(line[1:])).params


def set_up_libraries() -> None:
    """Set what must be set before torch and transformers are imported, which may be never."""
    import os

    rounding.set_aside()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else ONNX Runtime tells its makers, and writes to HOME
    keep_freed()
    if processes.launched() > 1:  # else each warns in a phase that trains every parameter
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
