"""A comparison of attention maps in; the files of the `attention` stage out: the page's JSON, figure 5, its overview.

Shapes: A heads, n tokens, L student layers. Models stand beside each other in the order in which they come: the
teacher, the standard-KD student, the internal-KD student. Texts, tokens and label names are the data's own: they are
kept as they are, and whoever shows them escapes them.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray
from scipy.special import softmax

from kdcore.data.tasks import Task
from kdcore.errors import UserError
from kdcore.evaluation.attention import TEACHER, Comparison, Example, Seen
from kdcore.report import points
from kdcore.report.canvas import INK, QUIET, heading, style
from kdcore.report.methods import meaning
from kdcore.report.write import write_all

LABELLED = 40  # tokens that still have readable labels
SHOWN = 60  # characters of a text in a figure's subtitle
ENCODING = (
    "base64 of one byte per weight, heads × from × to, row by row: byte = round(255·√weight), weight = (byte/255)²"
)

KL = Mapping[str, NDArray[np.floating]]  # student -> (L, A)


def write_attention(
    comparison: Comparison, points_folder: Path, out: Path, seed: int, notes: Sequence[str] = ()
) -> None:
    """Write <task>.json, figures/<task>/maps.{png,svg} and figures/<task>/kl.{png,svg} into `out`.

    points_folder: the task's <method>-s<seed>.json. Without students there is no KL, so no overview is drawn.
    Raises UserError for a point that is missing or broken; everything is computed before anything is written.
    """
    task, first = comparison.task.name, comparison.examples[0]
    students = [name for name in first.seen if name != TEACHER]
    overall = {name: _overall(points_folder / f"{name}-s{seed}.json", task, name, seed) for name in students}
    layer, heads = telling({name: seen.kl for name, seen in first.seen.items() if seen.kl is not None})
    weights = {name: seen.maps[layer] for name, seen in first.seen.items()}
    kl = {name: seen.kl[layer] for name, seen in first.seen.items() if seen.kl is not None}
    pictures = {f"{task}/maps": maps(first.tokens, weights, kl, heads, _subtitle(comparison, first, layer))}
    if overall:
        subtitle = f"{task}, mean over all validation rows · first seed"
        pictures[f"{task}/kl"] = overview(overall, comparison.layer_map, subtitle)
    text = json.dumps(document(comparison, seed, overall, notes), indent=1, ensure_ascii=False)
    write_all(out, {f"{task}.json": text + "\n"}, pictures)


def _overall(path: Path, task: str, method: str, seed: int) -> NDArray[np.floating]:
    wanted = points.Wanted(path, {"seeds": seed}, {"task": task, "method": method, "seed": seed})
    points.check_all_exist([wanted])
    fidelity = points.parse(wanted).fidelity
    kl = np.array(fidelity.internal.get("attention_kl", [])) if fidelity else np.array([])
    if kl.ndim != 2:
        raise UserError(str(path), "fidelity.attention_kl: must have a number per layer and head")
    return kl


def telling(kl: KL) -> tuple[int, list[int]]:
    """The layer and heads (0-based) of figure 5: where the first student is worst, and each student's worst there.

    Without students, the last layer's first head.
    """
    if not kl:
        return -1, [0]
    layer = int(next(iter(kl.values())).max(axis=1).argmax())
    return layer, list(dict.fromkeys(int(values[layer].argmax()) for values in kl.values()))


def _subtitle(comparison: Comparison, example: Example, layer: int) -> str:
    mapped, text = comparison.layer_map[layer], " / ".join(example.texts)
    short = text if len(text) <= SHOWN else f"{text[:SHOWN].rstrip()}…"
    student = range(1, len(comparison.layer_map) + 1)[layer]
    quoted = f" “{short}”" if short else ""
    return f"{comparison.task.name}, row {example.row}{quoted} · layer {student} of student, {mapped} of teacher"


def maps(
    tokens: Sequence[str],
    weights: Mapping[str, NDArray[np.floating]],
    kl: Mapping[str, NDArray[np.floating]],
    heads: Sequence[int],
    subtitle: str,
) -> Figure:
    """Figure 5: a row per chosen head (0-based), a column per model, each student's KL above its map.

    tokens: n; weights: model -> (A, n, n) of one layer, rows sum to 1; kl: student -> (A,). Raises ValueError
    when a shape does not fit.
    """
    _check(tokens, weights, kl)
    with style():
        figure = Figure(figsize=(2.5 * len(weights) + 1.2, 2.45 * len(heads) + 1.95))
        axes = figure.subplots(len(heads), len(weights), squeeze=False)
        for line, head in enumerate(heads):
            for axis, (model, weight) in zip(axes[line], weights.items(), strict=True):
                image = _map(axis, weight[head], tokens)
                note = f"KL {kl[model][head]:.3f}" if model in kl else f"head {head + 1}"
                axis.set_title(note, fontsize=8.5, fontweight="normal")
                axis.set(xlabel="to", ylabel="from")
                axis.label_outer()
        for axis, model in zip(axes[0], weights, strict=True):
            _column(axis, model)
        bar = figure.colorbar(image, ax=axes, shrink=min(1.0, 1.6 / len(heads)), aspect=24, pad=0.02)
        bar.set_label("attention weight (square-root scale)", fontsize=8)
        heading(figure, "Attention of teacher and students", subtitle, square=True)
    return figure


def _check(
    tokens: Sequence[str], weights: Mapping[str, NDArray[np.floating]], kl: Mapping[str, NDArray[np.floating]]
) -> None:
    """Raise ValueError, naming the model, when a map or its KL does not fit the tokens and heads."""
    heads = next(iter(weights.values())).shape[0]
    for model, weight in weights.items():
        if weight.shape != (heads, len(tokens), len(tokens)):
            raise ValueError(f"{model}: maps {weight.shape} for {heads} heads and {len(tokens)} tokens")
    for model, values in kl.items():
        if values.shape != (heads,):
            raise ValueError(f"{model}: KL {values.shape} for {heads} heads")


def _map(axis: Axes, weight: NDArray[np.floating], tokens: Sequence[str]) -> AxesImage:
    image = axis.imshow(weight, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    size = min(7.0, 150 / len(tokens))
    labels = tokens if len(tokens) <= LABELLED else []
    axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=size)
    axis.set_yticks(range(len(labels)), labels, fontsize=size)
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(True)
    return image


def _column(axis: Axes, model: str) -> None:
    """Name a column above the titles of its maps."""
    place: dict[str, Any] = {"xycoords": "axes fraction", "textcoords": "offset points", "va": "bottom"}
    axis.annotate(model, (0, 1), xytext=(0, 31), fontsize=9.5, fontweight="bold", **place)
    axis.annotate(meaning(model), (0, 1), xytext=(0, 20), fontsize=7.5, color=QUIET, **place)


def overview(kl: Mapping[str, NDArray[np.floating]], layer_map: Sequence[int], subtitle: str) -> Figure:
    """Where students differ from the teacher: KL per student layer and head, and the total over layers.

    kl: student -> (L, A); layer_map: teacher layer (1-based) of each student layer.
    """
    (layers, heads) = next(iter(kl.values())).shape
    highest = max(float(values.max()) for values in kl.values())
    with style():
        size = (max(5.2, 0.46 * heads + 1.5), (0.36 * layers + 0.45) * len(kl) + 1.1)
        figure = Figure(figsize=size)
        axes = figure.subplots(len(kl), 1, squeeze=False, sharex=True)[:, 0]
        for axis, (model, values) in zip(axes, kl.items(), strict=True):
            _grid(axis, values, highest)
            axis.set_title(f"{model}: total over layers {values.mean(axis=1).sum():.3f}")
            axis.set_yticks(range(layers), [f"{s} – {t}" for s, t in enumerate(layer_map, start=1)])
        axes[-1].set_xlabel("head")
        figure.supylabel("layer of student – teacher", fontsize=9, color=INK)
        heading(figure, "Attention KL per layer and head", subtitle)
    return figure


def _grid(axis: Axes, values: NDArray[np.floating], highest: float) -> None:
    axis.imshow(values, cmap="Oranges", norm=PowerNorm(0.5, vmin=0, vmax=highest), aspect="auto")
    for (layer, head), value in np.ndenumerate(values):
        colour = "white" if value > 0.45 * highest else INK
        axis.text(head, layer, f"{value:.3f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_xticks(range(values.shape[1]), [str(head) for head in range(1, values.shape[1] + 1)])
    axis.tick_params(length=0)
    axis.grid(visible=False)


def document(
    comparison: Comparison,
    seed: int,
    overall: Mapping[str, NDArray[np.floating]],
    notes: Sequence[str],
) -> dict[str, Any]:
    """Everything to be shown of one task.

    overall: student -> KL per layer and head (L, A), the mean over all validation rows; notes: what was left out,
    and why. `total` is the paper's: the sum over matching layers of the mean over heads; `figure` says which layer of
    the students and which heads of the first example figure 5 shows.
    """
    task, first = comparison.task, comparison.examples[0]
    layer, heads = telling({name: seen.kl for name, seen in first.seen.items() if seen.kl is not None})
    names = list(first.seen)
    count = first.seen[names[0]].maps.shape[1]
    return {
        "task": task.name,
        "labels": list(task.labels),
        "layer_map": list(comparison.layer_map),
        "heads": count,
        "seed": seed,
        "notes": list(notes),
        "maps": ENCODING,
        "models": [_model(name, overall.get(name)) for name in names],
        "examples": [_example(task, example) for example in comparison.examples],
        "figure": {"layer": layer % len(comparison.layer_map) + 1, "heads": [head + 1 for head in heads]},
    }


def _model(name: str, kl: NDArray[np.floating] | None) -> dict[str, Any]:
    return {"name": name, "meaning": meaning(name)} | ({} if kl is None else _kl(kl))


def _kl(values: NDArray[np.floating]) -> dict[str, Any]:
    return {"kl": np.round(values, 4).tolist(), "total": total(values)}


def total(kl: NDArray[np.floating]) -> float:
    """The paper's total over matching layers of (L, A) values."""
    return round(float(kl.mean(axis=1).sum()), 4)


def _example(task: Task, example: Example) -> dict[str, Any]:
    label = example.label
    return {
        "row": example.row,
        "texts": list(example.texts),
        "label": label if label is None or task.regression else task.labels[int(label)],
        "reason": example.reason,
        "tokens": list(example.tokens),
        "models": {name: _seen(task, seen) for name, seen in example.seen.items()},
    }


def _seen(task: Task, seen: Seen) -> dict[str, Any]:
    """What one model makes of an example: its prediction, its maps (a text per layer), its KL."""
    facts: dict[str, Any]
    if task.regression:
        facts = {"prediction": round(float(seen.logits[0]), 4)}
    else:
        shares = softmax(seen.logits.astype(np.float64))
        facts = {"prediction": task.labels[int(shares.argmax())], "probabilities": np.round(shares, 4).tolist()}
    facts |= {"maps": [pack(layer) for layer in seen.maps]}
    return facts | ({} if seen.kl is None else _kl(seen.kl))


def pack(weights: NDArray[np.floating]) -> str:
    """Weights of any shape, each in 0…1 (rounding beyond it is cut), as text.

    The square root keeps the order of small weights. A weight w is off by at most 0.004·√w, that is, two significant
    digits are right; the KL values beside the maps come from the exact weights.
    """
    levels = np.rint(255 * np.sqrt(np.clip(weights, 0, 1)))
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode("ascii")
