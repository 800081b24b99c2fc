"""The page's templates, styles and scripts, joined to one document that may load nothing and run nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb

from kdcore.console import count_of
from kdcore.report.markdown import counts_text, numbers
from kdcore.report.methods import FAMILIES, meaning
from kdcore.report.statistics import NO_DIFFERENCE, star

FILES = Path(__file__).parent / "files"
STYLES = ("page.css", "explorer.css", "print.css")
SCRIPTS = ("data.js", "map.js", "grid.js", "explorer.js")
SIGNS = {"higher": "▲", "lower": "▼", NO_DIFFERENCE: "="}  # else –, not tested
LEVELS = 24
SCALES = {  # theme -> scale -> from nothing to most; each has one hue, so colour blindness and grey paper do no harm
    "light": {
        "b": ("#F7FBFF", "#C6DBEF", "#6BAED6", "#2171B5", "#08306B"),
        "o": ("#FFF5EB", "#FDD0A2", "#FD8D3C", "#D94801", "#7F2704"),
    },
    "dark": {
        "b": ("#17202B", "#1D4467", "#2F7FBF", "#8CC6F0", "#F4FAFF"),
        "o": ("#241D18", "#5C3012", "#B85A12", "#F2A65A", "#FFF1DF"),
    },
}
INKS = ("#000000", "#FFFFFF")  # one of them always has a contrast of 4.58 or more


def render(values: Mapping[str, Any]) -> str:
    """Fill the template. Every value is escaped, apart from Markup."""
    loader = FileSystemLoader(FILES, encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["signs"] = SIGNS
    environment.filters |= {"meaning": meaning, "numbers": numbers, "counts": counts_text, "star": star, "code": code}
    environment.filters |= {"count_of": count_of}
    style, script = _style(), _script()
    own = {"style": Markup(style), "script": Markup(script), "policy": policy(style, script)}  # noqa: S704  (our files)
    return environment.get_template("page.html").render(**values, **own)


def policy(style: str, script: str) -> str:
    """The page's Content-Security-Policy: this very style and script, pictures inside the page, and nothing else."""

    def sha256(text: str) -> str:
        return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src '{sha256(style)}'; script-src '{sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def code(text: str) -> Markup:
    """A paragraph, escaped; what stands between backticks, as Markdown has it, as code."""
    return Markup(re.sub("`(.+?)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  (escaped first)


def embedded(value: Any) -> Markup:
    """JSON for a <script> of data. Without `<`, no text in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  (escaped above)


def _style() -> str:
    return "\n".join([*((FILES / name).read_text(encoding="utf-8") for name in STYLES), css()])


def _script() -> str:
    parts = [(FILES / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['"use strict";', "(() => {", f"const LEVELS = {LEVELS};", *parts, "})();", ""])


def css() -> str:
    """The colours as variables of both themes (paper is always light), and the classes that use them.

    A level q (0 … LEVELS) of a scale is the class `b<q>` (blue, attention weights) or `o<q>` (orange, KL; its number
    takes whichever ink reads better on it); a method's schedule is the classes m- (background), f- and s-<schedule>.
    """
    levels = "".join(
        f".b{level}{{fill:var(--b{level});background:var(--b{level})}}"
        f".o{level}{{background:var(--o{level});color:var(--i{level})}}\n"
        for level in range(LEVELS + 1)
    )
    methods = "".join(
        f".m-{name}{{background:var(--{name})}}.f-{name}{{fill:var(--{name})}}.s-{name}{{stroke:var(--{name})}}\n"
        for name in FAMILIES
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables('dark')}}}}}\n"
    return f":root{{{_variables('light')}}}\n{dark}{levels}{methods}"


def _variables(theme: str) -> str:
    return ";".join(f"--{name}:{value}" for name, value in _named(theme))


def _named(theme: str) -> Iterator[tuple[str, str]]:
    for name, family in FAMILIES.items():
        yield name, family.dark if theme == "dark" else family.colour
    for level, (blue, orange) in enumerate(zip(colours(theme, "b"), colours(theme, "o"), strict=True)):
        yield from ((f"b{level}", blue), (f"o{level}", orange), (f"i{level}", ink(orange)))


def colours(theme: str, scale: str) -> list[str]:
    """The LEVELS + 1 colours of a scale, as hex."""
    ramp = LinearSegmentedColormap.from_list(scale, SCALES[theme][scale])
    return [to_hex(ramp(level / LEVELS)) for level in range(LEVELS + 1)]


def ink(background: str) -> str:
    """The ink that reads better on a colour."""
    return max(INKS, key=lambda colour: contrast(colour, background))


def contrast(first: str, second: str) -> float:
    """WCAG's contrast ratio of two colours, 1 … 21."""

    def luminance(colour: str) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)
