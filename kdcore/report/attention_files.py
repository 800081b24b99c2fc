"""A comparison of attention maps in; the files of the `attention` stage out: JSON, plot data, figure 5."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdcore.evaluation.attention import TEACHER, Comparison, Example
from kdcore.report import attention, points
from kdcore.report.attention_json import document
from kdcore.report.files import csv, write_all

SHOWN = 60  # characters of a text in a figure's subtitle

KL = Mapping[str, NDArray[np.floating]]  # student -> (L, A)


def write_attention(
    comparison: Comparison, points_folder: Path, out: Path, seed: int, notes: Sequence[str] = ()
) -> None:
    """Write <task>.json, <task>.csv, figures/<task>/maps.{png,svg} and figures/<task>/kl.{png,svg} into `out`.

    points_folder: the task's <method>-s<seed>.json. Without students there is no KL, so no overview is drawn.
    Raises UserError for a point that is missing or broken; everything is computed before anything is written.
    """
    task, first = comparison.task.name, comparison.examples[0]
    students = [name for name in first.seen if name != TEACHER]
    overall = {name: _overall(points_folder / f"{name}-s{seed}.json", task, name, seed) for name in students}
    layer, heads = telling({name: seen.kl for name, seen in first.seen.items() if seen.kl is not None})
    tokens, weights, kl = _one_layer(first, layer)
    pictures = {f"{task}/maps": attention.maps(tokens, weights, kl, heads, _subtitle(comparison, first, layer))}
    if overall:
        subtitle = f"{task}, mean over all validation rows · first seed"
        pictures[f"{task}/kl"] = attention.overview(overall, comparison.layer_map, subtitle)
    text = json.dumps(document(comparison, seed, overall, notes), indent=1, ensure_ascii=False)
    files = {f"{task}.json": text + "\n", f"{task}.csv": csv(attention.frame(tokens, weights, kl, heads))}
    write_all(out, files, pictures)


def _overall(path: Path, task: str, method: str, seed: int) -> NDArray[np.floating]:
    wanted = points.Wanted(path, {"seeds": seed}, {"task": task, "method": method, "seed": seed})
    points.check_all_exist([wanted])
    found = points.parse(wanted).fidelity
    assert found is not None  # noqa: S101  (a student's point has one)
    return np.asarray(found.attention_kl)


def telling(kl: KL) -> tuple[int, list[int]]:
    """The layer and heads (0-based) of figure 5: where the first student is worst, and each student's worst there.

    Without students, the last layer's first head.
    """
    if not kl:
        return -1, [0]
    layer = int(next(iter(kl.values())).max(axis=1).argmax())
    return layer, list(dict.fromkeys(int(values[layer].argmax()) for values in kl.values()))


def _one_layer(example: Example, layer: int) -> tuple[Sequence[str], KL, KL]:
    """The example's tokens, (A, n, n) maps and (A,) KL of one layer, by model."""
    weights = {name: seen.maps[layer] for name, seen in example.seen.items()}
    return example.tokens, weights, {name: seen.kl[layer] for name, seen in example.seen.items() if seen.kl is not None}


def _subtitle(comparison: Comparison, example: Example, layer: int) -> str:
    mapped, text = comparison.layer_map[layer], " / ".join(example.texts)
    short = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"
    student = range(1, len(comparison.layer_map) + 1)[layer]
    return f"{comparison.task.name}, row {example.row} “{short}” · layer {student} of student, {mapped} of teacher"
