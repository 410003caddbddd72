"""``bench init`` writes a suite that runs as it is, and never overwrites a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bench.cli import main
from bench.planning.plan import make_plan
from bench.registry.discovery import discover
from bench.suite.suite import load


def init(folder: Path | str) -> Result:
    """Run ``bench init`` in this process."""
    return CliRunner().invoke(main, ["init", str(folder)], prog_name="bench")


@pytest.mark.parametrize(
    ("folder", "name"), [("mine", "mine"), ("a/My 1st Suite", "my-1st-suite"), ("über", "ber"), ("§", "mine")]
)
def test_the_suite_has_the_name_of_its_folder_and_can_be_run(folder: str, name: str, tmp_path: Path) -> None:
    done = init(tmp_path / folder)
    assert done.exit_code == 0, done.output
    suite = load(tmp_path / folder / "suite.toml", discover())
    assert suite.name == name
    plan = make_plan(suite, discover(), "cpu")
    assert not [cell.skip for cell in plan.cells if cell.skip]


def test_it_says_what_to_do_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = init("my suite")
    for command in ("bench plan 'my suite/suite.toml'", "bench run 'my suite/suite.toml'", "bench explain my-suite "):
        assert command in done.output
    assert CliRunner().invoke(main, ["plan", "my suite/suite.toml", "--device", "cpu"]).exit_code == 0


def test_its_commented_lines_are_valid(tmp_path: Path) -> None:
    """The suite stays valid when every commented-out setting is enabled."""
    init(tmp_path)
    path = tmp_path / "suite.toml"
    lines = path.read_text(encoding="utf-8").splitlines()
    hidden = [i for i, line in enumerate(lines) if line.lstrip().startswith(("# {", "# stage_", "# upload", "# split"))]
    assert len(hidden) >= 5
    for i in hidden:
        lines[i] = lines[i].replace("# ", "", 1)
    path.write_text("\n".join(lines), encoding="utf-8")
    assert make_plan(load(path, discover()), discover(), "cpu").cells


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    init(tmp_path)
    (tmp_path / "suite.toml").write_text("mine", encoding="utf-8")
    done = init(tmp_path)
    assert done.exit_code == 2
    assert "suite.toml: is there already, and is not overwritten" in done.output
    assert (tmp_path / "suite.toml").read_text(encoding="utf-8") == "mine"


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "mine").touch()
    done = init(tmp_path / "mine")
    assert done.exit_code == 2
    assert "expected a folder, found a file" in done.output
    below = init(tmp_path / "mine" / "deeper")
    assert below.exit_code == 2
    assert "cannot be written" in below.output
