"""Students: which layers each initialisation copies, what is new, and what follows the seed."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoModelForSequenceClassification

from kdcore.errors import UserError
from kdcore.model.build import build
from kdcore.model.encoder import Encoder
from kdcore.model.families import FAMILIES
from tests import tiny
from tests.distilling import examples, whole_batch

INITS = ("teacher", "teacher_lower", "pretrained", "pretrained_lower", "random")
SOURCES = {"teacher": (2, 4), "teacher_lower": (1, 2), "pretrained": (2, 4), "pretrained_lower": (1, 2)}
LABELS = ("bad", "good", "mixed")
families = pytest.mark.parametrize("family", tiny.FAMILIES)


@pytest.fixture(scope="module")
def made(tiny_classifier: Callable[..., Path], tiny_folder: Callable[..., Path]) -> Callable[..., Encoder]:
    """made(family, init, layers=2, mapped="uniform", seed=0, head="new", …): a student of a four-layer teacher."""

    def of(
        family: str,
        init: str,
        layers: int = 2,
        mapped: str | list[int] = "uniform",
        seed: int = 0,
        head: str = "new",
        dropout: float | None = None,
    ) -> Encoder:
        teacher, pretrained = tiny_classifier(family, labels=LABELS, seed=1), tiny_folder(family, seed=2)
        how = {"layers": layers, "init": init, "head": head, "mapped": mapped, "seed": seed, "dropout": dropout}
        return build(teacher, pretrained, **how)

    return of


@pytest.fixture(scope="module")
def sources(tiny_classifier: Callable[..., Path], tiny_folder: Callable[..., Path]) -> Callable[..., dict[str, Tensor]]:
    """sources(family, init): weights of the source, read by Hugging Face, named as in a classifier."""

    @cache
    def of(family: str, init: str) -> dict[str, Tensor]:
        if init.startswith("teacher"):
            folder = tiny_classifier(family, labels=LABELS, seed=1)
            return AutoModelForSequenceClassification.from_pretrained(folder).state_dict()
        bare = AutoModel.from_pretrained(tiny_folder(family, seed=2))
        return {f"{bare.base_model_prefix}.{name}": value for name, value in bare.state_dict().items()}

    return of


def source_name(name: str, family: str, source_layers: tuple[int, ...]) -> str:
    """What a student's weight is called in its source."""
    stack = f".{FAMILIES[family].layers}."
    if stack not in name:
        return name
    before, after = name.split(stack)
    index, _, rest = after.partition(".")
    return f"{before}{stack}{source_layers[int(index)] - 1}.{rest}"


@pytest.mark.parametrize("init", INITS[:-1])
@families
def test_every_weight_but_the_new_ones_is_its_sources(
    made: Callable[..., Encoder], sources: Callable[..., dict[str, Tensor]], family: str, init: str
):
    student, weights = made(family, init), sources(family, init)
    fresh = made(family, "random").model.state_dict()
    new = []
    for name, value in student.model.state_dict().items():
        source = source_name(name, family, SOURCES[init])
        if source in weights and not name.startswith(f"{FAMILIES[family].output}."):
            assert torch.equal(value, weights[source]), name
        else:
            assert torch.equal(value, fresh[name]), name
            new.append(name)
    assert new == expected_new(student, family, init)


def expected_new(student: Encoder, family: str, init: str) -> list[str]:
    """The output layer, and where the source is a bare encoder whatever else stands above it, the pooler apart."""
    output = [f"{FAMILIES[family].output}.{part}" for part in ("weight", "bias")]
    if init.startswith("teacher"):
        return output
    base = f"{student.model.base_model_prefix}."
    return [name for name in student.model.state_dict() if not name.startswith(base)]


@pytest.mark.parametrize(("mapped", "layers", "expected"), [("last", 3, (2, 3, 4)), ([1, 4], 2, (1, 4))])
def test_a_student_starts_from_the_layers_that_its_map_names(
    made: Callable[..., Encoder],
    sources: Callable[..., dict[str, Tensor]],
    mapped: str | list[int],
    layers: int,
    expected: tuple[int, ...],
):
    student, weights = made("bert", "teacher", layers, mapped), sources("bert", "teacher")
    for layer, source in zip(student.layers, expected, strict=True):
        for name, value in layer.state_dict().items():
            assert torch.equal(value, weights[f"bert.encoder.layer.{source - 1}.{name}"])


@pytest.mark.parametrize("init", ["teacher_lower", "pretrained_lower"])
def test_a_lower_start_does_not_depend_on_the_map(made: Callable[..., Encoder], init: str):
    students = [made("bert", init, 2, mapped).model.state_dict() for mapped in ("uniform", "last", [1, 4])]
    assert all(torch.equal(students[0][name], other[name]) for other in students[1:] for name in other)


@families
def test_a_random_start_has_nothing_of_either_source(
    made: Callable[..., Encoder], sources: Callable[..., dict[str, Tensor]], family: str
):
    for name, value in made(family, "random").model.state_dict().items():
        if value.dtype.is_floating_point and value.ndim == 2:
            for init in ("teacher", "pretrained"):
                for layers in ((1, 2), (2, 4), (3, 3)):
                    other = sources(family, init).get(source_name(name, family, layers))
                    assert other is None or not torch.equal(value, other), name


@pytest.mark.parametrize("init", INITS)
@families
def test_a_head_of_the_teacher_is_its_pooler_and_output_layer_and_nothing_else(
    made: Callable[..., Encoder], sources: Callable[..., dict[str, Tensor]], family: str, init: str
):
    student, plain, weights = made(family, init, head="teacher"), made(family, init), sources(family, "teacher")
    base = f"{student.model.base_model_prefix}."
    above = {name for name in weights if not name.startswith(base) or name.startswith(f"{base}pooler.")}
    assert len(above) >= 4, "a dense layer and the output layer, with a bias each, but ModernBERT's dense layer"
    for name, value in student.model.state_dict().items():
        assert torch.equal(value, weights[name] if name in above else plain.model.state_dict()[name]), name


@families
def test_one_seed_gives_one_output_layer_whatever_the_start(made: Callable[..., Encoder], family: str):
    outputs = [made(family, init, seed=3).output.weight for init in INITS]
    assert all(torch.equal(outputs[0], other) for other in outputs[1:])
    assert outputs[0].std() > 0


@families
def test_another_seed_gives_another_output_layer_and_the_same_copies(made: Callable[..., Encoder], family: str):
    one, other = made(family, "teacher", seed=0), made(family, "teacher", seed=1)
    assert not torch.equal(one.output.weight, other.output.weight)
    assert torch.equal(
        torch.cat([p.flatten() for p in one.layers.parameters()]),
        torch.cat([p.flatten() for p in other.layers.parameters()]),
    )


@families
def test_dropout_is_what_was_asked_for_in_layers_and_maps_or_the_teachers(made: Callable[..., Encoder], family: str):
    def internals(dropout: float | None, training: bool = True) -> list[Tensor]:
        student = made(family, "teacher", dropout=dropout).train(training)
        torch.manual_seed(0)
        with torch.no_grad():
            given = student(whole_batch(examples(family)).inputs, 2, (1, 2))
        return [*given.attention.values(), *given.cls.values()]

    def same(one: list[Tensor], other: list[Tensor]) -> bool:
        return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))

    assert same(internals(0.0), internals(None, training=False))
    assert same(internals(None), internals(0.1))  # the tiny teachers'
    assert not same(internals(0.5), internals(0.1))


def test_building_leaves_torch_as_it_was(made: Callable[..., Encoder]):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    made("bert", "pretrained", seed=5)
    assert torch.equal(torch.rand(3), expected)


def test_the_output_layer_does_not_depend_on_torchs_state(made: Callable[..., Encoder]):
    torch.manual_seed(1)
    first = made("bert", "pretrained").output.weight
    torch.manual_seed(2)
    assert torch.equal(made("bert", "pretrained").output.weight, first)


@families
def test_a_student_keeps_the_teachers_labels(made: Callable[..., Encoder], family: str):
    config = made(family, "pretrained").config
    assert (config.id2label, config.num_labels) == (dict(enumerate(LABELS)), 3)
    assert config.num_hidden_layers == 2


@families
def test_a_student_as_deep_as_its_teacher_is_its_teacher_below_the_output(
    made: Callable[..., Encoder], tiny_classifier: Callable[..., Path], family: str
):
    student = made(family, "teacher", layers=4).eval()
    teacher = Encoder.load(tiny_classifier(family, labels=LABELS, seed=1)).eval()
    batch = whole_batch(examples(family))
    own, theirs = student(batch.inputs, attention=(4,)), teacher(batch.inputs, attention=(4,))
    for layer in range(1, 5):
        torch.testing.assert_close(own.cls[layer], theirs.cls[layer])
    torch.testing.assert_close(own.attention[4], theirs.attention[4])
    assert (own.logits - theirs.logits).abs().max() > 1e-3


@families
def test_a_student_is_an_ordinary_folder_of_hugging_face(made: Callable[..., Encoder], tmp_path: Path, family: str):
    student, batch = made(family, "teacher").eval(), whole_batch(examples(family))
    student.model.save_pretrained(tmp_path)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(loaded(**batch.inputs).logits, student(batch.inputs).logits, rtol=1e-4, atol=1e-5)


# The tiny ModernBERT sees everything in layers 1 and 3, and a window in layers 2 and 4.
@pytest.mark.parametrize(
    ("init", "mapped", "layers", "expected"),
    [
        ("teacher", "uniform", 2, ["sliding", "sliding"]),
        ("teacher", [1, 4], 2, ["full", "sliding"]),
        ("pretrained", "last", 3, ["sliding", "full", "sliding"]),
        ("random", "uniform", 2, ["sliding", "sliding"]),
        ("teacher_lower", "uniform", 2, ["full", "sliding"]),
        ("pretrained_lower", "last", 3, ["full", "sliding", "full"]),
    ],
)
def test_a_modernbert_layer_sees_what_its_source_sees(
    made: Callable[..., Encoder], init: str, mapped: Any, layers: int, expected: list[str]
):
    student = made("modernbert", init, layers, mapped).eval()
    types = [f"{kind}_attention" for kind in expected]
    assert student.config.layer_types == types
    assert [layer.attention_type for layer in student.layers] == types
    found = student(whole_batch(examples("modernbert")).inputs, attention=range(1, layers + 1))
    for layer, kind in enumerate(expected, start=1):
        reaches_far = bool((found.attention[layer][:, :, 0, 4].exp() > 0).any())
        assert reaches_far == (kind == "full"), layer


# What is refused


def test_a_bad_map_is_refused_before_anything_is_built(made: Callable[..., Encoder]):
    with pytest.raises(UserError, match=r"student\.layer_map: \[4, 2\] does not map 2 student layers to 4"):
        made("bert", "teacher", 2, [4, 2])
    with pytest.raises(UserError, match=r"student\.layers: must be 1 to 4"):
        made("bert", "teacher", 5)


def test_a_pretrained_encoder_of_another_shape_is_refused(
    tiny_classifier: Callable[..., Path], tiny_folder: Callable[..., Path]
):
    teacher, other = tiny_classifier("bert"), tiny_folder("bert", layers=3)
    with pytest.raises(UserError, match=rf"{other}: num_hidden_layers is 3, but the teacher at {teacher} has 4"):
        build(teacher, other, layers=2, init="pretrained", mapped="uniform", seed=0)
    with pytest.raises(UserError, match=r"model_type is roberta, but the teacher at .* has bert"):
        build(teacher, tiny_folder("roberta"), layers=2, init="pretrained", mapped="uniform", seed=0)


@pytest.mark.parametrize("init", ["teacher", "teacher_lower", "random"])
def test_the_pretrained_encoder_is_not_needed_where_nothing_is_copied_from_it(
    tiny_classifier: Callable[..., Path], init: str
):
    student = build(tiny_classifier("bert"), "no/such model", layers=2, init=init, mapped="uniform", seed=0)
    assert len(student.layers) == 2
