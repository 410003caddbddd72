"""Attacks of every kind with the installed command: rows, failures among successes, nothing computed twice."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pandas as pd
import pytest
from processes import manifests, rows, run_folders
from support import ATTACKS, Command, Done

from bench.store.reading import RunResults

BROKEN = """
[[experiment]]
name = "broken"
datasets = ["toy-faces"]
authorised = ["toy-a"]
evaluated = ["toy-a"]
defenses = ["identity"]
attacks = [
    "toy-denoise",
    { plugin = "toy-bad-attack", how = "raises", label = "raises" },
    { plugin = "toy-bad-attack", how = "nan", label = "nan" },
    { plugin = "toy-bad-attack", how = "mutates", label = "mutates" },
    { plugin = "toy-bad-learner", label = "learns nothing" },
    { plugin = "toy-bad-eyes", how = "shape", label = "squints" },
    { plugin = "toy-unfinished", label = "unfinished" },
    { plugin = "toy-attributes", via = { plugin = "toy-bad-attack", how = "range" }, label = "peek" },
]
pairs = 40
"""
REASONS = {
    "raises": "RuntimeError: the toy attacker gave up",
    "nan": "ContractError: attack nan: the images hold NaN or infinity",
    "mutates": "ContractError: attack mutates: reconstruct() changed what it received",
    "learns nothing": "ContractError: attack learns nothing: fit() must return a mapping of names to tensors",
    "squints": "ContractError: attack squints: attribute 'colour': expected a tensor",
    "unfinished": "ContractError: ToyUnfinished declares that it outputs images and has no reconstruct()",
    "peek": "ContractError: attack toy-bad-attack: expected images in [0, 1]",
}


class Attacked:
    """The finished run of a suite of attacks with one experiment whose attacks fail."""

    def __init__(self, home: Path, done: Done) -> None:
        self.home = home
        self.done = done

    @property
    def folder(self) -> Path:
        """The run folder."""
        return run_folders(self.home)[0]


@pytest.fixture(scope="module")
def attacked(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Attacked:
    """Run the suite once for all tests of this module."""
    home = tmp_path_factory.mktemp("attacked")
    (home / "attacks.toml").write_text(ATTACKS + BROKEN)
    return Attacked(home, bench("run", "attacks.toml", "--device", "cpu", "--pairs", "8", "--workers", "1", cwd=home))


def test_failing_attacks_do_not_affect_others(attacked: Attacked) -> None:
    done = attacked.done
    assert done.code == 1, done.err
    assert done.left == []
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    cells = pd.read_parquet(attacked.folder / "cells.parquet")
    failed = cells[cells.status == "failed"]
    assert set(failed.experiment) == {"broken"}
    assert set(failed.attack) == set(REASONS)
    assert set(cells.loc[cells.experiment != "broken", "status"]) == {"ok", "skipped"}
    assert list(cells.loc[(cells.experiment == "broken") & (cells.attack == "toy-denoise"), "status"]) == ["ok"]
    for row in failed.itertuples():
        assert REASONS[row.attack] in row.reason
        assert re.search(r": \w+: ", row.reason), "the stage that failed is named"
    for reason in REASONS.values():
        assert reason in done.err.replace("\n", " ")
    assert f"{len(failed)} failed" in done.out


def test_every_table_has_rows_of_what_ended_well(attacked: Attacked) -> None:
    found = rows(attacked.folder)
    assert set(found) == {"cells", "verification", "images", "baselines", "people", "examples", "attributes", "up"}
    cells = found["cells"].set_index("cell")
    for name in ("verification", "attributes", "up"):
        assert set(cells.loc[found[name]["cell"].unique(), "status"]) == {"ok"}
    assert set(found["verification"].loc[found["verification"].experiment == "broken", "attack"]) == {"toy-denoise"}
    assert set(found["images"].loc[found["images"].experiment == "broken", "attack"]) == {"", "toy-denoise"}


def test_attacks_find_more_on_unprotected_faces(attacked: Attacked) -> None:
    """With the toy plugins, too, unprotected faces reveal more than protected ones."""
    found = rows(attacked.folder)
    images = found["images"].query("experiment == 'uploads'").groupby(["defense", "attack"])["ssim"].mean()
    assert images["identity", "toy-denoise"] > images["toy-step", "toy-denoise"]
    attributes = found["attributes"].query("experiment == 'uploads' and attack == 'toy-attributes'")
    value = attributes.groupby(["defense", "attribute"])["value"].mean()
    assert value["identity", "colour"] == pytest.approx(1)
    assert value["identity", "age"] == pytest.approx(0)
    assert value["toy-step", "colour"] < 1
    quiet = found["up"].query("sigma == 0 and attack == 'toy-attributes' and defense == 'identity'")
    assert (quiet["cosine"] > 0.9999).all()
    assert (quiet["dist"] < 1e-6).all()
    ranks = found["verification"].query("experiment == 'uploads' and attack == 'toy-denoise'")
    assert (ranks.query("defense == 'identity'")["rank"] == 1).all()


def test_the_record_says_what_was_uploaded(attacked: Attacked) -> None:
    run = json.loads((attacked.folder / "run.json").read_text())
    assert run["status"] == "incomplete"
    asked = {e["name"]: (e["upload"], e["noise_levels"], e["figures"]) for e in run["suite"]["experiments"]}
    assert asked == {
        "uploads": ("images", [], ["6"]),
        "features": ("features", [], []),
        "noisy": ("images", [0.0, 0.2], ["5"]),
        "broken": ("images", [], []),
    }
    attacks = {c["label"]: c for c in run["components"] if c["kind"] == "attack"}
    assert attacks["peek"]["name"] == "toy-attributes"
    assert attacks["adaptive"]["params"] == {"learns": "defense", "look": "features"}


def test_the_report_names_attacks_and_failures(attacked: Attacked) -> None:
    page = html.unescape((attacked.home / "reports" / "attacks" / "index.html").read_text(encoding="utf-8"))
    for text in ("toy-upsample", "adaptive", "A toy suite of attacks", "the toy attacker gave up"):
        assert text in page, text


def test_what_failed_is_tried_again_and_nothing_else(bench: Command, attacked: Attacked) -> None:
    before, kept = manifests(attacked.home), rows(attacked.folder)
    done = bench(
        "run", "--no-report", "attacks.toml", "--device", "cpu", "--pairs", "8", "--workers", "1", cwd=attacked.home
    )
    assert done.code == 1, done.err
    assert "0 stages computed, " in done.err
    assert manifests(attacked.home) == before
    for name, table in rows(attacked.folder).items():
        if name == "cells":  # Of two stages that both fail, a cell names the one that was tried first.
            causes = ["reason", "failed_stage", "traceback", "log"]
            twice = table["attack"] == "squints"
            assert table["reason"][twice].str.contains("ContractError: attack squints").all()
            pd.testing.assert_frame_equal(table[~twice], kept[name][~twice], obj=name)
            table, kept[name] = table.drop(columns=causes), kept[name].drop(columns=causes)
        pd.testing.assert_frame_equal(table, kept[name], obj=name)


def test_other_labels_and_fewer_cells_compute_nothing(bench: Command, attacked: Attacked) -> None:
    before = manifests(attacked.home)
    (attacked.home / "fewer.toml").write_text(ATTACKS.replace('name = "attacks"', 'name = "fewer"'))
    done = bench(
        *("run", "--no-report", "fewer.toml", "--device", "cpu", "--pairs", "8", "--workers", "1"),
        *("--set", "experiment[0].attacks[6].label=glance", "--set", 'experiment[0].figures=["7"]'),
        cwd=attacked.home,
    )
    assert done.code == 0, done.err
    assert "0 stages to compute" in done.err
    assert manifests(attacked.home) == before
    (folder,) = [f for f in run_folders(attacked.home) if f.parent.name == "fewer"]
    assert "glance" in set(RunResults(folder).samples("attributes")["attack"])


def test_the_plan_shows_what_attacks_cost_and_what_is_skipped(bench: Command, attacked: Attacked) -> None:
    done = bench("plan", "attacks.toml", "--device", "cpu", "--pairs", "12", cwd=attacked.home)
    assert done.code == 0, done.err
    for kind in ("fit_attack", "attack", "score"):
        assert re.search(rf"^{kind} +\d+ +\d+ +\d+", done.out, re.MULTILINE), done.out
    assert "4 x toy-denoise must see images, and features are uploaded here" in done.out
    assert "2 x features of one model mean nothing to another" in done.out
