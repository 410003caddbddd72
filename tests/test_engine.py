"""What the local engine decides before and after the workers' part."""

from __future__ import annotations

import signal
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from pebble import ProcessExpired
from support import SUITE, compute

from bench.cache import Cache
from bench.engine import Event, local
from bench.errors import StorageError
from bench.plan import Plan, make_plan
from bench.plugins import Registry
from bench.suite import load
from bench.types import Stage, StageResult


@pytest.fixture
def plan(tmp_path: Path, toy_installed: Registry) -> Plan:
    """A small plan."""
    (tmp_path / "toy.toml").write_text(SUITE[: SUITE.rindex("[[experiment]]")])
    overrides = ['experiment[0].defenses=["identity"]']
    return make_plan(load(tmp_path / "toy.toml", toy_installed, overrides, 4), toy_installed, "cpu")


@pytest.fixture
def cache(plan: Plan, tmp_path: Path) -> Cache:
    """All its artifacts."""
    found = Cache(tmp_path / "cache")
    assert {result.status for result in compute(plan, found).values()} == {"ok"}
    return found


def missing(plan: Plan, cache: Cache) -> tuple[set[str], set[str], list[Event]]:
    """The names of the stages that must run, of those taken from the cache, and the events."""
    results: dict[str, StageResult] = {}
    events: list[Event] = []
    found = local.missing_stages(plan, cache, results, events.append)
    return {s.name for s in found.values()}, {plan.stages[k].name for k in results}, events


def key_of(plan: Plan, name: str) -> str:
    """The key of the stage of that name."""
    (found,) = [key for key, stage in plan.stages.items() if stage.name == name]
    return found


def test_without_a_cache_everything_is_missing(plan: Plan, tmp_path: Path) -> None:
    assert missing(plan, Cache(tmp_path / "empty")) == ({s.name for s in plan.stages.values()}, set(), [])


def test_behind_what_is_cached_nobody_looks(plan: Plan, cache: Cache) -> None:
    scores = {s.name for s in plan.stages.values() if s.kind == "score"}
    assert missing(plan, cache) == (set(), scores, [])
    cache.discard(key_of(plan, "evaluation faces of toy-faces"))
    assert missing(plan, cache) == (set(), scores, [])


def test_what_a_missing_stage_needs_is_fetched(plan: Plan, cache: Cache) -> None:
    name = "image similarity of identity on toy-faces"
    cache.discard(key_of(plan, name))
    cache.discard(key_of(plan, "evaluation faces of toy-faces"))
    must, cached, events = missing(plan, cache)
    assert must == {name, "evaluation faces of toy-faces"}
    assert "toy-faces protected by identity" in cached
    assert events == []


def test_damage_is_told_and_made_again(plan: Plan, cache: Cache) -> None:
    name = "floors of the image metrics on toy-faces"
    (path,) = cache.folder(key_of(plan, name)).glob("*.parquet")
    path.write_bytes(b"")
    must, _, events = missing(plan, cache)
    assert must == {name}
    (event,) = events
    assert (event.kind, event.stage.name) == ("damaged", name)
    assert "computing it again" in event.message
    assert str(path) in event.message


def test_inputs_come_first_in_any_order(plan: Plan) -> None:
    backwards = dict(reversed(plan.stages.items()))
    order = local._in_order(backwards)
    assert sorted(order) == sorted(plan.stages)
    place = {key: i for i, key in enumerate(order)}
    for key, stage in plan.stages.items():
        assert all(place[source] < place[key] for source in stage.inputs.values())


def test_the_work_behind_a_stage_is_the_longest_path(plan: Plan) -> None:
    behind = local._work_behind(plan.stages)
    for key, stage in plan.stages.items():
        followers = [k for k, s in plan.stages.items() if key in s.inputs.values()]
        expected = stage.cost + max((behind[k] for k in followers), default=0.0)
        assert behind[key] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (0, "exit code 0"),
        (7, "exit code 7"),
        (-signal.SIGSEGV, "signal SIGSEGV"),
        (-signal.SIGKILL, "signal SIGKILL, perhaps out of memory"),
        (-40, "signal 40"),
    ],
)
def test_a_death_is_put_in_words(code: int, text: str) -> None:
    assert local._death(code) == text


# ---- progress --------------------------------------------------------------------------------------------------------


class Workers:
    """In the place of worker processes: whoever is asked for a stage gets a future that the test ends."""

    def __init__(self) -> None:
        self.futures: dict[str, Future[StageResult]] = {}

    def schedule(self, function: Any, args: list[Any], timeout: float) -> Future[StageResult]:
        stage, _ = args
        self.futures[stage.key] = Future()
        return self.futures[stage.key]

    def end(self, stage: Stage) -> None:
        """The stage has ended well."""
        result = StageResult(key=stage.key, status="ok", cached=False, seconds=1.0, peak_mb=1.0, device="cpu")
        self.futures.pop(stage.key).set_result(result)


def test_events_tell_how_far_running_stages_are(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_TICK_S", 0.001)
    cache, workers, told = Cache(tmp_path / "cache"), Workers(), dict[str, list[Any]]()
    stale, *_ = plan.stages.values()
    cache.note_progress(stale.key, 0.9)  # left by a run that was killed

    def on_event(event: Event) -> None:
        stage = event.stage
        assert stage is not None
        told.setdefault(stage.key, []).append(event.share if event.kind == "progress" else event.kind)
        if event.kind != "progress":
            return
        if event.share >= 0.5:
            workers.end(stage)
        else:
            cache.note_progress(stage.key, event.share + 0.25)

    results: dict[str, StageResult] = {}
    local._run_graph(plan, dict(plan.stages), cache, results, workers, 1, on_event)  # type: ignore[arg-type]
    assert set(results) == set(told) == set(plan.stages)
    for key, events in told.items():
        assert events == ["started", 0.0, 0.25, 0.5, "finished"], plan.stages[key].name
    assert list((cache.root / "progress").iterdir()) == []


def test_no_more_stages_run_than_there_are_workers(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_TICK_S", 0.001)
    workers, most, order = Workers(), 0, list[str]()

    def on_event(event: Event) -> None:
        nonlocal most
        assert event.stage is not None
        most = max(most, len(workers.futures))
        if event.kind == "started":
            order.append(event.stage.key)
        elif event.kind == "progress" and event.stage.key in workers.futures:
            workers.end(event.stage)

    local._run_graph(plan, dict(plan.stages), Cache(tmp_path), {}, workers, 2, on_event)  # type: ignore[arg-type]
    assert most == 2
    for key, stage in plan.stages.items():
        assert all(order.index(source) < order.index(key) for source in stage.inputs.values())


def test_a_stage_tells_at_most_every_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 100.5, 101.5, 101.5, 102.0, 102.6, 102.6])
    monkeypatch.setattr(local.time, "monotonic", lambda: next(clock))
    cache = Cache(tmp_path)
    tell = local._Teller(cache, "key")
    shares = []
    for share in (0.1, 0.2, 0.3, 0.4):
        tell(share)
        shares.append(cache.progress("key"))
    assert shares == [0.0, 0.2, 0.2, 0.4]


def test_a_plan_of_cached_stages_is_planned_as_nothing(plan: Plan, cache: Cache) -> None:
    events: list[Event] = []
    local.LocalEngine(workers=1).run(plan, cache, {}, events.append)
    assert [(e.kind, list(e.stages)) for e in events] == [("planned", [])]


# ---- ends ------------------------------------------------------------------------------------------------------------


def some_stage(plan: Plan) -> Stage:
    """Any stage."""
    return next(iter(plan.stages.values()))


def failing_with(error: BaseException) -> Future[Any]:
    """A future that failed."""
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


@pytest.mark.parametrize(
    ("error", "status", "fragment"),
    [
        (TimeoutError(), "timeout", "killed after its time limit of 5 s"),
        (ProcessExpired("Abnormal termination", code=-9), "failed", "SIGKILL"),
        (SystemExit("goodbye"), "failed", "goodbye"),
        (RuntimeError("no such luck"), "failed", "RuntimeError: no such luck"),
    ],
)
def test_whatever_a_worker_ends_with_is_a_result(plan: Plan, error: BaseException, status: str, fragment: str) -> None:
    result = local._outcome(failing_with(error), some_stage(plan), 5.0)
    assert result.status == status
    assert fragment in str(result.reason)


def test_a_full_disk_ends_the_run(plan: Plan) -> None:
    with pytest.raises(StorageError, match="no room"):
        local._outcome(failing_with(StorageError("no room")), some_stage(plan), 5.0)


def test_a_stage_that_another_process_finished_is_not_computed(
    plan: Plan, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("computed again")

    monkeypatch.setattr("bench.stages.run", never)
    result = local.execute(some_stage(plan), cache.root)
    assert (result.status, result.cached) == ("ok", True)
    assert result.seconds > 0


def test_a_damaged_input_is_removed_so_that_the_next_run_mends_it(plan: Plan, cache: Cache) -> None:
    name = "image similarity of identity on toy-faces"
    stage = plan.stages[key_of(plan, name)]
    cache.discard(stage.key)
    protected = cache.folder(stage.inputs["protected"])
    (protected / "tensors.safetensors").write_bytes(b"")
    result = local.execute(stage, cache.root)
    assert result.status == "failed"
    assert "damaged input" in str(result.reason)
    assert not protected.exists()
    assert cache.folder(stage.inputs["faces"]).exists()
    must, _, _ = missing(plan, cache)
    assert must == {name, "toy-faces protected by identity"}
