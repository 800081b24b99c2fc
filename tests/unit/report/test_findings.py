"""docs/studies.md against the results: what it quotes stands in the tables it links to, and all fits the budget."""

import json
import re

import pytest

from tests.unit.raw_files import ROOT

FOUND = (ROOT / "docs/studies.md").read_text(encoding="utf-8").split("## What was found")[1].split("\n## ")[0]
NUMBER = re.compile(r"(?<![\d.])[+-]?\d\.\d{3}(?!\d)")
PAPER = {"0.085", "2.229"}  # of the paper's own example


def sections() -> dict[str, str]:
    """Title -> text of each part of "What was found"."""
    return dict(part.split("\n", 1) for part in FOUND.split("\n### ")[1:])


def tables(text: str) -> str:
    """The tables of results that a text links to."""
    return "\n".join(
        (ROOT / "docs" / link).read_text(encoding="utf-8") for link in re.findall(r"\]\((\S+?\.md)\)", text)
    )


@pytest.mark.parametrize("title", sections())
def test_every_number_stands_in_a_table_that_its_section_links_to(title: str):
    text = sections()[title]
    assert set(NUMBER.findall(text)) - set(NUMBER.findall(tables(text))) - PAPER == set()


def test_the_students_of_the_demonstrations_studies_train_in_less_than_three_hours():
    # A student of two studies is counted twice, so this is more than the time that they take.
    points = (ROOT / "metrics").glob("*/points/movies/*-s?.json")
    assert 0 < sum(json.loads(path.read_text(encoding="utf-8"))["seconds"] for path in points) < 3 * 3600
