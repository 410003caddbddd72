"""A separate distribution, installed with pip as its users would, is found, explained, run and reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from support import TESTS, Command

from bench.store.reading import RunResults

SUITE = """\
[suite]
name = "sample"

[[experiment]]
name = "pixels"
table = "VII"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a", "toy-b"]
defenses = ["identity", { plugin = "pixelate", block = 16, label = "Pixelate 16" }]
pairs = 20
"""


@pytest.fixture(scope="module")
def sample_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip installed the sample plugin."""
    site = tmp_path_factory.mktemp("sample-site")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)),
            str(TESTS / "sample_plugin"),
        ],
        check=True,
        capture_output=True,
        text=True,
    )
    return site


@pytest.mark.slow
def test_it_is_listed_and_explained(bench: Command, sample_site: Path) -> None:
    found = {p["name"]: p for p in json.loads(bench("plugins", "--json", sites=[sample_site]).out)}
    assert found["sample-defense"]["distribution"] == "bench-sample-defense"
    assert found["sample-defense"]["components"] == [["defense", "pixelate"]]
    assert "pixelate (defense)" in bench("plugins", sites=[sample_site]).out
    info = bench("info", "pixelate", sites=[sample_site])
    assert "Averages square blocks" in info.out
    assert "block" in info.out
    assert bench("info", "pixelate").code == 2


@pytest.mark.slow
def test_it_runs_and_is_in_the_rows_and_in_the_report(bench: Command, sample_site: Path, tmp_path: Path) -> None:
    (tmp_path / "sample.toml").write_text(SUITE)
    done = bench("run", "sample.toml", "--device", "cpu", "--workers", "1", cwd=tmp_path, sites=[sample_site])
    assert done.code == 0, done.err
    (folder,) = (tmp_path / "results" / "sample").iterdir()
    cells = pd.read_parquet(folder / "cells.parquet")
    mine = cells[cells["defense"] == "Pixelate 16"]
    assert list(mine["status"]) == ["ok", "ok"]
    origin = next(c for c in json.loads(mine["components"].iloc[0]) if c["kind"] == "defense")["origin"]
    assert (origin["distribution"], origin["version"]) == ("bench-sample-defense", "0.1.0")
    rows = RunResults(folder).samples("verification")
    cosine = rows.groupby("defense")["cos_self"].mean()
    assert cosine["Pixelate 16"] < cosine["identity"]
    images = RunResults(folder).samples("images").groupby("defense")["ssim"].mean()
    assert images["Pixelate 16"] < 0.9
    page = (tmp_path / "reports" / "sample" / "index.html").read_text(encoding="utf-8")
    assert "Pixelate 16" in page
    assert "bench-sample-defense" in page


def test_pixels_are_averages_of_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.syspath_prepend(str(TESTS / "sample_plugin"))
    from bench_sample_defense import Pixelate

    images = torch.rand(2, 3, 10, 7)
    ctx: object = None
    for block in (1, 3, 4, 1024):
        out = Pixelate(block=block).protect(images, ctx).images  # type: ignore[arg-type]
        assert out is not None
        assert out.shape == images.shape
        torch.testing.assert_close(out[..., :block, :block].mean((2, 3)), images[..., :block, :block].mean((2, 3)))
        assert len(out[0, 0].unique()) == -(-10 // block) * -(-7 // block)
    assert torch.equal(Pixelate(block=1).protect(images, ctx).images, images)  # type: ignore[arg-type]
