"""A setting that is slower than float32 on this processor is said to be; what a processor lists does not tell."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

SAY = "from kdcore.distil.precision import warn_if_slower; warn_if_slower({!r})"
FLAGS = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""


def said(precision: str, **environment: str) -> str:
    """By a process of its own: oneDNN takes its instructions from the environment, once, at its first product."""
    command = [sys.executable, "-c", SAY.format(precision)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | environment)
    return done.stderr


@pytest.mark.skipif(platform.machine() != "x86_64", reason="oneDNN is told what to use on x86 alone")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_processor_without_such_products_warns(precision: str):
    found = said(precision, ONEDNN_MAX_CPU_ISA="AVX2")
    assert found.startswith(f"warning: train.precision: {precision} takes ")
    assert found.endswith('times as long as float32 for a linear layer on this processor; "no" is faster here\n')


@pytest.mark.skipif("amx_bf16" not in FLAGS, reason="this processor has no AMX")
def test_a_processor_with_them_does_not():
    assert said("bf16") == ""


def test_float32_is_not_measured():
    assert said("no", ONEDNN_MAX_CPU_ISA="AVX2") == ""
