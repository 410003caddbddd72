"""``bench try`` with every family of defenses and attacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.registry.discovery import Registry

pytestmark = pytest.mark.slow
SETTING = """\
[suite]
name = "try"

[[experiment]]
name = "one-face"
datasets = [{ plugin = "synth-lfw", calibration_identities = 20, auxiliary_identities = 40 }]
authorised = ["zoo-mobileface"]
surrogates = ["zoo-mobilenet"]
evaluated = ["zoo-mobileface", "zoo-resnet"]
defenses = ["identity"]
attacks = ["abuse"]
pairs = 8
fmr = 0.05
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, families: Registry) -> Path:
    """An empty folder, in which the tests of this module work."""
    (tmp_path / "setting.toml").write_text(SETTING)
    monkeypatch.setattr("bench.runs.trial.setting._SUITE", tmp_path / "setting.toml")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def trial(*args: str) -> Result:
    return CliRunner().invoke(main, ["try", *args, "--device", "cpu"], prog_name="bench", catch_exceptions=False)


PICTURES = ["cloak", "mask", "gallery", "targets", "pca-laplace", "k-same", "external"]


@pytest.mark.parametrize("name", PICTURES)
def test_a_defense_that_sends_pictures(name: str, folder: Path) -> None:
    done = trial(f"family-{name}")
    assert done.exit_code == 0, done.stderr
    assert "zoo-resnet" in done.stdout
    assert (folder / f"try-family-{name}.png").is_file()


@pytest.mark.parametrize("name", ["two-tensors", "keyed", "block-dct"])
def test_a_defense_that_sends_tensors(name: str, folder: Path) -> None:
    done = trial(f"family-{name}")
    assert done.exit_code == 0, done.stderr
    assert "no picture leaves the client, but representation/" in done.stdout
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "defense"),
    [
        ("adapts,faces=8,steps=1", "noise"),
        ("insider", "noise"),
        ("attributes", "noise"),
        ("probe", "family-two-tensors"),
        ("linkage", "noise"),
        ("averages", "noise"),
        ("queries", "negative"),
    ],
)
def test_an_attack(name: str, defense: str) -> None:
    done = trial(f"family-{name}", "--defense", defense)
    assert done.exit_code == 0, done.stderr
    assert f"the face was protected by {defense}" in done.stdout
