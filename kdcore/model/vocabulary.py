"""Whether a student's embeddings mean the same tokens as its teacher's: it is fed by the teacher's tokenizer."""

from pathlib import Path

from kdcore.errors import UserError
from kdcore.model.names import resolve, tokenizer_of


def check_vocabulary(pretrained: str, revision: str | None, teacher: Path) -> None:
    """Raises UserError where the two tokenizers have other tokens, or the same ones under other ids."""
    found = tokenizer_of(resolve(pretrained), revision=revision).get_vocab()
    wanted = tokenizer_of(teacher).get_vocab()
    if found != wanted:
        token = min(word for word, index in (found.items() ^ wanted.items()))
        raise UserError(
            pretrained,
            f"its tokenizer is not that of the teacher at {teacher}: they differ in {token!r}; "
            "a student can't start from these embeddings, let it start from the teacher (student.init)",
        )
