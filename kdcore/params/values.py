"""The values that a knob of params.yaml may have, each with the words that say so."""

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, Strict, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from kdcore.data.metrics import METRICS
from kdcore.errors import near, shown


def says(allowed: str) -> WrapValidator:
    """One wording for whatever is wrong with a value: 'must be <allowed>'."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("allowed", "{allowed}", {"allowed": allowed}) from None

    return WrapValidator(check)


def one_of(kind: Any) -> WrapValidator:
    """One of a Literal's names: the wording lists them, and the one that is near."""
    return name_of(get_args(kind))


def name_of(names: Iterable[str]) -> WrapValidator:
    """One of the names of a table, said as for a Literal."""
    allowed = list(names)

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        if isinstance(value, str) and value in allowed:
            return inner(value)
        hint = near(value, allowed) if isinstance(value, str) else ""
        said = f"must be {' | '.join(allowed)}, found {shown(value)}{hint}"
        raise PydanticCustomError("said", "{said}", {"said": said})

    return WrapValidator(check)


def _list(value: Any, inner: Callable[[Any], Any]) -> Any:
    """At least one value, none of them twice."""
    if not isinstance(value, list | tuple) or not value:
        raise PydanticCustomError("allowed", "a list of at least one value")
    result = inner(value)
    twice = [item for item in dict.fromkeys(result) if result.count(item) > 1]
    if twice:
        said = f"must not repeat a value, found {', '.join(map(shown, twice))} more than once"
        raise PydanticCustomError("said", "{said}", {"said": said})
    return result


LIST = WrapValidator(_list)
Count = Annotated[int, Strict(), Field(ge=1), says("an integer of at least 1")]
CountOrAll = Annotated[int | None, Strict(), Field(ge=1), says("an integer of at least 1, or null for all")]
Length = Annotated[int, Strict(), Field(ge=8), says("an integer of at least 8")]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32), says("an integer from 0 to 4294967295")]
Positive = Annotated[float, Strict(), Field(gt=0, allow_inf_nan=False), says("a finite number greater than 0")]
Weight = Annotated[float, Strict(), Field(ge=0, allow_inf_nan=False), says("a finite number of at least 0")]
Share = Annotated[float, Strict(), Field(ge=0, lt=1, allow_inf_nan=False), says("at least 0 and less than 1")]
Between = Annotated[float, Strict(), Field(gt=0, lt=1, allow_inf_nan=False), says("greater than 0 and less than 1")]
ShareOrNull = Annotated[
    float | None,
    Strict(),
    Field(gt=0, lt=1, allow_inf_nan=False),
    says("greater than 0 and less than 1, or null for none"),
]
Cosine = Annotated[float, Strict(), Field(ge=0, le=2, allow_inf_nan=False), says("a number from 0 to 2")]
FloatOrNull = Annotated[float | None, Strict(), Field(allow_inf_nan=False), says("a finite number, or null")]
TEXT = r"^[^\x00-\x1f\x7f]*[^\x00-\x20\x7f][^\x00-\x1f\x7f]*$"  # one line, not blank
Text = Annotated[str, Strict(), Field(pattern=TEXT), says("one line of text that is not blank (quote a number)")]
TextOrNull = Annotated[str | None, Strict(), Field(pattern=TEXT), says("one line of text that is not blank, or null")]
TaskName = Annotated[
    str,
    Strict(),
    Field(pattern=r"^[a-z0-9_][a-z0-9_-]{0,63}$"),
    says("a plain name: up to 64 of a-z 0-9 _ -, the first not -"),
]

Method: TypeAlias = Literal[
    "none", "soft", "all", "all-kl", "all-cos", "pid", "pid-kl", "pid-cos", "sid", "sid-kl", "sid-cos"
]
Progressive: TypeAlias = Literal["pid", "pid-kl", "pid-cos", "sid", "sid-kl", "sid-cos"]  # have a last phase
Source: TypeAlias = Literal["embedded", "hub", "local"]
Store: TypeAlias = Literal["auto", "disk", "live"]
Dtype: TypeAlias = Literal["float16", "float32"]
Init: TypeAlias = Literal["teacher", "teacher_lower", "pretrained", "pretrained_lower", "random"]
NamedMap: TypeAlias = Literal["uniform", "last"]
LayerMap: TypeAlias = NamedMap | tuple[int, ...]
Classification: TypeAlias = Literal["last", "always"]
Trains: TypeAlias = Literal["model", "head"]
Schedule: TypeAlias = Literal["per_phase", "whole"]
Precision: TypeAlias = Literal["no", "bf16", "fp16"]
Metric = Annotated[str, name_of(METRICS)]


def layer_map(value: Any, inner: Callable[[Any], Any]) -> LayerMap:
    """A name, or a list of integers; strictly increasing from 1 on, as every layer is matched once."""
    if value in ("uniform", "last"):
        return value
    layers = value if isinstance(value, list | tuple) else ()
    integers = all(type(layer) is int for layer in layers)
    if not layers or not integers or list(layers) != sorted(set(layers)) or layers[0] < 1:
        allowed = "uniform, last, or a strictly increasing list of teacher layers, the first at least 1"
        raise PydanticCustomError("allowed", "{allowed}", {"allowed": allowed})
    return tuple(layers)
