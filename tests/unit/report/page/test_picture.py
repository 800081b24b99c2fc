"""Figures inside the page: the same shapes, the page's colours, and nothing that could act."""

import re

import pytest

from kdcore.errors import UserError
from kdcore.report.attention import overview
from kdcore.report.canvas import encode
from kdcore.report.methods import ORDER, look
from kdcore.report.page.picture import PALETTE, inline
from tests.unit.report.page import results


def svg(body: str) -> str:
    head = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 90 60">'
    return f"{head}{body}</svg>"


def test_the_drawing_keeps_its_size_and_gets_a_name():
    found = inline(svg("<path d='M 0 0'/>"), "a", 'A "name"')
    assert found.startswith('<svg class="themed" viewBox="0 0 90 60" width="120" role="img"')
    assert 'aria-label="A &#34;name&#34;"' in found
    assert '<path d="M 0 0"></path>' in found


def test_the_papers_colours_become_the_pages():
    found = inline(svg('<path style="fill: #004c8c; stroke: #FFFFFF; stroke-width: 2"/>'), "a", "")
    assert '<path stroke-width="2" class="f-sid s-paper">' in found


def test_every_colour_of_a_method_has_a_name_in_the_page():
    assert {look(method).colour.lower() for method in ORDER} <= set(PALETTE)


def test_ids_and_what_refers_to_them_get_the_prefix():
    found = inline(svg('<defs><clipPath id="c"/></defs><use xlink:href="#m"/><g clip-path="url(#c)"/>'), "fig", "")
    assert 'id="fig-c"' in found
    assert 'href="#fig-m"' in found
    assert 'clip-path="url(#fig-c)"' in found


@pytest.mark.parametrize(
    "body",
    [
        "<script>window.broken = 1</script>",
        "<path onload='window.broken = 1'/>",
        "<style>* { display: none }</style>",
        "<foreignObject><p>x</p></foreignObject>",
        "<image xlink:href='https://elsewhere.example/x.png'/>",
        "<use xlink:href='https://elsewhere.example/x.svg#y'/>",
        "<path style='fill: url(https://elsewhere.example/x)'/>",
        "<a xlink:href='javascript:alert(1)'><path/></a>",
        "<path d='M 0 0&quot; onload=&quot;window.broken = 1'/>",
    ],
)
def test_what_could_act_or_ask_is_left_out(body):
    found = inline(svg(body), "a", "")
    inside = re.sub(r'"[^"]*"', '""', found)
    assert not re.search(r"script|onload|style|foreign|<a|elsewhere", inside)
    assert "elsewhere" not in found
    assert "javascript" not in found


def test_coordinates_are_short_and_transforms_stay_exact():
    found = inline(svg('<path d="M 1.23456 -7.891" transform="scale(0.0851234)"/>'), "a", "")
    assert 'd="M 1.23 -7.89"' in found
    assert "scale(0.0851234)" in found


def test_a_heat_map_keeps_its_own_colours():
    drawn = encode(overview(results.overall(["soft"], 4), [2, 4, 6], "x"))["svg"].decode()
    found = inline(drawn, "a", "")
    assert found.startswith('<svg class="kept"')
    assert 'href="data:image/png;base64,' in found
    assert "f-ink" not in found


def test_entities_are_not_expanded():
    laughs = '<!DOCTYPE svg [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]>' + svg("<path d='&b;'/>")
    assert "hahahaha" not in inline(laughs, "a", "")


@pytest.mark.parametrize("text", ["", "no svg", "<svg", "<svg xmlns='http://www.w3.org/2000/svg'/>"])
def test_what_is_no_figure_is_named(text):
    with pytest.raises(UserError, match=r"main\.svg: is no SVG that kdcore drew"):
        inline(text, "a", "", "main.svg")
