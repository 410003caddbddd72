"""What the terminal shows: durations, and text from strangers that is never taken for markup."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner
from support import SUITE

from bench.cli import main
from bench.cli.console import duration, show_plugins
from bench.registry.discovery import Plugin, Registry


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (0.25, "0.2 s"),
        (1, "1 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (200, "3 min 20 s"),
        (3599.6, "1 h 0 min"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_paths_are_no_markup(tmp_path: Path, registry: Registry, inline: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with brackets in its name is shown as it is, in every command."""
    home = tmp_path / "with [red] and [x" / "] brackets"
    home.mkdir(parents=True)
    (home / "toy.toml").write_text(SUITE)
    monkeypatch.chdir(home)
    monkeypatch.setenv("COLUMNS", "1000")
    for command in ("plan", "run"):
        args = [command, str(home / "toy.toml"), "--out", str(home), "--device", "cpu", "--pairs", "4"]
        done = CliRunner().invoke(main, args, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        assert str(home) in done.stdout


def test_reasons_are_no_markup(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    plugin = Plugin(name="[/a]", module="odd", distribution="[/b]", version="[/c]", reason="[/red] [bold]x")
    conflicts = {("defense", "[/d]"): ["[/e]", "[/f]"]}
    show_plugins(dataclasses.replace(registry, plugins=[plugin], conflicts=conflicts), as_json=False)
    out = capsys.readouterr().out
    for text in ("[/a]", "[/b] [/c]", "[/red] [bold]x", "[/d]", "[/e]", "[/f]"):
        assert text in out
