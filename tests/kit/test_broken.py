"""Each broken plugin is caught by exactly the right check, and sound ones pass."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import broken
import pytest

from bench.kit import examine
from bench.kit.catalogue import CHECKS
from bench.kit.findings import NotAskedError
from bench.testing import CheckFailedError, check_plugin


@pytest.fixture(autouse=True)
def _file() -> Iterator[None]:
    """A file from before the check, which one of the plugins reads; and no calls of an earlier test."""
    broken.HELD.write_text("0.5", encoding="utf-8")
    os.utime(broken.HELD, (time.time() - 100,) * 2)
    broken._LEFT.clear()
    yield
    broken.HELD.unlink()


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process is started, which takes seconds."""

    def not_asked(*_: object) -> None:
        raise NotAskedError("not in this test")

    monkeypatch.setattr(examine, "results_elsewhere", not_asked)


@pytest.mark.slow
@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("cls", [c for c, check in broken.BROKEN.items() if check != "process"])
def test_a_broken_plugin_is_caught_by_the_right_check(cls: type) -> None:
    with pytest.raises(CheckFailedError) as found:
        check_plugin(cls)
    assert found.value.result.failed == [broken.BROKEN[cls]], found.value.result.as_text()
    text = str(found.value)
    assert all(word in text for word in (cls.__name__, "expected:", "seen:", "to mend:"))


@pytest.mark.slow
@pytest.mark.parametrize("cls", [c for c, check in broken.BROKEN.items() if check == "process"])
def test_what_another_process_does_not_know_is_caught(cls: type) -> None:
    with pytest.raises(CheckFailedError) as found:
        check_plugin(cls)
    assert found.value.result.failed == ["process"]


@pytest.mark.slow
@pytest.mark.parametrize("cls", broken.SOUND)
def test_a_sound_plugin_passes(cls: type) -> None:
    result = check_plugin(cls)
    assert result.passed
    assert result.outcome == "passed"
    assert {one.check for one in result.findings} == {c.name for c in CHECKS.values() if result.kind in c.kinds}
    assert all(one.reason for one in result.findings if one.answer == "not asked")
    assert result.costs["bytes per face"] > 0


def test_there_is_a_broken_plugin_for_every_check() -> None:
    assert set(broken.BROKEN.values()) == set(CHECKS)
    assert len(broken.BROKEN) >= 20
