"""``bench guide`` lists the guides and prints one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from support import TESTS

from bench.cli import guide, main

DOCS = TESTS.parent / "docs"


def test_every_guide_is_listed_by_its_name_and_title() -> None:
    done = CliRunner().invoke(main, ["guide"])
    assert done.exit_code == 0
    listed = dict(line.split(maxsplit=1) for line in done.output.splitlines())
    assert set(listed) == {*(path.stem for path in DOCS.glob("*.md")), "security"}
    assert (listed["plugins"], listed["security"]) == ("Writing a plugin", "Security")


def test_a_guide_is_printed_as_it_is() -> None:
    done = CliRunner().invoke(main, ["guide", "claims"])
    assert done.output == (DOCS / "claims.md").read_text(encoding="utf-8")


def test_an_unknown_guide_has_a_hint() -> None:
    done = CliRunner().invoke(main, ["guide", "plugin"])
    assert done.exit_code == 2
    assert "plugin: expected the name of a guide, found another word; did you mean 'plugins'?" in done.output


def test_installed_guides_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "SECURITY.md").write_text("# Mine\n")
    monkeypatch.setattr(guide, "_PACKAGE", tmp_path)
    assert CliRunner().invoke(main, ["guide"]).output == "security  Mine\n"
