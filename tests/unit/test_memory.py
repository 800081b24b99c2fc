"""What the process's malloc keeps is seen from outside: in page faults; what the collector leaves out, by its count."""

import atexit
import gc
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdcore.memory import freeze_modules, keep_freed
from tests.unit.raw_files import ROOT

# Blocks as large as a training step's activations, all taken and freed again and again.
STEPS = """
import resource, torch
{}
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    return [torch.ones(2**20) for _ in range(16)]
step()
before = faults()
for _ in range(20):
    step()
print(faults() - before)
"""


def faults(first: str = "") -> int:
    done = subprocess.run([sys.executable, "-c", STEPS.format(first)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_what_a_step_frees_the_next_one_takes_without_a_page_fault():
    assert faults("from kdcore.memory import keep_freed; assert keep_freed()") < faults() / 2


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_of_malloc_stands(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(name, "262144")
    assert not keep_freed()


HEAP = """
import re
from kdcore.memory import keep_freed
assert keep_freed()
areas = re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read())
for area in areas:
    if "[heap]" in area.splitlines()[0] and " hg" in area:
        print(re.search(r"Size: +(\\d+)", area)[1], re.search(r"Rss: +(\\d+)", area)[1])
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="the kernel does not say how memory is mapped")
def test_the_heap_to_come_is_told_to_take_huge_pages_and_takes_no_memory_before_it_is_used():
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=True)
    size, resident = map(int, done.stdout.split())  # of one area, in KiB
    assert size > 0.99 * 1.5 * 2**20
    assert resident < 4 * 2**10


@pytest.fixture
def freezing() -> Iterator[None]:
    freeze_modules()
    yield
    atexit.unregister(gc.callbacks.remove)
    gc.callbacks.pop()
    gc.unfreeze()


def test_what_a_module_makes_while_it_loads_is_left_out_of_collections(
    freezing: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "made_of_lists.py").write_text("import gc\nmade = [[] for _ in range(1000)]\ngc.collect()\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "made_of_lists", raising=False)
    before = gc.get_freeze_count()
    importlib.import_module("made_of_lists")
    assert gc.get_freeze_count() >= before + 1000


def test_what_is_made_otherwise_is_collected(freezing: None):
    before = gc.get_freeze_count()
    ring: list[object] = []
    ring.append(ring)
    del ring
    assert gc.collect() >= 1
    assert gc.get_freeze_count() == before


def test_a_command_begins_with_that():
    code = "import sys; from kdcore.__main__ import main; sys.argv = ['kdcore', '--help']; main()"
    code = f"import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); {code}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(done.stdout.splitlines()[-1]) > 10_000
    assert done.stderr == ""  # nor does it disturb the end
