"""GPU rates: what is slower decides, arithmetic or launches; the basis is said; wrong names are named."""

import pytest

from kdcore.errors import UserError
from kdcore.plan.gpus import PEAK, SHARE, find


def test_a_rate_of_ones_own_is_taken_as_it_is():
    gpu = find(None, 150.0)
    assert gpu is not None
    assert gpu.name == "150 TFLOP/s"
    assert gpu.seconds(300e12, layer_passes=10**9, trains=True) == 2.0


def test_a_named_gpu_sustains_a_share_of_its_peak():
    gpu = find("h100", None)
    assert gpu is not None
    assert gpu.tflops == SHARE * 989
    assert gpu.seconds(989e12, layer_passes=1, trains=True) == pytest.approx(1 / SHARE)


def test_small_batches_wait_for_their_kernels():
    gpu = find("h100", None)
    assert gpu is not None
    assert gpu.seconds(1e9, layer_passes=2_000, trains=True) == pytest.approx(10.0)
    assert gpu.seconds(1e9, layer_passes=2_000, trains=False) == pytest.approx(3.0)


@pytest.mark.parametrize("name", PEAK)
def test_every_gpu_says_its_basis(name: str):
    gpu = find(name, None)
    assert gpu is not None
    assert gpu.basis.startswith(f"{name}: {PEAK[name] * SHARE:.0f} TFLOP/s, 30% of its dense 16-bit peak")
    assert gpu.basis.endswith("The rate is assumed, not measured.")


def test_no_gpu_is_asked_for():
    assert find(None, None) is None


def test_an_unknown_gpu_and_two_rates_are_refused():
    with pytest.raises(UserError, match=r"--gpu: must be t4 .*, found 'h10', did you mean 'h100'\?; or give --tflops"):
        find("h10", None)
    with pytest.raises(UserError, match="give --gpu or --tflops, not both"):
        find("h100", 150.0)
