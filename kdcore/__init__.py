"""Distil a fine-tuned transformer classifier into a shallower one by matching its internal representations.

Implements *Knowledge Distillation from Internal Representations* (Aguilar et al., AAAI 2020).

From Python: `kdcore.distil(...)` and `kdcore.capture(...)` of api.py, which is imported with the first of its names.
"""

import importlib
from types import ModuleType
from typing import Any

__version__ = "0.1.0"
API = ("Student", "capture")  # and `distil`, which is the name of a package too


def _api() -> ModuleType:
    importlib.import_module("kdcore.rounding").set_aside()  # before torch is imported, which api.py does
    return importlib.import_module("kdcore.api")


class _Distil(ModuleType):
    """The package kdcore.distil, called: `api.distil`."""

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return _api().distil(*arguments, **named)


setattr(importlib.import_module("kdcore.distil"), "__class__", _Distil)  # noqa: B010  (no type checker allows it)


def __getattr__(name: str) -> Any:
    if name in API:
        return getattr(_api(), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *API])
