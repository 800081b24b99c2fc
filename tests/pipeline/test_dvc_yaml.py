"""dvc.yaml is held against the code: the commands, their arguments, the params that they read, their inputs."""

import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML

from kdcore import cli
from kdcore.cli.command import keys
from kdcore.studies import STUDIES, Study, cells
from tests.pipeline.conftest import ROOT, Project

OF_STUDIES = Path("stages/dvc.yaml")
FILES = [Path("dvc.yaml"), OF_STUDIES]
COMMANDS: dict[str, Any] = typer.main.get_command(cli.app).commands  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Stage:
    """One stage as its dvc.yaml has it; `${...}` is left as it is."""

    file: Path
    name: str
    body: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file}:{self.name}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.body["cmd"])

    @property
    def command(self) -> str:
        return self.words[3]

    def arguments(self) -> dict[str, Any]:
        """The command line by parameter name, as typer reads it, before any value is converted."""
        command = COMMANDS[self.command]
        given, extra, _ = command.make_parser(
            command.make_context(self.command, [], resilient_parsing=True)
        ).parse_args(self.words[4:])
        assert not extra, f"{self}: more arguments than `{self.command}` takes: {extra}"
        return {name: value for name, value in given.items() if isinstance(value, str)}

    def changes(self) -> dict[str, str]:
        """The params that its command line sets itself."""
        pairs = itertools.pairwise(self.words)
        return dict(change.split("=", 1) for option, change in pairs if option == "-S")

    def path_arguments(self) -> list[str]:
        kinds = inspect.signature(COMMANDS[self.command].callback).parameters
        return [value for name, value in self.arguments().items() if "Path" in str(kinds[name].annotation)]

    def paths(self, key: str) -> list[str]:
        """The entries of deps, outs or metrics, without their options."""
        return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in self.body.get(key, [])]


def stages() -> Iterator[Stage]:
    for file in FILES:
        for name, body in YAML(typ="safe").load(ROOT / file)["stages"].items():
            yield Stage(file, name, body)


STAGES = list(stages())
every = pytest.mark.parametrize("stage", STAGES, ids=str)


def test_the_headline_and_both_figures_of_the_paper_are_there():
    assert [stage.name for stage in STAGES if stage.file == Path("dvc.yaml")][:7] == [
        *("inputs", "prepare", "teacher", "targets", "student", "evaluate", "plots")
    ]
    assert {"depth", "data_size"} <= {stage.name for stage in STAGES if stage.file == OF_STUDIES}


def test_dvc_reads_every_file(project: Project):
    listed = project.run("dvc", "stage", "list", "--all", "--name-only").stdout.split()
    for stage in STAGES:
        prefix = stage.name if stage.file == Path("dvc.yaml") else str(stage)
        assert any(name == prefix or name.startswith(f"{prefix}@") for name in listed), prefix


# Command lines


@every
def test_a_stage_runs_a_command_that_exists_with_all_of_its_arguments(stage: Stage):
    assert stage.words[:3] == ["python", "-m", "kdcore"]
    assert stage.command in COMMANDS
    needed = {parameter.name for parameter in COMMANDS[stage.command].params if parameter.required}
    assert needed <= set(stage.arguments())


@every
def test_what_a_command_line_names_is_what_the_stage_depends_on_and_leaves(stage: Stage):
    """A path on the command line is a dep, an out, or their folder; a dep that stages write is on the command line."""
    named = [path for path in stage.path_arguments() if (stage.command, path) != ("errors", "data")]
    if "runs/inputs/latency.json" in stage.paths("deps") or stage.name == "inputs":  # which is absent where none was
        named.remove("metrics/latency")  # measured, so DVC can't depend on it
    deps = [dep for dep in stage.paths("deps") if not within(dep, "runs/inputs")]
    declared = [*deps, *stage.paths("outs"), *stage.paths("metrics")]
    written = [dep for dep in deps if dep.partition("/")[0] in ("data", "runs", "metrics")]
    unknown = [path for path in named if not any(within(entry, path) for entry in declared)]
    unused = [dep for dep in written if not any(within(dep, path) or within(path, dep) for path in named)]
    assert (unknown, unused) == ([], [])


def within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")


@every
def test_studies_run_at_the_root_of_the_repository_and_know_its_params(stage: Stage):
    if stage.file != Path("dvc.yaml"):
        assert stage.body["wdir"] == ".."
        assert YAML(typ="safe").load(ROOT / stage.file)["vars"] == ["../params.yaml"]


@every
def test_no_out_of_a_study_is_looked_for_in_the_cache_before_the_study_ran(stage: Stage):
    """With one that is, `dvc checkout` fails and `dvc exp run` warns in every project that never ran the study."""
    if stage.file != Path("dvc.yaml"):
        assert [out for out in stage.body["outs"] if out != {next(iter(out)): {"cache": False}}] == []


# Params


@every
def test_the_params_of_a_stage_are_those_that_its_command_reads(stage: Stage):
    """And none is missing, but those that the command line sets."""
    reads = set(keys(stage.command, stage.arguments().get("study"), stage.arguments().get("task")))
    assert reads - set(stage.changes()) <= set(stage.body["params"]) <= reads


# Studies


@pytest.mark.parametrize(
    "study", [study for study in STUDIES.values() if not study.tunes], ids=lambda study: study.name
)
def test_a_studys_stages_make_the_points_that_its_table_asks_for(study: Study):
    """By name, method and params: the files of every cell, for values that can be told apart."""
    lists = {arm.methods: (f"method {arm.methods}",) for arm in study.arms}
    lists |= {axis.values: (f"a {axis.values}", f"b {axis.values}") for axis in study.axes}
    made = {}
    for stage in STAGES:
        if stage.file == OF_STUDIES and stage.command == "point" and stage.arguments()["study"] == study.name:
            matrix = {
                key: re.fullmatch(r"\$\{(?:study\.(\w+)\.)?(\w+)\}", of) for key, of in stage.body["matrix"].items()
            }
            assert {found[1] for found in matrix.values()} <= {None, study.name}
            values = {key: lists.get(found[2], (f"<{key}>",)) for key, found in matrix.items()}
            for item in itertools.product(*values.values()):
                given = dict(zip(matrix, item, strict=True))
                sets = {key: filled(value, given) for key, value in stage.changes().items()}
                made[filled(stage.arguments()["out"], given)] = sets
                assert filled(stage.arguments()["method"], given) == given["method"]
    wanted = {
        f"metrics/{study.name}/points/<task>/{cell.name}-s<seed>.json": dict(cell.sets) for cell in cells(study, lists)
    }
    assert made == wanted


def filled(text: str, item: dict[str, str]) -> str:
    return re.sub(r"\$\{item\.(\w+)\}", lambda found: item[found[1]], text)


# What DVC cannot see: kdcore/inputs.py


@every
def test_a_stage_depends_on_the_code_of_its_command(stage: Stage):
    """Through the file that `inputs` writes of it, which is there whether kdcore is a clone or was installed."""
    if stage.command != "inputs":
        code = [dep for dep in stage.paths("deps") if dep.startswith(("kdcore", "runs/inputs/code"))]
        assert code == [f"runs/inputs/code/{stage.command}.json"]


@every
def test_a_stage_whose_params_name_a_model_depends_on_what_the_name_means(stage: Stage):
    names = {"model", "teacher"} & set(stage.body["params"]) and stage.command != "inputs"
    place = "runs/inputs/glue" if stage.name.startswith("glue-") else "runs/inputs"
    assert (f"{place}/models/${{item.task}}.json" in stage.paths("deps")) == bool(names)
    assert (f"{place}/data.json" in stage.paths("deps")) == (stage.command == "prepare")


def test_inputs_are_written_at_every_run_and_what_was_known_of_a_hub_is_kept():
    inputs = next(stage for stage in STAGES if stage.name == "inputs").body
    assert inputs["always_changed"] is True
    assert inputs["outs"] == [{"runs/inputs": {"persist": True}}]
