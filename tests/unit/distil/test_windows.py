"""A ModernBERT student whose layers see less than the teacher layers that they match."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kdcore.errors import UserError
from tests import on_disk


@pytest.fixture(scope="module")
def modernbert(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Callable[..., Path]) -> on_disk.Ingredients:
    """Data, teacher and signals; the teacher sees everything in layers 1 and 3, a window in layers 2 and 4."""
    folder = tmp_path_factory.mktemp("modernbert")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDCORE_WORK", str(folder / "work"))
        return on_disk.ingredients(folder, tiny_folder("modernbert"))


def test_maps_that_a_window_can_never_show_are_refused(modernbert: on_disk.Ingredients, store: Path):
    # full, window, full match 1, 3, 4
    with pytest.raises(UserError, match="student layer 2 sees a window and teacher layer 3 the whole text"):
        on_disk.distilled(modernbert, "sid", layers=3, init="teacher_lower")


@pytest.mark.parametrize(
    ("method", "changes"),
    [("sid-cos", {}), ("sid", {"weights": {"cos": 1.0}}), ("soft", {}), ("sid", {"init": "teacher"})],
)
def test_a_student_that_learns_no_such_map_is_trained(
    modernbert: on_disk.Ingredients, store: Path, method: str, changes: dict[str, object]
):
    folder = on_disk.distilled(modernbert, method, **({"layers": 3, "init": "teacher_lower"} | changes))
    assert (folder / "model.safetensors").is_file()
