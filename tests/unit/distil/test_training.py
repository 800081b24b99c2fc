"""The loop: where phases end, what a phase trains and at which rate, and what an interrupted run comes back to."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState, GradientState
from torch import Tensor, nn

from kdcore import interrupt, processes
from kdcore.data.batches import Batch
from kdcore.distil import checkpoint, training
from kdcore.distil.checkpoint import Record
from kdcore.distil.folder import write_history
from kdcore.distil.schedule import Phase, identity
from kdcore.distil.training import Trainer, adamw
from kdcore.errors import UserError
from kdcore.runs import Run
from tests import on_disk, tiny
from tests.distilling import encoder, examples, objective, phases_of, train, trainer, weights, whole_batch

ROWS, BATCH = 24, 8
STEPS = ROWS // BATCH  # of an epoch


class Crash(Exception):  # noqa: N818
    """The process dies here: nothing after this point is written."""


def each_step(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call act(n) within the n-th step of this process, before its checkpoint."""

    @contextmanager
    def counted(*_: Any, **__: Any) -> Iterator[Callable[..., None]]:
        steps = 0

        def update(advance: int, note: str = "") -> None:
            nonlocal steps
            steps += 1
            act(steps)

        yield update

    patch.setattr(training, "progress", counted)


def loop(folder: Path, method: str = "sid", stretch: tuple[Phase, ...] | None = None, **knobs: Any) -> Trainer:
    """Two student layers of four, live teacher: three steps an epoch."""
    what = objective(method, None if method == "none" else encoder(seed=1))
    return trainer(encoder(layers=2), examples(rows=ROWS), stretch or phases_of(method), what, folder, **knobs)


def trained(folder: Path, *args: Any, **knobs: Any) -> tuple[dict[str, Tensor], Record]:
    """The weights and the record of such a loop at its end."""
    run = loop(folder, *args, **knobs)
    record = run.train()
    return weights(run.encoder), record


def same(one: tuple[dict[str, Tensor], Record], other: tuple[dict[str, Tensor], Record]) -> bool:
    """Whether two runs ended with the same bits, and say that they did the same."""
    equal = all(torch.equal(value, other[0][name]) for name, value in one[0].items())
    return equal and (one[1].history, one[1].gflop) == (other[1].history, other[1].gflop)


def scripted(cosines: dict[str, list[float]], seen: list[str] | None = None) -> Callable[..., Any]:
    """An objective that says which cosine losses each epoch has, by term; its own loss has a gradient, and is small."""
    counts: dict[str, int] = {}

    def losses(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        if seen is not None:
            seen.append(phase.name)
        step = counts[phase.name] = counts.get(phase.name, -1) + 1
        loss = model(batch.inputs).logits.square().sum(-1) * 1e-3
        terms = {name: torch.full_like(loss, values[step // STEPS]) for name, values in cosines.items()}
        return loss, {key: value.detach() for key, value in terms.items()}

    return losses


def scripted_loop(folder: Path, what: Any, stretch: tuple[Phase, ...], **knobs: Any) -> Trainer:
    return trainer(encoder(layers=2), examples(rows=ROWS), stretch, what, folder, **knobs)


# Phases


@pytest.mark.parametrize("method", ["pid", "sid"])
def test_a_layer_ends_at_its_epoch_limit(tmp_path: Path, method: str):
    history = loop(tmp_path, method, phases_of(method, epochs_per_layer=2, classification_epochs=3)).train().history
    assert [row["phase"] for row in history] == ["layer 1"] * 2 + ["layer 2"] * 2 + ["classification"] * 3
    assert [row["completed"] for row in history] == [None, 1, None, 2, None, None, None]
    assert [row["layer"] for row in history] == [1, 1, 2, 2, None, None, None]
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_what_is_frozen_stays_as_the_phase_before_left_it_and_runs_without_dropout(
    tmp_path: Path, family: str, monkeypatch: pytest.MonkeyPatch
):
    student, modes = [encoder(family, layers=2) for _ in range(2)], list[tuple[set[bool], set[bool]]]()

    def look(_: int) -> None:
        parts = [{module.training for module in part.modules()} for part in student[1].below(1)]
        modes.append((set().union(*parts), {module.training for module in student[1].layers[1].modules()}))

    stretch, what = phases_of("sid", below="freeze")[:2], objective("sid", encoder(family, seed=1))
    for one, count in zip(student, (1, 2), strict=True):
        if count == 2:
            each_step(monkeypatch, look)
        knobs = {"learning_rate": 1e-3, "weight_decay": 0.1}
        trainer(one, examples(family, rows=ROWS), stretch[:count], what, tmp_path / str(count), **knobs).train()
    before, after = ({**weights(one.model)} for one in student)
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    second = {
        name for name, _ in student[1].model.named_parameters() if f".{student[1].family.layers}.1." in f".{name}"
    }
    assert moved
    assert moved <= second
    assert modes == [({True}, {True})] * STEPS + [({False}, {True})] * STEPS


@pytest.mark.parametrize("method", ["pid", "sid"])
def test_a_layer_ends_early_once_its_own_cosine_loss_is_below_the_threshold(tmp_path: Path, method: str):
    stretch = phases_of(method, epochs_per_layer=4, classification_epochs=1, cosine_threshold=0.25)
    # Layer 1 is below the threshold in its second epoch; layer 2 never, although layer 1 stays below.
    cosines = {"cls_cosine_1": [0.5, 0.125, 0.125, 0.125], "cls_cosine_2": [0.75, 0.75, 0.75, 0.75]}
    history = scripted_loop(tmp_path, scripted(cosines), stretch).train().history
    assert [row["phase"] for row in history] == ["layer 1"] * 2 + ["layer 2"] * 4 + ["classification"]
    assert [row["completed"] for row in history] == [None, 1, None, None, None, 2, None]


def test_a_cosine_loss_at_the_threshold_is_not_below_it(tmp_path: Path):
    stretch = phases_of("pid", layers=1, epochs_per_layer=2, cosine_threshold=0.25)
    history = scripted_loop(tmp_path, scripted({"cls_cosine_1": [0.25, 0.25]}), stretch).train().history
    assert [row["phase"] for row in history] == ["layer 1", "layer 1", "classification"]


def test_the_threshold_is_compared_with_the_mean_over_all_examples(tmp_path: Path):
    """Ten rows in batches of eight and two: the mean of examples is 0.2·0 + 0.8·0.5 = 0.4, of batches 0.25."""
    stretch = phases_of("pid", layers=1, epochs_per_layer=2, cosine_threshold=0.3)

    def losses(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        loss = model(batch.inputs).logits.square().sum(-1) * 1e-3
        return loss, {"cls_cosine_1": torch.full_like(loss.detach(), 0.5 if len(loss) == BATCH else 0.0)}

    history = trainer(encoder(layers=1), examples(rows=10), stretch, losses, tmp_path).train().history
    assert [row["phase"] for row in history] == ["layer 1", "layer 1", "classification"]
    assert history[0]["cls_cosine_1"] == pytest.approx(0.4)


def test_the_real_cosine_loss_ends_a_phase(tmp_path: Path):
    """1 - cos is at most 2, so every epoch is below a threshold of 2."""
    stretch = phases_of("sid", epochs_per_layer=3, cosine_threshold=2.0)
    history = loop(tmp_path, "sid", stretch).train().history
    assert [row["phase"] for row in history] == ["layer 1", "layer 2", "classification"]


def test_each_phase_minimises_what_it_names(tmp_path: Path):
    """The terms of an epoch are those of its phase, so the loss is too."""
    found = {}
    for method in ("none", "soft", "all", "pid", "sid"):
        history = loop(tmp_path / method, method).train().history
        common = {"epoch", "phase", "layer", "completed", "score", "gflop"}
        found[method] = [set(row) - common for row in history]
    one, two = {"attention_kl_1", "cls_cosine_1"}, {"attention_kl_2", "cls_cosine_2"}
    outputs = {"soft_labels", "hard_labels"}
    assert found == {
        "none": [{"hard_labels"}] * 3,
        "soft": [outputs] * 3,
        "all": [outputs | one | two] * 3,
        "pid": [one, two, outputs],
        "sid": [one, one | two, outputs],
    }


def test_history_csv_has_a_line_per_epoch_and_leaves_empty_what_a_phase_does_not_have(tmp_path: Path):
    record = loop(tmp_path, "sid", validate=lambda _: 0.5).train()
    write_history(tmp_path / "history.csv", record.history)
    head, *lines = (tmp_path / "history.csv").read_text().splitlines()
    assert head.split(",") == [
        *("epoch", "phase", "layer", "completed", "hard_labels", "soft_labels"),
        *("attention_kl_1", "attention_kl_2", "cls_cosine_1", "cls_cosine_2", "score", "gflop"),
    ]
    cells = [line.split(",") for line in lines]
    assert [row[:4] for row in cells] == [
        ["1", "layer 1", "1", "1"],
        ["2", "layer 2", "2", "2"],
        ["3", "classification", "", ""],
    ]
    assert [[bool(cell) for cell in row[4:10]] for row in cells] == [
        [False, False, True, False, True, False],
        [False, False, True, True, True, True],
        [True, True, False, False, False, False],
    ]
    assert [row[10] for row in cells] == ["0.5"] * 3
    gflop = [float(row[11]) for row in cells]
    assert 0 < gflop[0] < gflop[1] < gflop[2]


# What a phase trains, and how


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_trains_head_changes_the_head_and_nothing_else(tmp_path: Path, family: str):
    """Also after phases that trained the body, whose moments and weight decay would go on by themselves."""
    bodies, heads = [], []
    for stretch in (phases_of("pid")[:2], phases_of("pid", trains="head")):
        model = encoder(family, layers=2)
        what = objective("pid", encoder(family, seed=1))
        found = examples(family, rows=ROWS)
        trainer(model, found, stretch, what, tmp_path / str(len(stretch)), weight_decay=0.1).train()
        head = {id(parameter) for parameter in model.head_parameters()}
        named = {name: (id(p) in head, p.detach().clone()) for name, p in model.named_parameters()}
        bodies.append({name: value for name, (is_head, value) in named.items() if not is_head})
        heads.append({name: value for name, (is_head, value) in named.items() if is_head})
    changed = [name for name, value in bodies[0].items() if not torch.equal(value, bodies[1][name])]
    still = [name for name, value in heads[0].items() if torch.equal(value, heads[1][name])]
    assert bodies[0]
    assert heads[0]
    assert changed == []
    assert still == []


def test_a_layers_phase_leaves_the_layers_above_and_the_head_alone(tmp_path: Path):
    before = weights(encoder(layers=2))
    run = loop(tmp_path, "pid", phases_of("pid")[:1], weight_decay=0.1)
    run.train()
    changed = {name for name, value in weights(run.encoder).items() if not torch.equal(value, before[name])}
    assert any(".layer.0." in name for name in changed)
    assert not [name for name in changed if ".layer.1." in name or "pooler" in name or "classifier" in name]


def test_matrices_decay_and_vectors_do_not():
    model = encoder(layers=1)
    decaying, steady = adamw(model, 1e-3, 0.01).param_groups
    names = {id(p): name for name, p in model.named_parameters()}
    assert (decaying["weight_decay"], steady["weight_decay"]) == (0.01, 0.0)
    assert all("LayerNorm" not in names[id(p)] and names[id(p)].endswith("weight") for p in decaying["params"])
    assert all("LayerNorm" in names[id(p)] or names[id(p)].endswith("bias") for p in steady["params"])
    both = [id(p) for p in (*decaying["params"], *steady["params"])]
    assert sorted(both) == sorted(names)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        # Two phases of one epoch of three steps; a third of the steps warms up: 1 of 3 in each, or 2 of 6 in all.
        ("per_phase", [1, 2 / 2, 1 / 2] * 2),
        ("whole", [1 / 2, 1, 4 / 4, 3 / 4, 2 / 4, 1 / 4]),
    ],
)
def test_warm_up_and_decay_begin_again_in_each_phase_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: str, expected: list[float]
):
    rates = []
    each_step(monkeypatch, lambda _: rates.append(run.optimizer.param_groups[0]["lr"]))
    run = loop(tmp_path, "pid", phases_of("pid")[:2], learning_rate=1.0, schedule=schedule, warmup=1 / 3)
    run.train()
    assert rates == pytest.approx(expected)


def test_both_groups_follow_the_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rates = []
    each_step(monkeypatch, lambda _: rates.append({group["lr"] for group in run.optimizer.param_groups}))
    run = loop(tmp_path, "none", (Phase("classification", 1),), learning_rate=1.0)
    run.train()
    assert [len(found) for found in rates] == [1, 1, 1]


def test_a_phase_that_ends_early_leaves_its_rates_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rates = []
    each_step(monkeypatch, lambda _: rates.append(run.optimizer.param_groups[0]["lr"]))
    stretch = phases_of("pid", layers=1, epochs_per_layer=2, cosine_threshold=0.25)
    run = scripted_loop(tmp_path, scripted({"cls_cosine_1": [0.0, 0.0]}), stretch, learning_rate=1.0)
    run.train()
    # One epoch of a phase of two, then the classification phase of one.
    assert rates == pytest.approx([1, 5 / 6, 4 / 6, 1, 2 / 3, 1 / 3])


def test_one_seed_gives_the_same_bits_and_another_gives_others(tmp_path: Path):
    first, again, other = (trained(tmp_path / str(n), seed=seed) for n, seed in enumerate((0, 0, 1)))
    assert same(first, again)
    assert not same(first, other)


@pytest.fixture
def new_state() -> Iterator[None]:
    """accelerate as a new process has it: it keeps what it read when it was first used."""
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    yield
    for state in (AcceleratorState, GradientState):
        state._reset_state()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4"),
        ("ACCELERATE_MIXED_PRECISION", "bf16"),
        ("ACCELERATE_DYNAMO_BACKEND", "EAGER"),
        ("ACCELERATE_SPLIT_BATCHES", "true"),
        ("ACCELERATE_DISPATCH_BATCHES", "true"),
    ],
)
def test_what_the_environment_tells_accelerate_changes_no_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new_state: None, name: str, value: str
):
    """`accelerate launch` sets such variables from the user's configuration; the run's name knows nothing of them."""
    expected = trained(tmp_path / "one", "sid")
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    monkeypatch.setenv(name, value)
    assert same(trained(tmp_path / "other", "sid"), expected)


@pytest.mark.parametrize("name", processes.REFUSED)
def test_what_would_train_in_another_way_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setenv(name, "true")
    with pytest.raises(UserError, match=f"environment: {name}: .*; take it out"):
        loop(tmp_path)


# A loss that is not finite


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run_by_name_and_keeps_the_checkpoint(tmp_path: Path, value: float):
    steps = iter(range(100))

    def losses(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        loss = model(batch.inputs).logits.square().sum(-1)
        last = torch.full_like(loss.detach(), value if next(steps) == 4 else 0.5)
        return loss, {"soft_labels": loss.detach(), "attention_kl_2": last}

    run = scripted_loop(tmp_path / "run", losses, phases_of("sid")[1:], checkpoint_seconds=0)
    with pytest.raises(UserError) as caught:
        run.train()
    message = str(caught.value)
    assert message.startswith("run: ")
    assert f"attention_kl_2 is {value} in phase 'classification', step 4" in message
    assert "learning rate (now 0.1)" in message
    found = Run(tmp_path / "run").restore()
    assert found is not None
    tensors, state = checkpoint.read(found)
    assert state["position"]["step"] == 4
    assert all(tensor.isfinite().all() for name, tensor in tensors.items() if name != "random")


def test_gradients_that_are_not_finite_stop_the_run_before_they_reach_the_weights(tmp_path: Path):
    """The loss of the step is finite, so the weights would become NaN unnoticed: in the last step, for good."""

    def losses(model: nn.Module, batch: Batch, phase: Phase) -> tuple[Tensor, dict[str, Tensor]]:
        logits = model(batch.inputs).logits
        loss = (logits - logits.detach()).abs().sum(-1).sqrt()  # 0, with an infinite slope
        return loss, {"soft_labels": loss.detach()}

    run = scripted_loop(tmp_path / "run", losses, (Phase("classification", 1),), clip=1.0)
    with pytest.raises(
        UserError, match=r"gradient norm is nan in phase 'classification', step 0: training has diverged"
    ):
        run.train()
    assert all(value.isfinite().all() for value in weights(run.encoder).values())


# The epoch that is kept


def scored(scores: list[float], outputs: list[Tensor]) -> Callable[[nn.Module], float]:
    """A validation that gives these scores in turn, and writes down what the model answers."""
    given, batch = iter(scores), whole_batch(examples(rows=6, seed=9))

    def validate(model: nn.Module) -> float:
        with torch.no_grad():
            outputs.append(model(batch.inputs).logits)
        return next(given)

    return validate


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        pytest.param([0.9, 0.9, 0.2, 0.7, 0.5], 4, id="layers do not count"),
        pytest.param([0.0, 0.0, 0.7, 0.7, 0.7], 3, id="the first of equals"),
        pytest.param([0.0, 0.0, 0.2, 0.3, 0.4], 5, id="the last"),
    ],
)
def test_the_best_epoch_of_those_that_train_the_classifier_is_kept(tmp_path: Path, scores: list[float], kept: int):
    """Layers 1 and 2, then three epochs of classification; words that do not occur in training are asked for too."""
    stretch, outputs = phases_of("sid", classification_epochs=3), list[Tensor]()
    run = loop(tmp_path, "sid", stretch, validate=scored(scores, outputs), keep="best", weight_decay=0.5)
    record = run.train()
    validate = scored([0.0], outputs)
    validate(run.encoder.eval())
    assert [torch.equal(outputs[5], answers) for answers in outputs[:5]] == [epoch == kept for epoch in range(1, 6)]
    assert record.selected == kept
    assert [row["score"] for row in record.history] == scores


def test_the_best_epoch_survives_a_crash_after_it(tmp_path: Path):
    stretch, outputs = phases_of("sid", classification_epochs=3), list[Tensor]()
    knobs: dict[str, Any] = {"keep": "best", "checkpoint_seconds": 0}
    with pytest.raises(StopIteration):  # no score for the fifth epoch
        loop(tmp_path, "sid", stretch, validate=scored([0, 0, 0.5, 0.1], outputs), **knobs).train()
    run = loop(tmp_path, "sid", stretch, validate=scored([0.3], outputs), **knobs)
    assert run.train().selected == 3
    scored([0.0], outputs)(run.encoder.eval())
    assert torch.equal(outputs[-1], outputs[2])


def test_the_last_epoch_is_kept_unless_told_otherwise_and_has_the_identity_that_it_had():
    stretch = phases_of("sid")
    last, best = (identity(train(keep=keep), 0, stretch) for keep in ("last", "best"))
    assert best == last | {"keep": "best"}
    assert identity(train(), 0, stretch) == last


# Interruption and resumption


class Killer:
    """Ends the loop within a step of this process: as SIGKILL would, or by a real SIGTERM to itself."""

    def __init__(self, patch: pytest.MonkeyPatch, forget: Callable[[], None]) -> None:
        self.forget, self.at, self.how = forget, 0, "crash"
        each_step(patch, self._act)

    def arm(self, at: int, how: str) -> None:
        self.at, self.how = at, how

    def _act(self, step: int) -> None:
        if step == self.at and self.how == "crash":
            raise Crash
        if step == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def kill(self, make: Callable[[], Path], at: int, how: str) -> None:
        """Run `make` until its at-th step, and no further."""
        self.arm(at, how)
        with pytest.raises(Crash if how == "crash" else interrupt.Interrupted):
            make()
        self.forget()
        self.arm(0, how)


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch, no_request: Callable[[], None]) -> Killer:
    return Killer(monkeypatch, no_request)


METHODS = ("none", "soft", "all", "pid", "sid")
KNOBS: dict[str, dict[str, Any]] = {
    "all": {"keep": "best"},
    "pid": {"trains": "head"},
    "sid": {"cosine_threshold": 2.0, "epochs_per_layer": 2, "classification": "always"},
}


def make(kind: str, found: on_disk.Ingredients, store: Path) -> Path:
    """Train a teacher or a method's student to its end, with a checkpoint after every step; returns its folder.

    Nine steps in three epochs, each of which is a phase with pid and sid.
    """
    if kind == "teacher":
        knobs = {"rows": ROWS, "epochs": 3, "accumulate": 2}
        return on_disk.fine_tuned(store, found.data, found.model, **knobs, checkpoint_seconds=0)
    return on_disk.distilled(found, kind, **KNOBS.get(kind, {}), checkpoint_seconds=0)


def result(folder: Path) -> dict[str, bytes]:
    """What must be the same bits: weights, history, and what the run did (not how long it took)."""
    facts = [line for line in (folder / "run.json").read_text().splitlines() if '"seconds"' not in line]
    files = {name: (folder / name).read_bytes() for name in ("model.safetensors", "history.csv")}
    return {**files, "run.json": "\n".join(facts).encode()}


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_ingredients: on_disk.Ingredients
) -> Callable[[str], dict[str, bytes]]:
    """undisturbed(kind): the result of a run that nothing stops."""

    @cache
    def found(kind: str) -> dict[str, bytes]:
        store = tmp_path_factory.mktemp("undisturbed")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("KDCORE_WORK", str(store))
            return result(make(kind, tiny_ingredients, store))

    return found


@pytest.mark.parametrize("kind", ["teacher", *METHODS])
def test_a_run_that_is_stopped_in_every_one_of_its_steps_ends_with_the_same_bits(
    tiny_ingredients: on_disk.Ingredients,
    store: Path,
    killer: Killer,
    undisturbed: Callable[[str], dict[str, bytes]],
    kind: str,
):
    """In turns a crash, which loses its step, and a SIGTERM, which does not."""
    done = 0
    for step, how in zip(range(1, 3 * STEPS + 1), cycle(["crash", "SIGTERM"]), strict=False):
        killer.kill(lambda: make(kind, tiny_ingredients, store), step - done, how)
        done = step if how == "SIGTERM" else step - 1
    assert result(make(kind, tiny_ingredients, store)) == undisturbed(kind)


@pytest.mark.parametrize("how", ["crash", "SIGTERM"])
@pytest.mark.parametrize(
    "step",
    [
        pytest.param(1, id="the first step"),
        pytest.param(2, id="within an epoch"),
        pytest.param(STEPS, id="the last step of a phase"),
        pytest.param(STEPS + 1, id="the first step of a phase"),
        pytest.param(3 * STEPS, id="the last step"),
    ],
)
def test_a_run_that_is_stopped_once_ends_with_the_same_bits(
    tiny_ingredients: on_disk.Ingredients,
    store: Path,
    killer: Killer,
    undisturbed: Callable[[str], dict[str, bytes]],
    step: int,
    how: str,
):
    killer.kill(lambda: make("sid", tiny_ingredients, store), step, how)
    assert result(make("sid", tiny_ingredients, store)) == undisturbed("sid")


@pytest.mark.parametrize("epoch", [1, 2, 3, 4])
def test_a_run_that_dies_while_it_validates_ends_with_the_same_bits(tmp_path: Path, epoch: int):
    """Epochs of two within a layer's phase, so that some are the last of one and some are not."""
    stretch = phases_of("sid", layers=1, epochs_per_layer=2, classification_epochs=2)
    calls = iter(range(1, 100))

    def dies(_: nn.Module) -> float:
        if next(calls) == epoch:
            raise Crash
        return 0.0

    expected = trained(tmp_path / "undisturbed", "sid", stretch)
    with pytest.raises(Crash):
        loop(tmp_path / "run", "sid", stretch, validate=dies, checkpoint_seconds=0).train()
    assert same(trained(tmp_path / "run", "sid", stretch), expected)


def test_a_run_whose_newest_checkpoint_is_damaged_says_so_and_ends_with_the_same_bits(
    tiny_ingredients: on_disk.Ingredients,
    store: Path,
    killer: Killer,
    undisturbed: Callable[[str], dict[str, bytes]],
    capsys: pytest.CaptureFixture[str],
):
    killer.kill(lambda: make("sid", tiny_ingredients, store), 5, "SIGTERM")
    *_, newest = sorted(store.glob("student-*/checkpoints/*"))
    file = newest / "tensors.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert result(make("sid", tiny_ingredients, store)) == undisturbed("sid")
    said = capsys.readouterr()
    assert "checkpoint is damaged, falling back to the one before it" in said.err
    assert "tensors.safetensors: its content is not what was written" in said.err
    assert "goes on at epoch 2, step 4" in said.out


def test_a_request_during_the_last_validation_is_honoured(tmp_path: Path, no_request: Callable[[], None]):
    """No step comes after it, and the command must not go on as if nobody had asked."""

    def asks(_: nn.Module) -> float:
        os.kill(os.getpid(), signal.SIGTERM)
        return 0.25

    stretch = (Phase("classification", 1),)
    with pytest.raises(interrupt.Interrupted):
        loop(tmp_path, "none", stretch, validate=asks).train()
    no_request()
    record = loop(tmp_path, "none", stretch, validate=lambda _: pytest.fail("the epoch was scored already")).train()
    assert [row["score"] for row in record.history] == [0.25]


def test_a_checkpoint_comes_only_when_its_time_has_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    saved = []
    monkeypatch.setattr(Run, "save", lambda self, step, *_: saved.append(step))
    for seconds, expected in ((1e6, []), (0, list(range(1, 10)))):
        saved.clear()
        loop(tmp_path, "none", (Phase("classification", 3),), checkpoint_seconds=seconds).train()
        assert sorted(set(saved)) == expected


def test_gpus_that_train_together_look_at_some_steps_and_at_a_phases_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Of two phases of two epochs of three steps."""
    saved = []
    monkeypatch.setattr(Run, "save", lambda self, step, *_: saved.append(step))
    stretch = (Phase("one", 2), Phase("other", 2))
    run = loop(tmp_path, "none", stretch, checkpoint_seconds=0)
    assert run.checkpoints.many == 1, "a CPU looks after every step"
    run.checkpoints.many = 5
    run.train()
    assert saved == [5, 6, 10, 12]


def test_checkpoints_that_take_long_come_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Every step takes 1 s and a checkpoint 0.1 s: 3 % of the time is one for every four steps."""
    now, saved = [0.0], []

    def save(*_: Any) -> None:
        now[0] += 0.1
        saved.append(now[0])

    def rate(*_: Any) -> float:
        now[0] += 1.0
        return 0.1

    monkeypatch.setattr(checkpoint.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Run, "save", save)
    run = loop(tmp_path, "none", (Phase("classification", 4),), checkpoint_seconds=0.5)
    monkeypatch.setattr(run, "_rate", rate)
    run.train()
    assert len(saved) == 1 + 11 // 4  # the first at once: nothing is known of its cost


def test_how_often_a_checkpoint_is_written_changes_no_bit(tmp_path: Path):
    assert same(*(trained(tmp_path / str(n), checkpoint_seconds=seconds) for n, seconds in enumerate((0, 1e6))))


def test_the_teacher_learns(tiny_ingredients: on_disk.Ingredients, store: Path):
    """The loop is good for something: a few epochs bring the training loss down by half."""
    folder = on_disk.fine_tuned(store, tiny_ingredients.data, tiny_ingredients.model, rows=None, epochs=8)
    lines = (folder / "history.csv").read_text().splitlines()
    first, last = (float(line.split(",")[lines[0].split(",").index("hard_labels")]) for line in (lines[1], lines[-1]))
    assert last < first / 2
