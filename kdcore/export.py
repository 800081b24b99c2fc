"""A finished classifier as ONNX: float32, and int8 for CPUs, each held against torch on validation rows first.

The folder is laid out as the hub does it: config.json and the tokenizer at the top, onnx/model.onnx (float32) and
onnx/model_quantized.onnx (int8). transformers.js, Optimum's ORTModel and plain onnxruntime with tokenizers read it.
"""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kdcore.artefacts import new_folder, seal, write_json
from kdcore.data.batches import Batch, collate, in_order
from kdcore.data.examples import Examples
from kdcore.data.metrics import labelled_metrics, predictions
from kdcore.data.tasks import Task
from kdcore.distil.card import Scores, write_card
from kdcore.errors import UserError
from kdcore.model.encoder import Encoder
from kdcore.model.loading import load_classifier
from kdcore.model.predict import logits_of

FLOAT32, INT8 = "onnx/model.onnx", "onnx/model_quantized.onnx"
OPSET = 18
LARGEST_DIFFERENCE = 1e-3  # of a float32 logit; sums in another order differ by 1e-6
SAME = 0.05  # of the range of a regression's scores: so far apart they count as equal
LEAST_AGREEMENT = 0.9  # of int8 with float32; below it the rounded model is another classifier
NOT_SHIPPED = ("model.safetensors", "manifest.json", "history.csv")


def export(
    model: Path,
    task: Task,
    examples: Examples,
    out: Path,
    int8: bool,
    batch_size: int,
    scores: Scores | None = None,
) -> dict[str, Any]:
    """Write the classifier in `model` as ONNX to the folder `out`; returns what was measured, also in out/export.json.

    examples: validation rows on which torch, float32 and int8 are compared; scores: for the model card. Raises
    UserError where the extra `export` is not installed, or where an exported model would answer otherwise than the
    classifier; `out` is then as it was.
    """
    check_installed()
    encoder = Encoder.load(model).cpu()
    own = logits_of(encoder, examples, batch_size)
    facts: dict[str, Any] = {"task": task.name, "rows": len(examples), "torch": _scores(task, own, examples)}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / "onnx"
        place.mkdir()
        write_float32(model, examples, Path(scratch) / FLOAT32)
        facts["float32"] = _compared(task, own, _logits(Path(scratch) / FLOAT32, examples, batch_size), examples)
        if facts["float32"]["largest_difference"] > LARGEST_DIFFERENCE or facts["float32"]["agreement"] < 1:
            raise UserError(
                str(model), f"its ONNX form answers otherwise: {_far(facts['float32'])}; nothing is written"
            )
        if int8:
            write_int8(Path(scratch) / FLOAT32, Path(scratch) / INT8)
            facts["int8"] = _compared(task, own, _logits(Path(scratch) / INT8, examples, batch_size), examples)
            if facts["int8"]["agreement"] < LEAST_AGREEMENT:
                problem = (
                    f"rounded to 8 bits it answers otherwise: {_far(facts['int8'])}, and {LEAST_AGREEMENT:.0%} must be"
                )
                raise UserError(str(model), f"{problem}; use --no-int8 (in Python int8=False) for float32 alone")
        with new_folder(out) as aside:
            for file in sorted(model.iterdir()):
                if file.is_file() and file.name not in NOT_SHIPPED:
                    shutil.copyfile(file, aside / file.name)
            shutil.copytree(place, aside / "onnx")
            write_json(aside / "export.json", facts)
            if (aside / "run.json").is_file():
                write_card(aside, scores, facts)
            seal(aside)
    return facts


def _far(compared: dict[str, Any]) -> str:
    found = f"{compared['agreement']:.1%} of the rows are answered as by torch"
    return f"logits differ by up to {compared['largest_difference']:.2g}, {found}"


def check_installed() -> None:
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError("export", f"needs {error.name}: pip install 'kdcore[export]'") from error


def write_float32(model: Path, examples: Examples, path: Path) -> None:
    """Trace the plain Hugging Face model, not the one that captures, with batch and length left open."""
    import torch

    names = ["input_ids", "attention_mask", *(["token_type_ids"] if examples.types is not None else [])]
    plain = load_classifier(model)
    plain.set_attn_implementation("eager")

    class Logits(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = plain

        def forward(self, *values: torch.Tensor) -> torch.Tensor:
            return self.model(**dict(zip(names, values, strict=True))).logits

    # Two rows of unlike length: a size of one, and a mask without padding, would be taken for constants.
    order = np.argsort(examples.lengths, kind="stable")
    batch = collate(examples, order[[0, -1]])
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # else it names the packages that it has no use for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own, about itself
        torch.onnx.export(
            Logits().eval(),
            tuple(batch.inputs[name] for name in names),
            str(path),
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(tuple(axes for _ in names),),
            opset_version=OPSET,
            external_data=False,
            dynamo=True,
            verbose=False,
        )


def write_int8(source: Path, target: Path) -> None:
    """Matrices and embeddings as 8-bit integers with a scale per column; activations are rounded as they come.

    Unsigned, as activations are: a processor without VNNI adds unsigned · signed products in 16 bits, where they
    overflow, so that a file which was good where it was written would answer otherwise elsewhere.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)  # it advises to infer shapes first, which its integer operators have no use for
    try:
        quantize_dynamic(source, target, per_channel=True, weight_type=QuantType.QUInt8)
    finally:
        root.setLevel(before)


def by_onnx(path: Path, threads: int = 0) -> Callable[[Batch], np.ndarray]:
    """Batch -> its (B, K) logits by an ONNX file on the CPU. threads: 0 for as many as ONNX Runtime takes by itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    return lambda batch: session.run(["logits"], {name: batch.inputs[name].numpy() for name in names})[0]


def _logits(path: Path, examples: Examples, batch_size: int) -> np.ndarray:
    """(N, K) logits of an ONNX file on the CPU, in the examples' order."""
    answer = by_onnx(path)
    logits: np.ndarray | None = None
    for rows in in_order(examples.lengths, batch_size):
        part = answer(collate(examples, rows))
        if logits is None:
            logits = np.empty((len(examples), part.shape[1]), np.float32)
        logits[rows] = part
    assert logits is not None  # noqa: S101  (validation has rows)
    return logits


def _scores(task: Task, logits: np.ndarray, examples: Examples) -> dict[str, float]:
    """The task's metrics; none where the teacher's answers are the truth, as it is not here."""
    return {} if task.by_teacher else labelled_metrics(task.metrics, logits, examples.labels)


def _compared(task: Task, own: np.ndarray, exported: np.ndarray, examples: Examples) -> dict[str, Any]:
    """Largest difference of a logit, share of equal answers (in a regression: within SAME), and the task's metrics."""
    near = np.abs(own - exported)[:, 0] <= max(SAME * np.ptp(own), LARGEST_DIFFERENCE)
    same = near if task.regression else predictions(own) == predictions(exported)
    return {
        "largest_difference": float(np.abs(own - exported).max()),
        "agreement": float(same.mean()),
        **_scores(task, exported, examples),
    }
