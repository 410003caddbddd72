"""Charts -> inline SVG with Matplotlib: the one module that knows the plotting library.

What Matplotlib writes is a document of its own; here it becomes a part of the page: no prolog, no style sheet, no
fixed size, identifiers of its own, and colours that are the page's CSS variables, so that a chart follows light and
dark mode. Text in a chart is numbers and our own words; names from suites stay in HTML, where they wrap and are
escaped.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from bench.report.charts import Chart, Panel, Scatter, Spot, Style
from bench.report.figures import Figure, Quantity

WIDTH, HEIGHT = 420, 290  # of a chart, in units that are CSS pixels on a phone
COLOURS = 8  # categorical colours of the page: --c0 to --c7
MARKERS = ("o", "s", "D", "^", "v", "P", "X", "*")
NEUTRAL = Style(neutral=True)
DASHES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)))
NEAR = 4.0  # points of accuracy within which spots share one label

# Matplotlib wants colours; these stand for the page's variables and are replaced in its output.
_INK, _QUIET, _RULE = "#010101", "#020202", "#030303"
_NAMED = {_INK: "var(--ink)", _QUIET: "var(--quiet)", _RULE: "var(--rule)"}
_SETTINGS: Any = {"svg.fonttype": "none", "svg.hashsalt": "bench", "font.size": 12.5, "axes.unicode_minus": True}
_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"


def _colour(style: Style) -> str:
    """The stand-in of a style's colour: neutral, one of the categories, or a step between two ends."""
    if style.neutral:
        return _QUIET
    return f"#05{style.index:02x}{style.steps:02x}" if style.steps else f"#04{style.index % COLOURS:02x}00"


def _css(match: re.Match[str]) -> str:
    """A stand-in as CSS."""
    found = match[0]
    if found.startswith("#04"):
        return f"var(--c{int(found[3:5], 16)})"
    if found.startswith("#05"):
        step, steps = int(found[3:5], 16), int(found[5:7], 16)
        return f"color-mix(in oklch, var(--last) {100 * step / max(1, steps - 1):.0f}%, var(--first))"
    return _NAMED.get(found, found)


def _look(style: Style) -> dict[str, Any]:
    if style.neutral:
        return {"color": _QUIET, "linestyle": (0, (4, 2)), "marker": "o", "markerfacecolor": "none"}
    cycle = style.index // COLOURS
    return {
        "color": _colour(style),
        "linestyle": DASHES[cycle % len(DASHES)] if not style.steps else "-",
        "marker": MARKERS[style.index % len(MARKERS)],
        "markersize": 5.5,
    }


def panel(chart: Chart, which: Panel, name: str) -> Markup:
    """One panel of a chart as inline SVG. ``name`` sets its identifiers apart from those of other charts."""
    with matplotlib.rc_context(_SETTINGS):
        canvas, axes = _axes(chart.x, _title(chart.quantity))
        titles: dict[str, str] = {}
        for i, curve in enumerate(which.curves):
            known = [(x, f) for x, f in zip(curve.xs, curve.figures, strict=True) if f.value is not None]
            scale = chart.quantity.scale
            xs = [x for x, _ in known]
            look = _look(curve.style)
            titles[f"series-{i}"] = curve.label
            axes.plot(xs, [scale * (f.value or 0) for _, f in known], linewidth=1.8, gid=f"series-{i}", **look)
            bounded = [(x, f.low * scale, f.high * scale) for x, f in known if f.low is not None and f.high is not None]
            if chart.banded and bounded:
                at, low, high = zip(*bounded, strict=True)
                axes.fill_between(at, low, high, color=look["color"], alpha=0.13, linewidth=0, gid=f"band-{i}")
        _limits(axes, chart)
        return _inline(canvas, name, which.spoken(chart), titles)


def scatter(chart: Scatter, name: str) -> Markup:
    """A scatter plot as inline SVG: one numbered mark per setting, bars for its intervals."""
    with matplotlib.rc_context(_SETTINGS):
        canvas, axes = _axes(_title(chart.x), _title(chart.y), height=380)
        if chart.zone:
            x0, x1, y0, y1 = chart.zone
            axes.fill_between([x0, x1], y0, y1, color="#040000", alpha=0.1, linewidth=0, gid="zone")
        titles: dict[str, str] = {}
        labels: dict[tuple[int, int], list[Spot]] = {}
        for spot in chart.spots:
            if spot.x.value is None or spot.y.value is None:
                continue
            x, y = chart.x.scale * spot.x.value, chart.y.scale * spot.y.value
            colour, marker = _colour(spot.style), MARKERS[spot.marker % len(MARKERS)]
            x_error, y_error = _error(chart.x, spot.x), _error(chart.y, spot.y)
            axes.errorbar(x, y, xerr=x_error, yerr=y_error, fmt="none", ecolor=colour, elinewidth=1, alpha=0.35)
            axes.plot([x], [y], marker, color=colour, markersize=7, gid=f"spot-{spot.number}")
            titles[f"spot-{spot.number}"] = f"{spot.number}: {spot.label}"
            labels.setdefault((round(x / NEAR), round(y / NEAR)), []).append(spot)
        for near in labels.values():
            x, y = chart.x.scale * (near[0].x.value or 0), chart.y.scale * (near[0].y.value or 0)
            numbers = ", ".join(str(s.number) for s in near[:3]) + (" …" if len(near) > 3 else "")
            axes.annotate(numbers, (x, y), (5, 5), textcoords="offset points", fontsize=11, color=_INK)
        right = [chart.x.scale * (s.x.high or s.x.value or 0) for s in chart.spots]
        axes.set_xlim(-3, min(103.0, max([40.0, *right]) + 4))
        axes.set_ylim(-3, 106)
        return _inline(canvas, name, chart.spoken, titles)


@lru_cache(maxsize=256)
def swatch(style: Style, marker: int | None = None, line: bool = True) -> Markup:
    """The legend's picture of a style. ``marker``: one of `MARKERS` instead of the style's own."""
    with matplotlib.rc_context(_SETTINGS):
        canvas = Canvas(figsize=(30 / 72, 14 / 72), facecolor="none")
        FigureCanvasSVG(canvas)
        look = _look(style)
        if marker is not None:
            look["marker"] = MARKERS[marker % len(MARKERS)]
        if not line:
            look["linestyle"] = "none"
        xs = (0.05, 0.5, 0.95) if line else (0.5,)
        look |= {"linewidth": 1.8, "markevery": [len(xs) // 2], "transform": canvas.transFigure}
        canvas.add_artist(Line2D(xs, [0.5] * len(xs), **look))
        return _inline(canvas, "", "")


def _title(quantity: Quantity) -> str:
    return f"{quantity.name} ({quantity.unit})" if quantity.unit else quantity.name


def _axes(x: str, y: str, height: int = HEIGHT) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(WIDTH / 72, height / 72), facecolor="none")
    FigureCanvasSVG(canvas)
    axes = canvas.add_axes((56 / WIDTH, 46 / height, (WIDTH - 70) / WIDTH, (height - 60) / height), facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_QUIET)
    axes.tick_params(colors=_QUIET, labelcolor=_INK, length=4)
    axes.grid(color=_RULE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.set_xlabel(x, color=_INK, parse_math=False)
    axes.set_ylabel(y, color=_INK, parse_math=False)
    return canvas, axes


def _limits(axes: Axes, chart: Chart) -> None:
    """The same range for all panels of a chart, so that they can be compared."""
    low, high = chart.range
    room = 0.04 * (high - low) or 0.05
    axes.set_ylim(low - room, high + room)
    axes.set_xticks(_ticks(chart.xs))


def _ticks(xs: Sequence[float]) -> list[float]:
    """At most eight of the measured positions."""
    step = -(-len(xs) // 8) or 1
    return list(xs[::step])


def _error(quantity: Quantity, figure: Figure) -> list[list[float]] | None:
    if figure.value is None or figure.low is None or figure.high is None:
        return None
    return [[quantity.scale * (figure.value - figure.low)], [quantity.scale * (figure.high - figure.value)]]


def _inline(canvas: Canvas, name: str, spoken: str, titles: Mapping[str, str] | None = None) -> Markup:
    """What Matplotlib writes, as a part of a page: a picture that is called ``spoken``, or an ornament without it.

    ``titles`` are tooltips of marks, by the identifier that they were drawn with.
    """
    for artist in canvas.findobj():
        artist.set_clip_on(False)  # everything is within the axes; a clip path would only make identifiers
    buffer = io.StringIO()
    canvas.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}metadata" or child.find(f"{_SVG}style") is not None:
                parent.remove(child)
    if not spoken:
        _dissolve(root)
    used = {e.get(_HREF, "")[1:] for e in root.iter() if e.get(_HREF)}
    for element in list(root.iter()):
        _naturalise(element, name, used)
        if title := (titles or {}).get(element.get("data-mark", "")):
            element.insert(0, _titled(title))
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"class": "chart", "viewBox": box})
    if spoken:
        root.attrib.update({"role": "img", "aria-label": spoken})
        root.insert(0, _titled(spoken))
    else:
        root.attrib.update({"class": "swatch", "aria-hidden": "true"})
    text = ElementTree.tostring(root, encoding="unicode")
    return Markup(re.sub(r"\s*\n\s*", " ", text).replace("> <", "><"))


def _dissolve(root: ElementTree.Element) -> None:
    """Put shapes where they are used: an ornament appears on a page several times, an identifier must not."""
    shapes = {e.get("id"): e for e in root.iter() if e.get("id")}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag == f"{_SVG}defs":
                parent.remove(child)
            elif target := child.get(_HREF):
                place = f"translate({child.get('x')} {child.get('y')})"
                child.tag = f"{_SVG}path"
                child.attrib = {
                    "d": shapes[target[1:]].get("d", ""),
                    "style": child.get("style", ""),
                    "transform": place,
                }


def _titled(text: str) -> ElementTree.Element:
    title = ElementTree.Element("title")
    title.text = text
    return title


def _naturalise(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """One element without namespaces, with the page's colours and font, and with an identifier only if it is used."""
    element.tag = element.tag.removeprefix(_SVG)
    if target := element.attrib.pop(_HREF, None):
        element.set("href", f"#{name}-{target[1:]}")
    if (found := element.attrib.pop("id", None)) is not None:
        if found in used:
            element.set("id", f"{name}-{found}")
        elif re.match(r"(series|band|spot)-\d+$|zone$", found):
            element.set("data-mark", found)
    style = element.get("style", "")
    if style:
        style = re.sub(r"font(-family)?: [^;]*(;|$)", lambda m: _font_size(m[0]), style)
        element.set("style", re.sub(r"#0[1-5][0-9a-f]{4}", _css, style).strip())
    if element.get("transform", "").startswith("rotate(-0 "):
        del element.attrib["transform"]


def _font_size(declaration: str) -> str:
    """The size of a ``font`` shorthand; a family is left to the page."""
    found = re.search(r"[\d.]+px", declaration)
    return f"font-size: {found[0]};" if found else ""
