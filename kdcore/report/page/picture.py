"""A figure that kdcore drew (SVG) in; the same figure as part of an HTML page out.

Only shapes that figures are made of go through, so a figure brings no script, no link and no style of its own. Colours
of kdcore's palette become classes, which the page's dark theme changes; ids get a prefix, so that figures don't clash.
"""

import re
from collections.abc import Iterator
from xml.etree import ElementTree as Tree

from markupsafe import Markup, escape

from kdcore.errors import UserError
from kdcore.report.methods import FAMILIES

SVG, LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
TAGS = {"svg", "g", "defs", "path", "use", "clipPath", "rect", "image"}
ATTRIBUTES = ("d", "x", "y", "width", "height", "transform", "preserveAspectRatio")
STYLES = {"fill", "stroke", "fill-opacity", "stroke-opacity", "opacity", "stroke-width", "stroke-linecap"}
STYLES |= {"stroke-linejoin", "stroke-dasharray", "stroke-dashoffset", "image-rendering"}
PALETTE = {  # kdcore's colours -> names of the page's
    "#222222": "ink",
    "#000000": "ink",
    "#6b6b6b": "quiet",
    "#eaeaea": "rule",
    "#f0f0f0": "rule",
    "#ffffff": "paper",
    "#d9d9d9": "pale",
}
PALETTE |= {family.colour.lower(): name for name, family in FAMILIES.items() if family.colour.lower() not in PALETTE}


def inline(svg: str, prefix: str, label: str, source: str = "figure", rerun: str = "dvc repro") -> Markup:
    """The figure as an inline <svg>. prefix: of its ids, another for each figure of a page; label: read aloud; rerun:
    what draws it again.

    A figure with an image inside (a heat map) keeps its own colours, on white. Raises UserError naming `source` for
    what is no SVG.
    """
    try:
        root = Tree.fromstring(svg)  # noqa: S314  (the project's own file; expat limits entities and fetches nothing)
        box = [float(number) for number in root.attrib["viewBox"].split()]
    except (Tree.ParseError, KeyError, ValueError) as error:
        raise UserError(source, f"is no SVG that kdcore drew ({error}); run `{rerun}`") from error
    kept = root.find(f".//{SVG}image") is not None
    body = "".join(_inner(root, prefix, {} if kept else PALETTE))
    head = f'class="{"kept" if kept else "themed"}" viewBox="0 0 {box[2]:g} {box[3]:g}" width="{box[2] * 4 / 3:.0f}"'
    aloud = f'role="img" aria-label="{escape(label)}"'
    lines = 'stroke-linejoin="round" stroke-linecap="butt"'  # as in the style sheet that matplotlib puts inside
    return Markup(f"<svg {head} {aloud} {lines}>{body}</svg>")  # noqa: S704  (every part is escaped or a number)


def _inner(node: Tree.Element, prefix: str, palette: dict[str, str]) -> Iterator[str]:
    for child in node:
        tag = child.tag.removeprefix(SVG) if isinstance(child.tag, str) else ""
        if tag in TAGS:
            attributes = "".join(f' {name}="{escape(value)}"' for name, value in _attributes(child, prefix, palette))
            yield f"<{tag}{attributes}>{''.join(_inner(child, prefix, palette))}</{tag}>"


def _attributes(node: Tree.Element, prefix: str, palette: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name in ATTRIBUTES:
        if name in node.attrib:
            yield name, _short(node.attrib[name]) if name in ("d", "x", "y") else node.attrib[name]
    if "id" in node.attrib and node.tag != f"{SVG}g":
        yield "id", f"{prefix}-{node.attrib['id']}"
    link = node.attrib.get(LINK, "")
    if link.startswith("#"):
        yield "href", f"#{prefix}-{link[1:]}"
    elif link.startswith("data:image/png;base64,"):
        yield "href", re.sub(r"\s", "", link)
    if clip := re.fullmatch(r"url\(#([\w-]+)\)", node.attrib.get("clip-path", "")):
        yield "clip-path", f"url(#{prefix}-{clip[1]})"
    yield from _style(node.attrib.get("style", ""), palette)


def _style(style: str, palette: dict[str, str]) -> Iterator[tuple[str, str]]:
    """Declarations as attributes, as the page forbids styles in elements; known colours as classes."""
    classes = []
    for part in style.split(";"):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        if name in ("fill", "stroke") and value.lower() in palette:
            classes.append(f"{name[0]}-{palette[value.lower()]}")
        elif name in STYLES and "(" not in value:
            yield name, value
    if classes:
        yield "class", " ".join(classes)


def _short(path: str) -> str:
    """Coordinates to a hundredth of a point: half the size, the same picture."""
    return re.sub(r"\s+", " ", re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", path)).strip()
