"""Tiny stand-ins for real input: a WordPiece tokenizer, random-weight models, sentences that teach.

Everything is built from configs and a seed: no network, milliseconds each. torch comes in only where needed.
"""

from __future__ import annotations

import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

FAMILIES = (
    *("bert", "roberta", "xlm-roberta", "camembert", "electra", "mpnet", "deberta", "deberta-v2", "distilbert"),
    "modernbert",
)
OWN_ATTENTION = ("mpnet", "deberta", "deberta-v2")  # not through transformers' interface
UNSUPPORTED = "albert"  # its layers are one and the same
MAX_TOKENS = 128

# Class 0 and class 1 each have words of their own; the fillers tell nothing.
CLASS_WORDS = (("bad", "dull", "poor", "weak"), ("good", "fine", "lovely", "great"))
FILLERS = (
    "the",
    "a",
    "film",
    "plot",
    "cast",
    "story",
    "and",
    "its",
    "music",
    "was",
    "with",
    "ending",
    "scenes",
)

# Roberta's relatives pad with token 1 and number their positions from 2, as the real ones do.
_PAD_SECOND = ("roberta", "xlm-roberta", "camembert", "mpnet")
_NO_TOKEN_TYPES = (*_PAD_SECOND, "deberta", "deberta-v2", "distilbert", "modernbert")


def texts(rows: int = 64, pairs: bool = False, labels: int = 2, seed: int = 0) -> pd.DataFrame:
    """Labelled sentences of 4 to 11 words, balanced: columns sentence (pairs: first, second) and label.

    The label (0 or 1) is carried by two to four words: of the sentence, or of the pair's second text.
    labels=1 makes a regression: the label is then a score, 0.0 or 1.0.
    """
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.arange(rows) % 2)
    label = classes.astype("float64") if labels == 1 else classes.astype("int64")
    telling = [_sentence(rng, CLASS_WORDS[c]) for c in classes]
    if not pairs:
        return pd.DataFrame({"sentence": telling, "label": label})
    plain = [_sentence(rng, ()) for _ in classes]
    return pd.DataFrame({"first": plain, "second": telling, "label": label})


def _sentence(rng: np.random.Generator, telling: tuple[str, ...]) -> str:
    words = list(rng.choice(FILLERS, size=rng.integers(2, 8)))
    count = rng.integers(2, 5)
    words.extend(rng.choice(telling or FILLERS, size=count))
    return " ".join(rng.permutation(words))


def tokenizer(family: str = "bert") -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer that knows the words above and spells every other lower-case ASCII word."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    vocabulary = {token: index for index, token in enumerate(_vocabulary(family))}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    names = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    inputs = ["input_ids", "attention_mask"] + ["token_type_ids"] * (family not in _NO_TOKEN_TYPES)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=MAX_TOKENS, model_input_names=inputs, **names
    )


def _vocabulary(family: str) -> list[str]:
    first, second = ("[CLS]", "[PAD]") if family in _PAD_SECOND else ("[PAD]", "[CLS]")
    characters = string.ascii_lowercase + string.digits
    pieces = [*characters, *(f"##{c}" for c in characters), *string.punctuation]
    words = [w for w in (*CLASS_WORDS[0], *CLASS_WORDS[1], *FILLERS) if len(w) > 1]
    return [first, second, "[SEP]", "[UNK]", "[MASK]", *pieces, *words]


def config(family: str, layers: int = 4, labels: int = 2) -> Any:
    """Width 32, 4 heads, dropout 0.1; weights are drawn wide, so that attention is far from uniform."""
    from transformers import AutoConfig

    words = tokenizer(family)
    return AutoConfig.for_model(
        family,
        num_labels=labels,
        num_hidden_layers=layers,
        vocab_size=len(words),
        pad_token_id=words.pad_token_id,
        bos_token_id=words.cls_token_id,
        cls_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        sep_token_id=words.sep_token_id,
        hidden_size=32,
        num_attention_heads=4,
        initializer_range=0.2,
        **_only_of(family),
    )


def _only_of(family: str) -> dict[str, Any]:
    """What the families call differently, or have alone."""
    if family == "distilbert":
        return {"hidden_dim": 64, "max_position_embeddings": MAX_TOKENS, "seq_classif_dropout": 0.1}
    if family == "modernbert":
        dropout = dict.fromkeys(("attention_dropout", "embedding_dropout", "mlp_dropout"), 0.1)
        # Layers 1, 3, … see everything; layers 2, 4, … two tokens to each side.
        window = {"local_attention": 4, "global_attn_every_n_layers": 2}
        return {"intermediate_size": 64, "max_position_embeddings": MAX_TOKENS, **dropout, **window}
    common = {"intermediate_size": 64, "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
    if family in _PAD_SECOND:
        return {**common, "max_position_embeddings": MAX_TOKENS + 2, "type_vocab_size": 1}
    if family.startswith("deberta"):  # as the published ones are, v2 with buckets of distances, as v3
        shares = {"position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        relative = {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False}
        relative |= {"max_position_embeddings": MAX_TOKENS, "type_vocab_size": 0}
        return {**common, **relative, **(shares if family == "deberta-v2" else {})}
    if family == "electra":
        return {**common, "max_position_embeddings": MAX_TOKENS, "embedding_size": 16}
    return {**common, "max_position_embeddings": MAX_TOKENS}


def model(family: str = "bert", layers: int = 4, labels: int = 2, seed: int = 0) -> PreTrainedModel:
    """A sequence classifier with random weights, in eval mode; torch's own random state is left alone."""
    import torch
    from transformers import AutoModelForSequenceClassification

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForSequenceClassification.from_config(config(family, layers, labels)).eval()


def save_pretrained(folder: Path, family: str = "bert", layers: int = 4, seed: int = 0) -> Path:
    """Save a bare encoder, without a classifier, and its tokenizer, as a pre-trained checkpoint is."""
    import torch
    from transformers import AutoModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        AutoModel.from_config(config(family, layers)).save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    return folder


def save_finetuned(
    folder: Path,
    family: str = "bert",
    layers: int = 4,
    labels: tuple[str, ...] = ("bad", "good"),
    seed: int = 0,
) -> Path:
    """Save a classifier with label names and its tokenizer, as a user's own fine-tuned teacher is."""
    classifier = model(family, layers, len(labels), seed)
    classifier.config.id2label = dict(enumerate(labels))
    classifier.config.label2id = {label: index for index, label in enumerate(labels)}
    classifier.save_pretrained(folder)
    tokenizer(family).save_pretrained(folder)
    return folder
