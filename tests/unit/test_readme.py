"""README against the repository: its numbers are those of metrics/, and its links lead somewhere."""

import re

import pytest

from tests.unit.raw_files import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def first_table(text: str) -> str:
    """The first Markdown table of a text, without what comes around it."""
    return re.search(r"(^\|.*\|\n)+", text, re.MULTILINE)[0]


@pytest.mark.parametrize("path", ["metrics/glue/table.md", "metrics/main/table.md"])
def test_a_table_is_that_of_its_study(path: str):
    shown = README.split(f"<!-- the first table of {path} -->")[1].split("<!-- end -->")[0]
    assert shown.strip() == first_table((ROOT / path).read_text(encoding="utf-8")).strip()


def test_every_number_stands_in_a_table_that_it_links_to():
    tables = "".join(
        (ROOT / link).read_text(encoding="utf-8") for link in re.findall(r"\]\((metrics/\S+?\.md)\)", README)
    )
    numbers = re.compile(r"(?<![\d.])[+-]?\d\.\d{3}(?!\d)")
    assert set(numbers.findall(README)) - set(numbers.findall(tables)) == set()


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", README))
def test_every_link_leads_to_a_file(link: str):
    assert link.startswith("https://") or (ROOT / link).exists()
