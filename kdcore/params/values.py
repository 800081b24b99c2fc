"""The values that a knob of params.yaml may have, each with the words that say so."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias, get_args

from pydantic import Field, Strict, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError, core_schema

from kdcore.data.metrics import METRICS
from kdcore.distil.methods import METHODS
from kdcore.errors import near, shown


def says(allowed: str) -> WrapValidator:
    """One wording for whatever is wrong with a value: 'must be <allowed>'."""

    def check(value: Any, inner: Callable[[Any], Any]) -> Any:
        try:
            return inner(value)
        except ValidationError:
            raise PydanticCustomError("allowed", "{allowed}", {"allowed": allowed}) from None

    return WrapValidator(check)


@dataclass(frozen=True)
class OneOf:
    """One of these names, or of the names in the Literal that it annotates; the message lists them, and a near one."""

    names: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, literal: Any, handler: Any) -> core_schema.CoreSchema:
        names = self.names or get_args(literal)

        def check(value: Any) -> str:
            if isinstance(value, str) and value in names:
                return value
            hint = near(value, names) if isinstance(value, str) else ""
            wrong = f"must be {' | '.join(names)}, found {shown(value)}{hint}"
            raise PydanticCustomError("said", "{said}", {"said": wrong})

        return core_schema.no_info_plain_validator_function(check)


def _list(value: Any, inner: Callable[[Any], Any]) -> Any:
    """At least one value, none of them twice."""
    if not isinstance(value, list | tuple) or not value:
        raise PydanticCustomError("allowed", "a list of at least one value")
    return _distinct(value, inner)


def _optional_list(value: Any, inner: Callable[[Any], Any]) -> Any:
    """Any number of values, none of them twice."""
    if not isinstance(value, list | tuple):
        raise PydanticCustomError("allowed", "a list, which may be empty")
    return _distinct(value, inner)


def _distinct(value: Any, inner: Callable[[Any], Any]) -> Any:
    result = inner(value)
    twice = [item for item, count in Counter(result).items() if count > 1]
    if twice:
        wrong = f"must not repeat a value, found {', '.join(map(shown, twice))} more than once"
        raise PydanticCustomError("said", "{said}", {"said": wrong})
    return result


def _plain(value: Any, inner: Callable[[Any], Any]) -> Any:
    """A value that can be part of the name of a file or a stage, as in a study."""
    if not isinstance(value, str | int | float):
        wrong = f"must be one name or number in a study, whose files are named after it, found {shown(value)}"
        raise PydanticCustomError("said", "{said}", {"said": wrong})
    return inner(value)


LIST = WrapValidator(_list)
OPTIONAL = WrapValidator(_optional_list)
PLAIN = WrapValidator(_plain)

# Every number has an upper end, far beyond what anybody trains: a slip of the finger ends here and not in an overflow.
Count = Annotated[int, Strict(), Field(ge=1, le=10**6), says("an integer of at least 1, at most 1000000")]
Rows = Annotated[
    int | None, Strict(), Field(ge=1, le=10**9), says("an integer of at least 1, at most 1000000000, or null for all")
]
Length = Annotated[int, Strict(), Field(ge=8, le=10**6), says("an integer of at least 8, at most 1000000")]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32), says("an integer from 0 to 4294967295")]
LearningRate = Annotated[float, Strict(), Field(ge=1e-9, le=10), says("a number from 1e-9 to 10")]
Temperature = Annotated[float, Strict(), Field(ge=0.001, le=1000), says("a number from 0.001 to 1000")]
Amount = Annotated[float, Strict(), Field(ge=0, le=10**6), says("a finite number of at least 0, at most 1000000")]
Share = Annotated[float, Strict(), Field(ge=0, lt=1), says("at least 0 and less than 1")]
Between = Annotated[float, Strict(), Field(gt=0, lt=1), says("greater than 0 and less than 1")]
Cosine = Annotated[float, Strict(), Field(ge=0, le=2), says("a number from 0 to 2")]
ShareOrNull = Annotated[
    float | None, Strict(), Field(gt=0, lt=1), says("greater than 0 and less than 1, or null for none")
]
Dropout = Annotated[float | None, Strict(), Field(ge=0, lt=1), says("at least 0 and less than 1, or null")]
Flag = Annotated[bool, Strict(), says("true or false")]
Confidence = Annotated[float, Strict(), Field(ge=0.5, le=0.9999), says("a number from 0.5 to 0.9999")]
Score = Annotated[float | None, Strict(), Field(ge=-1, le=1), says("a score from -1 to 1 (0.9 for 90 %), or null")]
LINES = r"\x00-\x1f\x7f-\x9f\u2028\u2029"  # ends of lines, and control characters
TEXT = rf"^[^{LINES}]*[^{LINES}\s][^{LINES}]*$"  # one line, not blank
Text = Annotated[str, Strict(), Field(pattern=TEXT), says("one line of text that is not blank (quote a number)")]
TextOrNull = Annotated[str | None, Strict(), Field(pattern=TEXT), says("one line of text that is not blank, or null")]
NAME = r"^[a-z0-9_][a-z0-9_-]{0,63}$"
TaskName = Annotated[
    str,
    Strict(),
    Field(pattern=NAME),
    says("a plain name: up to 64 of a-z 0-9 _ -, the first not -"),
]

Method: TypeAlias = Annotated[str, OneOf(METHODS)]
Source: TypeAlias = Annotated[Literal["embedded", "hub", "local"], OneOf()]
Store: TypeAlias = Annotated[Literal["auto", "disk", "live"], OneOf()]
Dtype: TypeAlias = Annotated[Literal["float16", "float32"], OneOf()]
Init: TypeAlias = Annotated[Literal["teacher", "teacher_lower", "pretrained", "pretrained_lower", "random"], OneOf()]
Head: TypeAlias = Annotated[Literal["new", "teacher"], OneOf()]
Classification: TypeAlias = Annotated[Literal["last", "always"], OneOf()]
Trains: TypeAlias = Annotated[Literal["model", "head"], OneOf()]
Below: TypeAlias = Annotated[Literal["train", "freeze"], OneOf()]
Schedule: TypeAlias = Annotated[Literal["per_phase", "whole"], OneOf()]
Keep: TypeAlias = Annotated[Literal["last", "best"], OneOf()]
Precision: TypeAlias = Annotated[Literal["no", "bf16", "fp16"], OneOf()]
Tracker: TypeAlias = Annotated[Literal["tensorboard", "mlflow", "wandb", "dvclive"], OneOf()]
Metric: TypeAlias = Annotated[str, OneOf(tuple(METRICS))]


def _layer_map(value: Any, inner: Callable[[Any], Any]) -> str | tuple[int, ...]:
    """A name, or a list of integers; strictly increasing from 1 on, as every layer is matched once."""
    if value in ("uniform", "last"):
        return value
    layers = value if isinstance(value, list | tuple) else ()
    integers = all(type(layer) is int for layer in layers)
    if not layers or not integers or list(layers) != sorted(set(layers)) or layers[0] < 1:
        allowed = "uniform, last, or a strictly increasing list of teacher layers, the first at least 1"
        raise PydanticCustomError("allowed", "{allowed}", {"allowed": allowed})
    return tuple(layers)


LayerMap: TypeAlias = Annotated[Literal["uniform", "last"] | tuple[int, ...], WrapValidator(_layer_map)]
