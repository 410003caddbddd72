"""Attempts at stages, made in the process of the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import SUITE, compute, only

from bench.core.errors import StorageError
from bench.engine import worker
from bench.engine.worker import attempt
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Artifact, Cache, DamagedError
from bench.suite.suite import load

FACES = "evaluation faces of toy-faces"
PROTECT = "toy-faces protected by identity"


@pytest.fixture
def plan(tmp_path: Path, toy_installed: Registry) -> Plan:
    """Plan a small suite."""
    (tmp_path / "toy.toml").write_text(SUITE[: SUITE.rindex("[[experiment]]")])
    overrides = ['experiment[0].defenses=["identity"]']
    return make_plan(load(tmp_path / "toy.toml", toy_installed, overrides, 4), toy_installed, "cpu")


@pytest.fixture
def cache(plan: Plan, tmp_path: Path) -> Cache:
    """Return a cache that contains only the artifact of the faces."""
    found = Cache(tmp_path / "cache")
    compute(plan, found, [only(plan, FACES).key])
    return found


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Return a function that makes every stage raise an error."""

    def fail_with(error: BaseException) -> None:
        def run(*_: Any) -> Any:
            raise error

        monkeypatch.setattr("bench.stages.compute.run", run)

    return fail_with


def test_a_stage_with_an_artifact_is_not_computed(
    plan: Plan, cache: Cache, failing: Callable[[BaseException], None]
) -> None:
    failing(AssertionError("computed again"))
    found = attempt(only(plan, FACES), cache.root, 32)
    assert (found.result.status, found.result.cached, found.again) == ("ok", True, None)
    assert found.result.seconds > 0


def test_a_stage_that_another_process_computes_is_not_computed(plan: Plan, cache: Cache) -> None:
    stage = only(plan, PROTECT)
    with cache.lock(stage.key):
        found = attempt(stage, cache.root, 32)
    assert (found.result.status, found.again) == ("failed", "busy")
    assert cache.manifest(stage.key) is None
    assert attempt(stage, cache.root, 32).result.status == "ok"


def test_the_batch_is_recorded_if_it_is_not_the_planned_one(plan: Plan, cache: Cache) -> None:
    stage = only(plan, PROTECT)
    assert attempt(stage, cache.root, 2).result.batch == 2
    assert attempt(stage, cache.root, 32).result.batch == 2, "as it was computed"
    cache.discard(stage.key)
    assert attempt(stage, cache.root, 32).result.batch is None


def test_a_damaged_input_is_removed(plan: Plan, cache: Cache) -> None:
    stage = only(plan, PROTECT)
    folder = cache.folder(stage.inputs["faces"])
    (folder / "tensors.safetensors").write_bytes(b"")
    found = attempt(stage, cache.root, 32)
    assert (found.result.status, found.again) == ("failed", "damaged")
    assert "damaged input" in str(found.result.reason)
    assert not folder.exists()


def test_an_input_that_another_process_replaced_is_read_again(
    plan: Plan, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The damage was found, but when the worker looks for it, another process has computed the input again."""
    stage = only(plan, PROTECT)

    read, damages = Cache.read, [DamagedError("it changed while it was read")]

    def damaged_once(cache: Cache, key: str) -> Artifact:
        if damages:
            raise damages.pop()
        return read(cache, key)

    monkeypatch.setattr(Cache, "read", damaged_once)
    found = attempt(stage, cache.root, 32)
    assert (found.result.status, found.again) == ("failed", "damaged")
    assert cache.folder(stage.inputs["faces"]).exists()
    monkeypatch.undo()
    assert attempt(stage, cache.root, 32).result.status == "ok"


def test_without_the_folder_of_the_cache_nothing_is_computed(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the folder is gone"):
        attempt(only(plan, FACES), tmp_path / "gone", 32)
    assert not (tmp_path / "gone").exists()


class SpeechlessError(Exception):
    """An exception whose ``__str__`` raises."""

    def __str__(self) -> str:
        raise ValueError


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "reason", "again"),
    [
        (RuntimeError("no such luck"), "RuntimeError: no such luck", None),
        (SystemExit("goodbye"), "SystemExit: goodbye", None),
        (KeyboardInterrupt(), "KeyboardInterrupt", None),
        (SpeechlessError(), "SpeechlessError, whose message cannot be shown: ValueError", None),
        (OSError(28, "No space left on device"), "OSError: [Errno 28]", None),
        (MemoryError("all gone"), "out of memory with a batch of 16: MemoryError: all gone", "memory"),
        (RuntimeError("not enough memory: you tried"), "out of memory with a batch of 16: RuntimeError", "memory"),
    ],
)
def test_whatever_a_plugin_raises_is_a_result(
    plan: Plan,
    cache: Cache,
    failing: Callable[[BaseException], None],
    error: BaseException,
    reason: str,
    again: str | None,
) -> None:
    failing(error)
    found = attempt(only(plan, PROTECT), cache.root, 16)
    assert (found.result.status, found.again) == ("failed", again)
    assert str(found.result.reason).startswith(reason)
    assert "Traceback" in str(found.result.traceback)
    assert found.worker == worker.worker_name()


def test_progress_is_stored_at_most_once_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 101.5, 101.5, 102.0, 102.6, 102.6])
    monkeypatch.setattr(worker.time, "monotonic", lambda: next(clock))
    cache = Cache(tmp_path)
    report = worker._ProgressReporter(cache, "key")
    shares = []
    for share in (0.1, 0.2, 0.3, 0.4):
        report(share)
        note = cache.progress("key")
        assert note is None or note.worker == worker.worker_name()
        shares.append(note and note.share)
    assert shares == [None, 0.2, 0.2, 0.4]
