"""What comes in and what goes out: params for the commands, one message per mistake, exit codes.

The library names a field or a file; file, key and advice are added here.
"""

import errno
import math
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import typer

from kdcore import processes
from kdcore.errors import LeaseLostError, UserError, near
from kdcore.interrupt import Interrupted, ending, requested
from kdcore.params.overrides import of_study, of_task, own_lists, renamed, values, with_changes
from kdcore.params.read import load
from kdcore.params.sections import Params, Section
from kdcore.studies import STUDIES

PARAMS = "params.yaml"

# What typer raises for a wrong command line; it brings a click of its own, or uses the one that is installed.
WrongCommandLine: Any = typer.BadParameter.__mro__[1]

MAKE_ROOM = "make room on that disk"
LOCKS = "let its server give out locks, or set KDCORE_WORK to a folder on another disk"
ADVICE = {
    errno.ENOSPC: MAKE_ROOM,
    errno.EDQUOT: MAKE_ROOM,
    errno.EFBIG: "allow larger files (`ulimit -f`, or another file system)",
    errno.EACCES: "give this user permission",
    errno.EPERM: "give this user permission",
    errno.EEXIST: "move that file away, or write elsewhere",
    errno.ENOTDIR: "move the file away that is where a folder should be, or write elsewhere",
    errno.EROFS: "make it writable, or work in another folder",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENFILE: "close other programs: the machine has no open files left",
    errno.EIO: "the disk may be failing: look into the system's log",
    **dict.fromkeys((errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESTALE), LOCKS),
}


TAKEN_OVER = 75  # the exit code of a process whose run another one does by now; EX_TEMPFAIL, as other programs have it


# In


def one_of(names: Sequence[str]) -> Callable[[str | None], str | None]:
    """A check for an argument of the command line: one of these names, or none where it may be left out."""

    def check(value: str | None) -> str | None:
        if value is None or value in names:
            return value
        raise typer.BadParameter(f"must be {' | '.join(names)}, found {value!r}{near(value, names)}")

    return check


def finite(value: float | None) -> float | None:
    """A check for a number of the command line, or none where it may be left out."""
    if value is None or math.isfinite(value):
        return value
    raise typer.BadParameter(f"must be a finite number, found {value}")


@dataclass(frozen=True)
class Given:
    """What a command is given. names: knob -> the key that its value comes from, where that is another."""

    params: Params
    names: Mapping[str, str]


def params_for(
    reads: Collection[str],
    study: str | None = None,
    changes: Sequence[str] = (),
    task: str | None = None,
    method: str | None = None,
) -> Given:
    """The checked params with the changes, KEY=VALUE each; only the keys in `reads` can be read.

    What is other for the study, the task and the method of the command is in its place already; a change of the same
    knob wins.
    """
    asked = STUDIES[study] if study else None
    with speaking_of_params(asked.asks if asked else {}):
        params = load(PARAMS, changes, study)
    set_now = [change.partition("=")[0] for change in changes]
    tuned = asked.tuned(params.study[asked.name]) if asked else ()
    own = of_study(asked, params.study) | of_task(task, params.task.get(task or ""), method, tuned)
    own = {knob: one for knob, one in own.items() if not any(f"{knob}.".startswith(f"{key}.") for key in set_now)}
    lists = own_lists(asked, params.study)
    resolved = params.model_copy(update=with_changes(dict(params), values(own)) | lists)
    names = {knob: override.key for knob, override in own.items()} | {name: f"study.{study}.{name}" for name in lists}
    names |= asked.asked(params.study[asked.name]).asks if asked else {}
    return Given(cast(Params, View(resolved, reads)), names)


def headline() -> Params:
    """All params, to say where a command stands in the whole run; no result may depend on more than it declares."""
    return load(PARAMS)


class View:
    """A section of params that gives out the declared keys only; to read any other is a mistake of kdcore's.

    dvc.yaml declares the same keys, so what a command computes with cannot change without its stage running again.
    """

    def __init__(self, section: Section | Mapping[str, Any], keys: Collection[str], prefix: str = "") -> None:
        self._section, self._keys, self._prefix = section, keys, prefix

    def model_copy(self, *, update: Mapping[str, Any]) -> "View":
        """As of a section."""
        return View(self._section.model_copy(update=update), self._keys, self._prefix)  # type: ignore[union-attr]

    def __getattr__(self, name: str) -> Any:
        key = self._prefix + name
        value = getattr(self._section, name)
        if key in self._keys:
            return value
        if not any(declared.startswith(f"{key}.") for declared in self._keys):
            raise LookupError(f"{key} is not among the params that this command declares: {', '.join(self._keys)}")
        if isinstance(value, Section) and {f"{key}.{field}" for field in type(value).model_fields} <= set(self._keys):
            return value
        if isinstance(value, Mapping):  # the tasks or the studies, by name
            return {part: inner for part, inner in value.items() if f"{key}.{part}" in self._keys}
        return View(value, self._keys, f"{key}.")


# Out


@contextmanager
def speaking_of_params(names: Mapping[str, str]) -> Iterator[None]:
    """Within the block a UserError about a knob names the file, and the key that the value comes from, of `names`."""
    try:
        yield
    except UserError as error:
        problems = error.problems if error.source == PARAMS else [f"{error.source}: {one}" for one in error.problems]
        if error.source != PARAMS and not _is_knob(error.source):
            raise
        raise UserError(PARAMS, [renamed(one, names) for one in problems]) from error


def _is_knob(source: str) -> bool:
    """Whether it is a dotted key of params.yaml, and not a file."""
    section, _, name = source.partition(".")
    kind = Params.model_fields[section].annotation if section in Params.model_fields else None
    return name.partition(".")[0] in getattr(kind, "model_fields", ())


def run(command: Callable[[], Any]) -> None:
    """Run a command and end the process; a user's mistake is one message on stderr and exit code 2.

    A run that another process has taken over ends in one message and exit code TAKEN_OVER.
    """
    try:
        with ending():
            processes.check()
            sys.exit(command() or 0)
    except (WrongCommandLine, UserError, OSError) as error:
        if not processes.first():
            _give_way(3)
        if isinstance(error, WrongCommandLine):
            error.show()
        else:
            print(explained(error) if isinstance(error, OSError) else error, file=sys.stderr)
        sys.exit(2)
    except LeaseLostError as error:
        if processes.first():
            print(error, file=sys.stderr)
        sys.exit(TAKEN_OVER)
    except Interrupted as stopped:
        if processes.first():
            print(f"stopped by {stopped}: {stopped.kept}", file=sys.stderr)
        sys.exit(128 + stopped.signum)
    except Exception:
        if processes.count() > 1:
            _give_way(10)
        raise


def _give_way(seconds: float) -> None:
    """Wait for the launcher to end this process: another one failed first, and has said why."""
    if signum := requested():
        sys.exit(128 + signum)
    time.sleep(seconds)


def explained(error: OSError) -> str:
    """What the machine refuses, as a message for the user: file, reason, and advice where there is any."""
    reason = error.strerror or str(error) or type(error).__name__
    message = f"{error.filename}: {reason}" if error.filename else reason
    advice = ADVICE.get(error.errno or 0)
    return f"{message}; {advice}, then run the same command again: what is finished is kept" if advice else message
