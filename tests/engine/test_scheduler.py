"""The scheduler: the order of stages, and what follows after each attempt. The workers are scripted by the tests."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Literal

import pytest
from support import SUITE, compute, only

from bench.core.domain import Event, Stage, StageResult
from bench.core.errors import StorageError
from bench.engine import scheduler, stage_queue
from bench.engine.interface import Attempt
from bench.engine.interrupts import Interruption
from bench.planning.plan import Plan, make_plan
from bench.registry.discovery import Registry
from bench.store.artifacts import Cache, Note
from bench.suite.suite import load

FACES = "evaluation faces of toy-faces"
PROTECT = "toy-faces protected by identity"
SIMILARITY = "image similarity of identity on toy-faces"
Again = Literal["busy", "memory", "lost", "damaged"]


@pytest.fixture
def plan(tmp_path: Path, toy_installed: Registry) -> Plan:
    """Plan a small suite with two defenses."""
    (tmp_path / "toy.toml").write_text(SUITE[: SUITE.rindex("[[experiment]]")])
    overrides = ['experiment[0].defenses=["identity", "toy-mean"]', 'experiment[0].authorised=["toy-a"]']
    return make_plan(load(tmp_path / "toy.toml", toy_installed, overrides, 4), toy_installed, "cpu")


@pytest.fixture
def cache(plan: Plan, tmp_path: Path) -> Cache:
    """Return a cache that contains all artifacts of the plan."""
    found = Cache(tmp_path / "cache")
    assert {result.status for result in compute(plan, found).values()} == {"ok"}
    return found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the scheduler check limits, progress and busy stages without delay."""
    for name in ("_TICK_S", "_PROGRESS_S", "_BUSY_S"):
        monkeypatch.setattr(scheduler, name, 0.001)


def key_of(plan: Plan, name: str) -> str:
    """Return the key of the stage with this name."""
    return only(plan, name).key


def done(stage: Stage) -> Attempt:
    """Return a successful attempt."""
    result = StageResult(key=stage.key, status="ok", cached=False, seconds=1.0, peak_mb=1.0, device="cpu")
    return Attempt(result=result, worker="here:1")


def broken(stage: Stage, reason: str = "it broke", again: Again | None = None) -> Attempt:
    """Return a failed attempt."""
    return Attempt(result=scheduler.failure(stage, "failed", reason, "a traceback", log="a log"), again=again)


class Script:
    """An engine that computes nothing: the function ``play`` returns the attempt for a stage, batch and attempt number.

    Attempts end when the scheduler calls `watch`.
    """

    name = "script"

    def __init__(self, play: Callable[[Stage, int, int], Attempt] = lambda stage, batch, n: done(stage)) -> None:
        self.play = play
        self.workers = self.slots = 2
        self.submitted: list[tuple[str, int]] = []
        self.most = 0
        self.running: dict[str, tuple[Future[Attempt], Stage, int]] = {}

    def open(self, cache: Cache, logs: Path | None = None) -> Script:
        return self

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, stage: Stage, batch: int) -> Future[Attempt]:
        self.submitted.append((stage.name, batch))
        future: Future[Attempt] = Future()
        self.running[stage.key] = future, stage, batch
        self.most = max(self.most, len(self.running))
        return future

    def watch(self) -> None:
        for key in list(self.running):
            self.end(key)

    def end(self, key: str) -> None:
        """End the attempt at a stage."""
        future, stage, batch = self.running.pop(key)
        try:
            future.set_result(self.play(stage, batch, self.attempts(stage.name)))
        except StorageError as error:
            future.set_exception(error)

    def attempts(self, name: str) -> int:
        """Return how many times a stage was started."""
        return sum(name == other for other, _ in self.submitted)


class Ran:
    """The events and results of a plan that was run with a scripted engine."""

    def __init__(self, plan: Plan, cache: Cache, script: Script, results: dict[str, StageResult] | None = None) -> None:
        self.plan = plan
        self.script = script
        self.events: list[Event] = []
        self.results: dict[str, StageResult] = {} if results is None else results
        scheduler.run(script, plan, cache, self.results, self.events.append, Interruption())

    def of(self, name: str) -> StageResult:
        """Return the result of the stage with this name."""
        return self.results[key_of(self.plan, name)]

    def events_of(self, kind: str) -> Iterator[Event]:
        """Return the events of one kind."""
        return (event for event in self.events if event.kind == kind)

    def statuses(self) -> dict[str, str]:
        """Return the status of every stage, by name."""
        return {self.plan.stages[key].name: result.status for key, result in self.results.items()}


@pytest.fixture
def run(plan: Plan, tmp_path: Path) -> Callable[..., Ran]:
    """Return a function that runs the plan with an empty cache."""

    def play(script: Callable[[Stage, int, int], Attempt], **more: Any) -> Ran:
        return Ran(plan, Cache(tmp_path / "empty"), Script(script), **more)

    return play


# ---- stages that must be computed ------------------------------------------------------------------------------------


def missing(plan: Plan, cache: Cache) -> tuple[set[str], set[str], list[Event]]:
    """Return the names of the stages that must be computed, the names of cached ones, and the events."""
    results: dict[str, StageResult] = {}
    events: list[Event] = []
    found = scheduler.missing_stages(plan, cache, results, events.append)
    return {s.name for s in found.values()}, {plan.stages[k].name for k in results}, events


def test_without_a_cache_everything_is_missing(plan: Plan, tmp_path: Path) -> None:
    assert missing(plan, Cache(tmp_path / "empty")) == ({s.name for s in plan.stages.values()}, set(), [])


def test_inputs_of_cached_stages_are_not_needed(plan: Plan, cache: Cache) -> None:
    scores = {s.name for s in plan.stages.values() if s.kind == "score"}
    assert missing(plan, cache) == (set(), scores, [])
    cache.discard(key_of(plan, FACES))
    assert missing(plan, cache) == (set(), scores, [])


def test_missing_inputs_of_a_missing_stage_are_computed(plan: Plan, cache: Cache) -> None:
    cache.discard(key_of(plan, SIMILARITY))
    cache.discard(key_of(plan, FACES))
    must, cached, events = missing(plan, cache)
    assert must == {SIMILARITY, FACES}
    assert PROTECT in cached
    assert events == []


def test_a_damaged_artifact_is_reported_and_computed_again(plan: Plan, cache: Cache) -> None:
    name = "baselines of the image metrics on toy-faces"
    path, *_ = sorted(cache.folder(key_of(plan, name)).glob("*.parquet"))  # baselines, and the people
    path.write_bytes(b"")
    must, _, events = missing(plan, cache)
    assert must == {name}
    (event,) = events
    assert event.stage is not None
    assert (event.kind, event.stage.name) == ("damaged", name)
    assert "computing it again" in event.message
    assert str(path) in event.message


def test_a_stage_with_a_failed_result_is_not_computed(plan: Plan, cache: Cache) -> None:
    stage = plan.stages[key_of(plan, SIMILARITY)]
    cache.discard(stage.key)
    results = {stage.key: broken(stage).result}
    assert scheduler.missing_stages(plan, cache, results, lambda event: None) == {}


# ---- order -----------------------------------------------------------------------------------------------------------


def test_inputs_come_first_in_any_order(plan: Plan) -> None:
    backwards = dict(reversed(plan.stages.items()))
    order = stage_queue.inputs_first(backwards)
    assert sorted(order) == sorted(plan.stages)
    place = {key: i for i, key in enumerate(order)}
    for key, stage in plan.stages.items():
        assert all(place[source] < place[key] for source in stage.inputs.values())


def test_path_seconds_are_those_of_the_longest_path(plan: Plan) -> None:
    path_seconds = stage_queue.longest_paths(plan.stages)
    for key, stage in plan.stages.items():
        followers = [k for k, s in plan.stages.items() if key in s.inputs.values()]
        expected = stage.cost + max((path_seconds[k] for k in followers), default=0.0)
        assert path_seconds[key] == pytest.approx(expected)


def test_no_more_stages_run_than_there_are_slots_and_inputs_come_first(run: Callable[..., Ran], plan: Plan) -> None:
    ran = run(lambda stage, batch, n: done(stage))
    assert ran.script.most == 2
    assert set(ran.statuses().values()) == {"ok"}
    order = [name for name, _ in ran.script.submitted]
    assert len(order) == len(plan.stages)
    for stage in plan.stages.values():
        for source in stage.inputs.values():
            assert order.index(plan.stages[source].name) < order.index(stage.name)


def test_a_plan_of_cached_stages_computes_nothing(plan: Plan, cache: Cache) -> None:
    ran = Ran(plan, cache, Script())
    assert [(e.kind, list(e.stages), e.total) for e in ran.events] == [("planned", [], len(plan.stages))]
    assert ran.script.submitted == []


# ---- progress --------------------------------------------------------------------------------------------------------


def test_events_report_the_progress_of_running_stages(plan: Plan, tmp_path: Path) -> None:
    cache, seen = Cache(tmp_path), dict[str, list[Any]]()
    stale, *_ = plan.stages.values()
    cache.note_progress(stale.key, Note(share=0.9, worker="dead:1", since=0.0))  # left over from a killed run

    class Reporting(Script):
        def watch(self) -> None:
            for key, (_, stage, _) in list(self.running.items()):
                shares = [x for x in seen[key] if isinstance(x, float)]
                if shares[-1:] == [0.5]:
                    self.end(key)
                else:
                    share = 0.25 * len(shares)
                    cache.note_progress(stage.key, Note(share=share, worker="here:1", since=1.0))

    def on_event(event: Event) -> None:
        if event.stage is not None:
            kinds = seen.setdefault(event.stage.key, [])
            what = event.share if event.kind == "progress" else event.kind
            if what not in kinds:
                kinds.append(what)

    scheduler.run(Reporting(), plan, cache, {}, on_event, Interruption())
    assert set(seen) == set(plan.stages)
    for key, events in seen.items():
        assert events == ["started", 0.0, 0.25, 0.5, "finished"], plan.stages[key].name
    assert list((cache.root / "progress").iterdir()) == []


# ---- results ---------------------------------------------------------------------------------------------------------


def test_a_failure_affects_only_what_depends_on_it(run: Callable[..., Ran], plan: Plan) -> None:
    ran = run(lambda stage, batch, n: broken(stage) if stage.name == PROTECT else done(stage))
    bad = {name for name, status in ran.statuses().items() if status == "failed"}
    assert bad == {s.name for s in plan.stages.values() if "identity" in s.name}
    for name in bad:
        result = ran.of(name)
        assert (result.reason, result.traceback, result.log) == (f"{PROTECT}: it broke", "a traceback", "a log")
    assert {name for name, _ in ran.script.submitted} & bad == {PROTECT}
    assert len(list(ran.events_of("finished"))) == len(plan.stages)


def test_a_failure_of_an_earlier_run_affects_the_same_stages(plan: Plan, tmp_path: Path) -> None:
    stage = plan.stages[key_of(plan, PROTECT)]
    known = dataclasses.replace(broken(stage).result, reason=f"{PROTECT}: it broke then")
    ran = Ran(plan, Cache(tmp_path), Script(), {stage.key: known})
    assert ran.of(SIMILARITY).reason == f"{PROTECT}: it broke then"
    assert PROTECT not in {name for name, _ in ran.script.submitted}
    assert ran.of("image similarity of toy-mean on toy-faces").status == "ok"


def test_a_stage_that_another_run_computes_is_attempted_again(run: Callable[..., Ran]) -> None:
    ran = run(lambda stage, batch, n: broken(stage, again="busy") if stage.name == FACES and n < 4 else done(stage))
    assert set(ran.statuses().values()) == {"ok"}
    assert ran.script.attempts(FACES) == 4
    assert ran.of(FACES).attempts == 1, "an attempt of another run does not count"
    assert sum(e.stage is not None and e.stage.name == FACES for e in ran.events_of("started")) == 1


def test_without_memory_the_batch_is_halved(run: Callable[..., Ran]) -> None:
    ran = run(
        lambda stage, batch, n: broken(stage, again="memory") if stage.name == PROTECT and batch > 8 else done(stage)
    )
    assert [batch for name, batch in ran.script.submitted if name == PROTECT] == [32, 16, 8]
    assert [(e.batch, e.attempt, e.message) for e in ran.events_of("retried")] == [
        (16, 2, "it broke"),
        (8, 3, "it broke"),
    ]
    assert [e.batch for e in ran.events_of("started") if e.stage is not None and e.stage.name == PROTECT] == [
        None,
        16,
        8,
    ]
    assert ran.of(PROTECT).attempts == 3


def test_if_no_batch_is_small_enough_the_stage_fails(run: Callable[..., Ran]) -> None:
    ran = run(lambda stage, batch, n: broken(stage, again="memory") if stage.name == PROTECT else done(stage))
    assert [batch for name, batch in ran.script.submitted if name == PROTECT] == [32, 16, 8, 4, 2, 1]
    assert (ran.of(PROTECT).status, ran.of(PROTECT).attempts) == ("failed", 6)


def test_a_stage_without_batches_is_not_attempted_again(run: Callable[..., Ran]) -> None:
    name = "toy-mean fitted on toy-faces"
    ran = run(lambda stage, batch, n: broken(stage, again="memory") if stage.name == name else done(stage))
    assert ran.script.attempts(name) == 1
    assert ran.of(name).status == "failed"


@pytest.mark.parametrize(
    ("losses", "batches", "status"), [(1, [32, 32], "ok"), (2, [32, 32, 16], "ok"), (3, [32, 32, 16], "failed")]
)
def test_a_stage_fails_at_the_third_loss_of_its_worker(
    run: Callable[..., Ran], losses: int, batches: list[int], status: str
) -> None:
    ran = run(
        lambda stage, batch, n: broken(stage, again="lost") if stage.name == PROTECT and n <= losses else done(stage)
    )
    assert [batch for name, batch in ran.script.submitted if name == PROTECT] == batches
    assert ran.of(PROTECT).status == status


def test_damaged_inputs_are_computed_again_first(plan: Plan, cache: Cache) -> None:
    """The stage that finds a damaged input removes it."""
    cache.discard(key_of(plan, SIMILARITY))

    def play(stage: Stage, batch: int, n: int) -> Attempt:
        if stage.name == SIMILARITY and n == 1:
            cache.discard(key_of(plan, PROTECT))
            return broken(stage, again="damaged")
        return done(stage)

    ran = Ran(plan, cache, Script(play))
    assert [name for name, _ in ran.script.submitted] == [SIMILARITY, PROTECT, SIMILARITY]
    assert set(ran.statuses().values()) == {"ok"}
    (event,) = ran.events_of("damaged")
    assert event.stage is not None
    assert event.stage.name == PROTECT
    assert "computing it again" in event.message


def test_a_stage_fails_if_its_inputs_are_damaged_again_and_again(plan: Plan, cache: Cache) -> None:
    cache.discard(key_of(plan, SIMILARITY))

    def play(stage: Stage, batch: int, n: int) -> Attempt:
        if stage.name == SIMILARITY:
            cache.discard(key_of(plan, PROTECT))
            return broken(stage, "damage", again="damaged")
        return done(stage)

    ran = Ran(plan, cache, Script(play))
    assert ran.script.attempts(SIMILARITY) == 3
    assert ran.of(SIMILARITY).reason == f"{SIMILARITY}: damage"


def test_a_full_disk_ends_the_run(plan: Plan, tmp_path: Path) -> None:
    def play(stage: Stage, batch: int, n: int) -> Attempt:
        if stage.name == PROTECT:
            raise StorageError("no room")
        return done(stage)

    results: dict[str, StageResult] = {}
    with pytest.raises(StorageError, match="no room"):
        Ran(plan, Cache(tmp_path), Script(play), results)
    assert key_of(plan, FACES) in results, "finished results are kept"


def test_an_interrupted_run_starts_no_more_stages(plan: Plan, tmp_path: Path) -> None:
    interruption, events, results = Interruption(), list[Event](), dict[str, StageResult]()

    def play(stage: Stage, batch: int, n: int) -> Attempt:
        interruption.requested = True
        return done(stage)

    script = Script(play)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(script, plan, Cache(tmp_path), results, events.append, interruption)
    assert [e.kind for e in events] == ["planned", "started", "started", "stopping", "finished", "finished"]
    assert len(script.submitted) == len(results) == 2, "running stages had time to end"


def test_stages_that_do_not_end_in_time_are_abandoned(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_GRACE_S", 0.05)
    interruption, results = Interruption(), dict[str, StageResult]()

    class Deaf(Script):
        def watch(self) -> None:
            interruption.requested = True

    script = Deaf()
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(script, plan, Cache(tmp_path), results, lambda event: None, interruption)
    assert (len(script.running), results) == (2, {})
