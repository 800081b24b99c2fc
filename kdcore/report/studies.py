"""The studies as data: what each one varies, which params key asks for it, and how its points are named."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Axis:
    """values: its list in params.yaml, study.<study>.<values>; field: of a point; mark: before the value in a name."""

    values: str
    field: str
    mark: str = ""


AXES: Mapping[str, tuple[Axis, ...]] = {  # beside the methods and the seeds, which all have
    "methods": (),
    "depth": (Axis("layers", "layers", "L"),),
    "data_size": (Axis("rows", "rows", "n"),),
    "ablation": (Axis("layer_maps", "layer_map"), Axis("inits", "init")),
}


@dataclass(frozen=True)
class Cell:
    """One student of a grid, whatever its seed.

    name: of its files, before the seed; says: what its points say; keys: the params keys that ask for it.
    """

    name: str
    says: Mapping[str, Any]
    keys: Mapping[str, Any]


def cells(study: str, grid: Mapping[str, Sequence[Any]]) -> Iterator[Cell]:
    """Every cell of a study. grid: its section of params.yaml, list name -> values."""
    if study == "convergence":
        yield from _schedules(grid)
        return
    axes = AXES[study]
    for method, *values in itertools.product(grid["methods"], *(grid[axis.values] for axis in axes)):
        varied = list(zip(axes, values, strict=True))
        yield Cell(
            name="-".join([method, *(f"{axis.mark}{value}" for axis, value in varied)]),
            says={"method": method} | {axis.field: value for axis, value in varied},
            keys={f"study.{study}.methods": method} | {f"study.{study}.{axis.values}": value for axis, value in varied},
        )


def _schedules(grid: Mapping[str, Sequence[str]]) -> Iterator[Cell]:
    """Every method trains its whole model in the last phase, and those under `head` also their head alone."""
    for key, trains in (("methods", "model"), ("head", "head")):
        for method in grid[key]:
            says = {"method": method, "trains": trains}
            yield Cell(f"{method}-{trains}", says, {f"study.convergence.{key}": method})
