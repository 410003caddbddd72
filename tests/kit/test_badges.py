"""Badges: which code has passed the kit, and what runs record and show about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from bench.core.domain import Component, Origin
from bench.store.badges import (
    KIT,
    badge_key,
    badge_of,
    badges_of,
    code_digest,
    remove_badge,
    remove_badges_of,
    unchecked,
    write_badge,
)
from bench.store.run_record import RunRecord, SuiteRecord, component_record

ORIGIN = Origin(distribution="mine", version="1", package="mine", digest="d", libraries={"other": "2"})
DARK = Component(kind="defense", name="dark", label="Dark", params={"share": 0.5}, passed={}, origin=ORIGIN)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_a_badge_belongs_to_the_code() -> None:
    assert badge_of(DARK) is None
    assert write_badge(DARK)
    assert badge_of(DARK) == KIT
    assert badge_of(replace(DARK, params={"share": 1.0}, weights="w", label="other")) == KIT
    assert badge_of(replace(DARK, origin=replace(ORIGIN, digest="changed"))) is None
    assert badge_of(replace(DARK, origin=replace(ORIGIN, libraries={"other": "3"}))) is None
    assert badge_of(replace(DARK, name="bright")) is None
    remove_badge(DARK)
    assert badge_of(DARK) is None


def test_a_package_that_cannot_be_imported_loses_all_its_badges(tmp_path: Path) -> None:
    other = replace(DARK, name="light", origin=replace(ORIGIN, package="other"))
    for one in (DARK, replace(DARK, name="bright"), other):
        assert write_badge(one)
    remove_badges_of("mine")
    assert [badge_of(one) for one in (DARK, replace(DARK, name="bright"), other)] == [None, None, KIT]
    remove_badges_of("nothing")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kit": 3}', '{"kit": "' + "x" * 100 + '"}'])
def test_a_damaged_file_is_no_badge(tmp_path: Path, content: str) -> None:
    write_badge(DARK)
    (tmp_path / "face-privacy-bench" / "badges" / f"{code_digest(DARK)}.json").write_text(content)
    assert badge_of(DARK) is None


def of(checked: Mapping[str, str | None] | None, *components: Component) -> RunRecord:
    records = tuple(component_record(one) for one in components)
    return RunRecord(suite=SuiteRecord(name="s"), components=records, checked=checked)


def test_plugins_of_others_without_a_badge_are_named() -> None:
    built_in = replace(DARK, name="noise", label="noise", origin=replace(ORIGIN, distribution="face-privacy-bench"))
    nothing = {badge_key(DARK): None, badge_key(built_in): None}
    assert unchecked([of(nothing, DARK, built_in)]) == "not checked with bench check before this run: Dark"
    assert unchecked([of({badge_key(DARK): KIT}, DARK)]) is None
    assert unchecked([of(None, DARK)]) is None


def test_rows_hold_the_badges_of_the_plugins_of_others() -> None:
    built_in = replace(DARK, name="noise", label="noise", origin=replace(ORIGIN, distribution="face-privacy-bench"))
    assert json.loads(badges_of([DARK, built_in])) == {"defense dark": None}
    write_badge(DARK)
    assert json.loads(badges_of([DARK, built_in])) == {"defense dark": f"kit {KIT}, code {code_digest(DARK)}"}
    assert badges_of([built_in]) == "{}"
