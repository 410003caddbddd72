"""The reference run that travels with bench: a second calculation from its rows, and the bars of the standard suite."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support import Command, benchmark

figures: Any = benchmark("reference_figures")
LEARNT = ("decoder, 100 faces", "decoder, 400 faces", "decoder, 1600 faces", "best filter")


@pytest.fixture(scope="module")
def verification() -> pd.DataFrame:
    rows: pd.DataFrame = figures.rows(figures.FOLDER, "verification")
    return rows[(rows["role"] != "authorised") & ~rows["insider"]]


@pytest.fixture(scope="module")
def links() -> pd.DataFrame:
    rows: pd.DataFrame = figures.rows(figures.FOLDER, "links")
    return rows


@pytest.mark.slow
def test_exports_agree_with_a_second_calculation(
    bench: Command, tmp_path: Path, verification: pd.DataFrame, links: pd.DataFrame
) -> None:
    drawn, linked = tmp_path / "budget.csv", tmp_path / "linkage.csv"
    for option, name, file in (("--figure", "budget", drawn), ("--table", "linkage", linked)):
        done = bench("export", figures.FOLDER, option, name, "-o", file)
        assert done.code == 0, done.err
    others = verification[verification["evaluated"] != "zoo-mobileface"]
    by_rows = {624: figures.by_defense(others, figures.same_photo(others))}  # three recognisers
    by_rows[832] = figures.by_defense(verification, figures.same_photo(verification))  # and the authorised model
    seen = 0
    for row in csv.DictReader(io.StringIO(drawn.read_text())):
        if row["metric"] == "matched" and row["row"] == "averaged":
            matched = by_rows[int(row["n"])]
            own = matched.loc[(row["experiment"], row["attack"]), row["defense"]]
            assert float(row["value"]) == pytest.approx(own, abs=1e-3), row
            seen += 1
    assert seen >= 3 * 3  # means of 2, 4 and 8 uploads of the defenses that are not deterministic
    areas = links.groupby(["attack", "defense"])[["same", "score"]].apply(figures.link_auc)
    for row in csv.DictReader(io.StringIO(linked.read_text())):
        if row["metric"] == "link AUC" and row["status"] == "ok":
            assert float(row["value"]) == pytest.approx(areas[row["attack"], row["defense"]], abs=1e-5), row
            seen += 1
    assert seen >= 3 * 3 + len(areas)


def test_a_recogniser_that_adapts_undoes_pmt(verification: pd.DataFrame, links: pd.DataFrame) -> None:
    one = verification[verification["evaluated"] == "zoo-resnet"]
    found = figures.by_defense(one, figures.equation_10(one)).loc["adapted-recognition"]
    assert found.loc["adapted, 1600 faces", "PMT"] >= 95
    own = links[(links["defense"] == "PMT") & (links["attack"] == "linked, adapted, 1600 faces")]
    assert figures.link_auc(own) >= 0.97


@pytest.mark.parametrize("defense", ["Noise 0.3", "blur", "pixelation", "block-permutation"])
def test_classical_obfuscation_is_undone_by_a_filter_or_a_learner(verification: pd.DataFrame, defense: str) -> None:
    found = figures.by_defense(verification, figures.same_photo(verification))[defense]
    best = found[found.index.get_level_values("attack").isin(LEARNT)].max()
    assert best > found["recognition", "as received"]


def test_nothing_of_the_random_picture_is_recognised(verification: pd.DataFrame) -> None:
    found = figures.by_defense(verification, figures.same_photo(verification))["oblivion"]
    assert found.max() < 4
