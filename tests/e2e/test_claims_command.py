"""``bench claims`` as a user runs it, on a computed run and on runs whose rows are written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from claims_run import Answer, write_run
from processes import run_folders
from support import Command

SUITE = """\
[suite]
name = "toy"

[[experiment]]
name = "one"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = [{ plugin = "identity", label = "Clean" }, "toy-step"]
pairs = 20

[[claims]]
id = "clean-is-itself"
section = "6.4"
text = "Unprotected faces are what they were."
experiment = "one"
metric = "cosine"
left = { defense = "Clean" }
relation = ">="
right = 0.999
each = "evaluated"

[[claims]]
id = "clean-is-private"
section = "6.4"
text = "Unprotected faces show nothing."
experiment = "one"
metric = "ssim"
left = { defense = "Clean" }
relation = "<"
right = { defense = "toy-step" }

[[claims]]
id = "flat"
section = "6.7"
text = "Noise does not matter."
experiment = "one"
metric = "up"
left = { defense = "toy-step" }
relation = ">"
right = 1.0
"""


def made(claim_id: str, defense: str) -> dict[str, Any]:
    """Return a claim that a defense keeps at least half of the accuracy."""
    about = {"id": claim_id, "section": "6.4", "text": f"{defense} works.", "experiment": "one", "metric": "accuracy"}
    return {**about, "left": {"defense": defense}, "relation": ">=", "right": 0.5}


ANSWERS = [
    Answer("Good", hits=[True, True, True, False]),
    Answer("Bad", hits=[False] * 4),
    Answer("Ugly", status="failed", reason="out of memory"),
]


@pytest.mark.parametrize(
    ("defenses", "code", "last"),
    [
        (["Good"], 0, "1 claim: 1 hold, 0 do not hold, 0 not measured"),
        (["Good", "Ugly"], 0, "2 claims: 1 hold, 0 do not hold, 1 not measured"),
        (["Good", "Bad", "Ugly"], 1, "3 claims: 1 hold, 1 do not hold, 1 not measured"),
        ([], 0, "the suite makes no claims"),
    ],
)
def test_exit_codes(bench: Command, tmp_path: Path, defenses: list[str], code: int, last: str) -> None:
    results = write_run(tmp_path / "run", ANSWERS, [made(d.lower(), d) for d in defenses])
    done = bench("claims", results.folder, cwd=tmp_path)
    assert (done.code, done.err) == (code, "")
    assert done.out.splitlines()[-1] == last
    assert "synthetic stand-in data" in done.out
    for defense in defenses:
        assert f"{defense} works." in done.out
    assert ("failed: out of memory" in done.out) == ("Ugly" in defenses)


def test_formats(bench: Command, tmp_path: Path) -> None:
    results = write_run(tmp_path / "run", ANSWERS, [made("good", "Good"), made("bad", "Bad")])
    done = bench("claims", results.folder, "--format", "json", cwd=tmp_path)
    assert done.code == 1
    good, bad = json.loads(done.out)
    assert (good["id"], good["verdict"], good["comparisons"][0]["left"]["n"]) == ("good", "holds", 4)
    assert (bad["verdict"], bad["comparisons"][0]["left"]["value"]) == ("does not hold", 0.0)
    done = bench("claims", results.folder, "--format", "md", cwd=tmp_path)
    assert done.code == 1
    assert done.out.startswith("| claim | from | left | relation | right | verdict |\n| --- |")
    assert "| Good works. | section 6.4 | Good: 75.0 % (N 4" in done.out


def test_what_cannot_be_read(bench: Command, tmp_path: Path) -> None:
    done = bench("claims", "nothing", cwd=tmp_path)
    assert done.code == 2
    assert "nothing: expected a run folder" in done.err
    broken = write_run(tmp_path / "run", ANSWERS, [made("good", "Good") | {"metric": "beauty"}])
    done = bench("claims", broken.folder, cwd=tmp_path)
    assert done.code == 2
    assert "no metric 'beauty'" in done.err
    assert "Traceback" not in done.err


def test_a_computed_run(bench: Command, tmp_path: Path) -> None:
    """The run folder is enough: claims are checked after the file of the suite was removed."""
    suite = tmp_path / "toy.toml"
    suite.write_text(SUITE, encoding="utf-8")
    assert bench("run", "--no-report", suite, "--device", "cpu", "--workers", "1", cwd=tmp_path).code == 0
    suite.unlink()
    done = bench("claims", "toy", "--format", "json", cwd=tmp_path)
    assert done.code == 1
    itself, private, flat = json.loads(done.out)
    assert (itself["verdict"], itself["held"], itself["compared"]) == ("holds", 2, 2)
    assert (private["verdict"], private["clear"]) == ("does not hold", True)
    assert (flat["verdict"], flat["clear"]) == ("not measured", None)
    assert [r["defense"] for r in (private["left"], private["right"])] == [["Clean"], ["toy-step"]]
    assert bench("claims", run_folders(tmp_path)[0], cwd=tmp_path).code == 1


def test_a_wrong_claim_stops_the_run_before_it_starts(bench: Command, tmp_path: Path) -> None:
    suite = tmp_path / "toy.toml"
    suite.write_text(SUITE.replace('right = { defense = "toy-step" }', 'right = { defense = "toy-stop" }'))
    for command in ("run", "plan"):
        done = bench(command, suite, cwd=tmp_path)
        assert done.code == 2
        assert "claims[1].right.defense: the experiment 'one' has no defense 'toy-stop'" in done.err
        assert "did you mean 'toy-step'?" in done.err
    assert not (tmp_path / "results").exists()
