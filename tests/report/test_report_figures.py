"""The figures: which lines with which values (against NumPy on the rows), and what is drawn of them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from fake_run import ABUSE, ESTIMATE, HOSTILE, FakeRun, write_fake_run

from bench.report.charts import Chart, Curve, Panel, Style, drawing
from bench.report.charts.curves import KAPPAS, charts, told
from bench.report.charts.sensitivity import sensitivity
from bench.report.figures import Figure, Quantity, absent
from bench.report.rows import Rows
from bench.store import Results

LEVELS = (0.0, 0.1, 0.2, 0.3)
NETS = {"net-a": "MobileFace", "net-b": "ResNet50"}
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


def samples(results: Results, **where: Any) -> pd.DataFrame:
    table = results.samples("up")
    for name, value in where.items():
        table = table[table[name] == value]
    return table


def expected(table: pd.DataFrame, sigma: float, kappa: float, second: str = "dist") -> float:
    """Equation 9, written out."""
    part = table[np.isclose(table["sigma"], sigma)]
    return float(np.mean((part["cosine"].to_numpy() > kappa).astype(float) + part[second].to_numpy()))


@pytest.fixture(scope="module")
def traded(tmp_path_factory: pytest.TempPathFactory) -> Results:
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
        assert {f.n for f in curve.figures} == {12}
        assert all(f.low is not None and f.low < f.high for f in curve.figures[1:])  # type: ignore[operator]


def test_figure_8_has_the_two_terms_of_each_defense(traded: Results) -> None:
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


def test_figure_10_has_a_line_per_threshold(traded: Results) -> None:
    chart = charts(Rows(traded), "trade-off")[1]
    assert chart.number == "10"
    assert chart.notes
    assert not chart.banded
    for panel in chart.panels:
        assert [c.label for c in panel.curves] == [f"κ = {k:g}" for k in KAPPAS]
        own = samples(traded, defense=panel.title, evaluated="net-a")
        for curve, kappa in zip(panel.curves, KAPPAS, strict=True):
            assert curve.values == pytest.approx([expected(own, s, kappa) for s in LEVELS])


def test_lpips_is_a_chart_of_its_own_or_a_reason(tmp_path: Path, traded: Results) -> None:
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


def test_the_table_of_a_chart_holds_its_numbers(traded: Results) -> None:
    chart = charts(Rows(traded), "trade-off")[1]
    table = chart.table
    assert [c.label for c in table.columns] == ["0", "0.1", "0.2", "0.3"]
    assert [g.label for g in table.groups] == [p.title for p in chart.panels]
    assert table.groups[1].rows[4].figures == chart.panels[1].curves[4].figures


def test_a_chart_is_told_in_words(traded: Results) -> None:
    chart = charts(Rows(traded), "trade-off")[1]
    values = chart.panels[1].curves[4].values
    assert f"PMT, κ = 0.5 {values[0]:.3f} to {values[2]:.3f}" in told(chart)


def test_failed_cells_leave_a_gap_with_its_reason(tmp_path: Path) -> None:
    spec = up_run(figures=("5",), failed=lambda c: "no memory" if c["defense"] == "PMT" else None)
    (chart,) = charts(Rows(write_fake_run(tmp_path / "run", spec)), "trade-off")
    pmt = next(c for c in chart.panels[0].curves if c.label == "PMT")
    assert pmt.values == []
    assert {(f.status, f.reason) for f in pmt.figures} == {("failed", "no memory")}
    assert "PMT: no figure" in chart.panels[0].spoken(chart)
    drawing.panel(chart, chart.panels[0], "x")


# ---- what is drawn ---------------------------------------------------------------------------------------------------


def chart_of(curves: Sequence[Sequence[float | None]], *, steps: int = 0) -> Chart:
    def figure_of(value: float | None) -> Figure:
        return absent("missing", "no") if value is None else Figure(value=value, n=9, low=value - 0.1, high=value + 0.1)

    made = [
        Curve(
            label=f"{HOSTILE} $x^2$ {i}",
            xs=[0.1 * k for k in range(len(values))],
            figures=[figure_of(v) for v in values],
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
        quantity=Quantity(name="UP", digits=3),
        panels=[Panel(title="", curves=made)],
        source="samples/up",
    )


def drawn(chart: Chart, name: str = "x") -> ElementTree.Element:
    return ElementTree.fromstring(str(drawing.panel(chart, chart.panels[0], name)))


def points(mark: ElementTree.Element) -> list[tuple[float, float]]:
    """The corners of the line of a series."""
    path = next(e for e in mark if e.tag == "path")
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([\d.]+) ([\d.]+)", path.get("d", ""))]


def marks(svg: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [e for e in svg.iter() if e.get("data-mark", "").startswith(kind)]


def test_lines_are_where_their_values_are() -> None:
    values = [[1.0, 1.5, 2.0, 1.25], [1.2, None, 1.0, 0.8]]
    svg = drawn(chart_of(values))
    lines = [points(m) for m in marks(svg, "series-")]
    assert [len(line) for line in lines] == [4, 3]
    xs, ys = zip(*lines[0], strict=True)
    assert np.diff(xs) == pytest.approx(xs[1] - xs[0])
    slope, start = np.polyfit(values[0], ys, 1)  # type: ignore[arg-type]
    assert slope < 0  # up is more
    assert [slope * v + start for v in (1.2, 1.0, 0.8)] == pytest.approx([y for _, y in lines[1]], abs=0.01)
    assert [x for x, _ in lines[1]] == pytest.approx([xs[0], xs[2], xs[3]])
    width, height = map(float, svg.get("viewBox", "").split()[2:])
    assert all(0 < x < width and 0 < y < height for line in lines for x, y in line)


def test_intervals_are_bands_while_there_are_few() -> None:
    few, many = [[1.0, 2.0]] * 3, [[1.0, 2.0]] * 7
    assert len(marks(drawn(chart_of(few)), "band-")) == 3
    assert len(marks(drawn(chart_of(many)), "band-")) == 0
    assert len(marks(drawn(chart_of(many)), "series-")) == 7


def test_a_drawing_is_a_part_of_the_page() -> None:
    chart = chart_of([[1.0, 2.0], [1.5, 1.0]], steps=2)
    text = str(drawing.panel(chart, chart.panels[0], "one"))
    svg = ElementTree.fromstring(text)
    assert svg.get("role") == "img"
    assert HOSTILE in svg.get("aria-label", "")
    assert "<script" not in text
    assert not re.search(r"https?:|url\(|<style|<\?xml|DOCTYPE|metadata|font-family|clip-path", text)
    assert not re.search(r"#[0-9a-f]{6}", text)  # colours are the page's
    assert "color-mix(in oklch, var(--last) 100%, var(--first))" in text
    ids = {e.get("id") for e in svg.iter() if e.get("id")}
    targets = {e.get("href", "")[1:] for e in svg.iter("use")}
    assert ids == targets
    assert all(str(i).startswith("one-") for i in ids)
    other = {e.get("id") for e in drawn(chart, "two").iter() if e.get("id")}
    assert not ids & other


def test_drawings_are_the_same_every_time() -> None:
    chart = chart_of([[1.0, 2.0]])
    assert drawing.panel(chart, chart.panels[0], "x") == drawing.panel(chart, chart.panels[0], "x")


def test_swatches_look_like_their_lines() -> None:
    line = ElementTree.fromstring(str(drawing.swatch(Style(index=3))))
    assert line.get("aria-hidden") == "true"
    assert not any(e.get("id") or e.tag == "use" for e in line.iter())  # a page shows it more than once
    assert len(list(line.iter("path"))) == 2 + 1  # the line and its marker, on a background
    assert "var(--c3)" in ElementTree.tostring(line, encoding="unicode")
    assert drawing.swatch(Style(index=0)) != drawing.swatch(Style(index=8))  # colours repeat, dashes differ
    assert "var(--quiet)" in str(drawing.swatch(drawing.NEUTRAL, 2, line=False))


def test_the_plotting_library_is_imported_only_to_draw() -> None:
    code = "import sys, bench.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ---- sensitivity -----------------------------------------------------------------------------------------------------


def test_sensitivity_has_a_point_per_setting_sorted_by_gap(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", swept_run())
    chart = sensitivity(Rows(results), "sensitivity")
    assert chart is not None
    assert chart.params == ["layers", "pool"]  # steps is the same everywhere
    assert (chart.colour_name, chart.shape_name) == ("layers", "pool")
    assert [label for label, _ in chart.colours] == ["last", "all"]
    assert [label for label, _ in chart.shapes] == ["0", "4"]
    assert [s.number for s in chart.spots] == [1, 2, 3, 4]
    gaps = [s.gap for s in chart.spots if s.gap is not None]
    assert gaps == sorted(gaps, reverse=True)
    table = results.samples("verification")
    for spot in chart.spots:
        mine = table[table["defense"] == spot.label]
        for figure, model in ((spot.y, "net-a"), (spot.x, "net-b")):
            part = mine[mine["evaluated"] == model]
            kappa = part["kappa_calibrated"]
            hits = (part["cos_self"] > kappa) & ((part["cos_cross"] > kappa) == part["same"])
            assert figure.value == pytest.approx(hits.mean())
        assert spot.label == "/".join(spot.values)
        assert (spot.style.index, spot.marker) == (spot.values[0] == "all", spot.values[1] == "4")
        clean = chart.clean.value
        assert clean is not None
        assert spot.profile == (spot.y.value >= clean - 0.08 and spot.x.value <= 0.2)  # type: ignore[operator]
    assert str(sum(bool(s.profile) for s in chart.spots)) in chart.verdict
    svg = ElementTree.fromstring(str(drawing.scatter(chart, "s")))
    titles = {m.get("data-mark"): m.findtext("title") for m in marks(svg, "spot-")}
    assert titles == {f"spot-{s.number}": f"{s.number}: {s.label}" for s in chart.spots}
    assert len(marks(svg, "zone")) == 1


def test_settings_without_figures_come_last(tmp_path: Path) -> None:
    spec = swept_run(failed=lambda c: "no memory" if c["defense"] == "last/0" else None)
    chart = sensitivity(Rows(write_fake_run(tmp_path / "run", spec)), "sensitivity")
    assert chart is not None
    assert chart.spots[-1].label == "last/0"
    assert chart.spots[-1].gap is None
    assert chart.spots[-1].profile is None
    assert len(marks(ElementTree.fromstring(str(drawing.scatter(chart, "s"))), "spot-")) == 3


def test_sensitivity_needs_authorised_models(tmp_path: Path) -> None:
    rows = Rows(write_fake_run(tmp_path / "run", swept_run(defenses=[("Noise", "noise", False)])))
    assert sensitivity(rows, "sensitivity") is None
