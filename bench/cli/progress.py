"""What the terminal shows of a run while it goes on: here, and from another terminal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bench.cli.console import draws_bars, duration, err, out
from bench.core.domain import Event, Stage, StageResult
from bench.planning.plan import Plan
from bench.runs.status import RunStatus, Watch
from bench.runs.time_left import TimeLeft, expected

_SHOW_S, _TELL_S = 0.2, 30.0  # at most between two states of a bar, and between two lines of a log file
_REFRESH_S = 2.0  # of a status that is watched


class Progress:
    """Stages done, found in the cache, failed, and the time left (see `bench.runs.time_left`)."""

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan = plan
        self.workers = workers
        self.left = TimeLeft(workers, {})
        self.done: dict[str, StageResult] = {}
        self.running: dict[str, str] = {}
        self.shares: dict[str, float] = {}  # of running stages that tell how far they are
        self.started = time.monotonic()
        self.told = self.shown = -math.inf
        self.interactive = draws_bars()
        self.bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), console=err,
            disable=not self.interactive,
        )  # fmt: skip
        self.task = self.bar.add_task("stages", total=1.0, state="")

    def __enter__(self) -> Progress:
        plan = self.plan
        shared = sum(count > 1 for count in plan.uses().values())
        stages = f"{len(plan.stages)} stages, {shared} of them shared"
        err.print(f"suite {plan.suite.name}: {len(plan.cells)} cells, {stages}, device {plan.device}")
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.update(self.task, completed=self.left.share(), state=self._state(time.monotonic()))
        self.bar.stop()
        if kind is None:
            failed = sum(r.status != "ok" for r in self.done.values())
            computed = sum(r.status == "ok" and not r.cached for r in self.done.values())
            took = duration(time.monotonic() - self.started)
            err.print(f"{computed} stages computed{f', {failed} failed' if failed else ''}, in {took}")

    def on_event(self, event: Event) -> None:
        """Receive what the engine reports."""
        stage = event.stage
        if event.kind == "stopping":
            count = len(event.stages)
            err.print(f"\nstopping: {count} stages are running and get a moment; Ctrl-C again stops at once")
        elif stage is None:
            self.left = TimeLeft(self.workers, expected(event.stages, event.path_seconds))
            cached = len(self.plan.stages) - len(event.stages)
            err.print(f"{len(event.stages)} stages to compute, {cached} in the cache or not needed")
        elif event.kind == "damaged":
            err.print(f"note: {event.message}", style="yellow")
        elif event.kind == "retried":
            err.print(f"note: {stage.name} is tried again: {event.message}", style="yellow", soft_wrap=True)
        else:
            self._count(event, stage)

    def _count(self, event: Event, stage: Stage) -> None:
        now = time.monotonic()
        if event.kind == "progress":
            self.shares[stage.key] = event.share
            self.left.told(stage.key, event.share, now)
        elif event.result is None:
            self.running[stage.key] = stage.name
            self.left.started(stage.key, now)
        else:
            result = event.result
            self.running.pop(stage.key, None)
            self.shares.pop(stage.key, None)
            self.done[stage.key] = result
            self.left.ended(stage.key, now, result.seconds if result.status == "ok" and not result.cached else None)
            if result.status != "ok":
                self._show_failure(stage, result)
        self._show(now)

    def _show_failure(self, stage: Stage, result: StageResult) -> None:
        """A line for the stage that failed; what depends on it fails with the same reason and is not repeated."""
        reason = str(result.reason)
        if reason.startswith(stage.name):
            err.print(f"{result.status}: {reason}", style="red")

    def _show(self, now: float) -> None:
        if self.interactive and now - self.shown > _SHOW_S:
            self.shown = now
            state = self._state(now)
            if self.shares:
                state += f"; {self._state_of(max(self.shares, key=lambda k: self.plan.stages[k].cost))}"
            self.bar.update(self.task, completed=self.left.share(), state=state)
        elif not self.interactive and self.done and now - self.told > _TELL_S:
            self.told = now
            running = "; ".join(map(self._state_of, self.running))
            state = f"{duration(now - self.started)}: {self._state(now)}"
            err.print(f"  {state}{'; ' + running if running else ''}", soft_wrap=True)

    def _state(self, now: float) -> str:
        left = self.left.left(now)
        state = f"{len(self.done)} done, {len(self.running)} running"
        return f"{state}, about {duration(left)} left" if left else state

    def _state_of(self, key: str) -> str:
        part = self.shares.get(key)
        return f"{self.running.get(key, '')}{f' {100 * part:.0f} %' if part else ''}"


_STATES: Mapping[str, str] = {
    "running": "running{for_}",
    "complete": "complete{after}",
    "incomplete": "ended with failures{after}; the same command tries them again",
    "interrupted": "interrupted{after}; the same command goes on from there",
    "died": "died{after} without a word; the same command goes on from there",
}


def show_status(found: Sequence[RunStatus], *, as_json: bool) -> None:
    """``bench status``."""
    if as_json:
        out.file.write(json.dumps([dataclasses.asdict(run) for run in found], indent=1, default=str) + "\n")
    else:
        out.print(status_text(found), soft_wrap=True, end="")


def watch_status(watches: Sequence[Watch]) -> None:
    """``bench status --watch``: until the runs have ended, or Ctrl-C. What is no terminal gets the end."""
    live = Live(console=out, auto_refresh=False, vertical_overflow="visible")
    with contextlib.suppress(KeyboardInterrupt), live:
        while True:
            found = [watch.look() for watch in watches]
            live.update(status_text(found), refresh=True)
            if all(run.state != "running" for run in found):
                return
            time.sleep(_REFRESH_S)


def status_text(found: Sequence[RunStatus]) -> Text:
    """How runs go, in some lines for each."""
    return Text("\n").join(Text.assemble(*_status_lines(run)) for run in found)


def _status_lines(run: RunStatus) -> Iterator[str | tuple[str, str]]:
    took = [f" {word} {duration(run.seconds)}" if run.seconds is not None else "" for word in ("for", "after")]
    style = {"running": "green", "complete": "green"}.get(run.state, "red")
    yield from (
        (run.suite, "bold"),
        ": ",
        (_STATES[run.state].format(for_=took[0], after=took[1]), style),
        f"\n  {run.folder}\n",
    )
    if "pid" in run.session:
        who = {"workers": "?", "engine": "?", "device": "?", "host": "?", **run.session}
        verb = "led" if run.state == "running" else "was led"
        yield f"  {verb} by process {who['pid']} on {who['host']}: "
        yield f"{who['engine']} engine, {who['workers']} workers, {who['device']}\n"
    if run.stages is not None:
        failed = sum(1 + stage.followers for stage in run.failed)
        cached = f" ({run.cached} of them were there before)" if run.cached else ""
        yield f"  stages: {run.done} of {run.stages} done{cached}, {len(run.running)} running, {run.queued} queued, "
        yield f"{failed} failed\n"
    if run.left is not None:
        yield f"  about {duration(run.left)} left\n"
    for stage in run.running:
        if stage.worker is None or stage.seconds is None:
            yield f"  waits for a worker: {stage.name}\n"
        else:
            yield f"  {stage.worker}: {stage.name}, {100 * (stage.share or 0):.0f} % in {duration(stage.seconds)}\n"
    for bad in run.failed:
        also = f" (and {bad.followers} stages that need it)" if bad.followers else ""
        yield (f"  {bad.status}: {bad.name}: {bad.reason}{also}\n", "red")
