"""Data inside the page, its policy, and its colours."""

import base64
import hashlib
import json
import re
from itertools import pairwise

import pytest

from kdcore.report.methods import FAMILIES
from kdcore.report.page.render import LEVELS, SCALES, code, colours, contrast, css, embedded, ink, policy
from tests.unit.report.page import results


@pytest.mark.parametrize("text", results.HOSTILE)
def test_embedded_json_says_the_same_and_cannot_end_its_element(text):
    found = embedded([text])
    assert json.loads(found) == [text]
    assert not re.search(r"[<>&\u2028\u2029]", found)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Run `dvc repro` & look", "Run <code>dvc repro</code> &amp; look"),
        ("`<b>` and `$(x)`", "<code>&lt;b&gt;</code> and <code>$(x)</code>"),
        ("a ` alone, <i>", "a ` alone, &lt;i&gt;"),
    ],
)
def test_a_paragraph_shows_code_as_code_and_nothing_else_of_it_is_markup(text, shown):
    assert code(text) == shown


def test_the_policy_names_the_hash_of_the_style_and_script():
    digest = base64.b64encode(hashlib.sha256("let é = 1".encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy("", "let é = 1")


@pytest.mark.parametrize("theme", SCALES)
@pytest.mark.parametrize("scale", ["b", "o"])
def test_a_scale_goes_one_way_from_the_page_to_its_opposite(theme, scale):
    ground = {"light": "#ffffff", "dark": "#000000"}[theme]
    steps = [contrast(colour, ground) for colour in colours(theme, scale)]
    assert all(lower < upper for lower, upper in pairwise(steps))
    assert steps[0] < 1.5 < 9 < steps[-1]


@pytest.mark.parametrize("theme", SCALES)
def test_numbers_are_readable_on_every_colour(theme):
    assert min(contrast(ink(colour), colour) for colour in colours(theme, "o")) >= 4.5


def test_contrast_of_black_and_white_is_21():
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)


def test_every_level_has_a_class_and_paper_is_light():
    text = css()
    assert all(f".{scale}{level}{{" in text for scale in "bo" for level in range(LEVELS + 1))
    assert all(f".{kind}-{name}{{" in text for kind in "mfs" for name in FAMILIES)
    assert "@media screen and (prefers-color-scheme:dark)" in text
