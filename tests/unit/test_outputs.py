"""Nothing that kdcore did not make is ever removed or overwritten, by any command, wherever OUT points."""

import os
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore import artefacts, cli
from kdcore.artefacts import check_file, check_folder, new_folder, publish, read_manifest, seal
from kdcore.errors import UserError
from tests.unit.raw_files import OWN_TASK, write_params

INPUTS = ("data", "teacher", "targets", "students", "points", "predictions", "metrics", "teachers", "model", "raw/mine")

# Commands that replace a folder: its arguments, with the place of OUT, and an input of theirs.
FOLDERS: dict[str, tuple[str, str]] = {
    "prepare": ("prepare mine OUT", "raw/mine"),
    "teacher": ("teacher mine 0 data OUT point.json", "data"),
    "targets": ("targets mine data teacher OUT", "teacher"),
    "student": ("student mine sid 0 data teacher targets OUT", "targets"),
    "evaluate points": ("evaluate mine data teacher targets students OUT new", "students"),
    "export": ("export model OUT --data data", "data"),
    "evaluate predictions": ("evaluate mine data teacher targets students new OUT", "students"),
}
# Commands that write one file.
FILES: dict[str, tuple[str, str]] = {
    "teacher": ("teacher mine 0 data new OUT", "data/kept"),
    "point": ("point mine sid 0 data teacher targets OUT.json -S student.layers=2", "data/kept"),
    "report": ("report metrics students OUT", "metrics/kept"),
    "predict": ("predict model rows.csv OUT.csv", "rows.csv"),
    "latency": ("latency mine data teacher OUT.json", "data/kept"),
}
ENDINGS = {"point": ".json", "latency": ".json", "predict": ".csv"}  # else none
# Commands that write files of fixed names into a folder, where others may lie.
INTO: dict[str, tuple[str, str]] = {
    "plots": ("plots points students OUT --latencies metrics", "points"),
    "errors": ("errors data predictions OUT", "predictions"),
    "attention": ("attention mine data teacher targets students points predictions OUT", "points"),
    "curve": ("curve depth points teachers OUT --latencies metrics", "metrics"),
    "predict": ("predict model data OUT", "model"),
    "submission": ("submission sid OUT", "runs"),
}


@pytest.fixture
def kept(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """kept(command, out): runs the command, which must refuse `out` and leave all as it was; what it says of it."""
    project = tmp_path / "project"
    for name in INPUTS:
        (project / name).mkdir(parents=True)
        (project / name / "kept").write_text(name)
    (project / "rows.csv").write_text("text\nfine\n")
    write_params(
        project / "params.yaml", {"tasks": ["mine"], "data.source": "local", "data.path": "raw", "task": OWN_TASK}
    )
    store.mkdir()
    monkeypatch.chdir(project)

    def refused(command: str, out: str) -> str:
        before = contents(tmp_path)
        monkeypatch.setattr(sys, "argv", ["kdcore", *command.replace("OUT", out).split()])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr().err
        assert ended.value.code == 2, said
        assert contents(tmp_path) == before
        assert "Traceback" not in said
        assert len(said.splitlines()) == 1
        return said

    return refused


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): os.readlink(path)
        if path.is_symlink()
        else ""
        if path.is_dir()
        else path.read_text()
        for path in sorted(folder.rglob("*"))
        if "work/written" not in str(path)
    }


Kept = Callable[[str, str], str]
AROUND = {
    ".": "is the folder that you work in",
    "x/..": "is the folder that you work in",
    "..": "or one around it",
    "/": "or one around it",
}


@pytest.mark.parametrize("out", AROUND)
@pytest.mark.parametrize("command", [*FOLDERS, *INTO])
def test_the_project_is_no_place_for_results(kept: Kept, command: str, out: str):
    line = (FOLDERS.get(command) or INTO[command])[0]
    Path("x").mkdir()
    assert kept(line, out).startswith(f"{Path(out)}: ")
    assert AROUND[out] in kept(line, out)


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_with_files_of_the_users_is_kept(kept: Kept, command: str):
    Path("notes").mkdir()
    Path("notes/thesis.tex").write_text("years of work")
    said = kept(FOLDERS[command][0], "notes")
    problem = "holds what kdcore did not make, or what was changed since: thesis.tex"
    assert said == f"notes: {problem}; move it away, or write elsewhere\n"


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_beside_kdcores_own_is_kept(kept: Kept, command: str):
    with new_folder(Path("made")) as aside:
        (aside / "model").write_text("weights")
        seal(aside)
    Path("made/deep").mkdir()
    Path("made/deep/notes.txt").write_text("mine")
    assert "or what was changed since: deep/notes.txt" in kept(FOLDERS[command][0], "made")


@pytest.mark.parametrize("command", FOLDERS)
def test_what_the_user_changed_in_a_folder_of_kdcores_is_kept(kept: Kept, command: str):
    with new_folder(Path("made")) as aside:
        for name in ("config.json", "model"):
            (aside / name).write_text("as written")
        seal(aside)
    Path("made/config.json").write_text("as edited!")  # as long as it was
    assert "or what was changed since: config.json; move it away" in kept(FOLDERS[command][0], "made")


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_of_copies_of_what_kdcore_made_is_the_users(kept: Kept, command: str):
    for name in ("a", "b"):
        with new_folder(Path("backup") / name) as aside:
            (aside / "model").write_text(name)
            seal(aside)
    assert "or what was changed since: a/manifest.json;" in kept(FOLDERS[command][0], "backup")


def test_of_a_large_folder_of_the_users_only_one_file_is_looked_at(kept: Kept, monkeypatch: pytest.MonkeyPatch):
    Path("home").mkdir()
    for number in range(5):
        Path(f"home/{number}").write_text("mine")
    looked: list[Path] = []
    monkeypatch.setattr(artefacts, "published", looked.append)
    assert "or what was changed since: 0;" in kept(FOLDERS["prepare"][0], "home")
    assert looked == [Path("home/0")]


@pytest.mark.parametrize("content", ['{"files": {}}', '{"files": {"thesis.tex": 3}}', "[]", "{"])
def test_a_manifest_of_another_program_proves_nothing(kept: Kept, content: str):
    Path("notes").mkdir()
    Path("notes/manifest.json").write_text(content)
    Path("notes/thesis.tex").write_text("years of work")
    assert "or what was changed since: manifest.json;" in kept(FOLDERS["prepare"][0], "notes")


def test_a_link_to_itself_is_named(kept: Kept):
    Path("loop").symlink_to("loop")
    assert kept("predict model data OUT", "loop").startswith("loop: is a link to loop; name the place itself")
    with pytest.raises(OSError, match="loop"), new_folder(Path("loop/new")):
        pass


@pytest.mark.parametrize("command", [*FOLDERS, *INTO])
def test_a_link_is_not_followed(kept: Kept, command: str):
    Path("link").symlink_to("data")
    assert kept((FOLDERS.get(command) or INTO[command])[0], "link").startswith(
        "link: is a link to data; name the place"
    )


@pytest.mark.parametrize("line", [line for table in (FOLDERS, INTO, FILES) for line, _ in table.values()])
def test_below_a_file_is_no_place_for_results(kept: Kept, line: str):
    said = kept(line, "rows.csv/deep/out")
    assert "rows.csv/deep/out" in said
    assert said.endswith(f"can't be written: {Path('rows.csv').absolute()} is a file, not a folder\n")


@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_in_the_place_of_a_folder_is_kept(kept: Kept, command: str):
    assert kept(FOLDERS[command][0], "rows.csv").startswith("rows.csv: must be a folder that kdcore made, or nothing")


@pytest.mark.parametrize("command", [*FOLDERS, *INTO])
def test_an_input_is_no_place_for_results(kept: Kept, command: str):
    line, source = FOLDERS.get(command) or INTO[command]
    assert kept(line, source) == f"{source}: is an input of this command, which is never overwritten; write elsewhere\n"
    same = f"{source}/../{Path(source).name}"
    assert "is an input of this command" in kept(line, same)


@pytest.mark.parametrize("command", [command for command in FOLDERS if command != "prepare"])
def test_a_folder_that_contains_an_input_is_kept(kept: Kept, command: str):
    verb, task, *paths = FOLDERS[command][0].split()
    Path("around").mkdir()
    for name in INPUTS:
        Path(name).rename(Path("around") / Path(name).name)
    moved = [f"around/{path}" if path in INPUTS else path for path in paths]
    assert kept(" ".join([verb, task, *moved]), "around").startswith("around: contains around/data, an input of this")


@pytest.mark.parametrize("command", FOLDERS)
def test_a_folder_inside_an_input_is_no_place_for_results(kept: Kept, command: str):
    line, source = FOLDERS[command]
    assert kept(line, f"{source}/out") == f"{source}/out: is in {source}, an input of this command; write elsewhere\n"


def test_the_raw_files_are_not_replaced_by_what_is_prepared_from_them(kept: Kept):
    assert kept(FOLDERS["prepare"][0], "raw").startswith("raw: contains raw/mine, an input of this command")


def test_a_folder_of_the_users_is_no_place_for_inputs(kept: Kept):
    assert "or what was changed since: kept" in kept("inputs OUT", "model")


@pytest.mark.parametrize("command", FILES)
def test_a_file_of_the_users_is_kept(kept: Kept, command: str):
    ending = ENDINGS.get(command, "")
    Path(f"mine{ending}").write_text("years of work")
    assert kept(FILES[command][0], "mine").startswith(f"mine{ending}: is there, and kdcore did not write it")


@pytest.mark.parametrize("command", FILES)
def test_a_result_that_was_changed_since_is_kept(kept: Kept, command: str):
    ending = ENDINGS.get(command, "")
    publish(Path(f"result{ending}"), b"row,prediction\n")
    Path(f"result{ending}").write_text("row,prediction\n0,corrected by hand\n")
    assert "or it was changed since" in kept(FILES[command][0], "result")


@pytest.mark.parametrize("command", FILES)
def test_a_folder_in_the_place_of_a_file_is_kept(kept: Kept, command: str):
    ending = ENDINGS.get(command, "")
    Path(f"folder{ending}").mkdir()
    assert kept(FILES[command][0], "folder").startswith(f"folder{ending}: must be a file, found a folder")


@pytest.mark.parametrize("command", FILES)
def test_a_link_to_a_file_is_not_followed(kept: Kept, command: str):
    ending = ENDINGS.get(command, "")
    Path(f"link{ending}").symlink_to("rows.csv")
    assert kept(FILES[command][0], "link").startswith(f"link{ending}: is a link to rows.csv")


def test_the_rows_to_predict_are_never_overwritten(kept: Kept):
    assert kept("predict model rows.csv rows.csv", "").startswith("rows.csv: is an input of this command")
    os.link("rows.csv", "same.csv")
    assert kept("predict model rows.csv same.csv", "").startswith("same.csv: is an input of this command")


def test_a_history_beside_a_point_is_kept(kept: Kept):
    Path("mine.csv").write_text("years of work")
    assert kept(FILES["point"][0], "mine").startswith("mine.csv: is there, and kdcore did not write it")


SERVER = "predict model rows.csv OUT --server AX --zip"


@pytest.mark.parametrize(
    ("command", "name"),
    [(SERVER, "AX.tsv"), (SERVER, "submission.zip"), (INTO["submission"][0], "submission.zip")],
)
def test_the_servers_files_do_not_replace_the_users(kept: Kept, command: str, name: str):
    Path("out").mkdir()
    Path("out", name).write_text("mine")
    assert kept(command, "out").startswith(f"out/{name}: is there, and kdcore did not")


# What is kdcore's is replaced


def test_kdcores_own_results_are_replaced(tmp_path: Path, store: Path):
    for content in (b"one", b"two", b"two"):
        publish(tmp_path / "table.md", content)
        assert (tmp_path / "table.md").read_bytes() == content
    publish(tmp_path / "point.json", {"score": 1})
    publish(tmp_path / "point.json", {"score": 2})
    assert (tmp_path / "point.json").read_text() == '{\n  "score": 2\n}\n'


def test_equal_content_needs_no_permission(tmp_path: Path, store: Path):
    (tmp_path / "table.md").write_text("the same")
    publish(tmp_path / "table.md", b"the same")
    with pytest.raises(UserError, match="is there, and kdcore did not write it"):
        publish(tmp_path / "table.md", b"another")


def test_a_large_file_of_the_users_is_not_read_into_memory(tmp_path: Path, store: Path):
    with (tmp_path / "large").open("wb") as file:
        file.truncate(2**25)
    tracemalloc.start()
    for check in (check_file, lambda path: check_folder(path.parent), lambda path: publish(path, b"result")):
        with pytest.raises(UserError, match="large"):
            check(tmp_path / "large")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**22


def test_a_folder_of_published_files_is_kdcores(tmp_path: Path, store: Path):
    for score in (1, 2):
        with new_folder(tmp_path / "points") as aside:
            publish(aside / "teacher.json", {"score": score})
    (tmp_path / "points/teacher.json").write_text("by hand")
    with pytest.raises(UserError, match=r"points: holds what kdcore did not make, or .* since: teacher.json"):
        check_folder(tmp_path / "points")


def test_sealed_folders_inside_a_sealed_one_are_replaced_with_it_while_they_are_whole(tmp_path: Path, store: Path):
    for number in (1, 2):
        with new_folder(tmp_path / "targets") as aside:
            for split in ("train", "validation"):
                (aside / split).mkdir()
                (aside / split / "cls.npy").write_text(f"{split} {number}")
                seal(aside / split)
            seal(aside)
    assert set(read_manifest(tmp_path / "targets", "-")["files"]) == {"train/manifest.json", "validation/manifest.json"}
    (tmp_path / "targets/train/cls.npy").write_text("train 3")
    with pytest.raises(UserError, match=r"targets: holds .* since: train/cls.npy; move"):
        check_folder(tmp_path / "targets")


def test_an_empty_folder_may_be_taken(tmp_path: Path, store: Path):
    (tmp_path / "out").mkdir()
    with new_folder(tmp_path / "out") as aside:
        (aside / "file").write_text("new")
    assert (tmp_path / "out/file").read_text() == "new"


def test_where_nothing_is_there_is_nothing_to_lose(tmp_path: Path, store: Path):
    check_file(tmp_path / "new/file")
    check_folder(tmp_path / "new/folder", tmp_path / "input")
    assert not [path for path in tmp_path.iterdir() if path != store]
