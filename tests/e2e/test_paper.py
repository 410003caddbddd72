"""Table VII from a small version of the paper's suite on bundled networks, and the conclusions that it must reach."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from processes import run_folders
from support import Command

from bench.metrics.recognition import verification_hits
from bench.store.reading import RunResults

pytestmark = pytest.mark.slow

SUITE = Path(__file__).parents[2] / "suites" / "paper.toml"
SMALL = (
    "--pairs",
    "12",
    "--set",
    'experiment[0].datasets=["synth-lfw"]',
    "--set",
    'experiment[0].authorised=["zoo-mobileface", "zoo-resnet"]',
    "--set",
    'experiment[0].evaluated=["zoo-mobileface", "zoo-resnet"]',
)


@pytest.fixture(scope="module")
def folder(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run the small version of the suite, and return the run folder."""
    out = tmp_path_factory.mktemp("paper")
    text = SUITE.read_text(encoding="utf-8")
    head, first, *_ = re.split(r"^\[\[", text, flags=re.MULTILINE)
    assert 'table = "VII"' in first
    (out / "paper.toml").write_text(f"{head}[[{first}", encoding="utf-8")
    done = bench("run", out / "paper.toml", "--out", out, "--device", "cpu", *SMALL)
    assert done.code == 0, done.err
    assert "synthetic stand-in data" in done.out
    assert (out / "reports" / "paper" / "index.html").stat().st_size > 50_000
    return run_folders(out)[0]


def test_cells_are_those_of_table_vii(folder: Path) -> None:
    cells = pd.read_parquet(folder / "cells.parquet")
    assert cells.status.eq("ok").all()
    assert cells.groupby(["defense", "role"]).size().to_dict() == {
        ("Clean", "any"): 2,
        ("Noise 0.3", "any"): 2,
        ("PMT", "authorised"): 2,
        ("PMT", "unauthorised"): 2,
    }
    assert cells.synthetic.all()
    assert set(cells.evaluated_stands_in_for) == {"MobileFace", "ResNet50"}


def test_the_authorised_model_recognises_and_the_other_does_not(folder: Path) -> None:
    rows = RunResults(folder).samples("verification")
    rows["hit"] = verification_hits(rows.cos_self, rows.cos_cross, rows.same, rows.kappa_calibrated)
    accuracy = rows.groupby(["defense", "authorised", "evaluated"]).hit.mean()
    for model, other in (("zoo-mobileface", "zoo-resnet"), ("zoo-resnet", "zoo-mobileface")):
        assert accuracy["Clean", "", model] >= 0.9
        assert accuracy["PMT", model, model] >= 0.75
        assert accuracy["PMT", model, other] <= 0.34
    assert (rows.query("defense == 'Clean'").cos_self > 0.9999).all()


def test_images_show_nothing_and_have_their_baselines(folder: Path) -> None:
    images = RunResults(folder).samples("images")
    blank = RunResults(folder).samples("baselines")
    assert images.query("defense == 'PMT'").ssim.mean() < 0.03
    clean = images.query("defense == 'Clean'")
    assert (clean.ssim == 1).all()
    assert clean.psnr_infinite.all()
    assert clean.psnr.isna().all()
    assert blank.ssim_grey.mean() > blank.ssim_noise.mean() > blank.ssim_wide_noise.mean()
    assert images.query("defense == 'PMT'").psnr.mean() > blank.psnr_wide_noise.mean()  # above its own start
    assert {f"ssim_{n}" for n in ("another_face", "mean_face", "grey", "noise", "wide_noise")} <= set(blank.columns)


def test_the_descent_descends(folder: Path) -> None:
    images = RunResults(folder).samples("images").query("defense == 'PMT'")
    assert (images.extra_loss_end < 0.6 * images.extra_loss_start).all()
