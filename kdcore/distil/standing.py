"""What a student is called, and where it stands among those of its task: how long the others may take."""

from collections.abc import Mapping, Sequence
from statistics import fmean

from kdcore.console import count_of, in_words

Student = tuple[str, int]  # method and seed


def called(method: str, layers: int, seed: int) -> str:
    """`sid, 3 layers, seed 0`."""
    return f"{method}, {count_of(layers, 'layer')}, seed {seed}"


def standing(own: Student, wanted: Sequence[Student], seconds: Mapping[Student, float]) -> str:
    """`student 5 of 12, about 4 min left`.

    wanted: every student of the task, `own` among them; seconds: what those that are finished took to train. A student
    takes as long as the others of its method, or as all of them; nothing is said of time before one is finished.
    """
    done = {student: took for student, took in seconds.items() if student in wanted and student != own}
    place = f"student {len(done) + 1} of {len(wanted)}"
    if not done:
        return place
    left = sum(_expected(method, done) for method, seed in wanted if (method, seed) not in done)
    return f"{place}, about {in_words(left)} left"


def _expected(method: str, done: Mapping[Student, float]) -> float:
    alike = [took for (other, _), took in done.items() if other == method]
    return fmean(alike or done.values())
