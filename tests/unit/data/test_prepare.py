"""From raw rows to data/<task>/: counts, order, provenance, and that nothing is half-written."""

import json
import os
import tracemalloc
import zipfile
from hashlib import sha256
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from kdcore.artefacts import state
from kdcore.data import checks, embedded, sources, tables, tasks
from kdcore.data.prepare import holdout, prepare
from kdcore.data.prepared import Data
from kdcore.errors import UserError
from tests.unit.raw_files import GLUE, GOOD, PAIRS, REVIEWS, SCORES, VALIDATION, data, write

STRANGE = [
    "😀👩‍👩‍👧 🏳️‍🌈",
    "مرحبا بالعالم",
    "שלום עולם",
    "你好，世界。",
    "x" * 900_000,
    "tab\tand\nline",
    "e\u0301",
    "\u202eabc",
]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    return write(tmp_path / "raw", "reviews", {"train.tsv": GOOD, "validation.tsv": VALIDATION})


def test_what_is_written(reviews: Path, tmp_path: Path):
    out = tmp_path / "data" / "reviews"
    prepare(REVIEWS, data(reviews), out)
    assert sorted(path.name for path in out.iterdir()) == [
        "manifest.json",
        "provenance.json",
        "task.json",
        "train.parquet",
        "validation.parquet",
    ]
    assert [path.name for path in out.parent.iterdir()] == ["reviews"]
    assert Data.open(out).task == REVIEWS
    train = Data.open(out).frame("train").sort_values("row")
    assert train["row"].tolist() == [0, 1, 2]
    assert train["text_a"].tolist() == ["fine film", "dull film", "lovely film"]
    assert train["text_b"].isna().all()
    assert train["label"].tolist() == [1, 0, 1]


def test_groups_of_rows_are_those_of_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """They are written one by one, and the file is what it would be if they were not."""
    monkeypatch.setattr("kdcore.data.prepare.GROUP", 8)
    files = {"train.tsv": GOOD + "".join(f"film {i}\t{i % 2}\n" for i in range(30)), "validation.tsv": VALIDATION}
    prepare(REVIEWS, data(write(tmp_path / "raw", "reviews", files)), tmp_path / "out")
    pq.write_table(pq.read_table(tmp_path / "out/train.parquet"), tmp_path / "whole.parquet", row_group_size=8)
    assert (tmp_path / "out/train.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert pq.ParquetFile(tmp_path / "whole.parquet").num_row_groups == 5


def test_the_first_rows_are_read_and_no_other_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("kdcore.data.prepare.GROUP", 8)
    files = {"train.tsv": GOOD + "".join(f"film {i}\t{i % 2}\n" for i in range(30)), "validation.tsv": VALIDATION}
    prepare(REVIEWS, data(write(tmp_path / "raw", "reviews", files)), tmp_path / "out")
    found, read = Data.open(tmp_path / "out"), list[int]()
    whole, group = found.frame("train"), pq.ParquetFile.read_row_group
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_group", lambda file, i, *columns: read.append(i) or group(file, i, *columns)
    )
    for rows, groups in {3: [0], 8: [0], 9: [0, 1], 33: [0, 1, 2, 3, 4]}.items():
        assert pd.concat([*found.frames("train", 0, rows, rows)], ignore_index=True).equals(whole[:rows])
        assert read == groups
        read.clear()
    assert found.frame("train", ["row", "label"]).equals(whole[["row", "label"]])


def test_a_row_takes_few_bytes_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its position, label, digest and place in the order; its text alone would take 150."""
    monkeypatch.setattr("kdcore.data.prepare.GROUP", 256)

    def peak(rows: int) -> int:
        text = "".join(f"{i} {'w' * 100}\t{'good' if i % 3 else 'bad'}\n" for i in range(rows))
        raw = write(tmp_path / str(rows), "reviews", {"train.tsv": f"review\tstars\n{text}", "dev.tsv": VALIDATION})
        tracemalloc.start()
        try:
            prepare(REVIEWS, data(raw), tmp_path / "out")
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert (peak(18_000) - peak(6_000)) / 12_000 < 100


def test_a_file_that_changes_while_it_is_read_is_refused(reviews: Path, tmp_path: Path):
    """Its sha256 would be that of other rows."""
    for text in (GOOD + "one more\tbad\n", GOOD + "one cell\n"):
        write(reviews, "reviews", {"train.tsv": GOOD})
        raw = sources.read(REVIEWS, data(reviews))
        write(reviews, "reviews", {"train.tsv": text})
        with pytest.raises(UserError, match=r"train.tsv: was changed while it was read; run this again"):
            checks.check(REVIEWS, raw, tmp_path)


def test_a_file_whose_times_alone_change_while_it_is_read_is_the_same_file(reviews: Path, tmp_path: Path):
    """DVC links and protects what it takes, and a server's clock may replace this machine's."""
    raw = sources.read(REVIEWS, data(reviews))
    file = reviews / "reviews" / "train.tsv"
    before = state(file)
    os.link(file, tmp_path / "in DVC's cache")
    file.chmod(0o444)
    os.utime(file, (1e9, 1e9))
    assert state(file) != before
    checks.check(REVIEWS, raw, tmp_path)


def test_a_file_that_is_written_anew_while_it_is_read_is_refused_even_with_the_same_rows(tmp_path: Path):
    """A copy begins with an empty file, where a reader finds its end too early."""
    file = tmp_path / "train.csv"
    content = "review,stars\n" + "".join(f"text {i} {'word ' * 40},good\n" for i in range(5000))
    file.write_text(content)
    blocks = tables.read([file], {"review": "review"}).blocks()
    read = len(next(blocks).rows) + len(next(blocks).rows)
    file.write_text("")
    read += len(next(blocks).rows)
    file.write_text(content)
    with pytest.raises(UserError, match=r"train.csv: was changed while it was read; run this again"):
        read += sum(len(block.rows) for block in blocks)
    assert read < 5000


def test_a_zip_that_is_overwritten_before_it_is_read_is_one_message(tmp_path: Path):
    with zipfile.ZipFile(tmp_path / "own.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("own/train.csv", "review,stars\n" + "".join(f"text {i},good\n" for i in range(50_000)))
    table = tables.read([zipfile.Path(zipfile.ZipFile(tmp_path / "own.zip"), "own/train.csv")], {"review": "review"})
    (tmp_path / "own.zip").write_bytes(b"x" * 10)
    with pytest.raises(UserError, match=r"train.csv: was changed while it was read; run this again"):
        list(table.blocks())


def test_types(reviews: Path, tmp_path: Path):
    prepare(REVIEWS, data(reviews), tmp_path / "out")
    frame = Data.open(tmp_path / "out").frame("train")
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == {
        "row": "int64",
        "text_a": "str",
        "text_b": "str",
        "label": "Int64",
    }
    assert frame.index.tolist() == [0, 1, 2]


def test_unlabelled_rows_are_null_and_a_stratum(tmp_path: Path):
    lines = [f"text {i}\t{label}" for i, label in enumerate(["good", "bad", "", "-1"] * 25)]
    files = {"train.tsv": "review\tstars\n" + "\n".join(lines), "validation.tsv": VALIDATION}
    prepare(REVIEWS, data(write(tmp_path, "reviews", files)), tmp_path / "out")
    label = Data.open(tmp_path / "out").frame("train")["label"]
    assert (label.notna().sum(), label.isna().sum()) == (50, 50)
    for n in range(4, 101, 4):
        assert label[:n].isna().sum() == n // 2
        assert (label[:n] == 1).sum() == n // 4


def test_scores_are_floats(tmp_path: Path):
    text = "left\tright\tlabel\n" + "".join(f"a{i}\tb{i}\t{i / 4}\n" for i in range(20))
    prepare(SCORES, data(write(tmp_path, "scores", {"train.tsv": text, "validation.tsv": text})), tmp_path / "out")
    frame = Data.open(tmp_path / "out").frame("train")
    assert str(frame["label"].dtype) == "float64"
    assert (frame["label"] == frame["row"] / 4).all()
    assert frame["row"].tolist() != sorted(frame["row"])
    assert "labels" not in json.loads((tmp_path / "out" / "provenance.json").read_text())["splits"]["train"]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_every_script_and_long_texts_pass(tmp_path: Path, kind: str):
    frame = pd.DataFrame({"left": STRANGE, "right": STRANGE[::-1], "label": ["no", "yes"] * (len(STRANGE) // 2)})
    folder = write(tmp_path, "pairs", {}) / "pairs"
    for split in ("train", "validation"):
        file = folder / f"{split}.{kind}"
        if kind == "parquet":
            frame.to_parquet(file)
        elif kind == "csv":
            frame.to_csv(file, index=False)
        else:
            frame.to_json(file, orient="records", lines=True)
    prepare(PAIRS, data(tmp_path), tmp_path / "out")
    train = Data.open(tmp_path / "out").frame("train").sort_values("row")
    assert train["text_a"].tolist() == STRANGE
    assert train["text_b"].tolist() == STRANGE[::-1]


def test_provenance(reviews: Path, tmp_path: Path):
    prepare(REVIEWS, data(reviews), tmp_path / "out")
    text = (tmp_path / "out" / "provenance.json").read_text()
    found = json.loads(text)
    assert str(tmp_path) not in text
    assert found["task"] == "reviews"
    assert found["origin"]["source"] == "local"
    assert "licence" in found["origin"]
    assert found["origin"]["files"]["train"]["sha256"] == sha256(GOOD.encode()).hexdigest()
    assert set(found["libraries"]) == {"python", "pandas", "pyarrow"}
    hashes = {}
    for split, labels in {"train": {"bad": 1, "good": 2}, "validation": {"bad": 1, "good": 1}}.items():
        facts = found["splits"][split]
        assert facts["rows"] == facts["labelled"] == sum(labels.values())
        assert facts["labels"] == labels
        hashes[f"{split}.parquet"] = sha256((tmp_path / "out" / f"{split}.parquet").read_bytes()).hexdigest()
    hashes["task.json"] = sha256((tmp_path / "out" / "task.json").read_bytes()).hexdigest()
    # The fingerprint by hand: sha256 of the canonical JSON of file name -> sha256.
    assert Data.open(tmp_path / "out").fingerprint == sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def test_the_same_rows_give_the_same_bytes(reviews: Path, tmp_path: Path):
    for name in ("one", "two"):
        prepare(REVIEWS, data(reviews), tmp_path / name)
    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two"))
    assert one == two


def test_the_format_of_the_source_does_not_matter(reviews: Path, tmp_path: Path):
    prepare(REVIEWS, data(reviews), tmp_path / "one")
    other = write(tmp_path / "other", "reviews", {"train.csv": GOOD.replace("\t", ","), "validation.tsv": VALIDATION})
    prepare(REVIEWS, data(other), tmp_path / "two")
    assert Data.open(tmp_path / "one").fingerprint == Data.open(tmp_path / "two").fingerprint


def test_odd_things_are_warned_about_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    files = {"train.tsv": GOOD + "fine film\tgood\n", "validation.tsv": VALIDATION + "dull film\tbad\n"}
    raw = write(tmp_path, "reviews", files)
    prepare(REVIEWS, data(raw), tmp_path / "out")
    lines = capsys.readouterr().err.splitlines()
    assert any(line.endswith("reviews: train: duplicate rows: 1") for line in lines)
    assert any(line.endswith("reviews: validation: rows whose text is also in train: 1") for line in lines)
    splits = json.loads((tmp_path / "out" / "provenance.json").read_text())["splits"]
    assert splits["train"]["odd"] == {"duplicate rows": 1}
    assert splits["validation"]["odd"] == {"rows whose text is also in train": 1}


# The training rows in two parts


def reviews_of(folder: Path, validation: str = VALIDATION) -> Data:
    """40 training rows: 20 good, 10 bad, 10 without a label."""
    lines = [f"text {i}\t{label}" for i, label in enumerate(["good", "bad", "good", ""] * 10)]
    files = {"train.tsv": "review\tstars\n" + "\n".join(lines), "validation.tsv": validation}
    prepare(REVIEWS, data(write(folder, "reviews", files)), folder / "whole")
    return Data.open(folder / "whole")


def test_a_share_of_the_labelled_training_rows_validates_in_each_class_alike(tmp_path: Path):
    whole = reviews_of(tmp_path)
    holdout(whole, 0.2, tmp_path / "parts")
    parts = Data.open(tmp_path / "parts")
    held, train = parts.frame("validation"), parts.frame("train")
    assert held["label"].value_counts().to_dict() == {1: 4, 0: 2}  # a fifth of 20 good ones and of 10 bad ones
    assert len(train) == 34
    assert train["label"].isna().sum() == 10
    both = pd.concat([train, held]).set_index("row").sort_index()
    pd.testing.assert_frame_equal(both, whole.frame("train").set_index("row").sort_index())
    assert list(parts.splits) == ["train", "validation"]


def test_the_parts_are_the_same_whatever_the_validation_split_holds(tmp_path: Path):
    other = "review\tstars\nanother text\tgood\nyet another\tbad\n"
    wholes = [reviews_of(tmp_path / "1"), reviews_of(tmp_path / "2", other)]
    assert wholes[0].fingerprint != wholes[1].fingerprint
    parts = [tmp_path / name for name in ("a", "b")]
    for whole, folder in zip(wholes, parts, strict=True):
        holdout(whole, 0.2, folder)
    assert Data.open(parts[0]).fingerprint == Data.open(parts[1]).fingerprint


def test_parts_that_would_be_empty_are_refused(tmp_path: Path):
    with pytest.raises(UserError, match=r"a share of 0\.01 of 30 rows that can be scored leaves none for validation"):
        holdout(reviews_of(tmp_path), 0.01, tmp_path / "parts")
    assert not (tmp_path / "parts").exists()


def test_an_older_one_is_replaced(reviews: Path, tmp_path: Path):
    prepare(REVIEWS, data(reviews), tmp_path / "out")
    write(reviews, "reviews", {"train.tsv": GOOD + "one more\tbad\n", "test.tsv": "review\nx\n"})
    prepare(REVIEWS, data(reviews), tmp_path / "out")
    assert len(Data.open(tmp_path / "out").frame("train")) == 4
    assert len(Data.open(tmp_path / "out").frame("test")) == 1


def test_bad_rows_leave_the_older_one_as_it_was(reviews: Path, tmp_path: Path):
    prepare(REVIEWS, data(reviews), tmp_path / "out")
    before = Data.open(tmp_path / "out").fingerprint
    write(reviews, "reviews", {"train.tsv": "review\tstars\n\tgood\n"})
    with pytest.raises(UserError):
        prepare(REVIEWS, data(reviews), tmp_path / "out")
    assert Data.open(tmp_path / "out").fingerprint == before


def test_a_failure_while_writing_leaves_nothing(reviews: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kdcore.data.prepare.tasks.to_json", full)
    with pytest.raises(OSError, match=r"No space left on device: .*/out'"):
        prepare(REVIEWS, data(reviews), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_an_error(reviews: Path, tmp_path: Path):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(PermissionError, match=r"Permission denied: .*/locked/out'"):
        prepare(REVIEWS, data(reviews), locked / "out")


def test_a_file_in_the_way_is_an_error(reviews: Path, tmp_path: Path):
    (tmp_path / "data").write_text("")
    with pytest.raises(UserError, match=r"reviews: can't be written: .*/data is a file, not a folder"):
        prepare(REVIEWS, data(reviews), tmp_path / "data" / "reviews")


def test_a_folder_of_something_else_is_kept(reviews: Path):
    with pytest.raises(UserError, match="is an input of this command, which is never overwritten"):
        prepare(REVIEWS, data(reviews), reviews / "reviews")
    with pytest.raises(UserError, match=r"since: train.tsv; move it away"):
        prepare(REVIEWS, data(write(reviews / "x", "reviews", {})), reviews / "reviews")
    assert (reviews / "reviews" / "train.tsv").read_text() == GOOD


def test_a_prepared_task_is_replaced_but_not_what_lies_beside_it(reviews: Path, tmp_path: Path):
    for _ in range(2):
        prepare(REVIEWS, data(reviews), tmp_path / "out")
    (tmp_path / "out/thesis.tex").write_text("mine")
    with pytest.raises(UserError, match=r"since: thesis.tex; move it away"):
        prepare(REVIEWS, data(reviews), tmp_path / "out")
    assert (tmp_path / "out/thesis.tex").read_text() == "mine"


def test_a_file_or_a_link_is_kept(reviews: Path, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(reviews)
    for name in ("file", "link"):
        with pytest.raises(UserError, match=r"must be a folder that kdcore made, or nothing|is a link to"):
            prepare(REVIEWS, data(reviews), tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(
    not (embedded.folder() / embedded.MOVIES).exists(),
    reason="the embedded data are not here (`make embedded`)",
)
def test_movies(tmp_path: Path):
    prepare(tasks.MOVIES, data(tmp_path, "embedded"), tmp_path / "movies")
    train, validation = (Data.open(tmp_path / "movies").frame(split) for split in ("train", "validation"))
    assert (len(train), len(validation)) == (9072, 1000)
    assert not set(train["row"]) & set(validation["row"])
    for n in (250, 400, 1000, 4000):
        assert abs((train["label"][:n] == 1).sum() - n * 4500 / 9072) <= 1
    assert Data.open(tmp_path / "movies").task == tasks.MOVIES


@pytest.mark.skipif(not GLUE.is_dir(), reason="GLUE's files are not beside the checkout (../shared/data/glue)")
@pytest.mark.parametrize(
    ("name", "rows", "labels", "odd"),
    [
        ("cola", 8551, {"unacceptable": 2528, "acceptable": 6023}, {"texts with control characters": 3}),
        ("mrpc", 3668, {"not_equivalent": 1194, "equivalent": 2474}, {"texts with control characters": 1}),
        ("rte", 2490, {"entailment": 1249, "not_entailment": 1241}, {"duplicate rows": 2}),
        ("stsb", 5749, None, {"duplicate rows": 39}),
    ],
)
def test_glue(tmp_path: Path, name: str, rows: int, labels: dict | None, odd: dict):
    prepare(tasks.GLUE[name], data(GLUE), tmp_path / name)
    facts = json.loads((tmp_path / name / "provenance.json").read_text())["splits"]["train"]
    assert facts["rows"] == facts["labelled"] == rows
    assert facts.get("labels") == labels
    assert odd.items() <= facts["odd"].items()
    train = Data.open(tmp_path / name).frame("train")
    assert sorted(train["row"]) == list(range(rows))
    assert train["text_b"].isna().all() == (name == "cola")
