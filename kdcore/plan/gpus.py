"""GPUs by name, and the rate that a plan counts on: what small encoders sustain, not what the data sheet says."""

from collections.abc import Mapping
from dataclasses import dataclass

from kdcore.errors import UserError, near

# TFLOP/s of dense 16-bit matrix products with sums in 32 bits, from the makers' data sheets.
PEAK: Mapping[str, float] = {
    "t4": 65,
    "v100": 125,
    "l4": 121,
    "a10g": 70,
    "rtx4090": 165,
    "a100": 312,
    "h100": 989,
    "h200": 989,
}
SHARE = 0.3  # of the peak: where fine-tuning of encoders as large as BERT-base ends up in plain PyTorch
# Seconds that a GPU waits for Python to launch one layer's kernels: small batches cost this however fast the GPU is.
# MiniLM's six layers took 30 ms per training step on an H200 (docs/performance.md); a forward pass is taken at a third.
LAUNCH = {"forward": 1.5e-3, "training": 5e-3}


@dataclass(frozen=True)
class Gpu:
    """A rate in TFLOP/s, and whether the time of launching kernels comes on top of what the rate says."""

    name: str
    tflops: float
    launches: bool

    @property
    def basis(self) -> str:
        """Where the rate comes from, in a sentence."""
        if not self.launches:
            return f"{self.name}: as --tflops says."
        return (
            f"{self.name}: {self.tflops:.0f} TFLOP/s, {SHARE:.0%} of its dense 16-bit peak of {PEAK[self.name]:.0f}; "
            f"a step takes at least {LAUNCH['training'] * 1e3:g} ms per layer, a forward pass "
            f"{LAUNCH['forward'] * 1e3:g} ms, to launch its kernels. The rate is assumed, not measured."
        )

    def seconds(self, flops: float, layer_passes: float, trains: bool) -> float:
        """layer_passes: how often a layer runs on a batch, over all batches."""
        launching = layer_passes * LAUNCH["training" if trains else "forward"] if self.launches else 0.0
        return max(flops / (self.tflops * 1e12), launching)


def find(name: str | None, tflops: float | None) -> Gpu | None:
    """The GPU of --gpu or --tflops; None where neither is given. Raises UserError for both, or an unknown name."""
    if name is not None and tflops is not None:
        raise UserError("--gpu", "give --gpu or --tflops, not both")
    if tflops is not None:
        return Gpu(f"{tflops:g} TFLOP/s", tflops, launches=False)
    if name is None:
        return None
    if name not in PEAK:
        raise UserError("--gpu", f"must be {' | '.join(PEAK)}, found {name!r}{near(name, PEAK)}; or give --tflops")
    return Gpu(name, PEAK[name] * SHARE, launches=True)
