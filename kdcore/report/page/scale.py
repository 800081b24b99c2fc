"""Sequential colour scales, light and dark, as CSS. Each has one hue, so colour blindness and grey paper do no harm.

A level q (0 … LEVELS) becomes the classes `b<q>` (blue, attention weights) and `o<q>` (orange, KL). On orange stands a
number: each level takes whichever ink reads better on it.
"""

from collections.abc import Iterator

from matplotlib.colors import LinearSegmentedColormap, to_hex, to_rgb

LEVELS = 24
SCALES = {  # theme -> scale -> from nothing to most
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


def colours(theme: str, scale: str) -> list[str]:
    """The LEVELS + 1 colours of a scale, as hex."""
    ramp = LinearSegmentedColormap.from_list(scale, SCALES[theme][scale])
    return [to_hex(ramp(level / LEVELS)) for level in range(LEVELS + 1)]


def ink(background: str) -> str:
    """The ink that reads better on a colour."""
    return max(INKS, key=lambda colour: contrast(colour, background))


def contrast(first: str, second: str) -> float:
    """WCAG's contrast ratio of two colours, 1 … 21."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def css() -> str:
    """The colours as variables of both themes (paper is always light), and the classes that use them."""
    used = "".join(
        f".b{level}{{fill:var(--b{level});background:var(--b{level})}}"
        f".o{level}{{background:var(--o{level});color:var(--i{level})}}\n"
        for level in range(LEVELS + 1)
    )
    dark = f"@media screen and (prefers-color-scheme:dark){{:root{{{_variables('dark')}}}}}\n"
    return f":root{{{_variables('light')}}}\n{dark}{used}"


def _variables(theme: str) -> str:
    return ";".join(f"--{name}:{value}" for name, value in _named(theme))


def _named(theme: str) -> Iterator[tuple[str, str]]:
    for level, (blue, orange) in enumerate(zip(colours(theme, "b"), colours(theme, "o"), strict=True)):
        yield from ((f"b{level}", blue), (f"o{level}", orange), (f"i{level}", ink(orange)))
