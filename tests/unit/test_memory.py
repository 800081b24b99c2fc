"""What the process's malloc keeps is seen from outside: in page faults."""

import subprocess
import sys

import pytest

from kdcore.memory import keep_freed

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
