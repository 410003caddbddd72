"""The examples of docs/exporting.md work as they are printed, on a small run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_run import paper_run, with_today, write_fake_run

from bench.cli.results import EXPORT_FORMATS
from bench.report.export.samples import export_rows
from bench.store.schema import SAMPLES

GUIDE = (Path(__file__).parents[2] / "docs" / "exporting.md").read_text(encoding="utf-8")
EXAMPLES = [part.split("```")[0] for part in GUIDE.split("```python\n")[1:]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, and its verification rows exported."""
    folder = tmp_path_factory.mktemp("guide")
    results = with_today(write_fake_run(folder / "results" / "paper" / "20260101-120000-1a2b3c4d", paper_run()))
    export_rows(results, "verification", "parquet", folder / "verification.parquet")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_work(
    home: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "import duckdb" in EXAMPLES[number]:
        pytest.importorskip("duckdb")
    monkeypatch.chdir(home)
    exec(compile(EXAMPLES[number], f"docs/exporting.md, example {number}", "exec"), {})
    said = capsys.readouterr().out
    assert len(said.splitlines()) > 3
    assert any(name in said for name in ("PMT", "authorised"))


def test_the_guide_names_every_kind_and_format() -> None:
    for kind, formats in EXPORT_FORMATS.items():
        assert f"--{kind} " in GUIDE
        assert all(fmt in GUIDE for fmt in formats)
    for name in SAMPLES:
        assert f"| `{name}` |" in GUIDE
