"""A tiny classifier and rows to try a project with: made from a seed, in seconds, of nobody's texts."""

import csv
import io
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from kdcore.artefacts import check_folder, new_folder, read_manifest, seal, write_bytes
from kdcore.console import say
from kdcore.errors import UserError
from kdcore.model.names import save_tokenizer
from kdcore.project.init import check_free

TEACHER = "models/reviews"
RAW = "data/raw/reviews"
ROWS = {"train": 600, "validation": 200}
LABELS = ("bad", "good")
# A review is good where it praises more often than it blames. `not` turns the word behind it round: a shallow student
# misses some. The others say nothing.
WORDS = {
    "bad": ("bad", "dull", "poor", "weak"),
    "good": ("good", "great", "lovely", "witty"),
    "turns": ("not",),
    "plain": ("the", "a", "film", "plot", "cast", "story", "music", "and", "its", "was", "with", "ending", "scenes"),
}
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
TURNED = 0.3  # share of the words of praise and blame
SEEN = 1400  # more rows that the classifier learned from, and that its students never see
EPOCHS, BATCH, RATE = 8, 32, 2e-3


@contextmanager
def example(folder: Path) -> Iterator[tuple[str, Path, Path]]:
    """Write TEACHER, a fine-tuned BERT of 4 layers, and RAW/{train,validation}.csv below the folder; yields the three.

    They are gone where the block fails. Raises UserError where something is there already that this did not write
    before it was killed.
    """
    rows, more = _drawn()
    files = {f"{RAW}/{split}.csv": _table(reviews) for split, reviews in rows.items()}
    check_free(folder, files)
    if (folder / TEACHER).exists() and not _made(folder / TEACHER):
        raise UserError(str(folder), f"{TEACHER} is there already, and nothing is overwritten")
    try:
        for name, content in files.items():
            write_bytes(folder / name, content)
        if not (folder / TEACHER).exists():
            _write_teacher(folder / TEACHER, [*rows["train"], *more])
        say(f"example: a classifier of 4 layers in {TEACHER}, {ROWS['train']} and {ROWS['validation']} rows in {RAW}")
        yield str(folder / TEACHER), folder / RAW / "train.csv", folder / RAW / "validation.csv"
    except BaseException:
        shutil.rmtree(folder / TEACHER, ignore_errors=True)
        for name in files:
            (folder / name).unlink(missing_ok=True)
        raise


def _made(teacher: Path) -> bool:
    """Whether it is the example's, as it was written."""
    try:
        check_folder(teacher)
        return "example" in read_manifest(teacher, "")
    except UserError:
        return False


def _drawn() -> tuple[dict[str, list[tuple[str, str]]], list[tuple[str, str]]]:
    """The rows of each split, and those that only the classifier sees: text and label."""
    draw = random.Random(0)  # noqa: S311  (rows of an example, no secret)
    found: dict[str, str] = {}  # each text once
    while len(found) < sum(ROWS.values()) + SEEN:
        found.update([_review(draw)])
    drawn = iter(found.items())
    return {split: list(islice(drawn, count)) for split, count in ROWS.items()}, [*drawn]


def _table(reviews: list[tuple[str, str]]) -> bytes:
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([("review", "label"), *reviews])
    return table.getvalue().encode()


def _write_teacher(folder: Path, rows: list[tuple[str, str]]) -> None:
    tokenizer = _tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        classifier = _trained(tokenizer, rows)
    with new_folder(folder) as aside:
        classifier.save_pretrained(aside)
        save_tokenizer(tokenizer, aside)
        seal(aside, example=True)


def _review(draw: random.Random) -> tuple[str, str]:
    """A text of 3 to 11 words, and its label."""
    label = draw.choice(LABELS)
    other = LABELS[1 - LABELS.index(label)]
    parts = draw.choices(WORDS["plain"], k=draw.randint(1, 3))
    for said in (*(label,) * draw.randint(2, 3), *(other,) * draw.randint(0, 1)):
        turned = draw.random() < TURNED
        word = draw.choice(WORDS[LABELS[1 - LABELS.index(said)] if turned else said])
        parts.append(f"{WORDS['turns'][0]} {word}" if turned else word)
    draw.shuffle(parts)
    return " ".join(parts), label


def _tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *(word for kind in WORDS.values() for word in kind)])}
    words = Tokenizer(models.WordPiece(vocabulary, unk_token=SPECIAL[1]))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.BertProcessing(("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"]))
    names = {f"{token[1:-1].lower()}_token": token for token in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=64, **names)


def _trained(tokenizer: PreTrainedTokenizerFast, rows: list[tuple[str, str]]) -> BertForSequenceClassification:
    torch.set_num_threads(1)  # of several, those that wait cost a model of this size most of its time
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = BertForSequenceClassification(config).eval()  # without dropout it learns `not` sooner
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    inputs = tokenizer([text for text, _ in rows], padding=True, return_tensors="pt")
    labels = torch.tensor([LABELS.index(label) for _, label in rows])
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(rows)).split(BATCH):
            logits = model(**{key: value[batch] for key, value in inputs.items()}).logits
            cross_entropy(logits, labels[batch]).backward()
            optimizer.step()
            optimizer.zero_grad()
    return model
