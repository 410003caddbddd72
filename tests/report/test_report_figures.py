"""The charts of the paper's figures: their lines, their values (against NumPy on the rows), and how they are drawn."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert
from fake_run import ABUSE, ESTIMATE, HOSTILE, FakeRun, write_fake_run

from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric, absent
from bench.report.charts import Chart, Curve, Panel, PlotPoint, PointPlot, Reference, Style, Zone, drawing
from bench.report.charts import theme as theme_of
from bench.report.charts.label_placement import placed
from bench.report.charts.sensitivity import sensitivity
from bench.report.charts.theme import LIGHT, NEUTRAL, PAGE, PRINT, Theme, file_name, swatch
from bench.report.charts.utility_privacy import KAPPAS, charts
from bench.store.reading import RunResults

LEVELS = (0.0, 0.1, 0.2, 0.3)
NETS = {"net-a": "MobileFace", "net-b": "ResNet50"}
SVG = "{http://www.w3.org/2000/svg}"
ONE_SET = {"synth-lfw": "LFW"}
PAIR = (("Unprotected", "identity", False), ("PMT", "pmt", True))


def up_run(**changes: Any) -> FakeRun:
    spec: dict[str, Any] = {
        "name": "trade-off",
        "table": None,
        "claims": None,
        "models": NETS,
        "datasets": ONE_SET,
        "defenses": PAIR,
        "authorised": (("net-a",),),
        "attacks": (ESTIMATE,),
        "noise_levels": LEVELS,
        "pairs": 12,
        "kappa": 0.5,
    }
    return FakeRun(**spec | changes)


def swept_run(**changes: Any) -> FakeRun:
    params = {
        f"{layers}/{pool}": {"layers": layers, "pool": pool, "steps": 25}
        for layers in ("last", "all")
        for pool in (0, 4)
    }
    spec: dict[str, Any] = {
        "name": "sensitivity",
        "figures": ("sensitivity",),
        "params": params,
        "defenses": [(name, "pmt", True) for name in params],
        "attacks": (ABUSE,),
        "noise_levels": (),
    }
    return up_run(**spec | changes)


def samples(results: RunResults, **where: Any) -> pd.DataFrame:
    table = results.samples("up")
    for name, value in where.items():
        table = table[table[name] == value]
    return table


def expected(table: pd.DataFrame, sigma: float, kappa: float, second: str = "dist") -> float:
    """Return UP of Equation 9, computed with NumPy."""
    part = table[np.isclose(table["sigma"], sigma)]
    return float(np.mean((part["cosine"].to_numpy() > kappa).astype(float) + part[second].to_numpy()))


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    return write_fake_run(tmp_path_factory.mktemp("up") / "run", up_run(figures=("8", "10")))


# ---- what is in a chart ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["4", "5", "9", "11"])
def test_up_has_a_line_per_defense_for_the_authorised_model(tmp_path: Path, number: str) -> None:
    labels = ("None", "Affine", HOSTILE)
    defenses = [PAIR[0], *((label, "pmt", True) for label in labels)]
    results = write_fake_run(tmp_path / "run", up_run(figures=(number,), defenses=defenses))
    (chart,) = charts(Rows(results), "trade-off")
    assert chart.number == number
    (panel,) = chart.panels
    assert [c.label for c in panel.curves] == ["Unprotected", *labels]
    assert panel.curves[0].style.neutral
    assert len({c.style for c in panel.curves}) == 4
    for curve in panel.curves:
        assert tuple(curve.xs) == LEVELS
        own = samples(results, defense=curve.label, evaluated="net-a")
        assert curve.values == pytest.approx([expected(own, s, 0.5) for s in LEVELS])
        assert {f.n for f in curve.measurements} == {12}
        assert all(f.low is not None and f.low < f.high for f in curve.measurements[1:])  # type: ignore[operator]


def test_figure_8_has_the_two_terms_of_each_defense(traded: RunResults) -> None:
    chart = charts(Rows(traded), "trade-off")[0]
    assert chart.number == "8"
    assert [p.title for p in chart.panels] == ["Unprotected", "PMT"]
    for panel in chart.panels:
        utility, privacy = panel.curves
        assert (utility.label, privacy.label) == ("utility", "privacy")
        own = samples(traded, defense=panel.title, evaluated="net-a")
        by_level = [own[np.isclose(own["sigma"], s)] for s in LEVELS]
        assert utility.values == pytest.approx([(part["cosine"] > 0.5).mean() for part in by_level])
        assert privacy.values == pytest.approx([part["dist"].mean() for part in by_level])


def test_figure_10_has_a_line_per_threshold(traded: RunResults) -> None:
    chart = charts(Rows(traded), "trade-off")[1]
    assert chart.number == "10"
    assert chart.notes
    assert not chart.banded
    for panel in chart.panels:
        assert [c.label for c in panel.curves] == [f"κ = {k:g}" for k in KAPPAS]
        own = samples(traded, defense=panel.title, evaluated="net-a")
        for curve, kappa in zip(panel.curves, KAPPAS, strict=True):
            assert curve.values == pytest.approx([expected(own, s, kappa) for s in LEVELS])


def test_lpips_is_a_chart_of_its_own_or_a_reason(tmp_path: Path, traded: RunResults) -> None:
    for chart in charts(Rows(traded), "trade-off"):
        assert any("LPIPS" in n and "absent" in n and "VGG-16 weights" in n for n in chart.notes)
    results = write_fake_run(tmp_path / "run", up_run(figures=("5",), lpips=True))
    plain, by_lpips = charts(Rows(results), "trade-off")
    assert not any("absent" in n for n in (*plain.notes, *by_lpips.notes))
    assert by_lpips.variant
    own = samples(results, defense="PMT", evaluated="net-a")
    curve = next(c for c in by_lpips.panels[0].curves if c.label == "PMT")
    assert curve.values == pytest.approx([expected(own, s, 0.5, "lpips") for s in LEVELS])


def test_data_sets_have_panels_of_their_own(tmp_path: Path) -> None:
    sets = {"synth-lfw": "LFW", "synth-agedb30": "AgeDB-30"}
    (chart,) = charts(Rows(write_fake_run(tmp_path / "run", up_run(datasets=sets))), "trade-off")
    assert chart.number == ""
    assert [p.title for p in chart.panels] == list(sets)


def test_one_noise_level_makes_no_chart(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", up_run(noise_levels=(0.1,))))
    assert charts(rows, "trade-off") == []
    assert charts(rows, "another") == []


def test_the_table_of_a_chart_holds_its_numbers(traded: RunResults) -> None:
    chart = charts(Rows(traded), "trade-off")[1]
    (table,) = chart.tables
    assert [c.label for c in table.columns] == ["0", "0.1", "0.2", "0.3"]
    assert [g.label for g in table.groups] == [p.title for p in chart.panels]
    assert table.groups[1].rows[4].measurements == chart.panels[1].curves[4].measurements


def test_failed_cells_leave_a_gap_with_its_reason(tmp_path: Path) -> None:
    spec = up_run(figures=("5",), failed=lambda c: "no memory" if c["defense"] == "PMT" else None)
    (chart,) = charts(Rows(write_fake_run(tmp_path / "run", spec)), "trade-off")
    pmt = next(c for c in chart.panels[0].curves if c.label == "PMT")
    assert pmt.values == []
    assert {(f.status, f.reason) for f in pmt.measurements} == {("failed", "no memory")}
    assert "PMT: no measurement" in chart.panels[0].spoken(chart)
    rows = drawing.specification(chart)["concat"][0]["data"]["values"]
    assert {(r["y"], r["y_text"]) for r in rows if r["series"] == "PMT"} == {(None, "failed")}


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def chart_of(curves: Sequence[Sequence[float | None]], *, steps: int = 0, paper: float | None = None) -> Chart:
    def figure_of(value: float | None) -> Measurement:
        if value is None:
            return absent("missing", "no")
        return Measurement(value=value, n=1234, low=value - 0.1, high=value + 0.1, paper=paper)

    made = [
        Curve(
            label=f"{HOSTILE} $x^2$ {i}",
            xs=[0.1 * k for k in range(len(values))],
            measurements=[figure_of(v) for v in values],
            style=Style(index=i, steps=steps),
        )
        for i, values in enumerate(curves)
    ]
    return Chart(
        number="5",
        title="UP",
        caption="",
        experiment="e",
        x="noise σ",
        metric=TableMetric(label="UP", digits=3),
        panels=[Panel(title=f"panel {HOSTILE}", curves=made)],
        source="samples/up",
    )


def points_of(at: Sequence[tuple[float, float]], mark: str = "") -> PointPlot:
    share = TableMetric(label="share", unit="%", digits=1)
    return PointPlot(
        title="points",
        x=share,
        y=share,
        x_range=(0, 100),
        y_range=(0, 100),
        points=[
            PlotPoint(
                mark=mark or str(i),
                label=f"{HOSTILE} {i}",
                x=Measurement(value=x, n=9, low=x - 0.1, high=x + 0.1),
                y=Measurement(value=y, n=9, low=y - 0.1, high=y + 0.1),
                style=Style(index=i),
                marker=i,
            )
            for i, (x, y) in enumerate(at)
        ],
        zones=[Zone(x=(0, 20), y=(80, 100))],
        references=[Reference(axis="x", value=50, label=f"chance {HOSTILE}")],
    )


def rows_of(spec: Mapping[str, Any], panel: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = spec["concat"][panel]["data"]["values"]
    return found


def svg_of(*charts: Chart | PointPlot) -> ElementTree.Element:
    spec = drawing.sheet([("", c) for c in charts])
    return ElementTree.fromstring(vl_convert.vegalite_to_svg(spec, allowed_base_urls=[]))


def of_kind(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    """Return the groups of marks of a kind (``line``, ``area``, ``symbol``, ``text``), without axes and legends."""
    return [g for g in svg.iter(f"{SVG}g") if f"mark-{kind} role-mark" in g.get("class", "")]


def corners(path: ElementTree.Element) -> list[tuple[float, float]]:
    """Return the corners of a line."""
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([-\d.]+),([-\d.]+)", path.get("d", ""))]


def strings(node: object, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield all strings of a specification with their keys, except those of data."""
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, Mapping):
        for k, v in node.items():
            if k != "data":
                yield k, k
                yield from strings(v, k)
    elif isinstance(node, list | tuple):
        for v in node:
            yield from strings(v, key)


@pytest.mark.slow
@pytest.mark.parametrize("theme", [PAGE, PRINT])
def test_specifications_are_valid(traded: RunResults, theme: Theme) -> None:
    made: list[Chart | PointPlot] = [*charts(Rows(traded), "trade-off"), chart_of([[1.0, 2.0]] * 9, steps=9, paper=1.5)]
    for chart in (*made, chart_of([[None, None]]), points_of([(0.1, 0.9)] * 9), points_of([])):
        spec = drawing.specification(chart, theme) | {"config": theme.config}
        alt.Chart.from_dict(spec, validate=True)
        assert not {k for k, _ in strings(spec)} & {"href", "url", "image", "$schema"}
        json.dumps(spec, allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("theme", [PAGE, PRINT])
def test_the_numbers_of_a_specification_are_those_of_the_figures(traded: RunResults, theme: Theme) -> None:
    for chart in charts(Rows(traded), "trade-off"):
        spec = drawing.specification(chart, theme)
        for i, panel in enumerate(chart.panels):
            assert spec["concat"][i]["title"] == panel.title
            rows = rows_of(spec, i)
            measurements = [(c.label, x, f) for c in panel.curves for x, f in zip(c.xs, c.measurements, strict=True)]
            assert [(r["series"], r["x"]) for r in rows] == [(label, x) for label, x, _ in measurements]
            for row, (_, _, f) in zip(rows, measurements, strict=True):
                for field, number in (("y", f.value), ("y_low", f.low), ("y_high", f.high)):
                    assert row[field] == (None if number is None else pytest.approx(number, rel=1e-5))
                assert row["y_text"] == chart.metric.shown(f.value)
                assert row["y_span"] == (chart.metric.span(f.low, f.high) or "none")
                assert row["y_n"] == f"{f.n:,}"
                assert row["colour"] == theme.of(dict(chart.legend)[row["series"]])


@pytest.mark.slow
def test_lines_are_where_their_values_are() -> None:
    values = [[1.0, 1.5, 2.0, 1.25], [1.2, None, 1.0, 0.8]]
    lines = [corners(p) for g in of_kind(svg_of(chart_of(values)), "line") for p in g.iter(f"{SVG}path")]
    assert [len(line) for line in lines] == [4, 3]  # a missing value breaks its line
    xs, ys = zip(*lines[0], strict=True)
    assert np.diff(xs) == pytest.approx(xs[1] - xs[0], abs=0.01)
    slope, start = np.polyfit(values[0], ys, 1)  # type: ignore[arg-type]
    assert slope < 0  # A higher value is drawn further up.
    assert [slope * v + start for v in (1.2, 1.0, 0.8)] == pytest.approx([y for _, y in lines[1]], abs=0.01)
    assert [x for x, _ in lines[1]] == pytest.approx([xs[0], xs[2], xs[3]], abs=0.01)


@pytest.mark.slow
def test_intervals_are_bands_while_there_are_few() -> None:
    few, many = [[1.0, 2.0]] * 3, [[1.0, 2.0]] * 7
    assert sum(len(list(g)) for g in of_kind(svg_of(chart_of(few)), "area")) == 3
    assert not of_kind(svg_of(chart_of(many)), "area")
    assert sum(len(list(g)) for g in of_kind(svg_of(chart_of(many)), "line")) == 7
    shades = [drawing.specification(chart_of(c))["concat"][0]["layer"][0]["encoding"]["opacity"] for c in (few, many)]
    assert [s["value"] for s in shades] == [0.13, 0]  # On the page, a band is visible while its line is stressed.
    assert [s["condition"]["value"] for s in shades] == [0.28, 0.28]


@pytest.mark.slow
def test_the_paper_s_figures_are_drawn_where_there_are_any() -> None:
    marks = [m["mark"]["type"] for m in drawing.specification(chart_of([[1.0]], paper=1.5))["concat"][0]["layer"]]
    assert "tick" in marks
    assert rows_of(drawing.specification(chart_of([[1.0]], paper=1.5)))[0]["paper"] == 1.5
    assert "tick" not in str(drawing.specification(chart_of([[1.0]]))["concat"][0]["layer"])


def test_colour_is_never_the_only_carrier() -> None:
    styles = [Style(index=i) for i in range(24)]
    assert len({(theme_of.shape(s), theme_of.dash(s)) for s in styles[:8]}) == 8
    assert len({theme_of.shape(s) for s in styles[:8]}) == 8
    assert len({(PAGE.of(s), theme_of.shape(s), theme_of.dash(s)) for s in styles}) == 24
    steps = [Style(index=i, steps=9) for i in range(9)]
    assert len({PRINT.of(s) for s in steps}) == len({PAGE.of(s) for s in steps}) == 9
    assert all(theme_of.shape(a) != theme_of.shape(b) for a, b in pairwise(steps))


def test_colours_of_a_file_are_the_page_s_light_ones() -> None:
    css = (resources.files("bench.report.page") / "style" / "base.css").read_text(encoding="utf-8")
    light = css[css.index(":root") : css.index("}")]
    assert dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", light)).items() >= LIGHT.items()
    chart = chart_of([[1.0, 2.0], [1.5, 1.0]], steps=2)
    page, file = json.dumps(drawing.specification(chart)), json.dumps(drawing.sheet([("", chart)]))
    assert "var(--" not in file
    assert not re.search(r"#[0-9a-f]{6}", page + json.dumps(PAGE.config))
    tokens = set(re.findall(r"(?:var\(--|color-mix\()[^\"]*", page + json.dumps(PAGE.config)))
    assert tokens <= drawing.shared()["light"].keys() | drawing.plot(chart, "x")["light"].keys()


@pytest.mark.slow
def test_names_are_data_and_never_part_of_an_expression() -> None:
    evil = "datum['x'] + (window.hacked = 1)"
    curve = Curve(label=evil, xs=[0.0, 0.1], measurements=[Measurement(value=1.0, n=1)] * 2, style=Style(neutral=True))
    chart = replace(chart_of([[1.0, 2.0]]), panels=[Panel(title=evil, curves=[curve])])
    plot = replace(points_of([(0.5, 0.5)], mark=evil), references=[Reference(axis="y", value=1, label=evil)])
    for spec in (drawing.specification(chart), drawing.specification(plot)):
        assert {k for k, text in strings(spec) if "hacked" in text} <= {"title", "domain"}
        compiled = vl_convert.vegalite_to_vega(spec | {"config": PAGE.config})
        signals = [v for k, v in strings(compiled) if k in ("signal", "expr", "update", "test", "init")]
        assert not [s for s in signals if "hacked" in s]
    for text in ("line", "areas", "[0]", "a.b"):
        assert text not in {f for k, f in strings(drawing.specification(chart)) if k == "field"}


@pytest.mark.slow
def test_a_drawing_shows_hostile_names_as_text() -> None:
    svg = svg_of(chart_of([[1.0, 2.0]]), points_of([(0.5, 0.5)]))
    texts = ["".join(e.itertext()) for e in svg.iter(f"{SVG}text")]
    for text in (f"{HOSTILE} $x^2$ 0", f"panel {HOSTILE}", f"0: {HOSTILE} 0", f"chance {HOSTILE}", "share (%)"):
        assert text in texts
    assert not [e for e in svg.iter() if e.tag.rpartition("}")[2] in ("script", "image", "a", "foreignObject")]


def test_drawings_are_the_same_every_time() -> None:
    chart = chart_of([[1.0, 2.0]])
    assert json.dumps(drawing.specification(chart)) == json.dumps(drawing.specification(chart))


def test_swatches_look_like_their_lines() -> None:
    line = ElementTree.fromstring(str(swatch(Style(index=3))))
    assert line.get("aria-hidden") == "true"
    # It has no ids, because a page shows it more than once.
    assert not any(e.get("id") or e.tag == "use" for e in line.iter())
    assert [e.tag for e in line] == ["path", "path"]  # the line and its mark
    assert line.get("stroke") == "var(--c3)"
    assert swatch(Style(index=0)) != swatch(Style(index=8))  # Colours repeat, but dashes differ.
    assert "var(--quiet)" in str(swatch(NEUTRAL, 2, line=False))
    assert len(list(ElementTree.fromstring(str(swatch(NEUTRAL, 2, line=False))))) == 1


def test_a_download_has_a_name_that_every_system_takes() -> None:
    assert file_name("figure-8-trade off/../<img src=x>") == "figure-8-trade-off-img-src-x"
    assert len(file_name("x" * 500)) == 80


def test_the_plotting_library_is_imported_only_to_draw() -> None:
    code = "import sys, bench.report; sys.exit(bool({'altair', 'vl_convert'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ---- labels ----------------------------------------------------------------------------------------------------------

SMALL = (270.0, 340.0)


@pytest.mark.parametrize("size", [SMALL, (430.0, 340.0), (900.0, 400.0)])
@pytest.mark.parametrize(
    "spots",
    [
        [(0.07, 0.06)] * 24,
        [(0.5, 0.5)] * 12 + [(0.52, 0.5)] * 12,
        [(0.02 * i, 0.98) for i in range(40)],
        [tuple(p) for p in np.random.default_rng(0).random((60, 2))],
    ],
)
def test_labels_do_not_overlap_however_many_points_tie(
    spots: list[tuple[float, float]], size: tuple[float, float]
) -> None:
    texts = [str(i + 1) for i in range(len(spots))]
    places = placed(spots, texts, SMALL)
    known = [(t, p) for t, p in zip(texts, places, strict=True) if p is not None]
    assert len(known) >= 0.8 * len(texts)
    boxes = [(p.x * size[0], p.y * size[1], 3.3 * len(t), 5.5) for t, p in known]
    for i, (x, y, w, h) in enumerate(boxes):
        assert not [1 for a, b, c, d in boxes[:i] if abs(x - a) < w + c and abs(y - b) < h + d]
        assert not [1 for a, b in spots if abs(x - a * size[0]) < w + 4 and abs(y - b * size[1]) < h + 4]
        assert w <= x <= size[0] - w
        assert h <= y <= size[1] - h


@pytest.mark.slow
def test_every_label_of_a_tie_is_drawn_and_its_tooltip_names_the_others() -> None:
    chart = points_of([(0.1, 0.9)] * 5 + [(0.6, 0.2)])
    rows = rows_of(drawing.specification(chart))
    assert all({"label_x", "label_y", "lead_x", "lead_y"} <= row.keys() for row in rows)
    assert rows[0]["same"] == "1, 2, 3, 4"
    assert rows[5]["same"] == "no other"
    (texts,) = [g for g in of_kind(svg_of(chart), "text") if "0" in "".join(g.itertext())]
    assert ["".join(e.itertext()) for e in texts] == ["0", "1", "2", "3", "4", "5"]


def test_points_without_room_for_a_label_stay_points() -> None:
    chart = points_of([(0.5, 0.5)] * 3, mark="a label that is much too long for a plot of this width, in any place")
    rows = rows_of(drawing.specification(chart))
    assert len(rows) == 3
    assert not any("label_x" in row for row in rows)
    assert placed([], [], SMALL) == []


# ---- sensitivity -----------------------------------------------------------------------------------------------------


def test_sensitivity_has_a_point_per_setting_sorted_by_gap(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", swept_run())
    chart = sensitivity(Rows(results), "sensitivity")
    assert chart is not None
    assert chart.params == ["layers", "pool"]  # The parameter steps has the same value everywhere.
    assert (chart.colour_name, chart.shape_name) == ("layers", "pool")
    assert [label for label, _ in chart.colours] == ["last", "all"]
    assert [label for label, _ in chart.shapes] == ["0", "4"]
    assert [s.number for s in chart.spots] == [1, 2, 3, 4]
    gaps = [s.gap for s in chart.spots if s.gap is not None]
    assert gaps == sorted(gaps, reverse=True)
    table = results.samples("verification")
    for spot in chart.spots:
        mine = table[table["defense"] == spot.label]
        for measurement, model in ((spot.y, "net-a"), (spot.x, "net-b")):
            part = mine[mine["evaluated"] == model]
            kappa = part["kappa_calibrated"]
            hits = (part["cos_self"] > kappa) & ((part["cos_cross"] > kappa) == part["same"])
            assert measurement.value == pytest.approx(hits.mean())
        assert spot.label == "/".join(spot.values)
        assert (spot.style.index, spot.marker) == (spot.values[0] == "all", spot.values[1] == "4")
        clean = chart.clean.value
        assert clean is not None
        assert spot.profile == (spot.y.value >= clean - 0.08 and spot.x.value <= 0.2)  # type: ignore[operator]
    assert str(sum(bool(s.profile) for s in chart.spots)) in chart.verdict
    spec = drawing.specification(chart)
    rows = rows_of(spec)
    assert [r["series"] for r in rows] == [f"{s.number}: {s.label}" for s in chart.spots]
    for row, spot in zip(rows, chart.spots, strict=True):
        for axis, measurement in (("x", spot.x), ("y", spot.y)):
            numbers = (measurement.value, measurement.low, measurement.high)
            drawn = [row[f"{axis}{part}"] for part in ("", "_low", "_high")]
            assert drawn == pytest.approx([100 * n for n in numbers if n is not None], rel=1e-5)
            assert row[f"{axis}_n"] == str(measurement.n)
        assert (row["key"], row["kind"]) == (f"colour{spot.style.index}", f"shape{spot.marker}")
    assert [layer["mark"]["type"] for layer in spec["concat"][0]["layer"]].count("rect") == 1


@pytest.mark.slow
def test_settings_without_figures_come_last(tmp_path: Path) -> None:
    spec = swept_run(failed=lambda c: "no memory" if c["defense"] == "last/0" else None)
    chart = sensitivity(Rows(write_fake_run(tmp_path / "run", spec)), "sensitivity")
    assert chart is not None
    assert chart.spots[-1].label == "last/0"
    assert chart.spots[-1].gap is None
    assert chart.spots[-1].profile is None
    assert len(rows_of(drawing.specification(chart))) == 3


def test_sensitivity_needs_authorised_models(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", swept_run(defenses=[("Noise", "noise", False)])))
    assert sensitivity(rows, "sensitivity") is None
