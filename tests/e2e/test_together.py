"""A defense of a third party, run in another folder, is compared with a run of a suite of bench."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import TESTS, Command, Done, install

MINE = """\
[suite]
name = "mine"
title = "Pixels"

[[experiment]]
name = "recognition"
table = "VII"
datasets = ["synth-lfw"]
authorised = ["zoo-mobileface"]
evaluated = ["zoo-resnet", "zoo-mobileface"]
defenses = [
    { plugin = "identity", label = "Clean" },
    { plugin = "noise", label = "Noise 0.3", sigma = 0.1 },
    { plugin = "pixelate", label = "Pixelate" },
]
pairs = 24
"""
CPU = ("--device", "cpu", "--workers", "1")


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the folder in which the defense is installed."""
    site = tmp_path_factory.mktemp("sample-site")
    install(TESTS / "sample_plugin", site)
    return [site]


def test_a_third_partys_defense_beside_a_suite_of_bench(
    bench: Command, sites: list[Path], quick_run: tuple[Path, Done], tmp_path: Path
) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "mine.toml").write_text(MINE)
    assert quick_run[1].code == 0
    shutil.copytree(quick_run[0] / "results", tmp_path / "results")
    done = bench("run", "mine.toml", *CPU, cwd=theirs, sites=sites)
    assert done.code == 0, done.err
    (folder,) = (theirs / "results" / "mine").iterdir()

    done = bench("report", "quick", folder, cwd=tmp_path)  # The plugin is not needed to show its results.
    assert done.code == 0, done.err
    assert done.out == "report: reports/quick+mine/index.html\n"
    page = (tmp_path / "reports" / "quick+mine" / "index.html").read_text(encoding="utf-8")
    for text in ("The runs on this page", "Pixelate", "bench-sample-defense", "Noise 0.3 (run B)"):
        assert text in page
    assert "Run B does not have the experiment leakage: nothing is known there of Noise 0.3 (run B), Pixelate." in page

    done = bench("export", "quick", folder, "--table", "VII", "--format", "json", cwd=tmp_path)
    assert "note: Noise 0.3 of run B is another defense: sigma 0.1, in run A 0.3." in done.err
    assert "note: Shown once: 2 cells that run A and run B share, to the last input." in done.err  # those of Clean
    (table,) = json.loads(done.out)
    found = {(f["defense"], f["column"]): f["value"] for f in table["measurements"] if not f["authorised"]}
    assert {d for d, _ in found} == {"Clean", "Noise 0.3", "Noise 0.3 (run B)", "Pixelate"}
    (alone,) = json.loads(
        bench("export", "mine", "--table", "VII", "--format", "json", "--out", theirs, cwd=tmp_path).out
    )
    mine = {(f["defense"], f["column"]): f["value"] for f in alone["measurements"]}
    assert {k: v for k, v in found.items() if k[0] == "Pixelate"} == {
        k: v for k, v in mine.items() if k[0] == "Pixelate"
    }
