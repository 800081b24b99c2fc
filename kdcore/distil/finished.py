"""What a finished run leaves: an ordinary Hugging Face folder, with run.json and history.csv beside."""

import json
import platform
from pathlib import Path
from typing import Any

import numpy
import pandas as pd
import torch
import transformers

from kdcore import processes
from kdcore.artefacts import digest, open_sealed, write_json
from kdcore.distil.state import Record
from kdcore.model.encoder import Encoder

NOTES = ("run.json", "history.csv")  # about the run, not part of the model


def write_model(folder: Path, encoder: Encoder, tokenizer: Any, facts: dict[str, Any], record: Record) -> None:
    """An ordinary Hugging Face folder, with the run's facts (run.json) and its history (history.csv) beside."""
    encoder.save(folder)
    tokenizer.save_pretrained(folder)
    facts = {
        **facts,
        "epochs": len(record.history),
        "gflop": round(record.gflop, 3),
        "seconds": round(record.seconds, 1),
    }
    write_json(folder / "run.json", {**facts, "versions": versions()})
    write_history(folder / "history.csv", record.history)


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
    """What else may change a result's last bits: the libraries, the threads, the processor."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "threads": torch.get_num_threads(),
        "machine": platform.machine(),
        "processes": processes.launched(),
    }


def read_run(folder: Path, rerun: str) -> tuple[dict[str, Any], str]:
    """run.json of a finished run, and the fingerprint of its model: equal weights and length, equal fingerprint.

    Raises UserError where a file is missing or is not what was written.
    """
    manifest = open_sealed(folder, rerun)
    facts = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    files = {name: file["sha256"] for name, file in manifest["files"].items() if name not in NOTES}
    return facts, digest({"files": files, "max_length": facts.get("max_length")})
