"""Variables of the environment that choose how torch, MKL or oneDNN compute: never a result's business.

The libraries read them when they start, so they must be gone before torch is imported.
"""

import os
import sys

from kdcore.console import say
from kdcore.errors import UserError

# What would change the last bits of a product, or its precision, under the same name of a run.
ROUNDING = (
    *("ATEN_CPU_CAPABILITY", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "NVIDIA_TF32_OVERRIDE"),
    *("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_DEFAULT_FPMATH_MODE"),
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)


def set_aside() -> None:
    """Take them out of the environment, and say so. Raises UserError where torch has started with them already."""
    there = [name for name in ROUNDING if name in os.environ]
    if there and "torch" in sys.modules:
        raise UserError(
            "environment",
            f"{', '.join(there)} would change the bits of results, and torch, which is imported already, may heed it; "
            "start Python without it, or import kdcore and call it before torch",
        )
    for name in there:
        del os.environ[name]
    if there:
        say(f"not heeded, as it would change the bits of results: {', '.join(there)} of the environment")
