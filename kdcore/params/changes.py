"""params.yaml as `-S key=value` would change it, as in `dvc exp run -S`: the file itself stays as it is."""

from collections.abc import Iterable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from kdcore.errors import UserError, shown
from kdcore.params import Params, checked
from kdcore.params.text import read_mapping


def changed(path: str, changes: Iterable[str]) -> Params:
    """The params of the file with the changes, checked as a whole. Raises UserError where they are not right."""
    found = read_mapping(path)
    for change in changes:
        key, equals, text = change.partition("=")
        if not key or not equals:
            raise UserError("-S", f"must be KEY=VALUE, e.g. student.layers=6, found {shown(change)}")
        _set(found, key.split("."), _value(change, text))
    return checked(path, found)


def _value(change: str, text: str) -> Any:
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError) as error:
        raise UserError("-S", f"the value is not valid YAML, found {shown(change)}") from error


def _set(section: Any, keys: list[str], value: Any) -> None:
    """Put the value at the dotted key; whether there is such a key is said with everything else that is wrong."""
    for depth, key in enumerate(keys[:-1], start=1):
        section = section.setdefault(key, {})
        if not isinstance(section, dict):
            raise UserError("-S", f"{'.'.join(keys[:depth])} is a value, not a section, so it has no {keys[depth]!r}")
    section[keys[-1]] = value
