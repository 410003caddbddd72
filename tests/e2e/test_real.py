"""The suite for real data, on the real network and the real faces in the folder ``BENCH_REAL``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support import Command

REAL = os.environ.get("BENCH_REAL", "")
SUITE = Path(__file__).parents[2] / "suites" / "real-check.toml"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not REAL, reason="BENCH_REAL names no folder with a real network and real faces"),
]


def test_a_real_network_on_real_faces_through_a_suite_alone(bench: Command, tmp_path: Path) -> None:
    env = {"BENCH_REAL": REAL, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    text = SUITE.read_text(encoding="utf-8")
    head, abuse, reconstruction = text.split("[[experiment]]\n")
    assert 'name = "reconstruction"' in reconstruction  # This experiment takes minutes, and no claim is about it.
    claims = reconstruction[reconstruction.index("[[claims]]") :]
    (tmp_path / "real.toml").write_text(f"{head}[[experiment]]\n{abuse}{claims}", encoding="utf-8")
    done = bench("run", "real.toml", "--pairs", 40, "--device", "cpu", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert "real AT&T: " in done.err
    assert "real MobileFaceNet: " in done.err
    judged = bench("claims", "real-check", "--format", "json", cwd=tmp_path, env=env)
    outcomes = {claim["id"]: claim["verdict"] for claim in json.loads(judged.out)}
    assert outcomes == {"known-accuracy": "holds", "authorised-hits": "holds", "hidden-from-the-eye": "holds"}
    page = (tmp_path / "reports" / "real-check" / "index.html").read_text(encoding="utf-8")
    assert "data:image/png" not in page
    assert "data:image/jpeg" not in page
    assert "synthetic stand-in" not in page.lower()


def test_real_and_stand_in_are_mixed_and_labelled(bench: Command, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lfw").symlink_to(Path(REAL) / "faces-att")
    (tmp_path / "data" / "weights").mkdir()
    (tmp_path / "data" / "weights" / "mobileface.ckpt").symlink_to(Path(REAL) / "weights" / "mobilefacenet-112x96.ckpt")
    (tmp_path / "mixed.toml").write_text(
        """\
[suite]
name = "mixed"
[[experiment]]
name = "data-abuse"
table = "VII"
datasets = ["lfw", "calfw"]
authorised = ["mobileface"]
evaluated = ["mobileface", "resnet50"]
defenses = ["identity", { plugin = "pmt", steps = 3, on_stand_ins = { steps = 2 } }]
attacks = ["abuse", "attributes"]
pairs = 20
"""
    )
    env = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "DEEPFACE_HOME": str(tmp_path)}
    done = bench("run", "mixed.toml", "--data-dir", "data", "--device", "cpu", cwd=tmp_path, env=env)
    assert done.code == 0, done.err
    assert "pairs are drawn, and results do not compare with published ones" in done.err
    assert "synthetic stand-ins: " in done.err
    assert "synth-calfw for calfw" in done.err
    assert "zoo-resnet for resnet50" in done.err
    page = (tmp_path / "reports" / "mixed" / "index.html").read_text(encoding="utf-8")
    assert "Some of these data are" in page
    assert "Stand-in models on real faces" in page
    assert "zoo-resnet learnt from computer-generated faces" in page
    assert "attributes learnt from generated faces and knows nothing of those of lfw" in page
    table = bench("export", "mixed", "--table", "VII", "--format", "json", cwd=tmp_path, env=env)
    (found,) = json.loads(table.out)
    rows = found["measurements"]
    compared = {row["dataset"] for row in rows if row["paper"] is not None}
    assert compared == {"synth-calfw"}  # Published values exist for the original pairs only.
    marked = {(row["dataset"], row["synthetic"]) for row in rows}
    assert marked == {("lfw", False), ("synth-calfw", True)}
    assert {row["column"] for row in rows} >= {"mobileface", "zoo-resnet"}
