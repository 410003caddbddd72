"""The look of charts: colours, dashes, shapes and fonts, and the swatches of legends in HTML.

On the page, colours are CSS variables, so that a chart follows light and dark mode. A file has the light colours of the
page. Series differ in their shapes and dashes as well as in their colours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from markupsafe import Markup

from bench.report.charts import Style

# The light colours of the page, by the names of its CSS variables (bench/report/page/style/base.css).
LIGHT: Mapping[str, str] = {
    "paper": "#ffffff",
    "ink": "#1a1d21",
    "quiet": "#545b64",
    "rule": "#d5dae0",
    "strong": "#8a929c",
    "kept": "#0b5cad",
    "leaked": "#b04600",
    "c0": "#0b5cad",
    "c1": "#b04600",
    "c2": "#00755a",
    "c3": "#9a2b8f",
    "c4": "#6b5d00",
    "c5": "#5a4fcf",
    "c6": "#a8183b",
    "c7": "#4a5560",
    "first": "#0b5cad",
    "last": "#c46a00",
}
COLOURS = 8  # The number of colours for categories: c0 to c7.
NEUTRAL = Style(neutral=True)
DASHES: tuple[tuple[float, ...], ...] = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
# Shapes of marks as SVG paths around (0, 0), with a half width of about 1.
SHAPES = (
    "M.9,0A.9,.9,0,1,1,-.9,0A.9,.9,0,1,1,.9,0Z",
    "M-.8,-.8H.8V.8H-.8Z",
    "M0,-1.15L1.15,0L0,1.15L-1.15,0Z",
    "M0,-1.05L1,.75H-1Z",
    "M0,1.05L1,-.75H-1Z",
    "M-.35,-1H.35V-.35H1V.35H.35V1H-.35V.35H-1V-.35H-.35Z",
    "M-.5,-1L0,-.5L.5,-1L1,-.5L.5,0L1,.5L.5,1L0,.5L-.5,1L-1,.5L-.5,0L-1,-.5Z",
    "M0,-1.2L.3,-.37L1.14,-.37L.46,.15L.71,.97L0,.47L-.71,.97L-.46,.15L-1.14,-.37L-.3,-.37Z",
)
SANS = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'


@dataclass(frozen=True, kw_only=True)
class Theme:
    """What differs between charts of the page and charts in files.

    ``colour`` maps a name in `LIGHT` to a colour, and ``blend`` a share (0 to 1) to a colour between ``first`` and
    ``last``. Sizes are in pixels: ``size`` of the font, ``line`` the width of lines, ``mark`` the area of marks,
    ``wide`` the width of all panels side by side, ``tall`` the height of a plot of points, and ``around`` the width of
    a panel's axis and margins. ``interactive``: marks react to the pointer, and the legend is HTML.
    """

    colour: Callable[[str], str]
    blend: Callable[[float], str]
    font: str
    size: float
    line: float
    mark: float
    wide: float
    tall: float
    around: float
    interactive: bool

    def of(self, style: Style) -> str:
        """Return the colour of a style."""
        if style.neutral:
            return self.colour("quiet")
        if style.steps:
            return self.blend(style.index / max(1, style.steps - 1))
        return self.colour(f"c{style.index % COLOURS}")

    @property
    def config(self) -> dict[str, Any]:
        """The Vega-Lite configuration: fonts, rules and axes. ARIA is off, because the page describes each chart."""
        ink, quiet, rule = self.colour("ink"), self.colour("quiet"), self.colour("rule")
        text = {"labelFont": self.font, "titleFont": self.font, "labelFontSize": self.size, "titleFontSize": self.size}
        return {
            "aria": False,
            "background": "transparent" if self.interactive else LIGHT["paper"],
            "font": self.font,
            "padding": {"left": 2, "top": 4, "right": 14, "bottom": 2},
            "view": {"stroke": None},
            "axis": text
            | {
                "labelColor": ink,
                "titleColor": ink,
                "titleFontWeight": "normal",
                "domainColor": quiet,
                "tickColor": quiet,
                "tickSize": 4,
                "gridColor": rule,
                "gridWidth": 0.8,
            },
            "axisY": {"minExtent": 3 * self.size, "maxExtent": 3 * self.size},
            "title": {
                "font": self.font,
                "fontSize": self.size + 1,
                "color": ink,
                "anchor": "start",
                "frame": "group",
                "fontWeight": 600
                if self.interactive
                else "normal",  # A PDF with two fonts would list them in random order, so a file uses one.
                "offset": 8,
            },
            "legend": text
            | {
                "disable": self.interactive,
                "title": None,
                "columns": 2,
                "orient": "bottom",
                "labelColor": ink,
                "titleColor": ink,
                "labelLimit": 0,
                "symbolSize": 1.6 * self.mark,
                "symbolStrokeWidth": self.line,
            },
            "text": {"font": self.font, "fontSize": self.size, "color": ink},
        }


def dash(style: Style) -> tuple[float, ...]:
    """Return the dash pattern of a style: solid for steps of a scale, one pattern of several for categories."""
    if style.neutral:
        return DASHES[1]
    return DASHES[0] if style.steps else DASHES[(style.index + style.index // COLOURS) % len(DASHES)]


def shape(style: Style, marker: int | None = None) -> str:
    """Return the shape of a style's marks as an SVG path, or the shape with index ``marker``."""
    return SHAPES[(0 if style.neutral else style.index) % len(SHAPES) if marker is None else marker % len(SHAPES)]


def _light_blend(share: float) -> str:
    """Return the colour at this share (0 to 1) of the way between the light colours ``first`` and ``last``."""
    ends = [[int(LIGHT[name][k : k + 2], 16) for k in (1, 3, 5)] for name in ("first", "last")]
    return "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in zip(*ends, strict=True))


PAGE = Theme(
    colour=lambda name: f"var(--{name})",
    blend=lambda share: f"color-mix(in srgb, var(--last) {100 * share:.0f}%, var(--first))",
    font=SANS,
    size=12,
    line=1.8,
    mark=55,
    wide=900,
    tall=340,
    around=78,
    interactive=True,
)
PRINT = Theme(
    colour=LIGHT.__getitem__,
    blend=_light_blend,
    font='"Liberation Sans", Arial, Helvetica, sans-serif',
    size=8,
    line=1.2,
    mark=22,
    wide=504,  # 7 inches: the text width of a paper in two columns.
    tall=260,
    around=54,
    interactive=False,
)


@lru_cache(maxsize=256)
def swatch(style: Style, marker: int | None = None, line: bool = True, hollow: bool = False) -> Markup:
    """Return the picture of a style in a legend, as HTML that screen readers skip. ``marker``: the index of another
    shape than that of the style."""
    colour = PAGE.of(style)
    dashes = " ".join(f"{d:g}" for d in dash(style))
    drawn = f'<path d="M1 7H29" stroke-width="1.8" stroke-dasharray="{dashes}"/>' if line else ""
    filled = "var(--paper)" if hollow or (style.neutral and marker is None) else colour
    drawn += (
        f'<path d="{shape(style, marker)}" transform="translate(15 7) scale(4)" stroke-width=".4" fill="{filled}"/>'
    )
    head = f'<svg class="swatch" viewBox="0 0 30 14" aria-hidden="true" fill="none" stroke="{colour}">'
    return Markup(f"{head}{drawn}</svg>")


def file_name(text: str) -> str:
    """Return a safe name for a download: lower-case letters, digits and hyphens only, at most 80 characters."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:80]
