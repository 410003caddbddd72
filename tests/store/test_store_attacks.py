"""The rows of attacks in result files: what they are called, that nothing is written twice, that nothing is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import ATTACKS, compute, ended_well

from bench.core.text import set_label
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache
from bench.store.reading import RunResults
from bench.store.run_record import RunRecord, SuiteRecord
from bench.store.schema import CELLS, SAMPLES
from bench.store.writing import write_run
from bench.suite.suite import load


@pytest.fixture(scope="module")
def plan(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """The suite of attacks, with few pairs."""
    path = tmp_path_factory.mktemp("store") / "attacks.toml"
    path.write_text(ATTACKS)
    return make_plan(load(path, registry, pairs=6), registry, "cpu")


@pytest.fixture(scope="module")
def cache(plan: Plan, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """All its artifacts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bench.stages.stage_inputs.discover", lambda: registry)
        cache = Cache(tmp_path_factory.mktemp("cache"))
        assert {r.status for r in compute(plan, cache).values()} == {"ok"}
    return cache


@pytest.fixture(scope="module")
def results(plan: Plan, cache: Cache, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> RunResults:
    """A run folder, written and opened."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder, ended_well(plan), cache, registry, RunRecord(suite=SuiteRecord(name="attacks")))
    return RunResults(folder)


POINT = ["suite_version", "experiment", "dataset", "synthetic", "defense", "authorised", "repeat"]
COLUMNS = {
    "verification": {
        "cell", *POINT, "evaluated", "attack", "via", "pair", "left_id", "right_id", "left_subject", "right_subject",
        "same", "fold", "cos_self", "cos_cross", "cos_clean", "flip_cross", "flip_clean", "rank", "rank_enrolled",
        "gallery", "kappa_calibrated", "fmr", "calibration_impostors", "calibration_people", "threshold_rule",
        "fmr_realised", "kappa_adversary", "adversary_impostors", "adversary_people", "impostor_match_adversary",
        "impostor_match_enrolled", "impostor_match", "rank_chance", "rank_enrolled_chance", "rank_first",
        "rank_enrolled_first",
        "cos_probe", "cos_gallery", "cos_protected", "compared_with", "kappa_enrolled",
        "adversary_fmr_realised", "enrolled_fmr_realised", "adversary_rule",
    },
    "images": {
        *POINT, "attack", "sample_id", "subject", "ssim", "psnr", "psnr_infinite", "lpips", "upload_bytes",
        "extra_spread", "extra_loss_start", "extra_loss_end",
    },
    "baselines": {
        *POINT[:4], "sample_id",
        *(
            f"{q}_{f}"
            for q in ("ssim", "psnr", "lpips")
            for f in ("another_face", "mean_face", "noise", "wide_noise", "grey")
        ),
    },
    "people": {*POINT[:4], "subject", "attribute", "label", "value", "pictures"},
    "examples": {*POINT, "attack", "sample_id", "original", "protected", "ssim"},
    "attributes": {
        "cell", *POINT, "evaluated", "attack", "via", "sample_id", "subject", "attribute", "measure", "value",
        "permuted", "baseline", "original", "predicted", "truth", "reference",
    },
    "up": {
        "cell", *POINT, "evaluated", "attack", "via", "sample_id", "subject", "sigma", "cosine", "dist", "dist_colour",
        "dist_age", "lpips",
    },
    "links": set(),  # No attack of this suite links uploads.
    "sets": set(),  # No metric of this suite has a value of a set.
}  # fmt: skip


@pytest.mark.parametrize("name", SAMPLES)
def test_every_table_has_its_columns(results: RunResults, name: str) -> None:
    assert set(results.samples(name).columns) == COLUMNS[name]


def test_cells_say_what_was_uploaded_and_by_whom_it_was_attacked(results: RunResults) -> None:
    cells = results.cells[results.cells.status == "ok"]
    assert list(results.cells.columns) == CELLS.names
    found = {
        (row.experiment, row.defense, set_label(row.authorised), row.attack): (
            row.via,
            row.upload,
            row.outputs,
            row.leaky,
        )
        for row in cells.fillna({"via": ""}).itertuples()
    }
    assert found["uploads", "identity", "toy-a", "toy-upsample"] == ("", "images", "images", False)
    assert found["uploads", "identity", "", "toy-denoise"] == ("", "images", "images", False)
    assert found["uploads", "toy-step", "toy-a", "leaky"] == ("", "images", "images", True)
    assert found["uploads", "identity", "toy-a", "peek"] == ("toy-upsample", "images", "attributes", False)
    assert found["features", "toy-features", "toy-a", "abuse"] == ("", "features at stem+block", "recognition", False)
    assert set(cells["splits"]) == {(), ("stem", "block")}
    assert set(cells.loc[cells["splits"].map(bool), "experiment"]) == {"features"}
    peeks = cells[cells.attack == "peek"]
    assert set(zip(peeks["experiment"], peeks["evaluated"], peeks["role"], strict=True)) == {
        ("uploads", "", "any"),
        ("features", "", "any"),
        ("noisy", "toy-a", "authorised"),
        ("noisy", "toy-b", "unauthorised"),
    }
    assert set(cells.loc[(cells.attack == "toy-upsample") & (cells.evaluated == "toy-b"), "role"]) == {"unauthorised"}


def test_components_begin_with_the_attack_and_end_with_the_one_before_it(results: RunResults) -> None:
    row = results.cells[results.cells.attack == "peek"].iloc[0]
    components = [c for c in json.loads(row["components"]) if c["kind"] == "attack"]
    assert [(c["name"], c["label"]) for c in components] == [
        ("toy-attributes", "peek"), ("toy-upsample", "toy-upsample"),
    ]  # fmt: skip
    assert components[1]["params"] == {"gain": 1.0}
    assert len(components[0]["weights"]) == 64


def test_rows_belong_to_cells(results: RunResults) -> None:
    cells = results.cells.set_index("cell")
    cells["authorised"] = cells["authorised"].map(set_label)
    for name in ("verification", "attributes", "up"):
        rows = results.samples(name)
        for column in ("experiment", "dataset", "defense", "authorised", "repeat", "evaluated", "attack"):
            expected = cells.loc[rows["cell"], column].fillna("")
            assert list(rows[column].fillna("")) == list(expected), (name, column)
        assert list(rows["via"]) == list(cells.loc[rows["cell"], "via"].fillna(""))
    ok = cells[cells.status == "ok"]
    for name, outputs in (("verification", ["recognition", "images"]), ("attributes", ["attributes"])):
        assert set(results.samples(name)["cell"]) == set(ok.index[ok.outputs.isin(outputs)])
    assert set(results.samples("up")["cell"]) == set(ok.index[ok.experiment == "noisy"])


def test_images_are_listed_once_whoever_looks_at_them(results: RunResults) -> None:
    rows = results.samples("images")
    keys = ["experiment", "dataset", "defense", "authorised", "repeat", "attack", "sample_id"]
    assert not rows.duplicated(keys).any()
    sizes = rows.groupby(keys[:-1]).size()
    assert set(sizes) == {3}
    assert {(d, a): attacks for (d, a), attacks in _attacks(rows[rows.experiment == "uploads"])} == {
        ("identity", ""): ["", "toy-denoise"],
        ("identity", "toy-a"): ["", "adaptive", "leaky", "toy-descent", "toy-upsample"],
        ("toy-step", "toy-a"): ["", "adaptive", "leaky", "toy-denoise", "toy-descent", "toy-upsample"],
    }
    assert {(d, a): attacks for (d, a), attacks in _attacks(rows[rows.experiment == "features"])} == {
        ("identity", "toy-a"): ["", "toy-upsample"],
        ("toy-features", "toy-a"): ["toy-upsample"],  # it makes no image that could be compared
    }
    descents = rows[rows.attack == "toy-descent"]
    assert descents["extra_loss_end"].notna().all()
    assert rows.loc[rows.attack != "toy-descent", "extra_loss_end"].isna().all()
    assert rows["lpips"].isna().all()


def _attacks(rows: pd.DataFrame) -> list[tuple[Any, list[str]]]:
    return [(key, sorted(set(part["attack"]))) for key, part in rows.groupby(["defense", "authorised"])]


def test_pictures_are_of_the_same_faces_everywhere(results: RunResults) -> None:
    rows = results.samples("examples")
    for _, part in rows.groupby(["experiment", "dataset"]):
        shown = {tuple(p["sample_id"]) for _, p in part.groupby(["defense", "authorised", "attack"])}
        assert len(shown) == 1
        for _, same in part.groupby("sample_id"):
            assert same["original"].nunique() == 1
    images = results.samples("images")
    keys = ["experiment", "dataset", "defense", "authorised", "attack", "sample_id"]
    merged = rows.merge(images, on=keys, suffixes=("", "_row"))
    assert len(merged) == len(rows)
    assert (merged["ssim"] == merged["ssim_row"]).all()


def test_sizes_of_uploads_are_in_the_rows(results: RunResults) -> None:
    sizes = results.samples("images").groupby("experiment")["upload_bytes"].unique().map(set).to_dict()
    features = 4 * (8 * 16 * 16 + 16 * 8 * 8)
    assert sizes == {"uploads": {3 * 32 * 32}, "features": {features}, "noisy": {3 * 32 * 32}}


def test_attributes_have_a_row_per_image_and_attribute(results: RunResults) -> None:
    rows = results.samples("attributes")
    assert not rows.duplicated(["cell", "sample_id", "attribute"]).any()
    assert set(rows.groupby("cell").size()) == {3 * 2}
    assert set(zip(rows["attribute"], rows["measure"], strict=True)) == {("colour", "cosine"), ("age", "years")}
    assert rows[["value", "baseline", "original", "predicted", "truth"]].notna().all().all()
    assert set(rows.loc[rows.experiment == "uploads", "evaluated"]) <= {""}


def test_up_has_a_row_per_image_and_level(results: RunResults) -> None:
    rows = results.samples("up")
    assert not rows.duplicated(["cell", "sample_id", "sigma"]).any()
    assert set(rows.groupby("cell").size()) == {3 * 2}
    assert set(rows["sigma"]) == {0.0, 0.2}
    assert set(rows["evaluated"]) == {"toy-a", "toy-b"}
    assert (
        ((rows[["dist", "dist_colour", "dist_age"]] >= 0) & (rows[["dist", "dist_colour", "dist_age"]] <= 1))
        .all()
        .all()
    )


def test_only_attacks_that_ended_well_have_rows(plan: Plan, cache: Cache, registry: Registry, tmp_path: Path) -> None:
    ended = [
        replace(o, status="failed", reason="broken") if o.cell.outputs == "attributes" and o.status == "ok" else o
        for o in ended_well(plan)
    ]
    write_run(tmp_path, ended, cache, registry, RunRecord(suite=SuiteRecord(name="attacks")))
    results = RunResults(tmp_path)
    assert results.samples("attributes").empty
    assert results.samples("up").empty
    assert not results.samples("verification").empty
    assert set(results.cells["status"]) == {"ok", "failed", "skipped"}
