"""What code a result depends on, as a hash: of a run's module, or of a command's function. No torch here.

Comments, docstrings, formatting and the names of files don't count.
"""

import ast
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from functools import cache
from pathlib import Path
from typing import TypeAlias

from kdcore.artefacts import digest

# The door: what a command is told, how it speaks, and what sets a project up. What a module of it imports is not
# looked at.
DOOR = ("cli", "code", "console", "door", "errors", "inputs", "interrupt", "memory", "params", "processes", "project")
# What decides nothing of a run beside it: modules that write or read, or whose results are in the run's identity
# already (the content of data, the files of a model and its tokenizer, the values of params); "." is kdcore itself,
# names for Python users. What OUTSIDE modules import (a tokenizer's set-up, say) counts.
DOOR_OF_RUNS = (*DOOR, "artefacts", "distil/card", "runs", "store", "studies")
OUTSIDE = (
    *(".", "data/embedded", "data/prepared", "data/tasks"),
    *("distil/finished", "distil/folder", "distil/tracking", "distil/written", "hub", "model/foreign"),
)

Module: TypeAlias = tuple[str, tuple[str, ...]]  # its code, or a hash of it, and the modules of kdcore that it imports


def code_digest(module: str) -> str:
    """The hash of a run's module and of kdcore's code that it imports, itself or through others, less OUTSIDE."""
    reached = _reached([module], DOOR_OF_RUNS, _parsed)
    return digest(sorted("" if name in OUTSIDE else code for name, code in reached.items()))


def command_digests(commands: Iterable[str], known: MutableMapping[str, Module]) -> dict[str, str]:
    """Command -> the hash of its function in cli/, of all that it imports, and of files that lie beside that.

    known: of files that were parsed before, by their sha256; new ones are added.
    """
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted((_root() / "cli").glob("*.py"))]
    functions = {
        node.name.rstrip("_"): node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)
    }
    parsed: dict[Path, Module] = {}

    def read(path: Path) -> Module:
        if path not in parsed:
            key = hashlib.sha256(path.read_bytes()).hexdigest()
            if key not in known:
                code, imports = _parsed(path)
                known[key] = (digest(code), imports)
            parsed[path] = known[key]
        return parsed[path]

    return {command: _command_digest(command, functions, read) for command in commands}


def _command_digest(command: str, functions: Mapping[str, ast.FunctionDef], read: Callable[[Path], Module]) -> str:
    """functions: of all modules of cli/, by name, which no two may share."""
    bodies: dict[str, ast.Module] = {}
    waiting = [command]
    while waiting:
        if (name := waiting.pop()) not in bodies:
            bodies[name] = ast.Module(_without_docstring(functions[name]), [])
            calls = [node.func for node in ast.walk(bodies[name]) if isinstance(node, ast.Call)]
            waiting += {call.id for call in calls if isinstance(call, ast.Name)} & set(functions)
    reached = _reached((module for body in bodies.values() for module in _imports(body)), DOOR, read)
    return digest(sorted([*map(ast.unparse, bodies.values()), *reached.values(), *_beside(reached)]))


def _reached(start: Iterable[str], door: Iterable[str], read: Callable[[Path], Module]) -> dict[str, str]:
    """Module, as a path below kdcore without its ending -> its code, of all that these import and the door lacks."""
    sources, waiting, root = dict[str, str](), list(start), _root()
    while waiting:
        base = root.joinpath(*waiting.pop().split(".")[1:])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        name = base.relative_to(root).as_posix()
        if name in sources or not path.is_file() or {name, name.partition("/")[0]} & {*door}:
            continue
        sources[name], imports = read(path)
        waiting += imports
    return sources


def _beside(modules: Iterable[str]) -> Iterator[str]:
    """The hashes of files that packages carry in a folder `files`, as the page does."""
    for folder in sorted({(_root() / name).parent / "files" for name in modules}):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            yield hashlib.sha256(file.read_bytes()).hexdigest()


def _root() -> Path:
    return Path(__file__).parent


def _parsed(path: Path) -> Module:
    return _code(path.read_text(encoding="utf-8"))


@cache
def _code(text: str) -> Module:
    tree = ast.parse(text)
    imports = tuple(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            node.body = _without_docstring(node)
    return ast.unparse(tree), imports


def _without_docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef) -> list[ast.stmt]:
    return node.body if ast.get_docstring(node) is None else node.body[1:]


def _imports(tree: ast.Module) -> Iterator[str]:
    """The modules of kdcore that a module imports; for `from a.b import c` both a.b and a.b.c, which may be one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "kdcore":
            yield from (str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names))
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.split(".")[0] == "kdcore")
