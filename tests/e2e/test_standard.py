"""The standard suite itself, with all its attacks, in a tiny setting through the installed command."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from support import Command

from bench.suite.bundled import published

CHANNELS = {"recognition", "images", "attributes", "links"}
SETTINGS = (
    'defaults.datasets=[{plugin="synth-lfw", calibration_identities=20}]',
    'defaults.auxiliary={plugin="synth-lfw", auxiliary_identities=24}',
    'defaults.evaluated=["zoo-resnet"]',
    'defaults.adversary_threshold="scored"',
    'experiment[0].evaluated=["zoo-resnet"]',
)
REPEATED = re.compile(
    r'    \{.*label = "[^"]*(400 faces|mean of [24] uploads|start: random).*\n'
)  # other budgets of one attack


def tiny(folder: Path) -> Path:
    """Write the standard suite with budgets of a few faces and steps; its defenses are one that leaks and one that does
    not."""
    text = published()["standard"].resolve().read_text(encoding="utf-8")
    text = re.sub(r"\bfaces = (\d+)", lambda found: f"faces = {24 + int(found[1]) // 100}", text)
    text = re.sub(r"steps = \d+", "steps = 2", text)
    text = text.replace('plugin = "inversion",', 'plugin = "inversion", steps = 2,')
    text = re.sub(r'of = "(insider|outsider)" }', r'of = "\1", faces = 30 }', text)
    text = REPEATED.sub("", text)
    path = folder / "tiny.toml"
    path.write_text(text.replace('defenses = ["identity", "oblivion", "known-break"]', 'defenses = ["oblivion"]'))
    return path


@pytest.fixture(scope="module")
def run(bench: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the tiny suite on a defense that a command line adds."""
    home = tmp_path_factory.mktemp("standard")
    options = ["--defense", "pixelation,block=28", "--pairs", "12", "--no-report", "--device", "cpu"]
    options += [word for text in SETTINGS for word in ("--set", text)]
    done = bench("run", tiny(home), *options, cwd=home)
    assert done.code == 0, done.err
    (folder,) = (home / "results" / "standard").iterdir()
    return folder


def test_every_attack_of_every_channel_is_run_on_a_defense(run: Path) -> None:
    cells = pd.read_parquet(run / "cells.parquet")
    own = cells[cells["defense"] == "pixelation block 28"]
    assert set(own["outputs"]) == CHANNELS
    assert set(own["suite_version"]) == {"standard-1+changed"}
    readers = cells["attack"].str.contains("read, |what is sent|as sent")
    assert readers.any()
    assert set(cells.loc[~readers, "status"]) == {"ok"}, cells["reason"].dropna().tolist()
    assert set(cells.loc[readers, "status"]) == {"skipped"}
    reasons = cells.loc[readers, "reason"]
    assert reasons.str.contains("works on a representation, and .* sends none").all(), reasons.tolist()


def test_all_channels_have_rows_with_the_version(run: Path) -> None:
    for table in ("verification", "images", "attributes", "links"):
        rows = pd.read_parquet(run / "samples" / table)
        assert set(rows["suite_version"]) == {"standard-1+changed"}, table
        assert set(rows["defense"]) == {"oblivion", "pixelation block 28"}, table


def test_the_pages_of_the_tables_know_the_control(run: Path, bench: Command) -> None:
    done = bench("export", run, "--table", "controls", "--format", "md", cwd=run.parents[2])
    assert done.code == 0, done.err
    assert "oblivion" in done.out
