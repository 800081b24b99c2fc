"""The user's mistakes: every problem with one source (a file, a command) in one message."""

import difflib
import reprlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

LISTED = 20  # problems that a message spells out; the rest is counted

_repr = reprlib.Repr()
_repr.maxlevel, _repr.maxlist, _repr.maxtuple, _repr.maxdict = 3, 8, 8, 8
_repr.maxstring, _repr.maxother, _repr.maxlong = 80, 80, 40


class UserError(Exception):
    """Something the user can put right. str() names the source and lists every problem, ready for stderr."""

    def __init__(self, source: str, problems: Sequence[str] | str) -> None:
        self.source = source
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        lines = [f"{self.source}: {len(self.problems)} problems", *self.problems[:LISTED]]
        rest = len(self.problems) - LISTED
        return "\n  ".join([*lines, f"... and {rest} more"] if rest > 0 else lines)


class LeaseLostError(Exception):
    """Another process has taken over what this one works on; str() says who, and what is kept."""


@contextmanager
def collected(source: str) -> Iterator[Callable[[], AbstractContextManager[None]]]:
    """Yields part(): a UserError inside `with part():` waits until all parts are done, then one is raised."""
    problems: list[str] = []

    @contextmanager
    def part() -> Iterator[None]:
        try:
            yield
        except UserError as error:
            problems.extend(f"{error.source}: {problem}" for problem in error.problems)

    yield part
    if problems:
        raise UserError(source, problems)


def one_line(said: object, most: int | None = None) -> str:
    """What a library or a program says, on one line and of at most so many characters."""
    return " ".join(str(said).split())[:most]


def shown(value: Any) -> str:
    """A value as the user wrote it, more or less: quoted text, YAML's null and true, long ones shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return _repr.repr(value)
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a number of thousands of digits"


def near(name: Any, allowed: Iterable[str]) -> str:
    """', did you mean 'layers'?' where an allowed name is close, or equal up to case and spaces, else nothing."""
    names, text = list(allowed), name[:80] if isinstance(name, str) else shown(name)
    match = [one for one in names if one.strip().casefold() == text.strip().casefold()]
    match = match or difflib.get_close_matches(text, names, n=1)
    return f", did you mean {match[0]!r}?" if match else ""
