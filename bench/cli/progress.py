"""The progress of a run in the terminal: the bar of ``bench run``, and the text of ``bench status``."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType

from rich.live import Live
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from bench.cli.console import draws_bars, err, out
from bench.cli.terminal import say_json
from bench.core.domain import Event, Stage, StageResult
from bench.core.text import duration, one_line, plural
from bench.planning.plan import Plan
from bench.runs.status import RunStatus, Watch
from bench.runs.time_left import TimeLeftEstimator, expected

_DRAW_S = 0.2  # The progress bar is drawn at most once in this time.
_LOG_S = 30.0  # A line of progress is written to a log file at most once in this time.
_REFRESH_S = 2.0  # ``bench status --watch`` reads the status again after this time.


class Progress:
    """Shows the progress of a run on stderr while it is computed: stages done, running and failed, and the time left.

    On a terminal it draws a bar; otherwise it prints a line when the first stage is done, and every 30 seconds.
    `bench.runs.time_left` estimates the time. Use it as a context manager, and pass `on_event` to
    `bench.runs.run.run_plan`.
    """

    def __init__(self, plan: Plan, workers: int) -> None:
        self.plan = plan
        self.workers = workers
        self.time_left = TimeLeftEstimator(workers, {})
        self.done: dict[str, StageResult] = {}  # by stage key
        self.running: dict[str, str] = {}  # the names of running stages, by key
        self.shares: dict[str, float] = {}  # the share that is done of each running stage that reports it, by key
        self.started = time.monotonic()
        self.logged_at = self.drawn_at = -math.inf
        self.interactive = draws_bars()
        self.bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"), console=err,
            disable=not self.interactive,
        )  # fmt: skip
        self.task = self.bar.add_task("stages", total=1.0, state="")

    def __enter__(self) -> Progress:
        plan = self.plan
        shared = sum(count > 1 for count in plan.uses().values())
        stages = f"{plural(len(plan.stages), 'stage')}, {shared} of them shared"
        err.print(f"suite {plan.suite.name}: {plural(len(plan.cells), 'cell')}, {stages}, device {plan.device}")
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.update(self.task, completed=self.time_left.share(), state=self._summary(time.monotonic()))
        self.bar.stop()
        if kind is None:
            failed = sum(r.status != "ok" for r in self.done.values())
            computed = sum(r.status == "ok" and not r.cached for r in self.done.values())
            took = duration(time.monotonic() - self.started)
            err.print(f"{plural(computed, 'stage')} computed{f', {failed} failed' if failed else ''}, in {took}")

    def on_event(self, event: Event) -> None:
        """Show an event of the run: stages were planned, a stage began, progressed, ended or is tried again, the cache
        holds a damaged artifact, or the run is being stopped."""
        stage = event.stage
        if event.kind == "stopping":
            running = plural(len(event.stages), "stage is running and gets", "stages are running and get")
            err.print(f"\nstopping: {running} a moment; Ctrl-C again stops at once")
        elif stage is None:
            self.time_left = TimeLeftEstimator(self.workers, expected(event.stages, event.path_seconds))
            cached = len(self.plan.stages) - len(event.stages)
            err.print(f"{plural(len(event.stages), 'stage')} to compute, {cached} in the cache or not needed")
        elif event.kind == "damaged":
            err.print(f"note: {event.message}", style="yellow")
        elif event.kind == "retried":
            err.print(f"note: {stage.name} is tried again: {event.message}", style="yellow", soft_wrap=True)
        else:
            self._update(event, stage)

    def _update(self, event: Event, stage: Stage) -> None:
        """Take an event of a stage (``started``, ``progress`` or ``finished``) into account and draw the progress."""
        now = time.monotonic()
        if event.kind == "progress":
            self.shares[stage.key] = event.share
            self.time_left.reported(stage.key, event.share, now)
        elif event.result is None:
            self.running[stage.key] = stage.name
            self.time_left.started(stage.key, now)
        else:
            result = event.result
            self.running.pop(stage.key, None)
            self.shares.pop(stage.key, None)
            self.done[stage.key] = result
            computed = result.status == "ok" and not result.cached
            self.time_left.ended(stage.key, now, result.seconds if computed else None)
            if result.status != "ok":
                self._show_failure(stage, result)
        self._draw(now)

    def _show_failure(self, stage: Stage, result: StageResult) -> None:
        """Print why a stage failed by itself; stages that failed because of one of their inputs are not printed."""
        if result.failed_stage == stage.key:
            err.print(f"{result.status}: {result.reason}", style="red")

    def _draw(self, now: float) -> None:
        """Draw the bar, with the most expensive running stage that reports its share; without a terminal, print a line.

        Nothing happens if the last time was too recent (see ``_DRAW_S`` and ``_LOG_S``).
        """
        if self.interactive and now - self.drawn_at > _DRAW_S:
            self.drawn_at = now
            state = self._summary(now)
            if self.shares:
                state += f"; {self._stage_text(max(self.shares, key=lambda k: self.plan.stages[k].cost))}"
            self.bar.update(self.task, completed=self.time_left.share(), state=state)
        elif not self.interactive and now - self.logged_at > _LOG_S:
            if not self.done and now - self.started <= _LOG_S:
                return
            self.logged_at = now
            running = "; ".join(map(self._stage_text, self.running))
            state = f"{duration(now - self.started)}: {self._summary(now)}"
            err.print(f"  {state}{'; ' + running if running else ''}", soft_wrap=True)

    def _summary(self, now: float) -> str:
        """Return the counts of done and running stages and the time left, as text."""
        left = self.time_left.left(now)
        state = f"{len(self.done)} done, {len(self.running)} running"
        return f"{state}, about {duration(left)} left" if left else state

    def _stage_text(self, key: str) -> str:
        """Return the name of a running stage and, if it reports it, the percentage that is done."""
        share = self.shares.get(key)
        return f"{self.running.get(key, '')}{f' {100 * share:.0f} %' if share else ''}"


_STATES: Mapping[str, str] = {
    "running": "running{for_}",
    "complete": "complete{after}",
    "incomplete": "ended with failures{after}; the same command tries them again",
    "interrupted": "interrupted{after}; the same command continues from there",
    "died": "died{after}; the same command continues from there",
}


def show_status(found: Sequence[RunStatus], *, as_json: bool) -> None:
    """Print what ``bench status`` shows: the status of some runs, as text or as JSON."""
    if as_json:
        say_json([dataclasses.asdict(run) for run in found])
    else:
        out.print(status_text(found), soft_wrap=True, end="")


def watch_status(watches: Sequence[Watch]) -> None:
    """Show the status of some runs, refreshed every two seconds, until all have ended or Ctrl-C is pressed.

    If stdout is not a terminal, only the last status is written.
    """
    live = Live(console=out, auto_refresh=False, vertical_overflow="visible")
    with contextlib.suppress(KeyboardInterrupt), live:
        while True:
            found = [watch.look() for watch in watches]
            live.update(status_text(found), refresh=True)
            if all(run.state != "running" for run in found):
                return
            time.sleep(_REFRESH_S)


def status_text(found: Sequence[RunStatus]) -> Text:
    """Return the status of some runs as text, with several lines for each run."""
    return Text("\n").join(Text.assemble(*_status_lines(run)) for run in found)


def _status_lines(run: RunStatus) -> Iterator[str | tuple[str, str]]:
    """Yield the status of one run as pieces of text, with or without a Rich style."""
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
        yield f"  {verb} by process {who['pid']} on {one_line(str(who['host']))}: "
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
            yield f"  waits for a worker: {one_line(stage.name)}\n"
        else:
            done = f"{100 * (stage.share or 0):.0f} % in {duration(stage.seconds)}"
            yield f"  {one_line(stage.worker)}: {one_line(stage.name)}, {done}\n"
    for bad in run.failed:
        also = f" (and {bad.followers} stages that need it)" if bad.followers else ""
        yield (f"  {bad.status}: {one_line(bad.name)}: {one_line(bad.reason)}{also}\n", "red")
    for label, note in run.notes:
        yield (f"  note on {one_line(label)}: {one_line(note)}\n", "yellow")
