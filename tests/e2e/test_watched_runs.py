"""A run observed from another terminal, during the run and after it was killed; a replay from its record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import Running, run_folders, wait_until
from support import TESTS, Command, ToyRun, install

from bench.store.reading import RunResults

Start = Callable[..., Running]


def test_status_and_report_while_a_run_works_and_after_it_was_killed(
    start: Start, bench: Command, toy_run: ToyRun, tmp_path: Path
) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"

    def status() -> dict[str, Any]:
        (told,) = json.loads(bench("status", "toy", "--json", "--out", out).out)
        return dict(told)

    running = start("run", toy_run.suite, "--out", out, "--device", "cpu", env={"TOY_GATE": str(gate)})
    wait_until(Path(f"{gate}.reached").exists, "the gate")
    wait_until(lambda: status()["queued"] == 5, "everything but what waits for the gate")
    wait_until(lambda: status()["running"][0]["worker"] is not None, "more than a moment")
    told = status()
    assert (told["state"], len(told["running"]), told["failed"]) == ("running", 1, [])
    assert told["session"]["pid"] == running.process.pid
    (stage,) = told["running"]
    assert stage["name"] == "toy-faces protected by toy-gate"
    assert int(stage["worker"].rpartition(":")[2]) != running.process.pid
    assert "running" in bench("status", "--out", out).out

    for _ in range(2):
        done = bench("report", "toy", "--out", out)
        assert (done.code, done.err) == (0, "note: 2 of 24 cells are not computed yet; see: bench status\n")
        assert "not computed yet" in (out / "reports" / "toy" / "index.html").read_text()
        running.kill()
        wait_until(running.alone, "the workers to notice")

    told = status()
    assert (told["state"], told["running"], told["queued"]) == ("died", [], 6)
    assert "died after" in bench("status", "--watch", "--out", out).out
    (folder,) = run_folders(out)
    assert RunResults(folder).run.status == "running"


def test_stderr_contains_only_json(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    command = ("run", toy_run.suite, "--out", out, "--device", "cpu", "--workers", "1", "--log-format", "json")
    done = bench(*command, "--pairs", "6")
    events = [json.loads(line) for line in done.err.splitlines()]
    assert [e["event"] for e in events[:2]] == ["run-started", "planned"]
    assert events[-1]["event"] == "run-ended"
    assert {e["session"] for e in events} == {events[0]["session"]}
    assert "cells: 20 ok" in done.out
    for wrong in (["--set", "suite.sed=1"], ["--workers", "0"]):
        failed = bench(*command, *wrong)
        assert failed.code == 2
        (event,) = map(json.loads, failed.err.splitlines())
        assert event["event"] == "error"
        assert wrong[1].partition("=")[0] in event["message"] or "--workers" in event["message"]


def test_a_replay_is_the_same_bytes_until_code_is_touched(bench: Command, toy_run: ToyRun, tmp_path: Path) -> None:
    out = toy_run.copy(tmp_path / "out")
    done = bench("run", "--replay", "toy", "--out", out, "--workers", "2", cwd=tmp_path)
    assert done.code == 0, done.err
    assert f"the rows are the same bytes as those of {out / 'results' / 'toy' / toy_run.folder.name}" in done.out
    assert not (out / "results" / ".replay").exists()

    site = tmp_path / "site"  # Python finds it before the toy plugin of the other tests.
    install(TESTS / "toy_plugin", site)
    with (site / "bench_toy" / "defenses.py").open("a") as file:
        file.write("# touched\n")
    refused = bench("run", "--replay", "toy", "--out", out, cwd=tmp_path, sites=[site])
    assert refused.code == 2
    assert "this has changed (recorded -> now):\n  code of plugin bench_toy (bench-toy-plugin): " in refused.err
