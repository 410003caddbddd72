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
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert set(listed) == {*pages, *(f"plugins/{path.stem}" for path in DOCS.glob("plugins/*.md")), "security"}
    assert (listed["plugins"], listed["security"]) == ("Writing a plugin", "Security")
    assert listed["plugins/defense"] == "Writing a defense"


def test_a_guide_is_printed_as_it_is() -> None:
    for name in ("claims", "plugins/attack"):
        done = CliRunner().invoke(main, ["guide", name])
        assert done.output == (DOCS / f"{name}.md").read_text(encoding="utf-8")


def test_an_unknown_guide_has_a_hint() -> None:
    done = CliRunner().invoke(main, ["guide", "plugin"])
    assert done.exit_code == 2
    assert "plugin: expected the name of a guide, found another word; did you mean 'plugins'?" in done.output


def test_installed_guides_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "guides").mkdir()
    (tmp_path / "guides" / "SECURITY.md").write_text("# Mine\n")
    (tmp_path / "guides" / "plugins").mkdir()
    (tmp_path / "guides" / "plugins" / "model.md").write_text("# A model\n")
    monkeypatch.setattr(guide, "_PACKAGE", tmp_path)
    assert CliRunner().invoke(main, ["guide"]).output == "plugins/model  A model\nsecurity       Mine\n"
