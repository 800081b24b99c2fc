"""Every knob of params.yaml as a type: what may be written there, checked as a whole before anything runs.

Only the commands see Params; other code takes plain arguments or one section of it.
"""

from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from kdcore.errors import UserError
from kdcore.params import rules
from kdcore.params.sections import Data as Data
from kdcore.params.sections import Params as Params
from kdcore.params.sections import UserTask as UserTask
from kdcore.params.text import complaints, dotted, read_mapping, unknown


def load(path: str | Path = "params.yaml") -> Params:
    """The checked params; raises one UserError with everything that is wrong with the file."""
    return checked(str(path), read_mapping(str(path)))


def checked(source: str, found: dict[Any, Any]) -> Params:
    """A mapping as params; raises one UserError, in the name of `source`, with everything that is wrong with it."""
    sections, problems = _sections(found)
    problems += rules.broken(sections)
    if problems:
        raise UserError(source, problems)
    return Params(**sections)


def _sections(found: dict[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The sections that are right, so that rules across them still apply, and what is wrong in the others."""
    fields = Params.model_fields
    problems = [f"{dotted([key])}: {unknown(key, list(fields))}" for key in found if key not in fields]
    right: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in found:
            problems.append(f"{name}: is missing")
            continue
        kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
        try:
            right[name] = TypeAdapter(kind).validate_python(found[name])
        except ValidationError as error:
            problems += complaints(error, name, field.annotation)
    return right, problems
