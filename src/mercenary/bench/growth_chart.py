"""Throughput and p95 against the number of projects, as an SVG for `docs/`.

Both axes begin at zero, so that flat looks flat and nothing else does; behind each line lies the
band that counts as flat. It has its own background and both schemes of colours, since a page that
shows it as an image can't give it any.
"""

from collections.abc import Callable, Sequence
from math import log10
from typing import Final
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mercenary.bench.growth import FLAT, JUDGED_UP_TO, Point

_WIDTH: Final = 880
_TOP: Final = 100
_ROW: Final = 88
_PLOT: Final = 50
_BOTTOM: Final = 62
_LEFTS: Final = (220, 560)
_PANEL: Final = 270
# What of a panel's height the highest value and the band's edge take: the rest is for figures.
_ROOM: Final = 1.08
_STYLE: Final = """
    :root { --ground: #ffffff; --ink: #1f2328; --faint: #59636e; --rule: #d1d9e0;
      --line: #0969da; --band: #ddf4ff; --missed: #cf222e; }
    @media (prefers-color-scheme: dark) { :root { --ground: #0d1117; --ink: #f0f6fc;
      --faint: #9198a1; --rule: #3d444d; --line: #4493f8; --band: #152b4a; --missed: #ff7b72; } }
    text { font: 12px system-ui, sans-serif; fill: var(--ink); }
    .ground { fill: var(--ground); } .title { font-size: 17px; font-weight: 600; }
    .name { font-size: 13px; font-weight: 600; } .faint { fill: var(--faint); }
    .rule { stroke: var(--rule); } .band { fill: var(--band); }
    .line { fill: none; stroke: var(--line); stroke-width: 2; }
    .point { fill: var(--line); stroke: var(--ground); stroke-width: 1.5; }
    .missed { fill: var(--missed); font-weight: 600; }
"""


def draw(points: Sequence[Point], caption: str) -> bytes:
    """The chart; `caption` says where it was measured, in a line of at most 120 characters."""
    works = list(dict.fromkeys(one.work for one in points))
    sizes = sorted({one.projects for one in points})
    height = _TOP + _ROW * len(works) + _BOTTOM
    chart = Element(
        "svg",
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        width=f"{_WIDTH}",
        height=f"{height}",
        role="img",
    )
    SubElement(chart, "title").text = "Throughput and p95 as the marketplace grows"
    SubElement(chart, "desc").text = _in_words(points)
    SubElement(chart, "style").text = _STYLE
    SubElement(chart, "rect", {"class": "ground", "width": "100%", "height": "100%"})
    _text(chart, 20, 32, "As the marketplace grows", "title")
    said = f"shaded: within {FLAT:g} times of what it is at {sizes[0]:,} projects"
    _text(chart, 20, 54, said, "faint")
    for left, heading in zip(_LEFTS, ("throughput, a second", "p95, ms"), strict=True):
        _text(chart, left, 86, heading, "name")
    for number, work in enumerate(works):
        of_it = sorted((one for one in points if one.work == work), key=lambda one: one.projects)
        top = _TOP + _ROW * number
        _name(chart, of_it, top)
        _panel(chart, _LEFTS[0], top, of_it, lambda one: one.rate, band=(1 / FLAT, 1.0))
        _panel(chart, _LEFTS[1], top, of_it, lambda one: one.p95_ms, band=(1.0, FLAT))
    for left in _LEFTS:
        for size in sizes:
            x = _across(left, sizes, size)
            _text(chart, x, height - 40, f"{size:,}", "faint", anchor="middle")
    _text(chart, 20, height - 40, "projects", "faint")
    _text(chart, 20, height - 14, caption, "faint")
    indent(chart)
    drawn: bytes = tostring(chart, encoding="utf-8")
    return drawn + b"\n"


def _name(chart: Element, of_it: Sequence[Point], top: float) -> None:
    """What work it is, and how far from flat the worst of its sizes is."""
    judged = [one for one in of_it if one.projects <= JUDGED_UP_TO]
    _text(chart, 20, top + 24, of_it[0].work, "name")
    slower, later = max(one.slower for one in judged), max(one.later for one in judged)
    for row, (word, times) in enumerate((("slower", slower), ("p95 later", later))):
        missed = times > FLAT
        said = f"{word} {times:.2f} times{', MISSED' if missed else ''}"
        _text(chart, 20, top + 42 + 16 * row, said, "missed" if missed else "faint")


def _panel(
    chart: Element,
    left: float,
    top: float,
    of_it: Sequence[Point],
    value: Callable[[Point], float],
    *,
    band: tuple[float, float],
) -> None:
    """One line over the sizes; `band` is where it is flat, in parts of the smallest's value."""
    sizes = [one.projects for one in of_it]
    values = [value(one) for one in of_it]
    most = _ROOM * max(*values, values[0] * band[1], 1e-9)
    floor = top + 16 + _PLOT

    def up(amount: float) -> float:
        return round(floor - _PLOT * amount / most, 1)

    low, high = up(values[0] * band[0]), up(values[0] * band[1])
    SubElement(
        chart,
        "rect",
        {
            "class": "band",
            "x": f"{left}",
            "y": f"{high}",
            "width": f"{_PANEL}",
            "height": f"{low - high:.1f}",
        },
    )
    ends = {"x1": f"{left}", "x2": f"{left + _PANEL}", "y1": f"{floor}", "y2": f"{floor}"}
    SubElement(chart, "line", {"class": "rule"} | ends)
    places = [(_across(left, sizes, one.projects), up(value(one))) for one in of_it]
    joined = " ".join(f"{x},{y}" for x, y in places)
    SubElement(chart, "polyline", {"class": "line", "points": joined})
    for (x, y), amount in zip(places, values, strict=True):
        SubElement(chart, "circle", {"class": "point", "cx": f"{x}", "cy": f"{y}", "r": "4"})
        _text(chart, x, y - 8, _figure(amount), anchor="middle")


def _across(left: float, sizes: Sequence[int], size: int) -> float:
    """Where a size is: each factor of ten as far from the next, with room at both ends."""
    margin = 34
    first, last = log10(sizes[0]), log10(sizes[-1])
    share = (log10(size) - first) / (last - first) if last > first else 0.5
    return round(left + margin + (_PANEL - 2 * margin) * share, 1)


def _figure(amount: float) -> str:
    """Three digits that count, and thousands as they are."""
    return (
        f"{amount:,.0f}" if amount >= 100 else f"{amount:.1f}" if amount >= 10 else f"{amount:.2f}"
    )


def _text(
    chart: Element, x: float, y: float, said: str, kind: str = "", anchor: str = "start"
) -> None:
    attributes = {"x": f"{x}", "y": f"{y}", "text-anchor": anchor}
    SubElement(chart, "text", attributes | ({"class": kind} if kind else {})).text = said


def _in_words(points: Sequence[Point]) -> str:
    """For whoever can't see it."""
    return "; ".join(
        f"{one.work} at {one.projects:,} projects: {one.rate:,.0f} a second, p95 {one.p95_ms:g} ms"
        for one in points
    )
