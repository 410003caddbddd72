"""A run scored again: by another bench, with other thresholds, without data and weights, and without any plugin."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from support import ATTACKS, TESTS
from support import in_process as bench

from bench import metrics
from bench.planning.plan import make_plan
from bench.registry.discovery import Registry
from bench.report.export import export
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.suite.suite import load

GOLDEN = TESTS / "golden"
OTHERS = """
[[experiment]]
name = "photos"
datasets = [{ plugin = "toy-photos", label = "photos" }]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["identity", "toy-flaky", "toy-targets"]
pairs = 40
"""
SUITE = ATTACKS + OTHERS
WORK = ("protect", "fit", "reconstruct", "estimate", "evaluation", "calibration", "auxiliary", "load")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The output folder of the run, once it is made."""
    return {"home": tmp_path_factory.mktemp("original")}


@pytest.fixture
def original(kept: dict[str, Path], inline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a run, a copy for each test, with its cache. The run has attacks of every kind, real data that no
    longer exist, a defense that failed, and one that was skipped."""
    home = kept["home"]
    if "done" not in kept:
        (home / "photos").mkdir()
        (home / "photos" / "toys.txt").write_text("toys")
        (home / "suite.toml").write_text(SUITE)
        monkeypatch.setenv("TOY_PHOTOS", str(home / "photos"))
        done = bench("run", home / "suite.toml", "--device", "cpu", "--pairs", 8, "--out", home / "out")
        assert done.exit_code == 1, done.output
        monkeypatch.delenv("TOY_PHOTOS")
        kept["done"] = home / "out"
    shutil.copytree(kept["done"], tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    (folder,) = Path("results/attacks").iterdir()
    return folder


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of bench, which gives every stage another key."""
    monkeypatch.setattr("bench.planning.graph.runtime_digest", lambda **_: "f" * 64)


@pytest.fixture
def idle(idle_later: Callable[[], list[str]]) -> list[str]:
    """No plugin may do any work; what did is listed."""
    return idle_later()


@pytest.fixture
def idle_later(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """A function from whose call on no plugin may do any work; it returns the list of what did."""
    called: list[str] = []

    def refuse(kind: str, name: str, method: str) -> Any:
        def work(*_: object, **__: object) -> Any:
            called.append(f"{kind} {name}: {method}")
            raise AssertionError(called[-1])

        return work

    def begin() -> list[str]:
        for (kind, name), registration in registry.components.items():
            for method in WORK:
                if hasattr(registration.cls, method):
                    monkeypatch.setattr(registration.cls, method, refuse(kind, name, method))
        return called

    return begin


def rescored(original: Path) -> Path:
    """The only rescoring of a run."""
    (found,) = original.parent.glob("*-rescored")
    return found


def samples(folder: Path) -> dict[str, bytes]:
    """The files of rows of a run."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted((folder / "samples").rglob("*.parquet"))}


def artifacts(folder: Path) -> dict[str, str]:
    """The artifacts beside a run: key to kind."""
    cache = folder.parent.parent / ".cache"
    found = (json.loads(path.read_text()) for path in cache.glob("??/*/manifest.json"))
    return {manifest["key"]: manifest["kind"] for manifest in found}


# ---- the same scores -------------------------------------------------------------------------------------------------


def test_nothing_has_changed(original: Path, idle: list[str]) -> None:
    before, page = artifacts(original), Path("reports/attacks/index.html").read_bytes()
    files = {path: path.read_bytes() for path in original.rglob("*") if path.is_file()}
    done = bench("rescore", "attacks")
    assert done.exit_code == 1, "cells that failed stay failed"
    new = rescored(original)
    assert f"the rows are the same bytes as those of {original}\n" in done.stdout
    assert samples(new) == samples(original)
    assert artifacts(original) == before
    assert idle == []
    was, now = RunResults(original), RunResults(new)
    assert now.run.counts.computed == 0
    assert now.run.digest == was.run.digest
    columns = ["cell", "status", "reason", "stages", "components", "kappa", "threat", "role", "traceback", "protect"]
    pd.testing.assert_frame_equal(now.cells[columns], was.cells[columns])
    assert now.run.suite == was.run.suite
    assert now.run.components == was.run.components
    assert Path("reports/attacks/index.html").read_bytes() == page
    assert {path: path.read_bytes() for path in original.rglob("*") if path.is_file()} == files

    assert bench("rescore", original).exit_code == 1
    assert rescored(original) == new, "the same command has the same folder"


REPEATED = """
[suite]
name = "repeated"

[[experiment]]
name = "one"
table = "VII"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "noise", sigma = 0.3 }, "toy-step"]
attacks = ["abuse", { plugin = "toy-learner", learns = "defense", label = "adaptive" }]
pairs = 8
repeats = 3
"""


def test_a_run_with_repeats_keeps_its_figures(
    inline: None, idle_later: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Every repeat is scored again from its own artifacts, and the means over repeats and their intervals are equal."""
    (tmp_path / "suite.toml").write_text(REPEATED)
    assert bench("run", tmp_path / "suite.toml", "--device", "cpu", "--out", tmp_path).exit_code == 0
    (original,) = (tmp_path / "results" / "repeated").iterdir()
    called = idle_later()
    monkeypatch.setattr("bench.planning.graph.runtime_digest", lambda **_: "f" * 64)
    assert bench("rescore", original, "--out", tmp_path).exit_code == 0
    new = rescored(original)
    assert called == []
    assert RunResults(new).run.counts.computed > 0
    assert samples(new) == samples(original)
    was, now = RunResults(original), RunResults(new)
    for table in ("VII", "summary", "verdict", "reconstruction"):
        assert export(now, table, "json") == export(was, table, "json")
    assert '"repeats": "3"' in export(now, "VII", "json")
    assert set(now.cells["repeat"]) == {0, 1, 2}


def test_another_bench_computes_only_scores(original: Path, newer: None, idle: list[str]) -> None:
    before = artifacts(original)
    done = bench("rescore", "attacks")
    assert done.exit_code == 1
    assert idle == []
    new = rescored(original)
    assert samples(new) == samples(original)
    added = {key: kind for key, kind in artifacts(original).items() if key not in before}
    assert set(added.values()) == {"score"}
    scores = [s for s in RunResults(original).stages if s["kind"] == "score" and s["status"] == "ok"]
    kept = RunResults(new).run.rescored.kept
    assert kept == 8, "those of Equation 9"
    assert f"note: {kept} scores of Equation 9 are kept as they were measured" in done.stderr
    assert len(added) == len(scores) - kept == RunResults(new).run.counts.computed
    rows = {row["key"]: row for row in RunResults(new).stages}
    for key in added:
        manifest = Cache(original.parent.parent / ".cache").manifest(key)
        assert manifest is not None
        assert set(manifest["inputs"].values()) <= before.keys(), "the inputs are those that the run left"
        assert json.loads(rows[key]["inputs"]) == manifest["inputs"]
    recorded = {row["key"]: row for row in RunResults(original).stages}
    for key in rows.keys() & recorded.keys() - added.keys():
        assert {**rows[key], "cached": None, "attempts": None} == {**recorded[key], "cached": None, "attempts": None}


def test_a_whole_run_takes_none_of_these_scores(
    original: Path, newer: None, registry: Registry, kept: dict[str, Path]
) -> None:
    """Their keys are those of no stage of the suite: other inputs, other keys."""
    before = artifacts(original)
    bench("rescore", "attacks")
    added = artifacts(original).keys() - before.keys()
    plan = make_plan(load(kept["home"] / "suite.toml", registry, (), 8), registry, "cpu")
    assert added
    assert not added & plan.stages.keys()
    assert not before.keys() & plan.stages.keys()


def test_the_record_and_the_page_say_what_was_scored_again(original: Path, newer: None) -> None:
    bench("rescore", "attacks")
    new = rescored(original)
    was, told = RunResults(original).run, RunResults(new).run.rescored
    assert (told.run, told.digest, list(told.settings)) == (original.name, was.digest, [])
    assert {k: getattr(told.made_by, k) for k in ("versions", "host", "commit")} == {
        k: getattr(was, k) for k in ("versions", "host", "commit")
    }
    page = Path(f"reports/attacks/{new.name}/index.html").read_text()
    assert "Rescored from" in page
    assert told.record_sha256 in page
    assert "8 scores of Equation 9 taken as measured then" in page
    assert "--replay" not in page
    done = bench("report", new)
    assert f"report: reports/attacks/{new.name}/index.html" in done.stdout
    done = bench("diff", original, new)
    assert done.exit_code == 0
    assert "0 regressions, 0 improvements" in done.stdout
    cell = RunResults(new).cells["cell"].iloc[0]
    commands = json.loads(bench("explain", new, cell, "--json").stdout)["commands"]
    assert list(commands) == ["computes what is missing of the run"]


def test_a_corrected_metric(original: Path, newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    right = metrics.psnr
    monkeypatch.setattr(metrics, "psnr", lambda a, b: right(a, b) + 1.0)
    done = bench("rescore", "attacks")
    new = rescored(original)
    was, now = samples(original), samples(new)
    other = {name.split("/")[1] for name in was if was[name] != now[name]}
    assert other == {"images", "baselines"}
    before, after = (RunResults(folder).samples("images") for folder in (original, new))
    finite = ~before["psnr_infinite"]
    assert (after["psnr"][finite] - before["psnr"][finite]).round(9).eq(1.0).all()
    assert "PSNR" in done.stdout
    assert "changed, in " in done.stdout
    assert "all of them: bench diff results/attacks/" in done.stdout


# ---- other thresholds ------------------------------------------------------------------------------------------------


def test_another_false_match_rate_changes_thresholds_and_nothing_else(original: Path, idle: list[str]) -> None:
    done = bench("rescore", "attacks", "--fmr", 0.2, "--set", "experiment[1].threshold=accuracy", "--kappa", -0.5)
    assert done.exit_code == 1, done.output
    assert idle == []
    new = rescored(original)
    assert RunResults(new).run.rescored.settings[-1] == "experiment[1].threshold=accuracy"
    assert {e.fmr for e in RunResults(new).run.suite.experiments} == {0.2}
    assert set(RunResults(new).cells["kappa"]) == {-0.5}
    was, now = (RunResults(folder).samples("verification") for folder in (original, new))
    assert set(now["fmr"]) == {0.2}
    set_by_fmr = {"fmr", "kappa_calibrated", "fmr_realised", "impostor_match", "threshold_rule", "kappa_adversary"}
    set_by_fmr |= {"impostor_match_adversary", "impostor_match_enrolled", "kappa_enrolled"}
    set_by_fmr |= {"adversary_fmr_realised", "enrolled_fmr_realised"}
    same = [c for c in now.columns if c not in {"cell", *set_by_fmr}]
    pd.testing.assert_frame_equal(now[same], was[same])
    assert set(now["threshold_rule"]) == {"fmr", "accuracy"}
    one = now["experiment"] == "uploads"
    assert (now["kappa_calibrated"][one] <= was["kappa_calibrated"][one]).all()
    assert (now["kappa_calibrated"][one] < was["kappa_calibrated"][one]).any()
    assert not set(RunResults(new).cells["cell"]) & set(RunResults(original).cells["cell"]), "another question"


STRANGERS = """
[suite]
name = "attacks"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-b"]
defenses = ["noise"]
pairs = 20
fmr = 0.05
adversary_threshold = "calibration"
adversary_people = 12
"""


def test_thresholds_on_calibration_people_are_set_again_without_data(
    inline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle_later: Callable[[], list[str]]
) -> None:
    from bench_toy.faces import ToyFaces

    monkeypatch.chdir(tmp_path)
    (tmp_path / "suite.toml").write_text(STRANGERS)
    assert bench("run", "--no-report", "suite.toml", "--device", "cpu").exit_code == 0
    (original,) = Path("results/attacks").iterdir()
    called = idle_later()
    monkeypatch.delattr(ToyFaces, "calibration_people")
    done = bench("rescore", "attacks", "--fmr", 0.2)
    assert done.exit_code == 0, done.output
    assert called == []
    was, now = (RunResults(folder) for folder in (original, rescored(original)))
    before, after = (results.samples("verification") for results in (was, now))
    assert set(after["adversary_rule"]) == set(now.cells["adversary_threshold"]) == {"calibration"}
    assert (after["kappa_adversary"] < before["kappa_adversary"]).all()
    assert after["adversary_fmr_realised"][0] == pytest.approx(24 / 120)
    assert after["adversary_people"].equals(before["adversary_people"])
    assert now.cells["threshold_note"].equals(was.cells["threshold_note"])


def test_the_rows_are_those_of_a_run_with_these_settings(
    original: Path, toy_installed: Registry, kept: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench("rescore", "attacks", "--fmr", 0.2, "--set", "experiment[1].threshold=accuracy", "--kappa", "-0.5")
    new = rescored(original)
    monkeypatch.setenv("TOY_PHOTOS", str(kept["home"] / "photos"))
    every = [f"experiment[{i}].{value}" for i in range(4) for value in ("fmr=0.2", "kappa=-0.5")]
    sets = [word for text in [*every, "experiment[1].threshold=accuracy"] for word in ("--set", text)]
    bench("run", "--no-report", kept["home"] / "suite.toml", "--device", "cpu", "--pairs", 8, "--out", ".", *sets)
    (full,) = [p for p in original.parent.iterdir() if p not in (original, new)]
    for name in ("verification", "images", "attributes", "up", "baselines"):
        left, right = (RunResults(folder).samples(name).drop(columns="cell", errors="ignore") for folder in (new, full))
        pd.testing.assert_frame_equal(left, right, check_exact=True)
    assert RunResults(new).cells["stages"].tolist() == RunResults(full).cells["stages"].tolist()


def test_a_fixed_threshold_changes_no_score(original: Path, idle: list[str]) -> None:
    done = bench("rescore", "attacks", "--kappa", 0.6)
    assert "fixed" in done.stdout
    assert RunResults(rescored(original)).run.counts.computed == 0
    assert idle == []


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("experiment[0].pairs=4", "a rescoring changes fmr, kappa and threshold of an experiment"),
        ("suite.seed=4", "a rescoring changes fmr, kappa and threshold of an experiment"),
        ("experiment[2].noise_levels=[0.1]", "a rescoring changes fmr, kappa and threshold"),
        ("experiment[0].fmr.x=0.1", "a rescoring changes fmr, kappa and threshold"),
        ("fmr", "a rescoring changes fmr, kappa and threshold"),
        ("experiment[9].fmr=0.1", r"experiment[9]: expected an index below 4"),
        ("experiment[0].fmr=7", "with these settings: experiment[0].fmr: input should be less than 1, found 7"),
        ("experiment[0].threshold=best", "with these settings: experiment[0].threshold: input should be 'fmr' or"),
    ],
)
def test_settings_that_make_no_sense(original: Path, setting: str, said: str) -> None:
    done = bench("rescore", "attacks", "--set", setting)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not list(original.parent.glob("*-rescored"))


@pytest.mark.parametrize("options", [["--fmr", "nan"], ["--fmr", 0], ["--kappa", 1], ["--fmr", "inf"]])
def test_rates_that_are_none(original: Path, options: list[object]) -> None:
    done = bench("rescore", "attacks", *options)
    assert done.exit_code == 2
    assert "with these settings: experiment[0]." in done.stderr


# ---- what is missing -------------------------------------------------------------------------------------------------


def of_kind(folder: Path, kind: str, word: str = "") -> Iterator[dict[str, Any]]:
    """The stages of a run of a kind whose names hold a word."""
    return (s for s in RunResults(folder).stages if s["kind"] == kind and word in s["name"] and s["status"] == "ok")


def test_what_is_missing_or_damaged_is_listed_and_nothing_written(original: Path, newer: None) -> None:
    cache = Cache(original.parent.parent / ".cache")
    gone, damaged = next(of_kind(original, "embed", "toy-b")), next(of_kind(original, "protect"))
    noisy = next(of_kind(original, "score", "under noise"))
    for stage in (gone, noisy):
        shutil.rmtree(cache.folder(stage["key"]))
    file = cache.folder(damaged["key"]) / "images.npy"
    file.write_bytes(file.read_bytes()[:-1])
    before = artifacts(original)
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert "cannot be scored again; of what it takes, 3 artifacts are not in results/.cache:" in done.stderr
    assert f"embed: {gone['name']}: missing ({gone['key'][:12]})" in done.stderr
    assert f"protect: {damaged['name']}: damaged ({damaged['key'][:12]})" in done.stderr
    assert f"score: {noisy['name']}: missing ({noisy['key'][:12]})" in done.stderr
    assert "a rescoring computes none of them; the run does, with today's code: " in done.stderr
    assert not list(original.parent.glob("*-rescored"))
    assert artifacts(original) == before


def test_long_lists_are_cut(original: Path, newer: None) -> None:
    shutil.rmtree(original.parent.parent / ".cache")
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert len(done.stderr.splitlines()) < 40
    assert " more\n" in done.stderr
    assert not (original.parent.parent / ".cache").exists()


def test_what_no_score_needs_may_be_gone(original: Path, newer: None) -> None:
    """States of attacks and defenses, and embeddings whose scores are there."""
    cache = Cache(original.parent.parent / ".cache")
    for stage in of_kind(original, "fit_attack"):
        shutil.rmtree(cache.folder(stage["key"]))
    assert bench("rescore", "attacks").exit_code == 1
    assert samples(rescored(original)) == samples(original)


def test_scores_that_are_there_need_nothing(original: Path) -> None:
    cache = Cache(original.parent.parent / ".cache")
    for kind in ("embed", "faces", "protect", "attack"):
        for stage in of_kind(original, kind):
            shutil.rmtree(cache.folder(stage["key"]))
    assert "the rows are the same bytes" in bench("rescore", "attacks").stdout


def test_scores_are_made_again_from_what_the_run_says_of_them(original: Path, newer: None) -> None:
    """The artifacts of the scores are missing, but the run records their inputs."""
    cache = Cache(original.parent.parent / ".cache")
    for stage in of_kind(original, "score"):
        if "under noise" not in stage["name"]:
            shutil.rmtree(cache.folder(stage["key"]))
    assert bench("rescore", "attacks").exit_code == 1
    assert samples(rescored(original)) == samples(original)


def test_runs_that_do_not_tell_what_scores_were_made_from(original: Path, newer: None) -> None:
    """The run is of an earlier version, so that the inputs come from the artifacts of the scores."""
    path = original / "stages.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["inputs"]), path)
    assert bench("rescore", "attacks").exit_code == 1
    new = rescored(original)
    assert samples(new) == samples(original)
    shutil.rmtree(new)
    stage = next(of_kind(original, "score", "verification"))
    shutil.rmtree(Cache(original.parent.parent / ".cache").folder(stage["key"]))
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert f"score: {stage['name']}: what it was made from is not known ({stage['key'][:12]})" in done.stderr


def test_an_artifact_that_goes_while_it_is_scored(original: Path, newer: None, monkeypatch: pytest.MonkeyPatch) -> None:
    key = next(of_kind(original, "embed", "toy-b"))["key"]
    cache = Cache(original.parent.parent / ".cache")
    right = Cache.sweep

    def gone(self: Cache, *args: Any) -> None:
        right(self, *args)
        shutil.rmtree(cache.folder(key), ignore_errors=True)

    monkeypatch.setattr(Cache, "sweep", gone)
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert "gone or damaged since it was found; it is not made anew" in done.stderr


# ---- failures --------------------------------------------------------------------------------------------------------


def test_what_failed_stays_failed(
    original: Path, newer: None, idle: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_MENDED", "1")
    done = bench("rescore", "attacks")
    assert done.exit_code == 1
    assert "1 failed" in done.stdout
    columns = ["cell", "defense", "status", "reason", "traceback", "log"]
    was, now = (RunResults(folder).cells for folder in (original, rescored(original)))
    pd.testing.assert_frame_equal(now[columns], was[columns])
    assert set(was["status"]) == {"ok", "failed", "skipped"}


def test_a_score_that_failed_is_tried_again(original: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its inputs are there, and today's code may be right."""
    right = metrics.psnr

    def broken(*_: Any) -> Any:
        raise ArithmeticError("a metric with a mistake")

    with monkeypatch.context() as earlier:
        earlier.setattr("bench.planning.graph.runtime_digest", lambda **_: "e" * 64)
        earlier.setattr(metrics, "psnr", broken)
        bench("rescore", "attacks")
    (wrong,) = original.parent.glob("*-rescored")
    assert "failed" in set(RunResults(wrong).cells[RunResults(wrong).cells["experiment"] == "uploads"]["status"])
    assert metrics.psnr is right
    bench("rescore", wrong)
    (mended,) = original.parent.glob("*-rescored-*-rescored")
    assert samples(mended) == samples(original)
    told = RunResults(mended).run.rescored
    assert told.run == wrong.name
    assert told.made_by.finished == RunResults(original).run.finished, "who made the artifacts"


# ---- which runs ------------------------------------------------------------------------------------------------------


def test_runs_of_earlier_schemas(toy_installed: Registry, tmp_path: Path) -> None:
    for schema in ("schema-2", "schema-3"):
        shutil.copytree(GOLDEN / schema, tmp_path / "results" / "golden" / schema)
    old = bench("rescore", tmp_path / "results" / "golden" / "schema-2")
    assert old.exit_code == 2
    assert "cannot be scored again from its record, which lacks its " in old.stderr
    assert "it was written by an earlier bench" in old.stderr
    new = bench("rescore", tmp_path / "results" / "golden" / "schema-3")
    assert new.exit_code == 2
    assert "artifacts are not in" in new.stderr
    alone = bench("rescore", GOLDEN / "schema-3")
    assert "expected a run folder results/<suite>/<run>" in alone.stderr


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "running"}, "only a run that has ended is scored again, this one is running; end it: bench run x"),
        ({"status": "interrupted"}, "this one is interrupted; end it: bench run x"),
        ({"replay_of": "another"}, "a replay keeps no artifacts; score what it replays: bench rescore "),
    ],
)
def test_runs_that_are_not_scored_again(original: Path, changes: dict[str, str], said: str) -> None:
    path = original / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "command": ["bench", "run", "x"], **changes}))
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert said in done.stderr


def test_a_rescoring_is_not_replayed(original: Path) -> None:
    bench("rescore", "attacks")
    done = bench("run", "--replay", rescored(original))
    assert done.exit_code == 2
    assert "a rescoring is not replayed; make it again: " in done.stderr


def test_a_rescoring_that_was_killed_can_be_looked_at(original: Path, newer: None) -> None:
    bench("rescore", "attacks", "--fmr", 0.1)
    new = rescored(original)
    path = new / "run.json"
    record = json.loads(path.read_text())
    rows = samples(new)
    path.write_text(json.dumps({**record, "status": "running"}))
    cells = json.loads(bench("export", new, "--table", "VI", "--format", "json").stdout)
    assert cells
    done = bench("report", new)
    assert done.exit_code == 0, done.output
    path.write_text(json.dumps(record))
    bench("rescore", original, "--fmr", 0.1)
    assert samples(rescored(original)) == rows


# ---- other plugins ---------------------------------------------------------------------------------------------------


def changed(registry: Registry, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, **changes: Any) -> None:
    """A plugin of another version."""
    was = registry.components[kind, name]
    monkeypatch.setitem(registry.components, (kind, name), replace(was, **changes))


def test_a_newer_plugin(original: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch, idle: list[str]) -> None:
    """Rows record which version made the artifacts; only scores that call a plugin have other keys: estimates of
    attributes, and similarities of images, which are metrics of plugins."""
    origin = replace(registry.components["attack", "toy-attributes"].origin, version="9", digest="9" * 64)
    for kind, name in registry.components:
        changed(registry, monkeypatch, kind, name, origin=origin)
    bench("rescore", "attacks")
    new = rescored(original)
    assert idle == []
    assert samples(new) == samples(original)
    assert RunResults(new).cells["components"].tolist() == RunResults(original).cells["components"].tolist()
    computed = [s["name"] for s in RunResults(new).stages if not s["cached"] and s["status"] == "ok"]
    assert computed
    called = ("toy-attributes of", "peek of", "image similarity of", "baselines of the image metrics")
    assert [name for name in computed if not name.startswith(called)] == []


def test_a_plugin_that_is_gone_or_takes_other_parameters(
    original: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed(registry, monkeypatch, "attack", "toy-learner", cls=registry.components["attack", "toy-upsample"].cls)
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert f"{original}: attack adaptive." in done.stderr
    assert "unknown parameter" in done.stderr
    monkeypatch.delitem(registry.components, ("attack", "toy-learner"))
    done = bench("rescore", "attacks")
    assert done.exit_code == 2
    assert f"{original}: attack adaptive: expected the name of an attack plugin, found 'toy-learner'" in done.stderr
