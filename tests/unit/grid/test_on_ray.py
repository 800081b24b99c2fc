"""What Ray is asked for, and what it could not run: said, and not tried for ever."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from kdcore.errors import UserError
from kdcore.grid.on_ray import Ray, _task, lacked


def test_a_fraction_of_several_gpus_is_refused():
    with pytest.raises(UserError, match=r"--gpus: must be whole, or a fraction of one, found 1\.5"):
        Ray(1.5)


def node(cpus: float, gpus: float = 0.0, *, alive: bool = True) -> dict[str, object]:
    return {"Alive": alive, "Resources": {"CPU": cpus} | ({"GPU": gpus} if gpus else {})}


def test_what_no_machine_has_is_known():
    """All of it on one machine that is there: a job is on one."""
    needs = [(1, 0.0), (2, 0.0), (2, 0.25), (1, 2.0)]
    assert lacked(needs, [node(0), node(4, 1.0)]) == {(1, 2.0)}
    assert lacked(needs, [node(2), node(1, 2.0)]) == {(2, 0.25)}
    assert lacked(needs, [node(4, 4.0, alive=False), node(1)]) == {(2, 0.0), (2, 0.25), (1, 2.0)}
    assert lacked(needs, []) == {*needs}


@pytest.mark.parametrize("absent", ["folder", "python"])
def test_a_job_that_a_machine_can_not_start_ends_and_says_why(
    absent: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """An error would have Ray try it again, there or elsewhere, and not end."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "get_runtime_context", lambda: SimpleNamespace(get_node_id=lambda: "0123456789"))
    folder = tmp_path / "away" if absent == "folder" else tmp_path
    python = sys.executable if absent == "folder" else str(tmp_path / "away")
    said = _task()(python, str(tmp_path), str(folder), 0, {})
    assert "(01234567): [Errno 2] No such file or directory: " in said
    assert str(tmp_path / "away") in said
    assert said.endswith("; machines must share the project's folder, and have its Python at the same path")
