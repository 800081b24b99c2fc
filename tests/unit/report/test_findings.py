"""docs/studies.md against the results: what it quotes stands in the tables it links to, and all fits the budget."""

import itertools
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.unit.raw_files import ROOT

FOUND = (ROOT / "docs/studies.md").read_text(encoding="utf-8").split("## What was found")[1].split("\n## ")[0]
NUMBER = re.compile(r"(?<![\d.])[+-]?\d\.\d{3}(?!\d)")
PAPER = {"0.085", "2.229"}  # of the paper's own example


def sections() -> dict[str, str]:
    """Title -> text of each part of "What was found"."""
    return dict(part.split("\n", 1) for part in FOUND.split("\n### ")[1:])


def tables(text: str) -> str:
    """The tables of results that a text links to."""
    return "\n".join(
        (ROOT / "docs" / link).read_text(encoding="utf-8") for link in re.findall(r"\]\((\S+?\.md)\)", text)
    )


@pytest.mark.parametrize("title", sections())
def test_every_number_stands_in_a_table_that_its_section_links_to(title: str):
    text = sections()[title]
    assert set(NUMBER.findall(text)) - set(NUMBER.findall(tables(text))) - PAPER == set()


def test_the_students_of_the_demonstrations_studies_train_in_less_than_three_hours():
    # At 100 GFLOP/s, half of what docs/performance.md has for two cores. A student of two studies is counted twice.
    points = (ROOT / "metrics").glob("*/points/movies/*-s?.json")
    assert 0 < sum(json.loads(path.read_text(encoding="utf-8"))["gflop"] for path in points) < 3 * 3600 * 100


# Tables that no stage writes: of students that were tried one by one, each with its point beside the table.


def rows(folder: str, first: str, after: str = "") -> list[list[str]]:
    """The cells of the table whose head begins so, code marks and all; the first one after some words."""
    text = (ROOT / "metrics" / folder / "table.md").read_text(encoding="utf-8")
    text = text[text.index(after) :]
    table = text[text.index(f"| {first} ") :].split("\n\n")[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def point(folder: str, name: str) -> dict[str, Any]:
    return json.loads((ROOT / "metrics" / folder / name).read_text(encoding="utf-8"))


def kl(point: dict[str, Any]) -> float:
    """Attention KL summed over the student's layers, each the mean of its heads."""
    return float(np.mean(point["fidelity"]["attention_kl"], axis=1).sum())


def cosine(point: dict[str, Any]) -> float:
    return float(np.mean(point["fidelity"]["cls_cosine"]))


def test_the_first_look_is_that_of_its_points():
    found = rows("glue_first", "student rows")
    assert len(found) == 8
    for n, epochs, method, *cells in found:
        teacher = method == "teacher"
        made = point("glue_first", "teacher.json" if teacher else f"{method}-n{n.replace(',', '')}-e{epochs}.json")
        numbers = [f"{made['score']:.3f}"]
        if not teacher:
            numbers += [f"{made['fidelity']['agreement']:.3f}", f"{kl(made):.3f}", f"{cosine(made):.4f}"]
        assert [cell for cell in cells if cell] == numbers


def test_what_was_tried_on_held_out_rows_is_that_of_its_points():
    found = rows("glue_tuning", "start (`student.init`)")
    assert len(found) == 21
    for start, method, _, _, *numbers, name in found:
        made = point("glue_tuning", name)
        assert (made["init"], made["method"]) == (start.strip("`"), method)
        own = (made["score"], made["fidelity"]["agreement"], made["fidelity"]["soft_label_kl"], kl(made))
        assert numbers == [f"{number:.3f}" for number in own]


def test_what_keeps_the_attention_kl_up_is_that_of_its_points():
    found = rows("glue_fidelity", "training rows")
    assert len(found) == 7
    for n, method, _, *numbers, trained, held_out, name in found:
        made = point("glue_fidelity", name)
        assert (f"{made['rows']:,}", made["method"]) == (n, method)
        assert numbers == [f"{number:.3f}" for number in (made["score"], made["fidelity"]["agreement"])]
        assert held_out == f"{kl(made):.3f}"
        if trained:
            history = pd.read_csv((ROOT / "metrics/glue_fidelity" / name).with_suffix(".csv"))
            (last,) = history[history["completed"] == made["layers"]].to_dict("records")
            assert trained == f"{sum(last[f'attention_kl_{layer}'] for layer in range(1, made['layers'] + 1)):.3f}"


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Mean and half width of its 95 % t interval."""
    return float(np.mean(values)), float(stats.sem(values) * stats.t.ppf(0.975, len(values) - 1))


def spread(values: Sequence[float]) -> str:
    return "{:.3f} ± {:.3f}".format(*interval(values))


def difference(values: Sequence[float]) -> str:
    mean, half = interval(values)
    return f"{mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}]"


def test_where_glues_students_start_is_that_of_their_points():
    places = {"pretrained": "glue/points/cola", "teacher": "glue_start"}
    points = {
        (start, method): [point(folder, f"{method}-s{seed}.json") for seed in range(5)]
        for start, folder in places.items()
        for method in ("soft", "sid")
    }
    scores = {key: np.array([one["score"] for one in made]) for key, made in points.items()}
    for start, method, score, gain, agreement, closeness in rows("glue_start", "`student.init`"):
        key = (start.strip("`"), method)
        assert score == spread(scores[key])
        assert agreement == spread([one["fidelity"]["agreement"] for one in points[key]])
        assert closeness == spread([kl(one) for one in points[key]])
        if gain:
            assert gain.startswith(difference(scores[key] - scores[key[0], "soft"]))
    text = (ROOT / "metrics/glue_start/table.md").read_text(encoding="utf-8")
    for method in ("soft", "sid"):
        assert difference(scores["teacher", method] - scores["pretrained", method]) in text


@pytest.mark.parametrize(
    ("folder", "task", "count", "seeds"), [("glue_all", "cola", 8551, 4), ("glue_all_mrpc", "mrpc", 3668, 5)]
)
def test_students_of_all_rows_are_those_of_their_points(folder: str, task: str, count: int, seeds: int):
    points = {
        m: [point(f"{folder}/points/{task}", f"{m}-s{seed}.json") for seed in range(seeds)] for m in ("soft", "sid")
    }
    assert {one["rows"] for made in points.values() for one in made} == {count}
    scores = {method: np.array([one["score"] for one in made]) for method, made in points.items()}
    table = (ROOT / "metrics" / folder / "table.md").read_text(encoding="utf-8")
    assert difference(scores["sid"] - scores["soft"]) in table
    for method, made in points.items():
        closeness = [spread([one["fidelity"]["agreement"] for one in made]), spread([kl(one) for one in made])]
        for cell in (spread(scores[method]), *closeness):
            assert re.search(rf"^\| {method} \|.* {re.escape(cell)} \|", table, re.MULTILINE)


def test_a_part_of_mrpcs_rows_is_enough_for_sid_to_be_above_soft_with_all_of_them():
    scores = {
        method: np.array([point(f"{folder}/points/mrpc", f"{method}-s{seed}.json")["score"] for seed in range(5)])
        for folder, method in (("glue", "sid"), ("glue_all_mrpc", "soft"))
    }
    text = (ROOT / "metrics/glue_all_mrpc/table.md").read_text(encoding="utf-8")
    assert f"`sid` with 1,000 rows minus `soft` with all 3,668: {difference(scores['sid'] - scores['soft'])}." in text


@pytest.mark.parametrize(
    ("folder", "axis", "letter", "values"),
    [
        ("glue_rows", "training rows", "n", ["250", "500", "1,000", "2,000", "4,000"]),
        ("glue_depth", "layers", "L", ["1", "2", "3", "4", "6", "8"]),
    ],
)
def test_the_curves_of_cola_are_those_of_their_points(folder: str, axis: str, letter: str, values: list[str]):
    scored, close = rows(folder, axis), rows(folder, axis, after="### Closeness")
    assert [line[0] for line in scored] == [line[0] for line in close] == values
    for (value, _, *scores, gain, _), (_, *closeness) in zip(scored, close, strict=True):
        made = {
            m: [
                point(f"{folder}/points/cola", f"{m}-{letter}{value.replace(',', '')}-s{seed}.json")
                for seed in range(5)
            ]
            for m in ("soft", "sid")
        }
        own = {method: np.array([one["score"] for one in points]) for method, points in made.items()}
        for cell, points in zip(scores, own.values(), strict=True):
            assert cell.startswith(spread(points) if np.ptp(points) else f"{points[0]:.3f}")
        gained = own["sid"] - own["soft"]
        chance = not own["sid"].any()  # one answer for all has a correlation of 0; there is nothing to test then
        assert gain.startswith(
            f"{gained.mean():+.3f} not tested" if chance and value in ("1", "250") else difference(gained)
        )
        measures: tuple[Callable[[dict[str, Any]], float], ...] = (
            lambda one: one["fidelity"]["agreement"],
            lambda one: kl(one) / one["layers"],
            cosine,
        )
        means = [np.mean([measure(one) for one in points]) for measure in measures for points in made.values()]
        assert closeness == [f"{mean:.3f}" for mean in means]


def test_what_helps_shallow_students_is_that_of_their_points():
    found, reference = rows("glue_shallow", "changed"), {"sid-L3": "soft-L3", "c16": "soft16", "always": "soft-L3"}
    assert len(found) == 6
    for changed, method, epochs, seeds, score, gain, degenerate, agreement, closeness, gflop, name in found:
        made = _shallow(name, int(seeds))
        assert {(one["method"], one["layers"], one["rows"], str(one["epochs"])) for one in made} == {
            (method, 3, 1000, epochs)
        }
        assert ("distill" in changed) == (name not in ("soft-L3", "sid-L3"))
        scores = [one["score"] for one in made]
        show = spread if len(made) == 5 else lambda values: " and ".join(f"{value:.3f}" for value in values)
        assert score == show(scores)
        assert agreement == show([one["fidelity"]["agreement"] for one in made])
        assert closeness == show([kl(one) for one in made])
        assert degenerate == f"{sum(one['degenerate'] for one in made)}/{seeds}"
        assert gflop == f"{np.mean([one['gflop'] for one in made]):,.0f}"
        if gain:
            others = [one["score"] for one in _shallow(reference[name], 5)]
            assert gain.startswith(difference(np.subtract(scores, others)))


def test_classification_in_every_phase_at_each_depth_is_that_of_its_points():
    found = rows("glue_shallow", "layers")
    assert [line[0] for line in found] == ["1", "2", "3", "4", "6", "8"]
    for layers, soft, always, gain, over, degenerate, agreement, closeness, others in found:
        name = "always" if layers == "3" else f"always-L{layers}"
        made = _shallow(name, 5)
        assert {(one["method"], one["layers"], one["rows"]) for one in made} == {("sid", int(layers), 1000)}
        shipped = {method: _shallow(f"{method}-L{layers}", 5) for method in ("soft", "sid")}
        scores = np.array([one["score"] for one in made])
        differences = {m: scores - [one["score"] for one in those] for m, those in shipped.items()}
        if layers == "1":  # one answer for all has a correlation of 0
            assert not scores.any()
            assert (soft, always, gain, over) == ("0.000", "0.000", "not tested", "not tested")
        else:
            assert soft == spread([one["score"] for one in shipped["soft"]])
            assert always == spread(list(scores))
            assert gain.startswith(difference(differences["soft"]))
            assert over.startswith(difference(differences["sid"]))
        assert agreement == spread([one["fidelity"]["agreement"] for one in made])
        assert degenerate == f"{sum(one['degenerate'] for one in made)}/5"
        assert (closeness, others) == (spread([kl(one) for one in made]), spread([kl(one) for one in shipped["soft"]]))


def _shallow(name: str, seeds: int) -> list[dict[str, Any]]:
    folder = "glue_depth/points/cola" if name.startswith(("soft-L", "sid-L")) else "glue_shallow"
    return [point(folder, f"{name}-s{seed}.json") for seed in range(seeds)]


def test_the_rerankers_students_are_those_of_their_points():
    for layers, rate, seed, spearman, mse, closeness, loss, size in rows("reranker", "layers"):
        if "teacher" in layers:
            made = point("reranker", "teacher.json")
        else:
            made = point("reranker", f"sid-L{layers}-{'' if rate == '1e-4' else f'rate{rate}-'}s{seed}.json")
            scores = made["scores"]["validation"]
            assert spearman == f"{scores['teacher_spearman']:.3f}"
            assert mse == f"{made['fidelity']['score_mse']:.2f}"
            assert (closeness, loss) == (f"{kl(made):.3f}", f"{cosine(made):.4f}")
        assert size == f"{made['bytes'] / 1e6:.1f}"


def test_the_rerankers_students_with_either_head_are_those_of_their_points():
    found = rows("reranker", "`student.head`")
    assert len(found) == 7
    for head, method, seed, spearman, mse, closeness, loss in found:
        made = point("reranker/head", f"{method}-L3-{head.strip('`')}-s{seed}.json")
        assert (made["method"], made["layers"]) == (method, 3)
        assert spearman == f"{made['scores']['validation']['teacher_spearman']:.3f}"
        assert mse == f"{made['fidelity']['score_mse']:.2f}"
        assert (closeness, loss) == (f"{kl(made):.3f}", f"{cosine(made):.4f}")


def test_the_means_over_a_rerankers_seeds_are_those_of_its_points():
    text = (ROOT / "docs/without-labels.md").read_text(encoding="utf-8")
    table = text[text.index("| `student.head` |") :].split("\n\n")[0].splitlines()[2:]
    assert len(table) == 4
    for line in table:
        head, method, seeds, spearman, mse = [cell.strip() for cell in line.strip("|").split("|")]
        files = sorted((ROOT / "metrics/reranker/head").glob(f"{method}-L3-{head.split('`')[1]}-s*.json"))
        made = [point("reranker/head", file.name) for file in files]
        assert len(made) == int(seeds)
        assert spearman == f"{np.mean([one['scores']['validation']['teacher_spearman'] for one in made]):.3f}"
        assert mse == f"{np.mean([one['fidelity']['score_mse'] for one in made]):.1f}"


def test_the_rerankers_latencies_are_those_of_its_file():
    measured = point("reranker", "latency.json")["measured"]
    ms = {(one["layers"], one["runtime"], one["batch"]): one["p50_ms"] for one in measured if one["threads"] == 1}
    for layers, *ratios in rows("reranker", "layers | one row: torch"):
        columns = itertools.product((1, 32), ("torch", "ONNX float32", "ONNX int8"))
        own = [ms[12, "torch", batch] / ms[int(layers), runtime, batch] for batch, runtime in columns]
        assert ratios == [f"{ratio:.1f}" for ratio in own]
