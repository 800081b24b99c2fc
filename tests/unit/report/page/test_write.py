"""The page as a document: whole, valid, small, closed to the network, and deaf to what the data says."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from kdcore.errors import UserError
from kdcore.report.analysis import ERRORS, Skipped
from kdcore.report.write import write_study
from kdcore.studies import STUDIES, cells
from tests.unit.report import synthetic_points as synthetic
from tests.unit.report.page import results

HUB = {"name": "me/own", "revision": "0123456789abcdef"}
VOID = {"meta", "link", "br", "img", "input", "hr"}
LABELS = ("<script>window.broken = 1</script>", 'a "good" & <i>one</i>')


class Document(HTMLParser):
    """Checks nesting while it reads, and collects what a test asks about."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    def values(self, attribute: str) -> list[str]:
        return [found[attribute] for _, found in self.tags if found.get(attribute) is not None]

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [found for name, found in self.tags if name == tag]


def data(text: str) -> list[dict]:
    """What the script reads."""
    return json.loads(re.search(r'<script type="application/json" id="attention-data">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two tasks: one with plain texts, one whose texts and labels want to be markup."""
    hostile = results.comparison(results.HOSTILE, of=results.task("reviews", LABELS))
    return results.project(tmp_path_factory.mktemp("page"), [results.comparison(), hostile])


@pytest.fixture(scope="module")
def text(folder) -> str:
    return results.page(folder, ["movies", "reviews"]).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def document(text) -> Document:
    return Document(text)


def test_every_element_is_closed_and_every_id_is_there_once(document):
    ids = document.values("id")
    assert len(ids) == len(set(ids))
    targets = [link for link in document.values("href") if link.startswith("#")]
    assert {target[1:] for target in targets} <= set(ids)
    clips = [re.fullmatch(r"url\(#(.+)\)", clip)[1] for clip in document.values("clip-path")]
    assert clips
    assert set(clips) <= set(ids)


def test_headings_go_down_one_level_at_a_time(document):
    levels = [int(tag[1]) for tag, _ in document.tags if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(below - above <= 1 for above, below in pairwise(levels))


def test_the_page_asks_for_nothing(text, document):
    outside = [link for link in document.values("href") + document.values("src") if not link.startswith(("#", "data:"))]
    assert outside == []
    assert not re.search(r"@import|url\(\s*['\"]?(?:https?:)?//", text)


def test_the_policy_forbids_all_but_the_pages_own_script_and_style(text, document):
    policy = next(meta["content"] for meta in document.of("meta") if meta.get("http-equiv"))
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not document.values("style")
    assert not [name for _, found in document.tags for name in found if name.startswith("on")]
    assert [script.get("type") for script in document.of("script")] == ["application/json", None]


def test_hostile_texts_stay_data(text, document):
    assert "window.broken = 1</script>" not in text
    assert "<img" not in text
    found = {example["texts"][0] for example in data(text)[1]["examples"]}
    assert found == set(results.HOSTILE)
    assert data(text)[1]["labels"] == list(LABELS)


def test_the_maps_in_the_page_are_those_that_were_compared(text):
    seen = results.comparison().examples[0].seen["sid"]
    shown = data(text)[0]["examples"][0]["models"]["sid"]
    n = seen.maps.shape[-1]
    for layer, packed in enumerate(shown["maps"]):
        error = abs(results.unpack(packed, (4, n, n)) - seen.maps[layer])
        assert (error <= 0.004 * seen.maps[layer] ** 0.5 + 4e-6).all()
    assert shown["kl"][2][1] == round(float(seen.kl[2, 1]), 4)


def test_a_study_that_has_not_run_is_named_with_its_command(document):
    said = " ".join(document.texts)
    for study in STUDIES.values():
        assert study.command in said


def study(project, name, task="movies"):
    """Every point of a study, and its figure."""
    grid, folder = results.GRIDS[name], project / "metrics" / name
    for cell in cells(STUDIES[name], grid):
        for seed in grid.get("seeds", results.SEEDS):
            fields = {key: value for key, value in cell.fields.items() if key != "method"}
            path = folder / "points" / task / f"{cell.name}-s{seed}.json"
            synthetic.write(path, synthetic.point(task, cell.method, seed, **fields))
            synthetic.history(path.with_suffix(".csv"), cell.method, seed)
    teachers = {task: {0: project / f"metrics/main/points/{task}/teacher-s0.json"}}
    if STUDIES[name].own or STUDIES[name].tunes:
        teachers = {task: {0: synthetic.write(folder / f"teacher/{task}/s0.json", synthetic.teacher(task))}}
    write_study(STUDIES[name], folder / "points", folder, teachers, grid, results.SEEDS, 0.95)


@pytest.mark.parametrize("name", results.GRIDS)
def test_a_study_that_has_run_is_shown(tmp_path, name):
    project = results.project(tmp_path, [results.comparison()])
    study(project, name)
    text = results.page(project).read_text()
    Document(text)
    assert STUDIES[name].command not in text
    assert f'id="study-{name}-' in text
    assert text.count("Not run yet") == len(STUDIES) - 1
    scored = "training rows held out" if STUDIES[name].tunes else "validation data"
    assert f"movies: accuracy on {scored}" in text.split(f'id="study-{name}"')[-1]


def test_a_study_of_another_task_or_with_a_point_less_has_not_run(tmp_path):
    project = results.project(tmp_path, [results.comparison(), results.comparison(of=results.task("reviews"))])
    study(project, "depth")
    (project / "metrics/main/points/movies").joinpath("old-s7.json").write_text("{}")  # of no method asked for
    text = results.page(project, ["reviews"]).read_text()
    assert text.count("Not run yet") == len(STUDIES)
    assert "movies" not in text
    (project / "metrics/depth/points/movies/sid-L2-s1.json").unlink()
    assert results.page(project).read_text().count("Not run yet") == len(STUDIES)


def test_a_broken_point_of_a_study_is_named(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    study(project, "depth")
    (project / "metrics/depth/points/movies/sid-L2-s1.json").write_text("{}")
    with pytest.raises(UserError, match=r"sid-L2-s1\.json"):
        results.page(project)


def test_verdicts_are_words_with_a_sign(text):
    assert re.search(r'<span class="verdict v-[a-z]+"><i aria-hidden="true">[▲▼=–]</i>(higher|lower|no|not)', text)


def test_every_picture_says_what_it_shows(document):
    labels = [found["aria-label"] for tag, found in document.tags if tag == "svg" and found.get("role") == "img"]
    rows = dict(re.findall(r"(teacher|none|soft|sid) (0\.\d{3})", labels[0]))
    assert rows.keys() == {"teacher", "none", "soft", "sid"}
    assert rows["teacher"] == "0.868"  # of synthetic_points
    assert re.search(r"movies, sid: 0\.\d{3} after epoch 1, 0\.\d{3} after epoch 10", labels[1])
    assert all(len(label.split()) > 3 for label in labels)


def test_counts_of_one_are_singular(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    for path in (project / "metrics/main/points/movies").glob("*-s*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": 1}))
    said = " ".join(" ".join(Document(results.page(project).read_text()).texts).split())
    assert "Students of 1 layer learn" in said
    assert "1 layers" not in said


def test_facts_and_verdicts_are_said_in_words(document):
    said = " ".join(" ".join(document.texts).split())
    assert "Internal against standard distillation, by accuracy:" in said
    assert re.search(r"higher|no difference found", said)
    assert "within the same seed. None has an interval." in said  # the synthetic differences are the same in every seed
    assert "0 of 7" in said
    assert "torch 2.13" in said
    assert "1 – 2, 2 – 4, 3 – 6 (student – teacher)" in said


@pytest.mark.parametrize(
    ("model", "named"), [({}, "teacher models/mine, 6 layers"), (HUB, "teacher me/own at 0123456789, 6")]
)
def test_the_teacher_is_named_as_params_have_it_or_by_its_commit_on_a_hub(tmp_path, model, named):
    project = results.project(tmp_path, [results.comparison()])
    path = project / "runs/student/movies/none-s0/run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"teacher": {"model": model}}))
    assert named in " ".join(" ".join(Document(results.page(project).read_text()).texts).split())


def test_a_study_of_tasks_that_the_project_does_not_have_is_not_offered(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    assert "dvc repro stages/dvc.yaml:glue" in Document(results.page(project).read_text()).texts
    texts = Document(results.page(project, described=["reviews"]).read_text()).texts
    assert "dvc repro stages/dvc.yaml:glue" not in texts
    assert "dvc repro stages/dvc.yaml:depth" in texts


def test_methods_that_tie_in_every_seed_are_not_called_untested(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    for path in (project / "metrics/main/points/movies").glob("*-s*.json"):
        same = {"score": 0.8, "scores": {"validation": {"accuracy": 0.8}}}
        path.write_text(json.dumps(json.loads(path.read_text()) | same))
    said = " ".join(" ".join(Document(results.page(project).read_text()).texts).split())
    assert "None has an interval; two methods that score the same in every seed read “no difference found”." in said
    assert "no difference found (sid)" in said
    assert "tested" not in said[said.index("The answer in short") : said.index("Results")]


def test_a_degenerate_run_is_named(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    path = project / "metrics/main/points/movies/soft-s1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"degenerate": True}))
    said = " ".join(Document(results.page(project).read_text()).texts)
    assert "1 of 7: soft, seed 1" in said


def test_what_was_left_out_of_the_comparison_is_said(tmp_path):
    note = "attention.internal: pid is not in `methods` (none, soft), so it is left out"
    project = results.project(tmp_path, [results.comparison(students=["soft"])], [note])
    document = Document(results.page(project).read_text())
    assert note.replace("`", "") in " ".join(" ".join(document.texts).split())


def test_a_latency_is_shown_where_it_was_measured(tmp_path, document):
    assert "dvc repro stages/dvc.yaml:latency" in document.texts
    assert "one row, ms" not in document.texts
    project = results.project(tmp_path, [results.comparison()])
    results.write(project / "metrics/latency/movies.json", json.dumps(synthetic.latency("movies")))
    texts = Document(results.page(project, ["movies"]).read_text()).texts
    assert "teacher, 6 layers" in texts
    cost = texts.index("one row, ms")
    assert texts[cost : texts.index("Latency", cost)].count("15") == 1  # the teacher's; no student's was measured
    assert any("A <b>Processor</b>, 1 thread in all" in text for text in texts)
    assert "dvc repro stages/dvc.yaml:latency" not in texts


def test_errors_are_shown_where_they_were_analysed(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    assert "errors-title" not in results.page(project).read_text()
    found = {"movies": results.analysis(), "reviews": Skipped("Not asked for.")}
    results.write(project / "metrics/main/errors.json", ERRORS.dump_json(found))
    text = results.page(project).read_text()
    # Labels 0 1 0 1 0 1 0 1, the teacher errs on the last, soft on the first and the last.
    assert '<rect class="e-only_teacher_right" x="75.0" width="12.5"' in text
    document = Document(text)
    assert results.HOSTILE[0] in document.texts
    assert "as <i>bad" in document.texts
    assert "Not asked for" not in text
    said = " ".join(" ".join(document.texts).split())
    assert "0 : 1, p = 1 = no difference found" in said


def test_what_was_tested_is_said_with_its_correction(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    path = project / "metrics/main/points/movies/sid-s1.json"
    changed = {"score": 0.9, "scores": {"validation": {"accuracy": 0.9}}}
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    said = " ".join(" ".join(Document(results.page(project).read_text()).texts).split())
    assert "its 95% interval over 2 seeds" in said
    assert "still found after Holm’s correction for their number" in said


def test_a_score_that_says_nothing_has_the_reason_beside_it(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    for seed in results.SEEDS:
        for method in ("soft", "sid"):
            path = project / f"metrics/main/points/movies/{method}-s{seed}.json"
            words = {"chance": f"accuracy {method} {seed}, where one answer for all has 0.5"}
            path.write_text(json.dumps(json.loads(path.read_text()) | {"warnings": words}))
    said = " ".join(" ".join(Document(results.page(project).read_text()).texts).split())
    assert said.count("no better than one answer for all") == 2
    assert "not tested: both at chance (sid)" in said
    assert "sid, seed 1: accuracy sid 1, where one answer for all has 0.5" in said


def test_several_tasks_are_folded_and_one_is_not(text, tmp_path):
    assert text.count("<summary>Tables of") == 2
    assert "<summary>Tables of" not in results.page(results.project(tmp_path, [results.comparison()])).read_text()


def test_a_labelled_test_split_is_on_the_page(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    assert "test data" not in results.page(project).read_text()
    for path in (project / "metrics/main/points/movies").iterdir():
        test = {"score": 0.777, "scores": {"test": {"accuracy": 0.777}}, "examples": {"test": 9}, "degenerate": False}
        path.write_text(json.dumps(json.loads(path.read_text()) | {"test": test}))
    said = " ".join(Document(results.page(project).read_text()).texts)
    assert "movies: accuracy on test data" in said
    assert "0.777" in said


def test_the_same_results_give_the_same_page(folder, text):
    assert results.page(folder, ["movies", "reviews"]).read_text(encoding="utf-8") == text


def test_the_page_of_six_long_examples_of_a_large_model_is_below_five_megabytes(tmp_path):
    words = " ".join("word" for _ in range(26))
    project = results.project(tmp_path, [results.comparison([words] * 6, heads=16)])
    assert (project / "metrics/main/attention/movies.json").stat().st_size < 1.5e6
    assert results.page(project).stat().st_size < 5e6


@pytest.mark.parametrize("name", ["figures/main.svg", "points/movies/sid-s0.json", "attention/movies.json"])
def test_a_missing_result_is_named_and_the_old_page_stays(tmp_path, name):
    project = results.project(tmp_path, [results.comparison()])
    old = results.page(project).read_bytes()
    (project / "metrics/main" / name).unlink()
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        results.page(project)
    assert (project / "metrics/main/report.html").read_bytes() == old


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("attention/movies.json", b"{}"),
        ("attention/movies.json", b'{"task": "movies", "seed": 0, "notes": [], "models": [], "examples": [{}]}'),
        ("errors.json", b"[]"),
        ("errors.json", b'{"movies": {"examples": 9, "methods": {"sid": {"runs": []}}}}'),
        ("errors.json", b"\xff"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, name, text):
    project = results.project(tmp_path, [results.comparison()])
    results.write(project / "metrics/main/errors.json", "{}")
    results.write(project / "metrics/main" / name, text)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        results.page(project)


def test_a_broken_figure_is_named(tmp_path):
    project = results.project(tmp_path, [results.comparison()])
    results.write(project / "metrics/main/figures/main.svg", "<svg")
    with pytest.raises(UserError, match=r"main\.svg: is no SVG"):
        results.page(project)
