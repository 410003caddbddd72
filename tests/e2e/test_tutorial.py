"""The tutorial is followed as it is printed, with fewer pairs."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from support import Command, write_plugin

from bench.cli import main

TUTORIAL = (Path(__file__).parent.parent.parent / "docs" / "tutorial.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return [part.split("```")[0] for part in TUTORIAL.split(f"```{language}\n")[1:]]


def commands(beginning: str) -> list[list[str]]:
    """The commands of the tutorial that begin with some words, without ``bench``."""
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [re.split(r"\s+", line)[1:] for line in lines if line.startswith(beginning)]


def test_the_tutorial_leads_from_a_defense_to_the_rows_of_a_number(
    bench: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    defense, look_up = blocks("python")
    (suite,) = blocks("toml")
    site = write_plugin(tmp_path / "site", "my_cloak", defense, entry="my-cloak", distribution="my-cloak")
    (tmp_path / "my-cloak").mkdir()
    (tmp_path / "my-cloak" / "suite.toml").write_text(suite, encoding="utf-8")

    def done(*args: str) -> str:
        found = bench(*args, cwd=tmp_path, sites=[site])
        assert found.code == 0, (args, found.err)
        return found.out

    assert "amplitude" in done(*commands("bench info")[0])
    (plan,), (run,) = commands("bench plan"), commands("bench run my-cloak")
    fewer = ["--pairs", "8", "--set", 'experiment[0].attacks=["abuse"]', "--device", "cpu"]
    assert "cells: 24 of 24" in done(*plan)
    assert "my-cloak" in done(*run, *fewer, "--workers", "1")
    (verdict,) = commands("bench export my-cloak --table")
    assert "my-cloak" in done(*verdict)
    (explain,) = commands("bench explain")
    (cell,) = re.findall(r"^cell (\w+)", done(*explain), re.MULTILINE)
    (rows,) = commands("bench export my-cloak --rows")
    done(*[cell if arg == "882f" else arg for arg in rows])
    monkeypatch.chdir(tmp_path)
    exec(compile(look_up, "tutorial", "exec"), {})
    printed = capsys.readouterr().out
    assert re.fullmatch(r"[\d.]+% of 8 pairs\n", printed)
    shown = done("export", "my-cloak", "--table", "VII", "--format", "csv")
    (number,) = [
        float(row["value"])
        for row in csv.DictReader(io.StringIO(shown))
        if (row["defense"], row["column"]) == ("my-cloak", "zoo-resnet")
    ]
    assert f"{number:.1f}%" == printed.split()[0]


@pytest.mark.skipif("new" not in main.commands, reason="this bench has no command new")
def test_the_tutorial_names_the_files_that_bench_new_writes(bench: Command, tmp_path: Path) -> None:
    ((*new,),) = commands("bench new")
    done = bench(*new, cwd=tmp_path)
    assert done.code == 0, done.err
    named = set(re.findall(r"`(my-cloak/[\w./]+)`", TUTORIAL))
    assert named == {"my-cloak/my_cloak/__init__.py", "my-cloak/suite.toml"}
    assert all((tmp_path / name).is_file() for name in named)


def test_the_printed_summary_has_the_defenses_of_the_suite() -> None:
    (suite,) = blocks("toml")
    (summary,) = blocks("text")
    assert [line.split()[0] for line in summary.splitlines()[1:]] == ["identity", "noise", "my-cloak", "pmt"]
    assert all(name in suite for name in ("identity", "noise", "my-cloak", "pmt"))
