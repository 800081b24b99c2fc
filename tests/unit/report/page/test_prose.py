"""kdcore's own Markdown, read back."""

import pytest

from kdcore.report.errors import COUNTS
from kdcore.report.page.errors import SAID
from kdcore.report.page.prose import Cell, blocks


def test_headings_paragraphs_and_tables():
    found = list(blocks("## A title\n\nOne line\nand another.\n\n| method | score |\n| :--- | ---: |\n| sid | 0.8 |\n"))
    assert [block.kind for block in found] == ["heading", "text", "table"]
    assert (found[0].level, found[0].words) == (2, (("plain", "A title"),))
    assert found[1].words == (("plain", "One line and another."),)
    assert found[2].head == ("method", "score")
    assert [cell.text for cell in found[2].body[0]] == ["sid", "0.8"]


def table(*cells: str, column: str = "x") -> list[Cell]:
    head = " | ".join([column] * len(cells))
    (found,) = blocks(f"| {head} |\n| --- |\n| {' | '.join(cells)} |")
    return list(found.body[0])


@pytest.mark.parametrize(
    ("text", "numbers", "verdict", "sign", "star"),
    [
        ("+0.013 [+0.002, +0.024] higher", "+0.013 [+0.002, +0.024]", "higher", "▲", ""),
        ("-0.013 [-0.024, -0.002] lower", "−0.013 [−0.024, −0.002]", "lower", "▼", ""),
        ("-0.013 [-0.024, -0.002] lower*", "−0.013 [−0.024, −0.002]", "lower", "▼", "*"),
        ("+0.001 [-0.1, +0.1] no difference found", "+0.001 [−0.1, +0.1]", "no difference found", "=", ""),
        ("+0.001 not tested: one seed", "+0.001", "not tested: one seed", "–", ""),
    ],
)
def test_a_verdict_stands_apart_from_its_numbers(text, numbers, verdict, sign, star):
    assert table(text) == [Cell(numbers, verdict, sign, star)]


def test_a_method_has_its_familys_colour_and_a_meaning():
    (cell,) = table("sid-kl", column="method")
    assert (cell.method, cell.meaning) == ("sid", "internal KD, stacked, attention KL only")
    assert table("sid-kl") == [Cell("sid-kl")]


def test_empty_cells_and_escaped_pipes_stay_in_place():
    assert [cell.text for cell in table("a", "", "b \\| c")] == ["a", "", "b | c"]


def test_what_markdown_must_not_read_is_read_back():
    assert table("\\<b\\> \\*x\\* &amp;amp; &#124;")[0].text == "<b> *x* &amp; |"


def test_code_and_strong_words():
    (found,) = blocks("Run `dvc repro`, **now**.")
    assert found.words == (
        ("plain", "Run "),
        ("code", "dvc repro"),
        ("plain", ", "),
        ("strong", "now"),
        ("plain", "."),
    )


def test_markup_is_text():
    (found,) = blocks("<script>alert(1)</script>")
    assert found.words == (("plain", "<script>alert(1)</script>"),)


def test_a_sentence_of_the_data_may_take_several_lines():
    assert table("short", column="text")[0].shape == "text"
    assert table("x" * 40)[0].shape == "long"


def test_the_error_counts_are_those_of_the_analysis():
    assert tuple(SAID) == COUNTS
