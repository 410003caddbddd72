"""Suites by name: which file is used, that published ones are found from any folder, and messages for unknown names."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

import pytest
from support import TESTS, Command

from bench.core.errors import SuiteError
from bench.core.packages import DISTRIBUTION
from bench.planning.plan import make_plan
from bench.registry.discovery import discover
from bench.suite import bundled
from bench.suite.suite import load

ROOT = TESTS.parent
PUBLISHED = sorted(path.stem for path in (ROOT / "suites").glob("*.toml"))


def test_published_suites_are_those_of_the_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = bundled.published()
    assert list(found) == PUBLISHED
    assert {"quick", "paper"} <= set(found)
    assert all(path.is_absolute() and path.is_file() for path in found.values())


def test_the_wheel_contains_the_suites_where_they_are_searched() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert "suites" in wheel["packages"]
    assert wheel["sources"]["suites"] == "bench/suites"


def test_suites_of_an_installed_package_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "bench"
    shutil.copytree(ROOT / "suites", installed / "suites")
    monkeypatch.setattr(bundled, "_PACKAGE", installed)
    assert bundled.find_suite(Path("quick")) == installed / "suites" / "quick.toml"


def test_a_path_is_short_where_the_suites_are_below_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert bundled.find_suite(Path("paper")) == Path("suites/paper.toml")


def test_a_suite_in_the_current_folder_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert bundled.find_suite(Path("quick")).name == "quick.toml"
    (tmp_path / "quick.toml").touch()
    assert bundled.find_suite(Path("quick")) == Path("quick.toml")
    (tmp_path / "quick").touch()
    assert bundled.find_suite(Path("quick")) == Path("quick")
    (tmp_path / "paper").mkdir()
    with pytest.raises(SuiteError, match=r"^paper: expected a suite, found a folder; .*paper\.toml$"):
        bundled.find_suite(Path("paper"))


@pytest.mark.parametrize("path", ["none.toml", "suites/none", "./quick", "/none", "."])
def test_a_path_is_returned_unchanged(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    given = Path(path) if path != "./quick" else tmp_path / "quick"
    assert bundled.find_suite(given) == given


def test_an_unknown_name_has_a_hint_and_the_list(bench: Command, tmp_path: Path) -> None:
    for name, hint in (("quik", "did you mean 'quick'?"), ("zzzz", "bench init DIR")):
        done = bench("plan", name, cwd=tmp_path)
        assert done.code == 2
        assert done.out == ""
        assert done.err.startswith(f"Error: {name}: expected a suite file or the name of a published suite (")
        assert hint in done.err
        assert ", ".join(PUBLISHED) in done.err


def test_a_published_suite_is_planned_from_anywhere(bench: Command, tmp_path: Path) -> None:
    done = bench("plan", "quick", "--device", "cpu", cwd=tmp_path)
    assert done.code == 0, done.err
    assert done.out.startswith(f"suite quick ({ROOT / 'suites' / 'quick.toml'}), device cpu")


def test_files_that_a_suite_names_are_searched_in_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = tmp_path / "bench" / "suites"
    shelf.mkdir(parents=True)
    text = (ROOT / "suites" / "quick.toml").read_text(encoding="utf-8")
    (shelf / "own.toml").write_text(text.replace('table = "VII"', 'table = "VII"\nclaims = "own.csv"', 1))
    (shelf / "own.csv").write_text((ROOT / "bench" / "suite" / "paper" / "table-vii.csv").read_text())
    monkeypatch.setattr(bundled, "_PACKAGE", shelf.parent)
    monkeypatch.chdir(tmp_path)
    assert load(bundled.find_suite(Path("own")), discover()).experiments[0].claims


def test_the_quick_suite_asks_every_kind_of_question_of_generated_faces_alone() -> None:
    registry = discover()
    suite = load(bundled.published()["quick"], registry)
    cells = make_plan(suite, registry, "cpu").cells
    assert {cell.outputs for cell in cells} == {"recognition", "images", "attributes"}
    assert {cell.defense.name for cell in cells} == {"identity", "noise", "pmt"}
    assert not [cell.skip for cell in cells if cell.skip]
    for cell in cells:
        for component in cell.components:
            assert not component.instead_of
            if component.kind in ("dataset", "model"):
                assert registry.find(component.kind, component.name, "").cls(**component.params).synthetic


@pytest.mark.parametrize("name", ["zoo-standard", "strengths"])
def test_claims_of_what_is_known_are_about_cells_that_are_measured(name: str) -> None:
    """A claim over a cell that is skipped could fail, and could never hold."""
    registry = discover()
    suite = load(bundled.published()[name], registry, recompute=name == "zoo-standard")
    cells = make_plan(suite, registry, "cpu").cells
    claims = suite.claims
    assert len(claims) > 10
    for claim in claims:
        for _, side in claim.sides:
            found = [
                cell
                for cell in cells
                if cell.experiment == claim.experiment_of(side)
                and (side.defense is None or cell.defense.label in side.defense)
                and (side.attack is None or cell.attack.label in side.attack)
                and (side.evaluated is None or (cell.evaluated and cell.evaluated.label in side.evaluated))
            ]
            assert {cell.defense.label for cell in found} >= set(side.defense or ()), claim.id
            assert not [cell.skip for cell in found if cell.skip], claim.id


def test_the_suite_of_all_defenses_asks_all_that_work_alone() -> None:
    registry = discover()
    suite = load(bundled.published()["zoo-standard"], registry, recompute=True)  # those of the reference run too
    asked = {d.name for d in suite.experiments[0].defenses}
    built_in = {
        n
        for (kind, n), found in registry.components.items()
        if kind == "defense" and found.origin.distribution == DISTRIBUTION
    }
    assert built_in - asked == {"external-command", "external-images", "pmt-noise"}  # others' programs, and a control
    assert suite.version == "standard-1"
