"""What ``bench new`` writes is installed with pip, listed, tried, run, and gives sensible figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from support import Command

import bench.testing
from bench.store.reading import RunResults

KINDS = ("defense", "attack", "model", "dataset", "metric")


@pytest.fixture(scope="module")
def home(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin ``my-KIND`` of each kind, and ``site``, into which pip installed all of them."""
    folder = tmp_path_factory.mktemp("home")
    for kind in KINDS:
        assert bench("new", kind, f"my-{kind}", cwd=folder).code == 0
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")),
            *(str(folder / f"my-{kind}") for kind in KINDS),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return folder


def results(bench: Command, home: Path, kind: str) -> RunResults:
    """Run the suite of a plugin with few pairs, in the folder that all of them share, and return its results."""
    options = ("--pairs", "16", "--device", "cpu", "--workers", "1")
    done = bench("run", f"my-{kind}/suite.toml", *options, cwd=home, sites=[home / "site"])
    assert done.code == 0, done.err
    assert "0 skipped, 0 failed" in done.out
    (folder,) = (home / "results" / f"my-{kind}").iterdir()
    return RunResults(folder)


def test_they_are_listed(bench: Command, home: Path) -> None:
    listed = json.loads(bench("plugins", "--json", sites=[home / "site"]).out)
    found = {plugin["name"]: plugin for plugin in listed}
    for kind in KINDS:
        assert found[f"my-{kind}"]["components"] == [[kind, f"my-{kind}"]]
        assert found[f"my-{kind}"]["reason"] is None


def test_the_defense_is_measured_beside_noise_and_can_be_tried(bench: Command, home: Path) -> None:
    rows = results(bench, home, "defense").samples("verification")
    cosine = rows.groupby("defense")["cos_self"].mean()
    assert cosine["identity"] > 0.999
    assert 0.3 < cosine["my-defense"] < 0.95
    assert set(cosine.index) == {"identity", "Noise 0.3", "my-defense"}
    done = bench("try", "my-defense,block=14", "--device", "cpu", cwd=home, sites=[home / "site"])
    assert done.code == 0, done.err
    assert "zoo-judge-vgg         held out" in done.out
    assert "124,500 pairs of different people match, whom 250 calibration people form" in done.out
    with Image.open(home / "try-my-defense.png") as panel:
        assert panel.size == (3 * 336 + 2 * 8, 336)


def test_the_attack_takes_noise_out(bench: Command, home: Path) -> None:
    rows = results(bench, home, "attack").samples("images")
    noisy = rows[rows["defense"] == "Noise 0.3"]
    rebuilt = noisy["attack"] == "my-attack"
    assert noisy[rebuilt]["psnr"].mean() > noisy[~rebuilt]["psnr"].mean() + 3


def test_the_model_recognises_better_than_by_chance(bench: Command, home: Path) -> None:
    rows = results(bench, home, "model").samples("verification")
    mine = rows[(rows["evaluated"] == "my-model") & (rows["defense"] == "identity")]
    cosine = mine.groupby("same")["cos_cross"].mean()
    assert cosine[True] > cosine[False] + 0.05


def test_the_dataset_shows_people_who_are_recognised(bench: Command, home: Path) -> None:
    rows = results(bench, home, "dataset").samples("verification")
    clean = rows[(rows["evaluated"] == "zoo-resnet") & (rows["defense"] == "identity")]
    cosine = clean.groupby("same")["cos_cross"].mean()
    assert cosine[True] > cosine[False] + 0.3
    assert (clean["calibration_people"] == 40).all()


def test_the_metric_grows_with_noise(bench: Command, home: Path) -> None:
    values = results(bench, home, "metric").samples("images").groupby("defense")["metric_my-metric"].mean()
    assert 0 < values["Noise 0.1"] < values["Noise 0.3"] < 0.3


@pytest.mark.skipif(not hasattr(bench.testing, "check_plugin"), reason="bench.testing has no check_plugin yet")
@pytest.mark.parametrize("kind", KINDS)
def test_their_own_tests_pass(home: Path, kind: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"my-{kind}/tests"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(home / "site")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
