"""docs/distil.ipynb from top to bottom, as a reader runs it: what its cells show, and what its prose says of that."""

import ast
import base64
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell

from tests.unit.raw_files import ROOT

NOTEBOOK = ROOT / "docs/distil.ipynb"
# The two tokens that each head of the teacher's last layer looks at most, all rows of the map taken together.
LOOKED_AT = """tokens = tokenizer.convert_ids_to_tokens(batch["input_ids"][0])
[{tokens[at] for at in head.sum(0).topk(2).indices} for head in inside.attention[4][0]]"""

Outputs = Mapping[str, Sequence[Any]]  # id of a cell -> what it shows


def read() -> nbformat.NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the notebook is started, and where it and Jupyter find their temporary and own folders."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("TMPDIR", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
            (folder / name).mkdir()
            patch.setenv(name, str(folder / name))
        patch.delenv("KDCORE_WORK", raising=False)
        (folder / "started").mkdir()
        yield folder


@pytest.fixture(scope="module")
def shown(home: Path) -> Outputs:
    notebook = read()
    notebook.cells.append(new_code_cell(LOOKED_AT, id="looked-at"))
    place = {"metadata": {"path": str(home / "started")}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place).execute()  # raises where a cell does
    return {cell.id: cell.outputs for cell in code_cells(notebook)}


def value(outputs: Sequence[Any], kind: str = "text/plain") -> str:
    """What the last line of a cell gives."""
    return outputs[-1].data[kind]


def table(outputs: Sequence[Any]) -> dict[str, list[float]]:
    """The lines of a cell's table of numbers, which is shown as HTML too."""
    assert "<table" in value(outputs, "text/html")
    lines = [line.split() for line in value(outputs).splitlines()[1:]]
    return {name: [float(number) for number in numbers] for name, *numbers in lines}


def test_nothing_that_it_shows_is_committed():
    assert [cell for cell in code_cells(read()) if cell.outputs or cell.execution_count is not None] == []


def test_its_links_lead_to_pages():
    prose = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    links = re.findall(r"\]\((.+?)\)", prose)
    assert links
    assert [link for link in links if not (NOTEBOOK.parent / link).is_file()] == []


@pytest.mark.parametrize(("cell", "lines"), [("map", 1), ("beside", 3)])
def test_attention_is_drawn(shown: Outputs, cell: str, lines: int):
    (output,) = shown[cell]
    picture = matplotlib.image.imread(io.BytesIO(base64.b64decode(output.data["image/png"])))[..., :3]
    height, width, _ = picture.shape
    assert width > 600
    assert height == pytest.approx(width * lines * 2.5 / (4 * 2.4), rel=0.2)  # as drawn, less the margins
    blue = (picture[..., 2] - picture[..., 0] > 0.2).mean()
    assert 0.1 < blue < 0.9  # four maps a line, of which much is pale, and what is around them


def test_all_heads_look_most_at_the_words_of_blame(shown: Outputs):
    assert ast.literal_eval(value(shown["looked-at"])) == [{"dull", "weak"}] * 4


def test_a_student_shows_itself_as_a_table_after_bars_that_are_gone(shown: Outputs):
    *before, student = shown["distil"]
    assert "<th>accuracy of the teacher</th>" in student.data["text/html"]
    bars = [output.data["text/html"] for output in before if output.output_type == "display_data"]
    assert bars
    assert set(bars) == {""}
    said = [line for output in before if output.output_type == "stream" for line in output.text.splitlines()]
    epochs = [line for line in said if re.match(r"(soft|sid), 2 layers, seed 0: epoch \d+ \(", line)]
    assert len(epochs) == 2 * (2 * 2 + 3)  # the recipe's, per student
    assert len(said) < 30


def test_sid_is_the_closer_copy_inside(shown: Outputs):
    scores = table(shown["table"])
    assert set(scores) == {"soft", "sid"}
    for accuracy, agreement, *_ in scores.values():
        assert min(accuracy, agreement) > 0.8
    *_, soft_kl, soft_distance = scores["soft"]
    *_, sid_kl, sid_distance = scores["sid"]
    assert 0 < sid_kl < soft_kl
    assert 0 < sid_distance < soft_distance


def test_the_copy_answers_in_transformers_as_the_student_does(shown: Outputs):
    lines = [line.split() for line in value(shown["predict"]).splitlines()[1:]]
    ours = [(label, max(float(bad), float(good))) for _, label, bad, good in lines]
    theirs = ast.literal_eval(value(shown["save"]))
    assert [label for label, _ in ours] == [one["label"] for one in theirs] == ["bad", "good"]
    assert [share for _, share in ours] == pytest.approx([one["score"] for one in theirs], abs=1e-4)


def test_the_exported_files_agree_with_torch(shown: Outputs):
    measured, student = table(shown["export"]), table(shown["table"])["sid"]
    assert set(measured) == {"float32", "int8"}
    difference, agreement, accuracy, _ = measured["float32"]
    assert difference < 1e-3
    assert agreement == 1
    assert accuracy == pytest.approx(student[0], abs=1e-4)
    assert 0.9 <= measured["int8"][1] <= 1


def test_all_that_is_written_is_in_a_temporary_folder(shown: Outputs, home: Path):
    assert [*(home / "started").iterdir()] == []
    (folder,) = (home / "TMPDIR").glob("kdcore-*")
    assert {"models", "data", "work", "small", "served"} == {path.name for path in folder.iterdir()}
    assert (folder / "served/onnx/model_quantized.onnx").is_file()
    assert f"| accuracy | {table(shown['table'])['sid'][0]:.4f} |" in (folder / "served/README.md").read_text()
