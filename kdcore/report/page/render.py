"""The page's templates, styles and scripts, joined to one document that may load nothing and run nothing else."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from kdcore.report.page import scale

FILES = Path(__file__).parent / "files"
STYLES = ("page.css", "explorer.css", "print.css")
SCRIPTS = ("data.js", "map.js", "grid.js", "explorer.js")


def render(values: Mapping[str, Any]) -> str:
    """Fill the template. Every value is escaped, apart from Markup."""
    loader = FileSystemLoader(FILES, encoding="utf-8")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    style, script = _style(), _script()
    own = {"style": Markup(style), "script": Markup(script), "policy": policy(style, script)}  # noqa: S704  (our files)
    return environment.get_template("page.html").render(**values, **own)


def policy(style: str, script: str) -> str:
    """The page's Content-Security-Policy: this very style and script, pictures inside the page, and nothing else."""
    return (
        f"default-src 'none'; style-src '{_sha256(style)}'; script-src '{_sha256(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> Markup:
    """JSON for a <script> of data. Without `<`, no text in it can end the element or open a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)  # noqa: S704  (escaped above)


def _sha256(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _style() -> str:
    return "\n".join([scale.css(), *((FILES / name).read_text(encoding="utf-8") for name in STYLES)])


def _script() -> str:
    parts = [(FILES / name).read_text(encoding="utf-8") for name in SCRIPTS]
    return "\n".join(['"use strict";', "(() => {", *parts, "})();", ""])
