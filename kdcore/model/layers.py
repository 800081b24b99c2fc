"""The layer map: which teacher layer each student layer matches, and which layer each one starts from."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from kdcore.console import count_of
from kdcore.errors import UserError


def layer_map(spec: str | Sequence[int], layers: int, teacher_layers: int) -> tuple[int, ...]:
    """Return g(1)…g(L_S): the 1-based teacher layer of each student layer.

    `uniform` is g(i) = floor(i·L_T/L_S + 1/2), which is 2, 4, …, 12 for 12 → 6 (paper, Figure 1);
    `last` takes the last L_S layers; a list is taken as it is. g is strictly increasing and ends at L_T.

    Raises UserError for a map that is not so, or for a student deeper than its teacher.
    """
    if not 1 <= layers <= teacher_layers:
        raise UserError("student.layers", f"must be 1 to {teacher_layers} (the teacher's depth), found {layers}")
    mapped = _mapped(spec, layers, teacher_layers)
    increasing = all(lower < upper for lower, upper in pairwise(mapped))
    in_range = all(1 <= layer <= teacher_layers for layer in mapped)
    if len(mapped) != layers or not increasing or not in_range or mapped[-1] != teacher_layers:
        raise UserError(
            "student.layer_map",
            f"{list(mapped)} does not map {count_of(layers, 'student layer')} to "
            f"{count_of(teacher_layers, 'teacher layer')}; it needs {count_of(layers, 'strictly increasing number')} "
            f"from 1 to {teacher_layers}, the last {teacher_layers}",
        )
    return mapped


def _mapped(spec: str | Sequence[int], layers: int, teacher_layers: int) -> tuple[int, ...]:
    if spec == "uniform":
        return tuple((2 * i * teacher_layers + layers) // (2 * layers) for i in range(1, layers + 1))
    if spec == "last":
        return tuple(range(teacher_layers - layers + 1, teacher_layers + 1))
    if isinstance(spec, str):
        raise UserError("student.layer_map", f"must be uniform, last or a list, found {spec!r}")
    return tuple(spec)


def check_windows(student: Any, teacher: Any, mapped: tuple[int, ...]) -> None:
    """Raises UserError where a student layer sees a window of the text and its teacher layer all of it (ModernBERT).

    student, teacher: their configs. The attention KL of such a pair is infinite, whatever the student learns.
    """
    own, theirs = (getattr(config, "layer_types", None) or () for config in (student, teacher))
    for layer, (kind, target) in enumerate(zip(own, mapped, strict=False), start=1):
        if (kind, theirs[target - 1]) == ("sliding_attention", "full_attention"):
            raise UserError(
                "student.layer_map",
                f"student layer {layer} sees a window and teacher layer {target} the whole text, so "
                "their attention KL is infinite; use another map, student.init: teacher, or a method that ends in -cos",
            )
