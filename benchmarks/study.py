"""A depth study, students of 1 to 5 layers by `sid`, beside training each of them with the plain Hugging Face loop.

    python -m benchmarks.study --glue path/to/glue

Ours is the whole study: the teacher is fine-tuned, its signals are written once, every student trains from them. The
plain loop runs its teacher beside the student in every epoch; all its epochs cost the same, so few are timed and
multiplied up to as many as the student of ours sees. Both costs are linear in the rows.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.contenders import ours, plain
from benchmarks.jobs import timed
from benchmarks.machine import description
from benchmarks.material import Material, lay_out
from benchmarks.table import markdown, ratio, spread
from benchmarks.terms import Terms
from benchmarks.worker import Worker
from kdcore.distil.objective import Objective
from kdcore.distil.schedule import Phase
from kdcore.distil.signals import Stored
from kdcore.distil.training import Trainer
from kdcore.model.encoder import Encoder
from kdcore.runs import Run

DEPTHS = (1, 2, 3, 4, 5)
TEACHER_EPOCHS = 3  # as in params.yaml
METHOD = "sid"
TEACHER, SIGNALS = "teacher", "signals"


class Study:
    """Our study, step by step."""

    def __init__(self, material: Material, terms: Terms) -> None:
        ours.set_up(terms)
        self.material, self.terms, self.examples = material, terms, material.examples()

    def __call__(self, step: str | int) -> float:
        """Seconds of one step: the teacher, its signals, or a student of some depth, in this order."""
        steps = {TEACHER: self.teacher, SIGNALS: self.signals}
        return timed(lambda: self.student(step) if isinstance(step, int) else steps[step]())

    def teacher(self) -> None:
        """What it learns is dropped: no cost depends on it."""
        encoder, phases = Encoder.load(self.material.teacher), (Phase("classification", TEACHER_EPOCHS),)
        settings = ours.settings(self.terms)
        with TemporaryDirectory(dir=self.material.folder) as run:
            Trainer(encoder, self.examples, phases, Objective(), settings, 0, Run(Path(run)), lambda _: 0.0).train()

    def signals(self) -> None:
        self.folder = TemporaryDirectory(dir=self.material.folder)  # the one before it goes
        teacher, place = Encoder.load(self.material.teacher), Path(self.folder.name)
        ours.write_signals(teacher, self.examples, place, self.material.teacher)

    def student(self, layers: int) -> None:
        folder, own = Path(self.folder.name), replace(self.terms, layers=layers)
        stored = Stored(folder / "signals", self.material.teacher)
        ours.train(Encoder.load(self.material.student(layers)), self.examples, stored, folder, own, METHOD)


def loop(material: Material, terms: Terms) -> Callable[[int], float]:
    """Seconds of one student by the plain loop, with as many epochs as ours has, of which it runs `terms.epochs`."""

    def run(layers: int) -> float:
        own = replace(terms, layers=layers)
        return plain.make(material, own)().seconds * own.whole / own.epochs

    return run


Seconds = Mapping[str | int, Sequence[float]]


def measure(material: Material, terms: Terms, repeats: int) -> tuple[Seconds, Seconds]:
    """Seconds of each step of ours, and of each of the loop's students, in turns."""
    project_worker, loop_worker = Worker(Study, material, terms), Worker(loop, material, terms)
    own: dict[str | int, list[float]] = {step: [] for step in (TEACHER, SIGNALS, *DEPTHS)}
    others: dict[str | int, list[float]] = {layers: [] for layers in DEPTHS}
    for repeat in range(repeats):
        for step, seconds in own.items():
            seconds.append(project_worker.run(step))
            if step in others:
                others[step].append(loop_worker.run(step))
        print(f"repeat {repeat + 1} of {repeats}", flush=True)
    project_worker.close()
    loop_worker.close()
    return own, others


def table(own: Seconds, others: Seconds) -> str:
    """A line per step, then sums; the loop needs a teacher too, and the last line gives it ours."""
    students, theirs = _sum([own[layers] for layers in others]), _sum(list(others.values()))
    study, with_teacher = _sum(list(own.values())), _sum([own[TEACHER], theirs])
    lines = [_line(_name(step), seconds, others.get(step)) for step, seconds in own.items()]
    lines += [
        _line("students", students, theirs),
        _line("the study, beside the loop's students alone", study, theirs),
        _line("the study, beside the loop's students and a teacher", study, with_teacher),
    ]
    return markdown(["", "kdcore, s", "plain loop, s", "kdcore is"], lines)


def _line(name: str, own: Sequence[float], others: Sequence[float] | None) -> list[str]:
    if others is None:
        return [name, spread(own), "", ""]
    return [name, spread(own), spread(others), f"{ratio(others, own):.2f} ×"]


def _name(step: str | int) -> str:
    return step if isinstance(step, str) else f"{METHOD}, {step} layer{'s' * (step > 1)}"


def _sum(parts: Sequence[Sequence[float]]) -> list[float]:
    """Per repeat."""
    return [sum(repeat) for repeat in zip(*parts, strict=True)]


def main() -> None:
    told = _arguments()
    terms = Terms(told.epochs, told.epochs_per_layer, told.classification_epochs, threads=told.threads)
    with TemporaryDirectory() as folder:
        material = lay_out(Path(folder), told.glue, told.rows, DEPTHS)
        print(description(terms.threads))
        print(f"{told.rows} rows, {_epochs(terms)} epochs; of the loop {terms.epochs} are timed for each student")
        print("", table(*measure(material, terms, told.repeats)), sep="\n")


def _epochs(terms: Terms) -> str:
    return ", ".join(str(replace(terms, layers=layers).whole) for layers in DEPTHS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--glue", type=Path, help="folder with mrpc/; without it the embedded task")
    parser.add_argument("--rows", type=int, default=192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=1, help="of the plain loop, per student")
    parser.add_argument("--epochs-per-layer", type=int, default=2, help="of ours, as in params.yaml")
    parser.add_argument("--classification-epochs", type=int, default=4, help="of ours, as in params.yaml")
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
