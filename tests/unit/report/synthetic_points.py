"""Synthetic results in the layout that evaluation and training write, for the tests of the report."""

import json
from pathlib import Path
from typing import Any

SCORES = {"none": 0.760, "soft": 0.795, "all": 0.801, "pid": 0.810, "sid": 0.816}
KL = {"none": 0.9, "soft": 0.74, "all": 0.05, "pid": 0.06, "sid": 0.028}
SEED_OFFSETS = (0.000, 0.011, -0.006)  # shared by the methods: what pairing takes away


def point(task: str, method: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A student's point; `score` and `layers` in changes shape the rest."""
    family, layers = method.partition("-")[0], changes.get("layers", 3)
    own = 0.002 * ((seed * 7 + len(method)) % 3)
    score = round(changes.pop("score", SCORES[family] + SEED_OFFSETS[seed % 3] + own), 6)
    metric = changes.get("metric", "accuracy")
    return {
        "task": task,
        "method": method,
        "layers": layers,
        "rows": 400,
        "seed": seed,
        "init": "teacher",
        "layer_map": "uniform",
        "trains": "model",
        "metric": metric,
        "score": score,
        "scores": {"validation": {metric: score}},
        "degenerate": False,
        "fidelity": {
            "agreement": round(score + 0.06, 4),
            "soft_label_kl": round(0.2 - score / 5, 4),
            "attention_kl": [[KL[family] / layers * (1 + head / 10) for head in range(2)] for _ in range(layers)],
            "cls_cosine": [KL[family] / 10] * layers,
        },
        "parameters": {
            "encoder_and_pooler": 147_840 + 1_774_464 * layers,
            "total": 12_000_000 + 1_774_464 * layers,
        },
        "bytes": 4 * (12_000_000 + 1_774_464 * layers),
        "gflop": 4200.0,
        "epochs": 10,
    } | changes


def teacher(task: str, **changes: Any) -> dict[str, Any]:
    """The teacher's point: six layers, no fidelity."""
    made = point(task, "sid", 0, **{"layers": 6, "score": 0.868, "rows": 4000} | changes)
    made |= {"method": "teacher", "seed": None}
    return {name: made[name] for name in made.keys() - {"fidelity", "init", "layer_map", "trains"}}


def latency(task: str, *measured: int) -> dict[str, Any]:
    """What `kdcore latency` measured of the teacher and of these depths: 2.5 ms a layer for a row, by torch."""
    one = {"runtime": "torch", "threads": 1, "batch": 1, "p95_ms": 20.0, "rows_per_second": 61.5}
    return {
        "task": task,
        "machine": {"processor": "A <b>Processor</b>", "threads": 1},
        "parameters": {"6": teacher(task)["parameters"]["encoder_and_pooler"]},
        "rows": 9,
        "tokens": 7.5,
        "requests": {"1": 200},
        "measured": [one | {"layers": layers, "p50_ms": 2.5 * layers} for layers in (*measured, 6)],
    }


def write(path: Path, value: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def headline(folder: Path, tasks: list[str], methods: list[str], seeds: list[int], **changes: Any) -> None:
    """Every point of a headline run below `folder`."""
    for task in tasks:
        write(folder / task / "teacher-s0.json", teacher(task))
        for method in methods:
            for seed in seeds:
                write(folder / task / f"{method}-s{seed}.json", point(task, method, seed, **changes))


def history(path: Path, method: str, seed: int, layers: int = 3) -> Path:
    """Two epochs per layer and four of classification, or ten epochs of one phase."""
    lines = ["epoch,phase,layer,completed,soft_labels,hard_labels,attention_kl_1,score,learning_rate,seconds,gflop"]
    progressive = method.partition("-")[0] in ("pid", "sid")
    for epoch in range(1, 2 * layers + 5):
        layer = (epoch + 1) // 2 if progressive and epoch <= 2 * layers else ""
        done = layer if layer and epoch % 2 == 0 else ""
        phase = f"layer {layer}" if layer else "classification"
        reached = SCORES[method.partition("-")[0]] + SEED_OFFSETS[seed % 3]
        score = reached - (0.28 * 0.72 ** (epoch - 1) if not layer else 0.24 - 0.012 * epoch)
        lines.append(f"{epoch},{phase},{layer},{done},,,,{score:.4f},1e-4,3.1,420.0")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
