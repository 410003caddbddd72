"""The data behind the numbers of a page: complete, without repetition, and compact."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fake_run import HOSTILE, FakeRun, large_run, write_fake_run

from bench.analysis.measures import measure, metric_named, select
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, absent
from bench.report.page import render
from bench.report.page.evidence import Evidence, coded
from bench.store.reading import RunResults

ACCURACY = metric_named("accuracy")


def of_page(page: str) -> dict[str, Any]:
    """Return the data that a page contains about its rows."""
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert found
    data: dict[str, Any] = json.loads(found[1])["rows"]
    return data


def value(column: list[Any], i: int) -> Any:
    """Return a value of a coded column, decoded as the scripts of the page decode it."""
    values, *codes = column
    if not codes:
        return values[0]
    return values[i] if codes[0] is None else values[codes[0][i]]


@pytest.fixture(scope="module")
def data(results: RunResults) -> dict[str, Any]:
    return of_page(render(results))


@pytest.mark.parametrize("values", [[], ["a"], ["a", "a", "a"], ["a", "b", "c"], ["a", "b", "a"], [None, 1, None]])
def test_columns_are_read_as_they_were_written(values: list[Any]) -> None:
    assert [value(coded(values), i) for i in range(len(values))] == values
    assert len(json.dumps(coded(["x" * 50] * 100))) < 60


def test_a_figure_is_there_once_with_everything_it_rests_on(results: RunResults) -> None:
    rows = Rows(results)
    evidence = Evidence(rows)
    cells = select(rows, defense="PMT", authorised="net-a", evaluated="net-a")
    found = measure(rows, cells, "accuracy-fixed", paper=0.99)
    other = measure(rows, cells, "accuracy", paper=0.99)
    assert evidence.of(ACCURACY, found) == evidence.of(ACCURACY, found) == 0
    assert evidence.of(ACCURACY, Measurement(value=0.5, n=3)) is None  # It has no cells.
    assert evidence.of(ACCURACY, other) == 1
    data = evidence.data()
    assert data["measurements"][1][7:] == ["99.0 (at the fixed κ)"]  # no difference from another quantity
    q, shown, span, n, interval, m, cells_at, paper, difference = data["measurements"][0]
    assert data["metrics"][q] == ["accuracy", "%", ACCURACY.direction]
    assert (shown, span, n) == (ACCURACY.shown(found.value), ACCURACY.span(found.low, found.high), found.n)
    assert (interval, paper) == (found.interval, "99.0")
    assert difference.lstrip("+") == ACCURACY.shown(found.difference)
    assert data["definitions"][m]["about"].startswith("Equation 10")
    assert data["definitions"][m]["rows"] == "verification"
    ids = {value(data["cells"]["columns"]["cell"], i) for i in numbers(data["sets"][cells_at])}
    assert ids == set(found.cells) == {c.cell for c in cells}


def numbers(ranges: str) -> list[int]:
    runs = [[int(n) for n in run.split("-")] for run in ranges.split(",")]
    return [i for run in runs for i in range(run[0], run[-1] + 1)]


def test_an_absent_figure_says_why(results: RunResults) -> None:
    rows = Rows(results)
    evidence = Evidence(rows)
    failed = next(c for c in rows.cells if c.status == "failed")
    at = evidence.of(ACCURACY, absent("failed", failed.reason, cells=(failed.cell,)))
    assert at is not None
    measurements = evidence.data()["measurements"]
    assert measurements[at][1] == "failed"
    assert measurements[at][-1] == f"out of memory {HOSTILE}"


@pytest.mark.slow
def test_cells_say_what_they_are_and_what_they_were_computed_by(tmp_path: Path) -> None:
    spec = FakeRun(datasets={"synth-lfw": "LFW"}, models={"net-a": "MobileFace"}, staged=True, authorised=(("net-a",),))
    data = of_page(render(write_fake_run(tmp_path / "run", spec)))
    cells = data["cells"]
    at = next(i for i in range(cells["size"]) if value(cells["columns"]["defense"], i) == "PMT")
    said = {name: value(column, at) for name, column in cells["columns"].items()}
    assert said["authorised"] == said["evaluated"] == "net-a"
    assert (said["pairs"], said["kappa"], said["seconds"], said["device"]) == (20, 0.2, "1.5 s", "cpu")
    parts = [cells["parts"][int(p)] for p in said["parts"].split()]
    assert [(kind, label) for kind, label, *_ in parts][:3] == [
        ("data set", "synth-lfw"),
        ("model", "net-a"),
        ("defense", "PMT"),
    ]
    assert parts[0][5:7] == ["d" * 16, "a" * 16]
    stages = [{n: value(c, int(s)) for n, c in cells["stages"].items()} for s in said["stages"].split()]
    assert [s["name"].split()[0] for s in stages] == ["protect", "score"]  # inputs first
    assert int(stages[0]["seed"]) > 2**53  # It is text, because JavaScript would round the number.
    assert {s["status"] for s in stages} == {"cached"}
    assert data["runs"] == [
        {
            "place": data["runs"][0]["place"],
            "command": ["bench", "run", "suites/fake.toml", "--pairs", "20"],
            "seed": "7",
        }
    ]


@pytest.mark.slow
def test_what_cannot_compute_one_cell_is_no_command_for_it(tmp_path: Path) -> None:
    results = write_fake_run(tmp_path / "run", FakeRun(datasets={"synth-lfw": "LFW"}))
    file = results.folder / "run.json"
    run = json.loads(file.read_text())
    for command in ([], ["bench", "run", "--replay", "quick"]):
        file.write_text(json.dumps({**run, "command": command}))
        assert of_page(render(RunResults(results.folder)))["runs"][0]["command"] == []


@pytest.mark.slow
def test_every_number_on_the_page_is_in_its_data(results: RunResults) -> None:
    page = render(results)
    data = of_page(page)
    opened = [int(n) for n in re.findall(r'data-measurement="(\d+)"', page)]
    assert opened
    assert set(opened) <= set(range(len(data["measurements"])))
    for at, text in re.findall(r'<span class="v" data-measurement="(\d+)">([^<]+)<', page):
        assert data["measurements"][int(at)][1] == text
    assert page.count('data-measurement="') > len(set(opened))  # Headlines and tables share measurements.


@pytest.mark.slow
def test_hostile_names_stay_text(tmp_path: Path) -> None:
    names = ["<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>"]
    models = {name: name for name in names}
    page = render(write_fake_run(tmp_path / "run", FakeRun(models=models, authorised=[(names[0],)], claims=None)))
    data = of_page(page)
    assert set(names) <= set(data["cells"]["columns"]["evaluated"][0])
    assert "<img src=x" not in page
    assert "<script>alert(2)" not in page


@pytest.mark.slow
def test_rows_of_tables_say_what_they_are_about(results: RunResults) -> None:
    page = render(results)
    assert re.search(r'<tr class="authorised" data-dataset="synth-lfw" data-defense="PMT" data-attack="abuse">', page)
    assert re.search(r'<tr class="clean" data-dataset="synth-lfw&#10;synth-calfw" data-defense="Clean"', page)
    assert '<tr class="baseline" data-dataset="synth-lfw">' in page


@pytest.mark.slow
def test_ten_thousand_cells_are_a_few_megabytes(tmp_path: Path) -> None:
    """The bytes per cell are measured on a tenth of the cells, so that the test is fast."""
    results = write_fake_run(tmp_path / "run", large_run(settings=2, pairs=4))
    data = of_page(render(results))
    size = data["cells"]["size"]
    assert size > 1000
    assert len(json.dumps(data, ensure_ascii=False)) < 1000 * size
