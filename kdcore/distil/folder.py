"""The folder that a finished model leaves: an ordinary Hugging Face one, with run.json and history.csv beside."""

import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pandas as pd
import torch
import transformers

from kdcore import processes
from kdcore.artefacts import MANIFEST, seal, write_json
from kdcore.distil.card import Scores, write_card
from kdcore.distil.checkpoint import Record
from kdcore.model.encoder import Encoder
from kdcore.model.linear import by_onednn
from kdcore.model.names import save_tokenizer


def write_model(folder: Path, encoder: Encoder, tokenizer: Any, facts: dict[str, Any], record: Record) -> None:
    """An ordinary Hugging Face folder; beside it the run's facts, its history and, of a student, its model card."""
    encoder.save(folder)
    tokenizer("", truncation=True, max_length=facts["max_length"])  # saved, it cuts texts as in training
    if "mapped" in facts:  # a student: servers cut by this, and of longer texts nothing was learned or measured
        tokenizer.model_max_length = facts["max_length"]
    save_tokenizer(tokenizer, folder)
    facts = {
        **facts,
        "epochs": len(record.history),
        "last_losses": last_losses(record.history),
        "selected": record.selected,
        "gflop": round(record.gflop, 3),
        "seconds": round(record.seconds, 1),
    }
    write_json(folder / "run.json", {**facts, "versions": versions()})
    write_history(folder / "history.csv", record.history)
    write_card(folder)


def copy_model(source: Path, target: Path, scores: Scores | None = None) -> None:
    """Copy a finished model into the folder `target`, with the scores on its card: files of its own, and writable.

    The source's may be read-only, and be DVC's or the store's by another name.
    """
    for file in sorted(source.iterdir()):
        if file.is_file() and file.name != MANIFEST:
            shutil.copyfile(file, target / file.name)
    write_card(target, scores)
    seal(target)


def last_losses(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """The classification loss of each epoch of the last phase: that of the soft labels, where it learns from them."""
    rows = [row for row in history if row["phase"] == history[-1]["phase"]]
    return [round(row.get("soft_labels", row.get("hard_labels")), 6) for row in rows]


def write_history(path: Path, history: list[dict[str, Any]]) -> None:
    """One line per epoch; a term that a phase does not have stays empty."""
    head, tail = ["epoch", "phase", "layer", "completed"], ["score", "gflop"]
    terms = sorted({key for row in history for key in row} - {*head, *tail}, key=_term_order)
    frame = pd.DataFrame(history, columns=[*head, *terms, *tail])
    frame.astype({"layer": "Int64", "completed": "Int64"}).to_csv(path, index=False, lineterminator="\n")


def _term_order(name: str) -> tuple[bool, str, int]:
    kind, _, layer = name.rpartition("_")
    return (layer.isdigit(), kind, int(layer)) if layer.isdigit() else (False, name, 0)


def versions() -> dict[str, Any]:
    """What else may change a result's last bits: the libraries, the threads, the processor, whose products they are."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "threads": torch.get_num_threads(),
        "products": "oneDNN" if by_onednn() else "torch",
        "machine": platform.machine(),
        "processor": _processor(),
        "commit": _commit(),
        "processes": processes.launched(),
    }


def _processor() -> str:
    """The processor's name, as Linux has it; elsewhere what Python knows."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of the project that the run belongs to; None outside git. Its files may have changed since."""
    try:
        asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, timeout=10)  # noqa: S607
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout.strip()
