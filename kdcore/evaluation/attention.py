"""Attention maps of teacher and students on a few chosen validation examples, layer by matching layer.

Shapes: L student layers, A heads, n tokens of the example, K classes (1 for a regression).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import log_softmax, rel_entr, softmax

from kdcore.data.batches import collate
from kdcore.data.examples import Examples
from kdcore.data.metrics import predictions
from kdcore.data.prepared import Data
from kdcore.data.tasks import Task
from kdcore.data.tokens import tokenised
from kdcore.distil.finished import Finished
from kdcore.distil.losses import attention_kl_by_head
from kdcore.distil.signals import Stored
from kdcore.distil.written import Targets
from kdcore.evaluation.predictions import read_logits
from kdcore.model.encoder import Encoder

TEACHER = "teacher"
LONGEST = 28  # tokens of an example that can still be drawn and read
WORD_STARTS = ("Ġ", "▁")  # byte-level BPE and SentencePiece mark where a word starts

# Why an example was chosen.
DIFFER = "the students disagree"
FAR = "the students are far from the teacher"
USUAL = "of about median length"


@dataclass(frozen=True)
class Seen:
    """One model on one example. logits: (K,); maps: (L, A, n, n); kl: (L, A) to the teacher, None for itself."""

    logits: np.ndarray
    maps: np.ndarray
    kl: np.ndarray | None


@dataclass(frozen=True)
class Example:
    """A chosen example: its row in the source, its texts, what is known of it, and what each model makes of it."""

    row: int
    texts: tuple[str, ...]
    label: float | None
    reason: str
    tokens: tuple[str, ...]
    seen: Mapping[str, Seen]

    def without_texts(self) -> "Example":
        """Its tokens by number, but for those that every example has (the first and last, and others like them)."""
        ends = (self.tokens[0], self.tokens[-1])
        numbered = (token if token in ends else str(at) for at, token in enumerate(self.tokens, start=1))
        return replace(self, texts=(), tokens=tuple(numbered))


@dataclass(frozen=True)
class Comparison:
    """Teacher first, then the students; layer_map: the teacher layer (1-based) of each student layer."""

    task: Task
    layer_map: tuple[int, ...]
    examples: tuple[Example, ...]

    def without_texts(self) -> "Comparison":
        return replace(self, examples=tuple(example.without_texts() for example in self.examples))


@dataclass(frozen=True)
class Choice:
    """A chosen example: its position in the split, and why it was chosen."""

    position: int
    reason: str


def compare(
    data: Data,
    teacher: Finished,
    targets: Targets,
    students: Mapping[str, Finished],
    logits: Mapping[str, Path],
    count: int,
) -> Comparison:
    """Run the students on `count` chosen validation examples; the teacher's maps come from its signals.

    students: by method, as `matching` leaves them; logits: the teacher and each method -> its table of predictions, by
    which the examples are chosen. Raises UserError where a table is missing or does not fit.
    """
    maps = [tuple(student.facts["mapped"]) for student in students.values()]
    layer_map = next(iter(maps), tuple(targets.manifests["validation"]["layers"]))
    targets.check("validation", layer_map)
    frame = data.frame("validation")
    examples = tokenised(data, "validation", teacher.tokenizer, teacher.max_length)
    predicted = {name: read_logits(path, frame) for name, path in logits.items()}
    chosen = choose(examples.lengths, predicted[TEACHER], [predicted[name] for name in students], count)
    models = {name: student.encoder().eval() for name, student in students.items()}
    shown = []
    for choice in chosen:
        row = frame.iloc[choice.position]
        texts = tuple(text for text in (row["text_a"], row["text_b"]) if pd.notna(text))
        tokens = readable(teacher.tokenizer, texts, teacher.max_length)
        seen = _seen(examples, choice.position, targets.validation, models, layer_map)
        label = None if pd.isna(row["label"]) else float(row["label"])
        shown.append(Example(int(row["row"]), texts, label, choice.reason, tokens, seen))
    return Comparison(data.task, layer_map, tuple(shown))


@torch.inference_mode()
def _seen(
    examples: Examples, position: int, signals: Stored, models: Mapping[str, Encoder], layer_map: tuple[int, ...]
) -> dict[str, Seen]:
    """Every model on one example, which is a batch of its own: no padding."""
    batch = collate(examples, np.array([position]))
    teaching = signals.at(batch, layer_map, ())
    maps = np.concatenate([teaching.attention[layer].float().numpy() for layer in layer_map])
    seen = {TEACHER: Seen(teaching.logits[0].numpy(), maps, None)}
    pairs = list(enumerate(layer_map, start=1))
    for name, model in models.items():
        internals = model(batch.to(model.device).inputs, attention=range(1, len(layer_map) + 1))
        own = {layer: log_maps.cpu() for layer, log_maps in internals.attention.items()}
        kl = [attention_kl_by_head(own[layer], teaching.attention[target], batch.mask) for layer, target in pairs]
        maps = np.concatenate([own[layer].exp().numpy() for layer, _ in pairs])
        seen[name] = Seen(internals.logits[0].cpu().numpy(), maps, torch.cat(kl).numpy())
    return seen


def compared(asked: Mapping[str, str], methods: Sequence[str]) -> tuple[list[str], list[str]]:
    """The students that are compared, each once, and a line for each that is asked for but was not run.

    asked: key of `attention:` in params.yaml -> method; methods: those of the headline run.
    """
    known = ", ".join(methods)
    left_out = {key: method for key, method in asked.items() if method not in methods}
    notes = [
        f"attention.{key}: {method} is not in `methods` ({known}), so it is left out"
        for key, method in left_out.items()
    ]
    return list(dict.fromkeys(method for method in asked.values() if method in methods)), notes


def matching(students: Mapping[str, Finished]) -> tuple[dict[str, Finished], list[str]]:
    """The students that match the same teacher layers as the first, and a line for each that does not.

    Maps of one layer stand side by side, and a task may give a method another depth.
    """
    maps = {name: list(student.facts["mapped"]) for name, student in students.items()}
    first = next(iter(maps), "")
    notes = [
        f"{name} matches teacher layers {mapped} and {first} {maps[first]}, so {name} is left out"
        for name, mapped in maps.items()
        if mapped != maps[first]
    ]
    return {name: student for name, student in students.items() if maps[name] == maps[first]}, notes


def choose(lengths: np.ndarray, teacher: np.ndarray, students: Sequence[np.ndarray], count: int) -> list[Choice]:
    """At most `count` examples: half of them where students differ, the rest of about median length.

    lengths: (N,) tokens; teacher and each of students: (N, K) logits. The first half (of an odd count, the larger)
    are examples on which the students predict differently, then those on which a student is farthest from the
    teacher. Without students every example is of the second kind. The same input gives the same choice.
    """
    short = _drawable(lengths, count)
    telling = _telling(short, teacher, students)[: (count + 1) // 2] if students else []
    middle = min(float(np.median(lengths)), LONGEST)
    rest = short[~np.isin(short, [choice.position for choice in telling])]
    usual = rest[np.argsort(np.abs(lengths[rest] - middle), kind="stable")]
    return [*telling, *(Choice(int(position), USUAL) for position in usual[: count - len(telling)])]


def _drawable(lengths: np.ndarray, count: int) -> np.ndarray:
    """Positions of the examples that are short enough to draw; the shortest where those are too few."""
    short = np.flatnonzero(lengths <= LONGEST)
    return short if len(short) >= count else np.sort(np.argsort(lengths, kind="stable")[:count])


def _telling(short: np.ndarray, teacher: np.ndarray, students: Sequence[np.ndarray]) -> list[Choice]:
    """The most telling first."""
    predicted = np.stack([predictions(logits[short]) for logits in students])
    differ = (predicted != predicted[0]).any(0) & (teacher.shape[1] > 1)  # two scores always differ
    distance = np.max([_distance(teacher[short], logits[short]) for logits in students], axis=0)
    order = np.lexsort((-distance, ~differ))
    return [Choice(int(short[place]), DIFFER if differ[place] else FAR) for place in order]


def _distance(teacher: np.ndarray, student: np.ndarray) -> np.ndarray:
    """(N,) KL(teacher || student) of the class probabilities; for a regression the scores' absolute difference."""
    if teacher.shape[1] == 1:
        return np.abs(teacher - student)[:, 0]
    return rel_entr(softmax(teacher, axis=1), np.exp(log_softmax(student, axis=1))).sum(1)


def readable(tokenizer: Any, texts: tuple[str, ...], max_length: int) -> tuple[str, ...]:
    """The tokens of one example (one text or a pair), cut to `max_length` as for the model.

    A piece that continues a word starts with ##, as WordPiece writes it. What the model does not see (case,
    unknown words) is not shown either.
    """
    encoded = tokenizer(*texts, truncation=True, max_length=max_length, verbose=False)
    tokens, words = encoded.tokens(), encoded.word_ids()
    if not any(token.startswith(WORD_STARTS) for token in tokens):
        return tuple(tokens)
    continues = [word is not None and word == before for before, word in zip([None, *words], words, strict=False)]
    return tuple(
        token if word is None else "##" * goes_on + _plain(tokenizer, token)
        for token, word, goes_on in zip(tokens, words, continues, strict=True)
    )


def _plain(tokenizer: Any, token: str) -> str:
    """A token without its mark, its bytes as the letters that they stand for; a lone mark is a space."""
    return tokenizer.convert_tokens_to_string([token]).strip().lstrip("▁") or "␣"
