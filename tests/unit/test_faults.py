"""What the machine refuses is one line: the file, the reason, what to do; nothing half-written stays."""

import re
from pathlib import Path

import pytest

from kdcore.artefacts import HOST, named, new_folder, write_bytes
from kdcore.door import explained
from kdcore.errors import UserError

FULL = "No space left on device"


@pytest.mark.parametrize("error", [OSError(28, FULL), RuntimeError(f"I/O error: {FULL} (os error 28)")])
def test_a_full_disk_names_the_folder_whoever_found_it_and_leaves_nothing(tmp_path: Path, error: Exception):
    def fails() -> None:
        with new_folder(tmp_path / "out") as aside:
            (aside / "half").write_text("ha")
            raise error

    with pytest.raises(OSError, match=re.escape(f"{FULL}: '{tmp_path / 'out'}'")):
        fails()
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_finds_no_room_names_where_it_goes_and_not_whence_it_comes(tmp_path: Path):
    (tmp_path / "source").write_text("long")

    def fails() -> None:
        with new_folder(tmp_path / "out") as aside:
            raise OSError(28, FULL, str(tmp_path / "source"), None, str(aside / "copy"))  # as shutil.copyfile does

    with pytest.raises(OSError, match=re.escape(f"{FULL}: '{tmp_path / 'out'}'")):
        fails()


@pytest.mark.parametrize("error", [FileNotFoundError(2, "No such file", "raw.csv"), UserError("a", "(os error 28)")])
def test_a_fault_of_another_file_keeps_its_own_name(tmp_path: Path, error: Exception):
    with pytest.raises(type(error)) as caught, named(tmp_path):
        raise error
    assert caught.value is error


def test_what_numpy_says_of_a_full_disk_is_said_of_the_folder(tmp_path: Path):
    """Once a file has begun, numpy's error has neither a number nor a file."""

    def fails() -> None:
        with named(tmp_path):
            raise OSError("5000 requested and 992 written")

    with pytest.raises(OSError, match="requested") as caught:
        fails()
    said = f"{tmp_path}: could be written in part only (5000 requested and 992 written); make room on that disk, "
    assert explained(caught.value).startswith(said)


@pytest.mark.parametrize(
    "error",
    [ConnectionRefusedError(111, "Connection refused"), TimeoutError(110, "timed out"), OSError("of a library")],
)
def test_a_fault_of_no_file_is_not_said_of_one(tmp_path: Path, error: OSError):
    with pytest.raises(type(error)) as caught, named(tmp_path):
        raise error
    assert caught.value is error


def test_what_a_killed_process_left_of_a_file_goes_when_it_is_written_again(tmp_path: Path):
    (tmp_path / f".facts.json.{HOST}.99999999").write_text("{")
    write_bytes(tmp_path / "facts.json", b"{}")
    assert [file.name for file in tmp_path.iterdir()] == ["facts.json"]
