"""Linear layers by oneDNN: their results, gradients and trained weights are those of torch's own product."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  (its usual name)

from kdcore.distil.schedule import Phase
from kdcore.model import linear as module
from kdcore.model.encoder import Encoder
from kdcore.model.linear import SMALL, Linear, linear, replace_linear
from tests import tiny
from tests.distilling import encoder, examples, objective, trainer, use_plain_descent

LARGE = (8, 40, 192)  # more numbers than SMALL, so oneDNN's


@pytest.fixture(autouse=True)
def slow_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor where torch's own products are slow."""
    monkeypatch.setattr(module, "by_onednn", lambda: True)


@pytest.fixture
def convolved(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each convolution saw."""
    seen: list[int] = []
    real = F.conv2d

    def conv2d(tokens: Tensor, *rest: Tensor | None, **how: int) -> Tensor:
        seen.append(tokens.shape[-1])
        return real(tokens, *rest, **how)

    monkeypatch.setattr(F, "conv2d", conv2d)
    return seen


def layer(bias: bool = True) -> nn.Linear:
    torch.manual_seed(3)
    return nn.Linear(LARGE[-1], 70, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [LARGE, (320, 192), (2, 4, 40, 192)], ids=str)
def test_results_and_gradients_are_those_of_a_product_in_float64(shape, bias, convolved):
    one, values = layer(bias), torch.randn(shape, requires_grad=True)
    upstream = torch.randn(*shape[:-1], 70)
    result = linear(values, one.weight, one.bias)
    result.backward(upstream)
    assert convolved == [320]

    flat, above = values.detach().double().reshape(-1, 192), upstream.double().reshape(-1, 70)
    expected = flat @ one.weight.detach().double().T + (one.bias.detach().double() if one.bias is not None else 0)
    close = {"rtol": 1e-4, "atol": 1e-4, "check_dtype": False}
    torch.testing.assert_close(result.detach().reshape(-1, 70), expected, **close)
    assert values.grad is not None
    assert one.weight.grad is not None
    torch.testing.assert_close(values.grad.reshape(-1, 192), above @ one.weight.detach().double(), **close)
    torch.testing.assert_close(one.weight.grad, above.T @ flat, **close)
    if one.bias is not None:
        assert one.bias.grad is not None
        torch.testing.assert_close(one.bias.grad, above.sum(0), **close)


def test_a_view_with_gaps_is_read_as_what_it_shows():
    one, values = layer(), torch.randn(8, 40, 2, 192)[:, :, 1]
    torch.testing.assert_close(linear(values, one.weight, one.bias), one(values), rtol=1e-4, atol=1e-5)


def test_the_same_bits_wherever_the_values_lie():
    one, values = layer(), torch.randn(LARGE)
    found = []
    for offset in (0, 1, 7, 16):
        moved = torch.empty(values.numel() + 16)[offset : offset + values.numel()].view(LARGE).copy_(values)
        one.zero_grad()
        linear(moved, one.weight, one.bias).square().sum().backward()
        assert one.weight.grad is not None
        found.append(one.weight.grad.clone())
    assert all(torch.equal(found[0], other) for other in found[1:])


def test_few_values_reduced_precision_and_other_types_stay_torchs_own(convolved: list[int]):
    one = layer()
    few = torch.randn(SMALL // 192, 192)
    assert torch.equal(linear(few, one.weight, one.bias), F.linear(few, one.weight, one.bias))
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(torch.randn(LARGE), one.weight, one.bias).dtype == torch.bfloat16
    assert linear(torch.randn(LARGE).double(), one.weight.double()).dtype == torch.float64
    assert convolved == []


@pytest.mark.parametrize(
    ("maker", "capability", "mkl", "chosen"),
    [
        ("vendor_id\t: AuthenticAMD", "AVX512", True, True),
        ("AMD64 Family 25 Model 97 Stepping 2, AuthenticAMD", "AVX512", True, True),
        ("vendor_id\t: AuthenticAMD", "AVX2", True, False),  # Zen 2 and 3
        ("vendor_id\t: GenuineIntel", "AVX512", True, False),
        ("CPU implementer\t: 0x41", "DEFAULT", False, False),
        ("vendor_id\t: AuthenticAMD", "AVX512", False, False),
    ],
)
def test_onednn_computes_where_it_is_faster_than_mkl(maker, capability, mkl, chosen, monkeypatch):
    monkeypatch.undo()  # the rule itself
    monkeypatch.setattr(module, "_maker", lambda: maker)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    module.by_onednn.cache_clear()
    assert module.by_onednn() is chosen
    module.by_onednn.cache_clear()


@pytest.mark.parametrize("threads", [1, 2])
def test_the_convolution_is_onednns_on_any_number_of_threads_in_the_same_bits(threads: int):
    one, values = layer(), torch.randn(LARGE, requires_grad=True)
    torch.set_num_threads(threads)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        result = linear(values, one.weight, one.bias)
        result.square().sum().backward()
    ran = {event.key for event in profiler.key_averages()}
    assert "aten::mkldnn_convolution" in ran
    assert not [name for name in ran if "slow_conv2d" in name]
    torch.set_num_threads(3 - threads)
    assert torch.equal(linear(values, one.weight, one.bias), result)


def test_the_processors_maker_is_found():
    assert module._maker()


def test_an_encoder_computes_its_linear_layers_so_and_keeps_their_names_and_weights(convolved: list[int]):
    plain = tiny.model()
    names, whole = list(plain.state_dict()), {name: w.clone() for name, w in plain.state_dict().items()}
    model = Encoder(plain)
    assert list(plain.state_dict()) == names
    assert all(torch.equal(w, whole[name]) for name, w in plain.state_dict().items())
    assert {type(part) for part in model.modules() if isinstance(part, nn.Linear)} == {Linear}
    ids = torch.randint(5, 20, (64, 40))
    model({"input_ids": ids, "attention_mask": torch.ones_like(ids)})
    assert set(convolved) == {64 * 40}


def test_a_subclass_of_linear_keeps_its_own_way():
    class Own(nn.Linear):
        pass

    parts = nn.Sequential(Own(2, 2), nn.Linear(2, 2))
    replace_linear(parts)
    assert [type(part) for part in parts] == [Own, Linear]


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_short_sid_ends_with_the_same_weights(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, convolved
):
    use_plain_descent(monkeypatch)  # AdamW makes steps of full size out of rounding where a gradient is 0

    def trained(small: int) -> dict[str, Tensor]:
        monkeypatch.setattr(module, "SMALL", small)
        student = encoder(family, seed=1)
        schedule = (Phase("layer 2", 1, internal=(1, 2), classification=False, layer=2), Phase("classification", 1))
        what = objective("sid", encoder(family), layer_map=(1, 2, 3, 4))
        trainer(student, examples(family), schedule, what, tmp_path / str(small), learning_rate=1e-2).train()
        return {name: weight.detach() for name, weight in student.named_parameters()}

    own = trained(10**9)
    assert convolved == []
    by_onednn = trained(0)
    assert convolved
    for name, weight in by_onednn.items():
        torch.testing.assert_close(weight, own[name], rtol=1e-4, atol=1e-5, msg=name)
