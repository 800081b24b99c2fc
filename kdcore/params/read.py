"""params.yaml -> Params, checked as a whole before anything runs; `-S key=value` changes it, as in `dvc exp run -S`."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError
from ruamel.yaml import YAML

from kdcore.errors import UserError, shown
from kdcore.params import rules
from kdcore.params.sections import Params
from kdcore.params.text import BROKEN, complaints, dotted, read_mapping, unknown


def load(path: str | Path = "params.yaml", changes: Iterable[str] = (), study: str | None = None) -> Params:
    """The params of the file with the changes, KEY=VALUE each; the file itself stays as it is.

    study: the name of the study that runs, if one does; what it asks for must be possible too. Raises one UserError
    with everything that is wrong.
    """
    mapping = read_mapping(str(path))
    for change in changes:
        key, equals, text = change.partition("=")
        if not key or not equals:
            raise UserError("-S", f"must be KEY=VALUE, e.g. student.layers=6, found {shown(change)}")
        _set(mapping, key.split("."), _value(change, text))
    sections, problems = _sections(mapping)
    problems += rules.broken(sections, study)
    if problems:
        raise UserError(str(path), problems)
    return Params(**sections)


def _sections(mapping: dict[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """The sections that are right, so that rules across them still apply, and what is wrong in the others."""
    fields = Params.model_fields
    problems = [f"{dotted([key])}: {unknown(key, list(fields))}" for key in mapping if key not in fields]
    right: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in mapping:
            if field.is_required():
                problems.append(f"{name}: is missing")
            else:
                right[name] = field.get_default()
            continue
        try:
            right[name] = _checks(name).validate_python(mapping[name])
        except ValidationError as error:
            problems += complaints(error, name, field.annotation)
    return right, problems


@cache
def _checks(section: str) -> TypeAdapter[Any]:
    """What checks a section; to make it takes longer than to use it."""
    field = Params.model_fields[section]
    kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(kind)


def _value(change: str, text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (*BROKEN, RecursionError) as error:
        raise UserError("-S", f"the value is not valid YAML, found {shown(change)}") from error


def _set(section: Any, keys: list[str], value: Any) -> None:
    """Put the value at the dotted key; an unknown key is named later, with everything else that is wrong."""
    for depth, key in enumerate(keys[:-1], start=1):
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise UserError("-S", f"{'.'.join(keys[:depth])} is a value, not a section, so it has no {keys[depth]!r}")
    section[keys[-1]] = value
