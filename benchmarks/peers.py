"""Training speed beside TextBrewer, torchdistill and a plain Hugging Face loop: one machine, repeats taking turns.

    python -m pip install --target build/peers --no-deps -r benchmarks/requirements.txt
    PYTHONPATH=build/peers python -m benchmarks.peers --glue path/to/glue

The student (3 layers) is distilled from MiniLM (6 layers) on MRPC, `<glue>/mrpc/{train,validation}.parquet`, or on
the embedded task. Weights, rows, token ids, batch size, AdamW, learning rate, clipping and threads are the same for
all. Every contender lives in a process of its own; only one computes at a time. A peer that is not installed is left
out. The bf16 lines are this project with `train.precision: bf16`, and the loop under torch's autocast: both round what
is multiplied. `--float32` leaves them out, as a processor without such instructions is slower by them. Where there is a
GPU, all compute there.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import Sgemm, description, sgemm_rates
from benchmarks.material import MAX_LENGTH, Material, lay_out
from benchmarks.table import best, markdown, megabytes, number, ratio, share, spread
from benchmarks.terms import Outcome, Terms
from benchmarks.worker import interleaved, working

OURS = ("all", "pid", "sid")
SGEMM = "sgemm"


def contenders(material: Material, terms: Terms, float32: bool) -> dict[str, tuple[Any, ...]]:
    """Maker and arguments of each. float32: those alone that round nothing."""
    ours = {f"kdcore {method}": (_ours, material, terms, method) for method in OURS}
    rounded = replace(terms, precision="bf16")
    found = ours | {
        "kdcore all, bf16": (_ours, material, rounded, "all"),
        "kdcore sid, bf16": (_ours, material, rounded, "sid"),
        "Hugging Face loop": (_plain, material, terms),
        "Hugging Face loop, bf16": (_plain, material, rounded),
        "torchdistill 1.1.5": (_torchdistill, material, terms),
        "TextBrewer 0.2.1, dynamic padding": (_textbrewer, material, terms, None),
        f"TextBrewer 0.2.1, padded to {MAX_LENGTH}": (_textbrewer, material, terms, MAX_LENGTH),
        SGEMM: (_sgemm, terms),
    }
    return {name: made for name, made in found.items() if not (float32 and rounded in made)}


# A contender is imported in its own process only, where its package may be absent.


def _ours(*args: Any) -> Any:
    from benchmarks.contenders import ours

    return ours.make(*args)


def _plain(*args: Any) -> Any:
    from benchmarks.contenders import plain

    return plain.make(*args)


def _torchdistill(*args: Any) -> Any:
    from benchmarks.contenders import torchdistill

    return torchdistill.make(*args)


def _textbrewer(*args: Any) -> Any:
    from benchmarks.contenders import textbrewer

    return textbrewer.make(*args)


def _sgemm(terms: Terms) -> Any:
    return lambda: sgemm_rates(terms.threads)


def table(outcomes: Mapping[str, Sequence[Outcome]], resident: Mapping[str, int], sgemm: float) -> str:
    """A line per contender; the ratios say how many times as fast each of ours is."""
    ours = [f"kdcore {method}" for method in OURS if f"kdcore {method}" in outcomes]
    header = ["", "examples/s", *(f"{name} is" for name in ours), "peak memory", "useful GFLOP/s", "of sgemm"]
    return markdown(header, [_line(name, outcomes, ours, resident, sgemm) for name in outcomes])


def _line(
    name: str,
    outcomes: Mapping[str, Sequence[Outcome]],
    ours: Sequence[str],
    resident: Mapping[str, int],
    sgemm: float,
) -> list[str]:
    rates = {other: [outcome.rate for outcome in found] for other, found in outcomes.items()}
    useful = median(outcome.gflop / outcome.seconds for outcome in outcomes[name])
    return [
        name,
        spread(rates[name]),
        *(f"{ratio(rates[own], rates[name]):.2f} ×" for own in ours),
        megabytes(resident[name]),
        number(useful),
        share(useful, sgemm),
    ]


def notes(outcomes: Mapping[str, Sequence[Outcome]], sgemm: Sequence[Sgemm]) -> list[str]:
    """The machine's best, and our rates from signals that are there already, as for each further student."""
    further = {method: [each.further for each in outcomes[f"kdcore {method}"]] for method in OURS}
    rates = ", ".join(f"{method} {spread(found)}" for method, found in further.items())
    return [best(sgemm), f"from signals that are there, examples/s: {rates}"]


def measure(makers: Mapping[str, tuple[Any, ...]], repeats: int) -> None:
    with working(makers) as workers:
        found: dict[str, list[Any]] = interleaved(workers, repeats)
        resident = {name: worker.resident for name, worker in workers.items()}
    rates = found.pop(SGEMM)
    print("", table(found, resident, median(rate.own for rate in rates)), "", *notes(found, rates), sep="\n")


def main() -> None:
    told = _arguments()
    terms = Terms(told.epochs, told.epochs_per_layer, told.classification_epochs, threads=told.threads)
    with TemporaryDirectory() as folder:
        material = lay_out(Path(folder), told.glue, told.rows, (terms.layers,))
        lengths = material.examples().lengths
        print(description(terms.threads))
        print(f"{told.rows} rows of {lengths.mean():.1f} tokens; {terms.whole} epochs ours, {terms.epochs} of a peer")
        measure(contenders(material, terms, told.float32), told.repeats)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", type=Path, help="folder with mrpc/; without it the embedded task")
    parser.add_argument("--rows", type=int, default=320)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=2, help="of a peer, per repeat")
    parser.add_argument("--epochs-per-layer", type=int, default=2, help="of this project, as in params.yaml")
    parser.add_argument("--classification-epochs", type=int, default=4, help="of this project, as in params.yaml")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--float32", action="store_true", help="without the bf16 lines")
    return parser.parse_args()


if __name__ == "__main__":
    main()
