"""The headline metric after each epoch, on a subset of the validation rows."""

from collections.abc import Callable

from kdcore.data.examples import Examples
from kdcore.data.metrics import labelled_metrics
from kdcore.data.tasks import Task
from kdcore.distil.training import Settings
from kdcore.model.encoder import Encoder
from kdcore.model.predict import logits_of


def validator(task: Task, validation: Examples, settings: Settings) -> Callable[[Encoder], float]:
    """A function that gives a model's headline metric on the labelled ones of the first `history_rows`."""
    examples = validation.first(settings.history_rows).labelled()

    def validate(encoder: Encoder) -> float:
        logits = logits_of(encoder, examples, settings.batch_size)
        return labelled_metrics(task.metrics[:1], logits, examples.labels)[task.metrics[0]]

    return validate
