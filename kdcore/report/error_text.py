"""The error analysis in; GitHub Markdown out. Sentences and labels are other people's text: shown, never obeyed."""

import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kdcore.report.errors import COUNTS
from kdcore.report.markdown import grid
from kdcore.report.statistics import percent

LONGEST = 200  # characters of a text that are shown; errors.csv has them all
TEXTS = ("text_a", "text_b")


def error_markdown(found: Mapping[str, Any], examples: pd.DataFrame, confidence: float) -> str:
    """A section per task: contingency over seeds, tests of one seed, the examples on which methods differ."""
    sections = [_section(task, facts, examples[examples["task"] == task], confidence) for task, facts in found.items()]
    return "\n".join(sections)


def _section(task: str, facts: Mapping[str, Any], examples: pd.DataFrame, confidence: float) -> str:
    title = f"## {task}: how students repeat the teacher"
    if "skipped" in facts:
        return f"{title}\n\nNot analysed: {facts['skipped']}.\n"
    teacher, methods = facts["teacher"], facts["methods"]
    right = f"The teacher is right on {teacher['right']:,} of {facts['examples']:,} validation examples"
    parts = [title, f"{right} and wrong on {teacher['wrong']:,}.", _contingency(methods), _notes(methods, confidence)]
    parts += ["### One seed, over examples", _one_seed(facts), _one_seed_notes(methods, confidence)]
    parts += ["### Examples on which methods differ", _examples(examples, list(methods))]
    return "\n\n".join(parts) + "\n"


def _contingency(methods: Mapping[str, Any]) -> str:
    """Counts are means over seeds; shares have their interval and their difference to soft."""
    header = ["method", *(name.replace("_", " ") for name in COUNTS), "agreement", "repeats the teacher's errors"]
    body = []
    for method, facts in methods.items():
        counts = [sum(run[name] for run in facts["runs"]) / len(facts["runs"]) for name in COUNTS]
        shares = [_share(facts["mean"][name], facts["minus_soft"][name]) for name in ("agreement", "repeated_errors")]
        body.append([method, *(f"{count:,.1f}" for count in counts), *shares])
    return grid(header, body)


def _share(over_seeds: Mapping[str, Any] | None, minus_soft: Mapping[str, Any] | None) -> str:
    if over_seeds is None:
        return "none to repeat"
    half = "" if over_seeds["high"] is None else f" ± {over_seeds['high'] - over_seeds['value']:.3f}"
    compared = "" if minus_soft is None else f" (minus soft {minus_soft['value']:+.3f}, {minus_soft['verdict']})"
    return f"{over_seeds['value']:.3f}{half}{compared}"


def _notes(methods: Mapping[str, Any], confidence: float) -> str:
    seeds = len(next(iter(methods.values()))["runs"])
    spread = f"Means over {seeds} seeds, with the {percent(confidence)} t interval." if seeds > 1 else "One seed."
    repeated = "A teacher's error is repeated where the student predicts the same wrong class."
    return f"{spread} Differences are paired by seed. {repeated}"


def _one_seed(facts: Mapping[str, Any]) -> str:
    header = ["model", facts["metric"], "against the teacher", "against soft"]
    body = [["teacher", _interval(facts["teacher"]["score"]), "", ""]]
    for method, of_method in facts["methods"].items():
        one = of_method["one_seed"]
        tests = [_test(one[name]) if name in one else "" for name in ("against_teacher", "against_soft")]
        body.append([method, _interval(one["score"]), *tests])
    return grid(header, body)


def _interval(score: Mapping[str, Any]) -> str:
    return f"{score['value']:.3f}" + ("" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]")


def _test(test: Mapping[str, Any]) -> str:
    return f"{test['only_student']} : {test['only_other']}, p = {test['p']:.3g}, {test['verdict']}"


def _one_seed_notes(methods: Mapping[str, Any], confidence: float) -> str:
    seed = next(iter(methods.values()))["one_seed"]["seed"]
    return (
        f"Students of seed {seed}. Intervals: {percent(confidence)} bootstrap over validation examples. Comparisons: "
        "examples that only this student gets right : only the other, and McNemar's exact test. None is corrected "
        "for their number."
    )


def _examples(examples: pd.DataFrame, methods: list[str]) -> str:
    if examples.empty:
        return "There are none."
    texts = [name for name in TEXTS if examples[name].notna().any()]
    header = [*(("text",) if len(texts) == 1 else ("first text", "second text")), "label", "teacher", *methods]
    body = [
        [*(shown(row[name]) for name in texts), shown(row["label"]), shown(row["teacher"])]
        + [f"{shown(row[method])} ({row[f'{method}_right']})" for method in methods]
        for row in examples.to_dict("records")
    ]
    note = "What most seeds predict, and in how many seeds that method is right. The largest differences come first."
    return grid(header, body, len(header)) + f"\n\n{note}"


def shown(text: object) -> str:
    """Text on one line that Markdown shows as it is: no tag, no link, no emphasis; shortened where it is long."""
    line = " ".join(str(text).split())
    line = line if len(line) <= LONGEST else line[:LONGEST] + "…"
    return re.sub(r"[\\`*_\[\]<>#~!@$]", r"\\\g<0>", line.replace("&", "&amp;")).replace("|", "&#124;")
