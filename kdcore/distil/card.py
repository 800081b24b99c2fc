"""A student's model card, the README.md of its folder: how it was made, and its scores once they are known.

It is made of run.json alone, so equal runs have equal cards. Whoever copies the folder later (save, export, push)
writes it again with what was measured since.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.repocard import metadata_load
from transformers.utils import cached_file

from kdcore.artefacts import write_bytes
from kdcore.console import count_of
from kdcore.data.embedded import ORIGINS
from kdcore.data.tasks import from_fields
from kdcore.distil.finished import CARD
from kdcore.distil.methods import INTERNAL, SCHEDULES, Method
from kdcore.model.places import resolve

STARTS = {
    "teacher": "the teacher's embeddings and the layers that it matches",
    "teacher_lower": "the teacher's embeddings and lowest layers",
    "pretrained": "the pre-trained encoder's embeddings and the layers that it matches",
    "pretrained_lower": "the pre-trained encoder's embeddings and lowest layers",
    "random": "random weights",
}
HEADS = {"new": "the output layer is new", "teacher": "pooler and output layer are the teacher's"}
HUB_METRICS = {"matthews": "matthews_correlation", "pearson": "pearsonr", "spearman": "spearmanr"}
TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

{{ kind }} of {{ layers }}, distilled by kdcore from a teacher of {{ teacher_layers }} ({{ teacher }}).
It reads {{ reads }}, at most {{ max_length }} tokens, and answers {{ answers }}.

```python
{% if onnx -%}
from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer, pipeline

folder = "path/to/this/folder"
model = ORTModelForSequenceClassification.from_pretrained(folder)
classify = pipeline("text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder))
{%- else -%}
from transformers import pipeline

classify = pipeline("text-classification", "path/to/this/folder")
{%- endif %}
classify({{ example }})
```
{% if scores %}
## Scores

Of {{ rows_scored }}.{% if by_teacher %} The teacher's answers are the truth here: no label was used.{% endif %}

{{ scores }}
{% endif %}{% if onnx %}
## ONNX

`onnx/model.onnx` is float32, `onnx/model_quantized.onnx` has weights of 8 bits. Both were held against torch on
{{ onnx_rows }} validation rows:

{{ onnx }}
{% endif %}
## How it was made

{{ made }}

"Knowledge Distillation from Internal Representations" (Aguilar et al., AAAI 2020, arXiv 1910.03723) describes the
method; `run.json` holds every knob and the versions.

## Limits

* It was trained for `{{ task }}` and measured on no other rows: texts of another kind or language may be answered
  wrongly{% if probabilities %}, and with high probabilities{% endif %}.
* It follows its teacher, with the teacher's errors and biases, which nobody examined here.
* It was trained and scored on texts that are cut to {{ max_length }} tokens, its tokenizer's `model_max_length`. A
  pipeline cuts longer ones where it is called with `truncation=True`.{% if probabilities %}
* Its probabilities are not calibrated.{% endif %}
"""


@dataclass(frozen=True)
class Scores:
    """What was measured of a student on validation rows, and on labelled test rows.

    metrics: by name, the headline first; teacher: the teacher's headline score; agreement: share of equal answers;
    seeds: the headline over the seeds in words, e.g. `0.803 ± 0.010 (95% t interval over 3 seeds)`; test: the metrics
    of the test split, by name, none where it has no labels.
    """

    metrics: Mapping[str, float]
    teacher: float | None = None
    agreement: float | None = None
    seeds: str = ""
    test: Mapping[str, float] = field(default_factory=dict)


def write_card(folder: Path, scores: Scores | None = None, onnx: Mapping[str, Any] | None = None) -> None:
    """Write README.md beside the run.json of a student; a teacher gets none.

    onnx: what `export` measured of the ONNX files.
    """
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    if "mapped" in facts:
        write_bytes(folder / CARD, card(facts, scores, onnx).encode())


def origin(name: str, revision: str | None) -> dict[str, Any]:
    """What a model says of itself: its name on the hub (None: a folder), licence and languages where known."""
    if name in ORIGINS:
        return {"name": ORIGINS[name]} | _own_card(resolve(name))
    place = resolve(name)
    if isinstance(place, Path):
        return {"name": None} | _own_card(place)
    return {"name": name} | _own_card(name, revision)


def _own_card(place: str | Path, revision: str | None = None) -> dict[str, Any]:
    """`license` and `language` of a model's own README.md."""
    missing = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    found = cached_file(str(place), CARD, revision=revision, **missing)
    try:
        said = (metadata_load(Path(found)) if found else None) or {}
    except Exception:  # whatever its parser of YAML raises: a card that can't be read says nothing
        said = {}
    return {key: said[key] for key in ("license", "language") if isinstance(said.get(key), str | list)}


def card(facts: Mapping[str, Any], scores: Scores | None = None, onnx: Mapping[str, Any] | None = None) -> str:
    """The card's text. facts: a student's run.json."""
    task, base = from_fields(facts["described"]), facts["teacher"]["model"]
    pair = len(task.text) == 2
    data = ModelCardData(
        base_model=base["name"],
        datasets=[facts["data"]["repository"]] if "repository" in facts["data"] else None,
        language=base.get("language"),
        library_name="transformers.js" if onnx else "transformers",  # an export has no weights for torch
        license=base.get("license"),
        metrics=[HUB_METRICS.get(name, name) for name in task.metrics],
        pipeline_tag="text-classification",
        tags=["kdcore", "knowledge-distillation", *(["onnx"] if onnx else [])],
        **_results(facts, scores),
    )
    written = ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        title=f"{task.name}: {count_of(facts['layers'], 'layer')} by {facts['method']}",
        task=task.name,
        kind="A classifier" if task.labels else "A regression model",
        layers=count_of(facts["layers"], "layer"),
        teacher=_teacher(facts),
        teacher_layers=count_of(facts["teacher"]["layers"], "layer"),
        reads=f"the texts {' and '.join(task.text)}" if pair else f"one text ({task.text[0]})",
        max_length=facts["max_length"],
        answers=f"one of {', '.join(task.labels)}" if task.labels else "a number",
        example='{"text": "…", "text_pair": "…"}' if pair else '"…"',
        probabilities=bool(task.labels),
        by_teacher=task.by_teacher,
        scores=_table(scores) if scores else "",
        rows_scored="validation rows, which were not trained on"
        + (", and of the test split, which nothing was chosen by" if scores and scores.test else ""),
        onnx=_onnx_table(onnx) if onnx else "",
        onnx_rows=f"{onnx['rows']:,}" if onnx else "",
        made="\n".join(f"* {name}: {text}" for name, text in _made(facts).items()),
    )
    return str(written)


def _results(facts: Mapping[str, Any], scores: Scores | None) -> dict[str, Any]:
    """The hub's model-index: each metric of validation, and of a labelled test split."""
    if scores is None:
        return {}
    task, depth = facts["described"]["name"], count_of(facts["layers"], "layer").replace(" ", "-")
    place = facts["data"].get("repository", task)
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=place,
            dataset_name=task,
            dataset_config=facts["data"].get("configuration"),
            dataset_revision=facts["data"].get("revision"),
            dataset_split=split,
            metric_type=HUB_METRICS.get(name, name),
            metric_value=round(value, 6),
        )
        for split, metrics in (("validation", scores.metrics), ("test", scores.test))
        for name, value in metrics.items()
    ]
    return {"model_name": f"{task}-{facts['method']}-{depth}", "eval_results": results}


def _table(scores: Scores) -> str:
    headline = next(iter(scores.metrics))
    rows = [(name, f"{value:.4f}") for name, value in scores.metrics.items()]
    if scores.seeds:
        rows.append((f"{headline}, this recipe over seeds", scores.seeds))
    if scores.teacher is not None:
        rows.append((f"{headline} of the teacher", f"{scores.teacher:.4f}"))
    if scores.agreement is not None:
        rows.append(("answers as the teacher", f"{scores.agreement:.1%}"))
    rows += [(f"{name} on the test split", f"{value:.4f}") for name, value in scores.test.items()]
    return "\n".join(["| on validation | |", "| :--- | ---: |", *(f"| {name} | {text} |" for name, text in rows)])


def _onnx_table(onnx: Mapping[str, Any]) -> str:
    metrics = list(onnx["torch"])
    heads = ["", *metrics, "answers as torch"]
    lines = [f"| {' | '.join(heads)} |", "| :--- | " + "---: | " * (len(metrics) + 1)]
    for kind in [kind for kind in ("torch", "float32", "int8") if kind in onnx]:
        same = f"{onnx[kind]['agreement']:.2%}" if kind != "torch" else ""
        cells = [kind, *(f"{onnx[kind][metric]:.4f}" for metric in metrics), same]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(line.rstrip() for line in lines)


def _teacher(facts: Mapping[str, Any]) -> str:
    teacher = facts["teacher"]
    name = teacher["model"]["name"]
    told = f"[{name}](https://huggingface.co/{name})" if name else "a model that is not on the hub"
    return f"{told}, fine-tuned on the same data" if teacher["fine_tuned"] else told


def _made(facts: Mapping[str, Any]) -> dict[str, str]:
    """What each choice of the recipe was."""
    method, train = Method.parse(facts["method"]), facts["train"]
    internal = {INTERNAL[name].title: weight for name, weight in method.minimised(facts["weights"]).items()}
    own = "1 matches" if facts["layers"] == 1 else f"1 to {facts['layers']} match"
    source = facts["data"].get("repository") or facts["data"].get("dataset") or "the user's own"
    made = {
        "method": f"`{facts['method']}`, {SCHEDULES[method.schedule].card}",
        "layers": f"{own} the teacher's {', '.join(map(str, facts['mapped']))}",
        "starts from": f"{STARTS[facts['init']]}; {HEADS[facts.get('head', 'new')]}",
        "data": f"{count_of(facts['rows'], 'training row')}, {source}",
        "internal losses": ", ".join(f"{title} × {weight:g}" for title, weight in internal.items()),
        "soft labels": f"temperature {facts['temperature']:g}, hard labels, where a row has one, weigh "
        f"{facts['hard_label_weight']:g}",
        "optimizer": f"AdamW, learning rate {train['learning_rate']:g}, batches of {train['batch_size']}, "
        f"weight decay {train['weight_decay']:g}, warm-up {train['warmup']:g}",
        "length": f"{count_of(facts['epochs'], 'epoch')}, {facts['gflop']:,.2f} GFLOP, seed {facts['seed']}",
    }
    used = {"internal losses": bool(internal), "soft labels": method.taught}
    return {name: text for name, text in made.items() if used.get(name, True)}
