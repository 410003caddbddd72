"""A rescoring that is killed, and two rescorings at once: the rows are the same, and only scores are computed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from injecting import Lab, Tally
from processes import wait_until

from bench.store.artifacts import Cache


def kinds(out: Path) -> dict[str, str]:
    """Return the kinds of the artifacts in an output folder, by key."""
    found = (json.loads(p.read_text()) for p in (out / "results" / ".cache").glob("??/*/manifest.json"))
    return {manifest["key"]: manifest["kind"] for manifest in found}


def prepared(lab: Lab) -> tuple[Path, dict[str, str]]:
    """Copy the run and remove its scores. Return the run folder and the kinds of the remaining artifacts, by key."""
    shutil.copytree(lab.reference.out, lab.out)
    original = lab.out / "results" / lab.reference.folder.parent.name / lab.reference.folder.name
    cache = Cache(lab.out / "results" / ".cache")
    for key, kind in kinds(lab.out).items():
        if kind == "score":
            shutil.rmtree(cache.folder(key))
    return original, kinds(lab.out)


def test_kill_9_of_a_rescoring(lab: Lab, tally: Tally, full: bool) -> None:
    original, left = prepared(lab)
    killed = 0
    for _ in range(12 if full else 2):
        before = len(kinds(lab.out))
        running = lab.popen("rescore", original, "--workers", 1)
        wait_until(
            lambda running=running, before=before: running.process.poll() is not None or len(kinds(lab.out)) > before,
            "a score to be computed",
        )
        killed += running.process.poll() is None
        running.kill()
    done = lab.bench("rescore", original)
    assert done.code == 0, done.err
    assert done.left == []
    assert killed
    (new,) = original.parent.glob("*-rescored")
    added = kinds(lab.out).keys() - left.keys()
    assert {kinds(lab.out)[key] for key in added} == {"score"}
    assert [p.name for p in new.iterdir() if p.name.startswith(".")] == [], "left half-written"
    assert "the rows are the same bytes as those of" in done.out
    tally.compare("kill -9 of a rescoring", killed, new, original)


def test_two_rescorings_at_once(lab: Lab, tally: Tally) -> None:
    original, left = prepared(lab)
    running = [lab.popen("rescore", original, "--workers", 1) for _ in range(2)]
    for one in running:
        code, out, err = one.end()
        assert code == 0, err
        assert "the rows are the same bytes as those of" in out
    (new,) = original.parent.glob("*-rescored")
    events = [json.loads(line) for line in (new / "journal.jsonl").read_text().splitlines()]
    computed = [e["key"] for e in events if e["event"] == "stage-finished" and not e["cached"]]
    assert len(computed) == len(set(computed)) == len(kinds(lab.out)) - len(left), "a score was computed twice"
    tally.compare("two rescorings at once", 1, new, original)
