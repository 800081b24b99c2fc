"""Rows and histories in; what a figure shows out, in words and numbers, for those who do not see it."""

from collections.abc import Sequence

import pandas as pd

from kdcore.report.markdown import estimate_text
from kdcore.report.page.facts import Compared
from kdcore.report.summary import Row, by_task

MOST = 12  # numbers that are read aloud one by one; of more, the ends


def scores(rows: Sequence[Row], what: str) -> str:
    """The score of every row, task by task. what: of what the figure is, e.g. `Validation score by method`."""
    return f"{what}. " + " ".join(_task(task, own) for task, own in by_task(rows).items())


def _task(task: str, own: Sequence[Row]) -> str:
    shown = own
    left_out = ""
    if len(own) > MOST:
        ranked = sorted(own, key=lambda row: -row.score.value)
        shown, left_out = [*ranked[:3], ranked[-1]], f" (the three highest and the lowest of {len(own)})"
    said = "; ".join(f"{_name(row)} {estimate_text(row.score, 3)}{_caution(row)}" for row in shown)
    return f"{task}, {own[0].metric}{left_out}: {said}."


def _name(row: Row) -> str:
    return " ".join(str(value) for value in row.keys.values() if value is not None)


def _caution(row: Row) -> str:
    return f" ({row.caution})" if row.caution else ""


def convergence(epochs: pd.DataFrame) -> str:
    """Where every method begins and ends. epochs: of write.histories."""
    said = []
    for (task, method), runs in epochs.groupby(["task", "method"], sort=False):
        means = runs.groupby("epoch")["score"].mean()
        said.append(f"{task}, {method}: {means.iloc[0]:.3f} after epoch {means.index[0]}, ")
        said.append(f"{means.iloc[-1]:.3f} after epoch {means.index[-1]}; ")
    return f"Validation score after each epoch, means over seeds. {''.join(said).removesuffix('; ')}."


def attention(compared: Compared) -> dict[str, str]:
    """Of figure 5 and of its overview, by the name of the picture."""
    first, layer, heads = compared.examples[0], compared.figure.layer, compared.figure.heads
    place = f"layer {layer} of the students, head {' and '.join(map(str, heads))}"
    students = {name: seen.kl for name, seen in first.models.items() if seen.kl is not None}
    far = [
        f"{name} {' and '.join(f'{kl[layer - 1][head - 1]:.3f}' for head in heads)}" for name, kl in students.items()
    ]
    totals = [f"{model.name} {model.total:.3f}" for model in compared.models if model.total is not None]
    models = ", ".join(model.name for model in compared.models)
    maps = f"Attention maps of {models} on validation row {first.row}, {place}."
    kl = "Attention KL of every layer and head, mean over all validation rows. Total over layers:"
    return {"maps": maps + f" KL: {', '.join(far)}." * bool(far), "kl": f"{kl} {', '.join(totals)}."}
