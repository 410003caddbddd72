"""Several runs on one page: which experiments are joined, how labels are told apart, and that no measurement mixes
runs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner
from fake_run import ESTIMATE, HOSTILE, INVERSIONS, RECFACE, FakeRun, write_fake_run

from bench.analysis.rows import Rows
from bench.cli import main
from bench.core.errors import StorageError
from bench.report.export import export
from bench.report.page import render
from bench.report.page.several_runs import judge, together
from bench.runs.combine import join
from bench.store.reading import RunResults
from bench.store.schema import SAMPLES
from bench.store.several_runs import Joined

CLEAN, NOISE, PMT = ("Clean", "identity", False), ("Noise 0.3", "noise", False), ("PMT", "pmt", True)
MINE = ("Mine", "pixelate", False)
NETS = {"net-a": "MobileFace", "net-b": "ArcFace"}
SETS = {"synth-lfw": "LFW"}


def spec(*defenses: tuple[str, str, bool], **changes: Any) -> FakeRun:
    """Return a small experiment with some defenses."""
    return replace(FakeRun(models=NETS, datasets=SETS, pairs=12, defenses=defenses or (CLEAN, NOISE, PMT)), **changes)


def written(
    folder: Path,
    specs: FakeRun | Sequence[FakeRun],
    *,
    host: str = "h",
    code: Mapping[str, str] | None = None,
    weights: Mapping[str, str] | None = None,
    suite: Mapping[str, Any] | None = None,
    **record: Any,
) -> RunResults:
    """Write a run whose cells have stages with keys made from their components and from the code of bench, ``host``.

    ``code`` and ``weights`` replace those of some components, by label.
    """
    results = write_fake_run(folder, specs)
    table = pd.read_parquet(folder / "cells.parquet")

    def changed(component: dict[str, Any]) -> dict[str, Any]:
        label = component["label"]
        digest = hashlib.sha256((code or {}).get(label, "").encode()).hexdigest()
        origin = {**component["origin"], "digest": digest}
        return {**component, "origin": origin, "weights": (weights or {}).get(label, component["weights"])}

    parts = [[changed(c) for c in json.loads(text)] for text in table["components"]]
    table["components"] = [json.dumps(p) for p in parts]
    keys = [
        hashlib.sha256(json.dumps([host, row["dataset"], list(row["authorised"]), p]).encode()).hexdigest()
        for p, (_, row) in zip(parts, table.iterrows(), strict=True)
    ]
    table["stages"] = ["[]" if s == "skipped" else json.dumps([k]) for k, s in zip(keys, table["status"], strict=True)]
    table.to_parquet(folder / "cells.parquet")
    run = json.loads((folder / "run.json").read_text())
    run["components"] = [changed(c) for c in run["components"]]
    run |= {"host": {"scores.py": host}, "lpips": {"sha256": None}, **record}
    run["suite"] |= {"name": folder.parent.name, **(suite or {})}
    (folder / "run.json").write_text(json.dumps(run))
    return RunResults(results.folder)


def measurements(results: RunResults, table: str = "VII") -> dict[tuple[str, str, str, str], tuple[Any, ...]]:
    """Return the values of a table by experiment, data set, row and column."""
    made = {}
    for part in json.loads(export(results, table, "json")):
        for f in part["measurements"]:
            row = f"{f['defense']} {f['authorised'] or ''}".strip()
            made[f["experiment"], f["dataset"], row, f["column"]] = (
                f["value"],
                f["n"],
                f["low"],
                f["high"],
                f["status"],
            )
    return made


@pytest.mark.slow
def test_equal_runs_are_one(tmp_path: Path) -> None:
    specs = [
        spec(table="VII"),
        spec(name="attacks", table="VI", attacks=(*INVERSIONS, RECFACE), claims=None),
        spec(name="noisy", table="VIII", attacks=(ESTIMATE,), noise_levels=(0.0, 0.1), claims=None),
    ]
    a, b = (written(tmp_path / name / "run", specs) for name in "ab")
    both = join([a, b])
    assert list(both.cells["cell"]) == list(a.cells["cell"])
    assert set(both.cells["run"]) == {"run A"}
    for table in SAMPLES:
        own, found = a.samples(table), both.samples(table)
        pd.testing.assert_frame_equal(found[list(own)], own, check_dtype=False)
    for table in ("VII", "VI", "VIII", "summary"):
        assert measurements(both, table) == measurements(a, table)
    assert [n for n in both.notes if "share, to the last input" in n] == [
        f"Shown once: {len(a.cells)} cells that run A and run B share, to the last input."
    ]


def test_a_defense_of_ones_own_stands_beside_the_papers(tmp_path: Path) -> None:
    a = written(tmp_path / "paper" / "run", spec())
    b = written(tmp_path / "mine" / "run", spec(CLEAN, MINE))
    both = join([a, b])
    found, ours, theirs = measurements(both), measurements(a), measurements(b)
    assert found == ours | {key: value for key, value in theirs.items() if key[2] == "Mine"}
    cells = both.cells
    assert set(cells.loc[cells["defense"] == "Mine", "run"]) == {"run B"}
    assert set(cells.loc[cells["defense"] != "Mine", "run"]) == {"run A"}
    for cell in cells.loc[cells["defense"] == "Mine", "cell"]:
        assert both.home(cell) == (b, cell)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"params": {"PMT": {"steps": 5}}}, "is another defense: steps 5, in run A 100"),
        ({"code": {"PMT": "new"}}, "is another defense: code "),
        ({"host": "other"}, "was computed by another bench"),
        ({"device": "cuda"}, "was computed by another bench, with other packages or on another device"),
        ({"versions": {"torch": "1.0"}}, "was computed by another bench, with other packages"),
    ],
)
def test_another_defense_of_the_same_name_gets_the_name_of_its_run(
    changes: dict[str, Any], why: str, tmp_path: Path
) -> None:
    params = changes.pop("params", {"PMT": {"steps": 100}})
    a = written(tmp_path / "paper" / "run", spec(params={"PMT": {"steps": 100}}))
    b = written(tmp_path / "mine" / "run", spec(CLEAN, PMT, params=params, pairs=12), **changes)
    both = join([a, b])
    found, theirs = measurements(both), measurements(b)
    assert measurements(a).items() <= found.items()
    renamed = {(e, d, row.replace("PMT", "PMT (run B)"), c): v for (e, d, row, c), v in theirs.items() if "PMT" in row}
    assert renamed
    assert renamed.items() <= found.items()
    assert any(note.startswith("PMT of run B") and why in note for note in both.notes), both.notes


def test_another_model_or_attack_of_the_same_name_too(tmp_path: Path) -> None:
    a = written(tmp_path / "a" / "run", spec())
    b = written(tmp_path / "b" / "run", spec(), weights={"net-b": "b" * 64}, code={"abuse": "new"})
    both = join([a, b])
    assert set(both.cells["evaluated"]) == {"net-a", "net-b", "net-b (run B)"}
    assert set(both.cells["authorised"]) == {(), ("net-a",), ("net-b",), ("net-b (run B)",)}
    assert set(both.cells["attack"]) == {"abuse", "abuse (run B)"}
    assert {"net-b", "net-b (run B)"} <= {c.label for c in both.run.components}
    own = measurements(b)["data-abuse", "synth-lfw", "PMT net-b", "net-b"]
    assert measurements(both)["data-abuse", "synth-lfw", "PMT net-b (run B)", "net-b (run B)"] == own


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"pairs": 14}, "pairs 14, in run A 12"),
        ({"kappa": 0.5}, "κ 0.5, in run A 0.2"),
        ({"datasets": {"synth-lfw": "LFW", "synth-calfw": "CALFW"}}, "data sets synth-lfw and synth-calfw, in run A"),
        ({"weights": {"synth-lfw": "b" * 64}}, "data set synth-lfw: weights bbbbbbbbbbbb, in run A aaaaaaaaaaaa"),
        ({"suite": {"raw": {"suite": {"seed": 8}}}}, "seed 8, in run A 7"),
        ({"suite": {"raw": {"suite": {"seed": 7}, "experiment": [{"name": "data-abuse", "repeats": 3}]}}}, "repeats 3"),
    ],
)
def test_another_question_stands_apart(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    about = {name: changes.pop(name) for name in ("pairs", "kappa", "datasets") if name in changes}
    a = written(tmp_path / "a" / "run", spec())
    b = written(tmp_path / "b" / "run", spec(CLEAN, MINE, **about), **changes)
    both = join([a, b])
    assert set(both.cells["experiment"]) == {"data-abuse", "data-abuse (run B)"}
    assert any("stands apart" in note and why in note for note in both.notes), both.notes
    found = measurements(both)
    assert measurements(a).items() <= found.items()
    values = {(row, column): v for (e, _, row, column), v in found.items() if e == "data-abuse (run B)"}
    assert values == {(row, column): v for (_, _, row, column), v in measurements(b).items()}


def test_a_result_is_shown_from_the_run_that_has_it(tmp_path: Path) -> None:
    a = written(tmp_path / "a" / "run", spec(failed=lambda c: "out of memory" if c["defense"] == "PMT" else None))
    b = written(tmp_path / "b" / "run", spec())
    assert measurements(join([a, b])) == measurements(b) == measurements(join([b, a]))
    both = join([a, b])
    cells = both.cells
    assert set(cells["status"]) == {"ok"}
    assert set(cells.loc[cells["defense"] == "PMT", "run"]) == {"run B"}
    assert "Shown from run B: 4 cells, failed in run A." in both.notes


def test_three_runs_share_what_two_of_them_call_alike(tmp_path: Path) -> None:
    a = written(tmp_path / "a" / "run", spec(params={"PMT": {"steps": 100}}))
    b, c = (written(tmp_path / name / "run", spec(params={"PMT": {"steps": 5}})) for name in "bc")
    both = join([a, b, c])
    assert set(both.cells["defense"]) == {"Clean", "Noise 0.3", "PMT", "PMT (run B)"}
    assert set(both.cells["run"]) == {"run A", "run B"}


def test_only_the_requested_rows_are_read(tmp_path: Path) -> None:
    a = written(tmp_path / "a" / "run", [spec(), spec(name="own", claims=None)])
    b = written(tmp_path / "b" / "run", [spec(CLEAN, MINE), spec(MINE, name="theirs", claims=None)], host="other")
    both = join([a, b])
    own = both.samples("verification", {"experiment": "theirs"}, ["cell", "defense", "cos_self"])
    assert list(own) == ["cell", "defense", "cos_self"]
    assert set(own["defense"]) == {"Mine"}
    clean = both.samples("verification", {"defense": ["Clean (run B)"]})
    assert set(clean["cell"]) == set(both.cells.loc[both.cells["defense"] == "Clean (run B)", "cell"])
    theirs = b.samples("verification", {"defense": "Clean"})
    assert list(clean["cos_cross"]) == list(theirs["cos_cross"])
    assert both.samples("attributes").empty
    with pytest.raises(StorageError, match=r"a/run and .*b/run: samples/verification has no column 'cosself'; did you"):
        both.samples("verification", columns=["cosself"])
    # Two runs may use the same id for different cells; these ids are told apart.
    assert both.cells["cell"].is_unique
    assert len(Rows(both).scores) == len(both.cells[both.cells["status"] == "ok"])


def test_labels_that_look_like_names_of_runs(tmp_path: Path) -> None:
    odd = ("PMT (run B)", "pmt", True)
    a = written(tmp_path / "a" / "run", spec(PMT, odd))
    b = written(tmp_path / "b" / "run", spec(PMT), code={"PMT": "new"})
    assert {"PMT", "PMT (run B)", "PMT (run' B)"} == set(join([a, b]).cells["defense"])


def test_claims_are_held_against_their_own_run(tmp_path: Path) -> None:
    claim = {
        "id": "only-authorised",
        "text": "Only the authorised model recognises",
        "section": "6.4",
        "experiment": "data-abuse",
        "metric": "accuracy",
        "left": {"role": "unauthorised"},
        "relation": "<=",
        "right": 0.3,
    }
    raw = {"raw": {"suite": {"name": "x", "seed": 7}, "claims": [claim]}}
    a = written(tmp_path / "a" / "run", spec(), suite=raw)
    b = written(tmp_path / "b" / "run", spec(PMT, ("Leaky", "pmt", True)), host="other", suite=raw)
    alone = [judge(Rows(run))[0] for run in (a, b)]
    found = judge(Rows(join([a, b])))
    assert [v.claim.place for v in found] == ["section 6.4, run A", "section 6.4, run B"]
    assert [v.decisive.left.value for v in found] == [v.decisive.left.value for v in alone]
    ids = set(join([a, b]).cells["cell"])
    assert all(set(v.decisive.left.cells) <= ids for v in found)


@pytest.mark.slow
def test_the_page_says_which_runs_and_what_cannot_be_compared(tmp_path: Path) -> None:
    own = replace(RECFACE, label=f"recface {HOSTILE}")
    a = written(tmp_path / "a" / "run", [spec(), spec(name="attacks", table="VI", attacks=(RECFACE, own), claims=None)])
    machine = {"processor": "<img src=x onerror=alert(1)>", "cores": 64}
    mine = [spec(CLEAN, MINE), spec(MINE, name="attacks", table="VI", attacks=(RECFACE,), claims=None)]
    b = written(tmp_path / "b" / "run", mine, machine=machine, commit="b" * 40)
    told = together(Rows(join([a, b])))
    assert told is not None
    assert [row[:3:2] for row in told.runs.rows] == [
        ["run A", str(Path(*a.folder.parts[-3:]))],
        ["run B", str(Path(*b.folder.parts[-3:]))],
    ]
    assert told.warnings[0].startswith("Run B was computed on another machine or device than run A")
    assert f"Mine was not attacked by recface {HOSTILE} in attacks, as others were" in told.warnings[1]
    page = render(join([a, b]))
    assert "The runs on this page" in page
    assert "b" * 40 in page
    assert "<img src=x" not in page
    assert "Identity of run B" in page
    assert "bench report" in page
    assert together(Rows(a)) is None
    assert "The runs on this page" not in render(a)


def test_experiments_that_a_run_does_not_have_are_named(tmp_path: Path) -> None:
    a = written(tmp_path / "a" / "run", [spec(), spec(name="attacks", table="VI", attacks=(RECFACE,), claims=None)])
    b = written(tmp_path / "b" / "run", spec(CLEAN, MINE))
    told = together(Rows(join([a, b])))
    assert told is not None
    assert told.warnings == ["Run B does not have the experiment attacks: nothing is known there of Mine."]


# ---- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An output folder with one run of each of two suites, and two runs of a third."""
    written(tmp_path / "results" / "paper" / "20260101-000000-aa", spec())
    written(tmp_path / "results" / "mine" / "20260101-000000-bb", spec(CLEAN, MINE))
    for run in ("20260101-000000-cc", "20260102-000000-dd"):
        written(tmp_path / "results" / "again" / run, spec(), host=run)
    return tmp_path


def call(*args: object) -> Any:
    """Run a command in this process."""
    return CliRunner().invoke(main, [str(a) for a in args])


@pytest.mark.slow
def test_report_of_several_runs(out: Path) -> None:
    done = call("report", "paper", "mine", "--out", out)
    page = out / "reports" / "paper+mine" / "index.html"
    assert (done.exit_code, done.stdout) == (0, f"report: {page}\n")
    assert "note: Shown once: 2 cells that run A and run B share" in done.stderr
    assert "Mine" in page.read_text(encoding="utf-8")
    runs = sorted((out / "results" / "again").iterdir())
    done = call("report", *runs, "--out", out)
    assert f"again-{runs[0].name}+again-{runs[1].name}/index.html" in done.stdout
    done = call("report", "paper", "mine", "-o", out / "x" / "both.html", "--out", out)
    assert (done.exit_code, (out / "x" / "both.html").is_file()) == (0, True)
    done = call("report", "paper", "-o", out / "one.html", "--out", out)
    assert (done.exit_code, done.stdout) == (0, f"report: {out / 'one.html'}\n")


@pytest.mark.slow
def test_runs_that_cannot_be_joined(out: Path) -> None:
    twice = call("report", "paper", out / "results" / "paper" / "20260101-000000-aa", "--out", out)
    assert twice.exit_code == 2
    assert "expected different runs, found this one 2 times; name each run once" in twice.stderr
    missing = call("report", "paper", "nine", "--out", out)
    assert missing.exit_code == 2
    assert "nine: expected a run folder or the name of a suite with a run" in missing.stderr
    assert call("report", "--out", out).exit_code == 2


@pytest.mark.slow
def test_export_of_several_runs(out: Path) -> None:
    done = call("export", "paper", "mine", "--table", "VII", "--format", "json", "--out", out)
    assert done.exit_code == 0, done.stderr
    (table,) = json.loads(done.stdout)
    assert {"Noise 0.3", "PMT", "Mine"} <= {f["defense"] for f in table["measurements"]}
    file = out / "rows.parquet"
    done = call("export", "paper", "mine", "--rows", "verification", "-o", file, "--out", out)
    assert done.exit_code == 0, done.stderr
    rows = pd.read_parquet(file)
    both = join([RunResults(next((out / "results" / s).iterdir())) for s in ("paper", "mine")])
    assert isinstance(both, Joined)
    assert len(rows) == len(both.samples("verification"))
    assert rows["role"].notna().all()
