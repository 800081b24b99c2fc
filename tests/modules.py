"""Which modules of kdcore a module or a command imports, directly or not, read from the source without running it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
# The door and what it says: they decide what a command is told and how it speaks, never what it computes.
DOOR = (
    "kdcore.__main__",
    "kdcore.cli",
    "kdcore.door",
    "kdcore.params",
    "kdcore.console",
    "kdcore.errors",
    "kdcore.interrupt",
    "kdcore.processes",
)


def path_of(module: str) -> Path | None:
    """The file of a module, relative to the repository; None where there is no such module."""
    base = Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if (ROOT / path).is_file()), None)


def closure(module: str) -> set[str]:
    """`module` and every module of kdcore that it imports, directly or not, the door left out."""
    return _reached({module})


def used_by(command: str) -> set[str]:
    """Every module that the function of that name in kdcore/cli.py imports, itself or through its own helpers."""
    functions = {node.name: node for node in _tree("kdcore.cli").body if isinstance(node, ast.FunctionDef)}
    bodies, waiting = set(), [command]
    while waiting:
        if (name := waiting.pop()) not in bodies:
            bodies.add(name)
            calls = [node.func for node in ast.walk(functions[name]) if isinstance(node, ast.Call)]
            waiting += {call.id for call in calls if isinstance(call, ast.Name)} & set(functions)
    return _reached({module for name in bodies for module in _imports(functions[name], "kdcore.cli")})


def _reached(start: set[str]) -> set[str]:
    found, waiting = set(), list(start)
    while waiting:
        module = waiting.pop()
        if module not in found and not _of_the_door(module):
            found.add(module)
            waiting += _imported(module)
    return {module for module in found if not _is_docstring(module)}


def _of_the_door(module: str) -> bool:
    """Whether it is of the door, or kdcore itself, which has names for Python users only."""
    return module == "kdcore" or any(module == door or module.startswith(f"{door}.") for door in DOOR)


@cache
def _imported(module: str) -> frozenset[str]:
    return frozenset(_imports(_tree(module), module))


def _imports(node: ast.AST, module: str) -> Iterator[str]:
    """The modules of kdcore that the code imports when it runs, at the top or inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names if alias.name.split(".")[0] == "kdcore")
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, module)
        else:
            yield from _imports(child, module)


def _from(node: ast.ImportFrom, module: str) -> Iterator[str]:
    """`from kdcore.distil import teacher` imports a module, `from kdcore.runs import open_run` a name of one."""
    if node.level:
        raise ValueError(f"{module} imports relatively: {ast.unparse(node)}")
    if node.module and node.module.split(".")[0] == "kdcore":
        yield node.module
        yield from (name for alias in node.names if path_of(name := f"{node.module}.{alias.name}"))


def _is_docstring(module: str) -> bool:
    """Whether the module is nothing but a docstring, as a package's __init__ often is: no one depends on that."""
    return all(isinstance(node, ast.Expr) for node in _tree(module).body)


@cache
def _tree(module: str) -> ast.Module:
    path = path_of(module)
    if path is None:
        raise ValueError(f"no module {module}")
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))
