"""The text of a params file -> a plain mapping, and pydantic's complaints -> our words."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kdcore.errors import UserError, near, one_line, shown

# What ruamel raises: it lets Python's own errors through for values that it cannot build, e.g. the date 2020-99-99.
BROKEN = (YAMLError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError)


def read_mapping(path: str) -> dict[Any, Any]:
    """The YAML 1.2 mapping in the file; raises UserError, with the line where there is one."""
    text = _read(path)
    try:
        mapping = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        raise UserError(path, _syntax(error)) from error
    except RecursionError as error:
        raise UserError(path, "is nested too deeply to be read") from error
    except BROKEN as error:
        place = getattr(error, "position", None)  # of a character that YAML does not allow
        where = "" if place is None else f"line {text.count(chr(10), 0, place) + 1}: "
        raise UserError(path, f"{where}is not valid YAML: {one_line(error, 200)}") from error
    if not isinstance(mapping, dict):
        raise UserError(path, f"must be a mapping of sections, found {shown(mapping)}")
    return mapping


def _read(path: str) -> str:
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError as error:
        raise UserError(path, "no such file; run this in the project's root folder") from error
    except OSError as error:
        raise UserError(path, f"cannot be read: {error.strerror}") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(path, f"line {line}: is not UTF-8, found byte 0x{raw[error.start]:02x}") from error


def _syntax(error: MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    words = " ".join(str(part) for part in (error.context, error.problem) if part)
    return f"{where}is not valid YAML: {one_line(words, 200)}"


def dotted(place: list[Any]) -> str:
    """The full key; parts that are not plain text are quoted, so that a key cannot forge a line."""
    plain = (
        part if isinstance(part, str) and part.isprintable() and len(part) <= 80 else shown(part) for part in place
    )
    return ".".join(plain)


def complaints(error: ValidationError, section: str, kind: Any) -> Iterator[str]:
    """One line per problem: the full dotted key, what is allowed, the value found. kind: the section's type."""
    for problem in error.errors(include_url=False):
        place = [part for part in problem["loc"] if part != "[key]"]
        yield f"{dotted([section, *place])}: {_words(problem, _fields_at(kind, place[:-1]))}"


def _words(problem: Mapping[str, Any], fields: list[str]) -> str:
    kind, value = problem["type"], shown(problem["input"])
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return unknown(problem["loc"][-1], fields)
    if kind == "allowed":
        return f"must be {problem['msg']}, found {value}"
    if kind == "said":
        return problem["msg"]
    if kind in ("model_type", "dict_type", "model_attributes_type"):
        return f"must be a mapping, found {value}"
    if kind == "tuple_type":
        return f"must be a list, found {value}"
    return f"{problem['msg']}, found {value}"


def unknown(key: Any, fields: list[str]) -> str:
    """The complaint about a key that no section has."""
    return f"unknown key{near(key, fields) or ', allowed are ' + ', '.join(fields)}"


def _fields_at(kind: Any, place: list[Any]) -> list[str]:
    """The keys that a section has at a location: sections nest, and `task` maps names to sections."""
    for part in place:
        fields = _fields(kind)
        kind = fields[part] if part in fields else next(iter(getattr(kind, "__args__", ())[1:]), None)
    return list(_fields(kind))


def _fields(kind: Any) -> dict[str, Any]:
    """Key -> type, of a model or a TypedDict; none for any other type."""
    kind = getattr(kind, "__origin__", kind)  # of an Annotated one
    if hasattr(kind, "model_fields"):
        return {name: field.annotation for name, field in kind.model_fields.items()}
    return getattr(kind, "__annotations__", {})
