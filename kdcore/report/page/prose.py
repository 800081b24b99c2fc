"""The Markdown that kdcore's tables are written in; blocks for the page's templates out.

Only what kdcore writes is known: headings, paragraphs, tables, and `code` and **strong** words inside a line. Anything
else, markup included, is plain text.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from kdcore.report.methods import ORDER, meaning
from kdcore.report.page.answers import SIGNS

VERDICT = re.compile(
    r"^(?P<numbers>[+−-].*?) (?P<verdict>higher|lower|no difference found|not tested: .+?)(?P<star>\*?)$"
)
TEXTS = ("text", "first text", "second text")
LONG = 32  # characters of a cell
WORDS = re.compile(r"(`[^`]+`|\*\*[^*]+\*\*)")


@dataclass(frozen=True)
class Cell:
    """A cell's text; a comparison's verdict stands apart from its numbers; a method has a colour and a meaning.

    star: `*` for a verdict that stands after Holm's correction; shape: `text` for a sentence of the data, `long` for
    what may take more than one line.
    """

    text: str
    verdict: str = ""
    sign: str = ""
    star: str = ""
    method: str = ""
    meaning: str = ""
    shape: str = ""


@dataclass(frozen=True)
class Block:
    """kind: `heading` (with its level), `text` (words: kind and text each) or `table` (head and body)."""

    kind: str
    level: int = 0
    words: tuple[tuple[str, str], ...] = ()
    head: tuple[str, ...] = ()
    body: tuple[tuple[Cell, ...], ...] = ()


def blocks(markdown: str) -> Iterator[Block]:
    """The blocks of a text, in order; blank lines part them."""
    for part in re.split(r"\n\s*\n", markdown.strip()):
        lines = part.strip().splitlines()
        if not lines:
            continue
        if heading := re.match(r"(#+) (.*)", lines[0]):
            yield Block("heading", len(heading[1]), _words(heading[2]))
        elif lines[0].startswith("|") and len(lines) > 1:
            head, _, *body = (_split(line) for line in lines)
            yield Block("table", head=tuple(head), body=tuple(_row(head, row) for row in body))
        else:
            yield Block("text", words=_words(" ".join(lines)))


def _split(line: str) -> list[str]:
    return [_plain(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def _plain(text: str) -> str:
    """The text that was meant: without the backslashes and entities that keep Markdown from reading it."""
    return re.sub(r"\\([^\w\s])", r"\1", text).replace("&#124;", "|").replace("&amp;", "&")


def _row(head: list[str], row: list[str]) -> tuple[Cell, ...]:
    return tuple(_cell(name, text) for name, text in zip(head, row, strict=False))


def _cell(column: str, text: str) -> Cell:
    family = text.partition("-")[0]
    if column == "method" and family in ORDER:
        return Cell(text, method=family, meaning=meaning(text))
    if found := VERDICT.match(text):
        sign = SIGNS.get(found["verdict"], "–")
        return Cell(found["numbers"].replace("-", "−"), found["verdict"], sign, found["star"])
    return Cell(text, shape="text" if column in TEXTS else "long" if len(text) > LONG else "")


def _words(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(_word(part) for part in WORDS.split(text) if part)


def _word(part: str) -> tuple[str, str]:
    if WORDS.fullmatch(part):
        return ("code", part[1:-1]) if part.startswith("`") else ("strong", part[2:-2])
    return "plain", _plain(part)
