"""Attention maps of one example in; the paper's figure 5, its overview, and the frame of its DVC plot out.

Shapes: A heads, n tokens, L student layers. Models stand beside each other in the order of their mapping: the
teacher, the standard-KD student, the internal-KD student.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from numpy.typing import NDArray

from kdcore.report.canvas import INK, QUIET, heading, style
from kdcore.report.methods import meaning

LABELLED = 40  # tokens that still have readable labels


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
    check(tokens, weights, kl)
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


def check(
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


def frame(
    tokens: Sequence[str],
    weights: Mapping[str, NDArray[np.floating]],
    kl: Mapping[str, NDArray[np.floating]],
    heads: Sequence[int],
) -> pd.DataFrame:
    """One row per model, chosen head (1-based here), query and key token, for the DVC template `attention`.

    Tokens carry their position (`3:the`), as a sentence may hold one twice; the template hides it.
    """
    check(tokens, weights, kl)
    named = [f"{place}:{token}" for place, token in enumerate(tokens, start=1)]
    parts = []
    for model, weight in weights.items():
        for head in heads:
            long = pd.DataFrame(weight[head], index=named, columns=named).rename_axis("query")
            long = long.reset_index().melt("query", var_name="key", value_name="weight")
            value = float(kl[model][head]) if model in kl else None
            parts.append(long.assign(model=model, head=head + 1, kl=value))
    return pd.concat(parts, ignore_index=True)[["model", "head", "query", "key", "weight", "kl"]]
