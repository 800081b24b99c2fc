"""The error analysis in; GitHub Markdown out. Sentences and labels are other people's text: shown, never obeyed."""

import itertools
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from kdcore.report.errors import COUNTS, SHARES, TESTS
from kdcore.report.markdown import grid, holm_note, starred
from kdcore.report.statistics import percent

LONGEST = 200  # characters of a text that are shown; errors.csv has them all
TEXTS = ("text_a", "text_b")


def error_markdown(found: Mapping[str, Any], examples: pd.DataFrame, confidence: float) -> str:
    """A section per task: counts and shares over seeds, tests of each seed, the examples on which methods differ."""
    sections = [_section(task, facts, examples[examples["task"] == task], confidence) for task, facts in found.items()]
    return "\n".join(sections)


def _section(task: str, facts: Mapping[str, Any], examples: pd.DataFrame, confidence: float) -> str:
    title = f"## {task}: how students repeat the teacher"
    if "skipped" in facts:
        return f"{title}\n\nNot analysed: {facts['skipped']}.\n"
    teacher, methods = facts["teacher"], facts["methods"]
    right = f"The teacher is right on {teacher['right']:,} of {facts['examples']:,} validation examples"
    parts = [title, f"{right} and wrong on {teacher['wrong']:,}."]
    parts += [_counts(methods), _shares(methods, confidence), _notes(methods, confidence)]
    parts += ["### Each seed, over examples", _seeds(facts, confidence), _seeds_notes(methods, confidence)]
    parts += ["### Examples on which methods differ", _examples(examples, list(methods))]
    return "\n\n".join(parts) + "\n"


def _counts(methods: Mapping[str, Any]) -> str:
    """Examples by who is right, the mean over seeds."""
    header = ["method", *(name.replace("_", " ") for name in COUNTS)]
    body = [
        [method, *(f"{sum(run[name] for run in facts['runs']) / len(facts['runs']):,.1f}" for name in COUNTS)]
        for method, facts in methods.items()
    ]
    return grid(header, body)


def _shares(methods: Mapping[str, Any], confidence: float) -> str:
    """Each share with its interval and its difference to soft."""
    header = ["method", "agreement", "minus soft", "repeats the teacher's errors", "minus soft"]
    body = []
    for method, facts in methods.items():
        cells = [(_share(facts["mean"][name]), _minus(facts["minus_soft"][name], confidence)) for name in SHARES]
        body.append([method, *itertools.chain(*cells)])
    return grid(header, body)


def _share(over_seeds: Mapping[str, Any] | None) -> str:
    if over_seeds is None:
        return "none to repeat"
    half = "" if over_seeds["high"] is None else f" ± {over_seeds['high'] - over_seeds['value']:.3f}"
    return f"{over_seeds['value']:.3f}{half}"


def _minus(found: Mapping[str, Any] | None, confidence: float) -> str:
    if found is None:
        return ""
    interval = "" if found["low"] is None else f" [{found['low']:+.3f}, {found['high']:+.3f}]"
    return f"{found['value']:+.3f}{interval} {_verdict(found, confidence)}"


def _verdict(test: Mapping[str, Any], confidence: float) -> str:
    return starred(test["verdict"], test["p_holm"], confidence)


def _notes(methods: Mapping[str, Any], confidence: float) -> str:
    seeds = len(next(iter(methods.values()))["runs"])
    spread = f"Means over {seeds} seeds, with the {percent(confidence)} t interval." if seeds > 1 else "One seed."
    repeated = "A teacher's error is repeated where the student predicts the same wrong class."
    compared = [facts["minus_soft"][name] for facts in methods.values() for name in SHARES]
    corrected = holm_note([test["p_holm"] for test in compared if test], confidence)
    return " ".join([spread, "Differences are paired by seed.", *corrected, repeated])


def _seeds(facts: Mapping[str, Any], confidence: float) -> str:
    header = ["model", "seed", facts["metric"], "against the teacher", "against soft"]
    body = [["teacher", "", _interval(facts["teacher"]["score"]), "", ""]]
    for method, found in facts["methods"].items():
        for run in found["runs"]:
            tests = [_test(run[name], confidence) if name in run else "" for name in TESTS]
            body.append([method, str(run["seed"]), _interval(run["score"]), *tests])
    return grid(header, body)


def _interval(score: Mapping[str, Any]) -> str:
    return f"{score['value']:.3f}" + ("" if score["low"] is None else f" [{score['low']:.3f}, {score['high']:.3f}]")


def _test(test: Mapping[str, Any], confidence: float) -> str:
    return f"{test['only_student']} : {test['only_other']}, p = {test['p']:.3g}, {_verdict(test, confidence)}"


def _seeds_notes(methods: Mapping[str, Any], confidence: float) -> str:
    runs = [run for facts in methods.values() for run in facts["runs"]]
    p_holm = [run[name]["p_holm"] for run in runs for name in TESTS if name in run]
    notes = [
        f"Intervals: {percent(confidence)} bootstrap over validation examples.",
        "Comparisons: examples that only this student gets right : only the other (the teacher, or soft of the same "
        "seed), and McNemar's exact test.",
    ]
    return " ".join([*notes, *holm_note(p_holm, confidence)])


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
