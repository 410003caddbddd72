"""The primary tests of two runs: one metric for each question about each setting, and nothing else is tested.

A setting is a defense with its parameters in an experiment, and an attack on it. Its data sets, authorised and
evaluated models and repeats are pooled, as in the verdict. So the number of tests is that of the questions that the
runs answer, and the correction for it leaves enough power to see more than a collapse.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.analysis.cells import CellRow
from bench.analysis.compare.matching import Better
from bench.analysis.compare.sample_pairs import CellPair
from bench.analysis.compare.significance import LEVEL, ComparedPools, Difference, corrected
from bench.analysis.measures import SampleMetric, metric_in, metric_named
from bench.analysis.rows import Rows
from bench.analysis.tables.goals import PURPOSES, purpose_of
from bench.analysis.tables.questions import PRIMARY, Question, asked
from bench.analysis.tables.row_layout import Sides, sides_of
from bench.core.domain import Goal

DiffVerdict = Literal["regression", "improvement", "change", "not significant", "same"]
VERDICTS: Sequence[DiffVerdict] = ("regression", "improvement", "change", "not significant", "same")
_BETTER: dict[Question, Better] = {"utility": "higher", "leakage": "lower", "reference": ""}
_OLDER = (
    "the run {} was scored by an older version, at another threshold and without measured chance levels; update it "
    "with bench rescore"
)


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a test is about: a defense in an experiment, and the attack on it; ``attack`` and ``via`` are labels, empty
    where what was uploaded is judged as it is. ``params`` is canonical text of the parameters of defense and attack."""

    experiment: str
    defense: str
    attack: str
    via: str
    params: str = ""

    def __str__(self) -> str:
        attack = f"{self.attack} via {self.via}" if self.via else self.attack
        return f"{self.experiment}: {', '.join(name for name in (self.defense, attack) if name)}"


@dataclass(frozen=True, kw_only=True)
class PrimaryTest:
    """The answer to one question about one setting in both runs.

    ``cells`` are the ids of the pooled cells in both runs. ``corrected`` is the p-value after Holm's correction over
    all tests, ``detectable`` the smallest difference that would have been found with 80 % power; either is None where
    it is unknown.
    """

    question: Question
    setting: Setting
    metric: SampleMetric
    better: Better
    cells: Sequence[tuple[str, str]]
    synthetic: bool
    found: Difference
    corrected: float | None = None
    detectable: float | None = None

    @property
    def significant(self) -> bool:
        """True if the corrected p-value is below the level and the difference does not vanish by rounding for
        display."""
        return self.corrected is not None and self.corrected < LEVEL and self.metric.visible(self.found.value)

    @property
    def verdict(self) -> DiffVerdict:
        """The meaning of the difference; a significant one is a ``change`` where neither direction is better."""
        if self.found.same:
            return "same"
        if not self.significant:
            return "not significant"
        if not self.better:
            return "change"
        return "improvement" if (self.found.value > 0) == (self.better == "higher") else "regression"


@dataclass(frozen=True, kw_only=True)
class Untested:
    """A question about a setting that was not tested, with the reason."""

    question: Question
    setting: Setting
    metric: SampleMetric
    why: str


@dataclass(kw_only=True)
class _Answer:
    """The pooled scores of both runs for one question about one setting."""

    question: Question
    setting: Setting
    metric: SampleMetric
    pools: ComparedPools
    cells: list[tuple[str, str]] = field(default_factory=list)
    synthetic: bool = False
    why: str = ""
    counted: set[Hashable] = field(default_factory=set)

    def add(self, pair: CellPair) -> None:
        """Add the scores of a cell of both runs."""
        once = self.metric.once_per(pair.cells[0]) if self.metric.once_per else None
        if once is not None and once in self.counted:
            return
        older = pair.older(self.metric)
        if any(older):
            self.why = self.why or _OLDER.format("before" if older[0] else "after")
            return
        scores = pair.scores(self.metric)
        if scores is None:
            self.why = self.why or self.metric.missing
            return
        self.pools.add(scores)
        self.counted.add(once)
        if not len(scores.before.values):
            return
        self.cells.append((pair.cells[0].cell, pair.cells[1].cell))
        self.synthetic = self.synthetic or pair.cells[0].synthetic or pair.cells[1].synthetic


class PrimaryTests:
    """Collects the scores of all cells that both runs have, and tests each question about each setting."""

    def __init__(self, before: Rows, after: Rows) -> None:
        self._rows = before, after
        self._sides: Sides = sides_of([*before.cells, *after.cells])
        self._answers: dict[tuple[Question, Setting, str], _Answer] = {}
        self._attributes: dict[str, list[str]] = {}

    def add(self, pair: CellPair) -> None:
        """Add a cell that ended well in both runs to the answers of all questions that it is asked."""
        cell = pair.cells[0]
        for question in PRIMARY:
            if cell.clean != (question == "reference") or not asked(question, cell, self._sides):
                continue
            setting = _setting(question, cell)
            for metric in self._metrics(question, cell):
                key = question, setting, metric.name
                if key not in self._answers:
                    pools = ComparedPools(share=metric.share)
                    self._answers[key] = _Answer(question=question, setting=setting, metric=metric, pools=pools)
                self._answers[key].add(pair)

    def _metrics(self, question: Question, cell: CellRow) -> Iterator[SampleMetric]:
        """Yield the metric of a question; of attributes, that of each attribute which both runs estimated. Utility is
        what the goal of the defense says, by a metric that both runs have."""
        experiment = cell.experiment
        if question == "utility":
            yield self._utility(cell.goal)
            return
        if question != "attributes":
            yield metric_named(PRIMARY[question]).toward([cell])
            return
        if experiment not in self._attributes:
            before, after = (rows.attributes(experiment) for rows in self._rows)
            self._attributes[experiment] = [name for name in before if name in after]
        for name in self._attributes[experiment]:
            yield metric_named(f"{PRIMARY[question]}:{name}").toward([cell])

    def _utility(self, goal: Goal) -> SampleMetric:
        found = [purpose_of(rows, goal).metric for rows in self._rows]
        name = found[0] if found[0] == found[1] else PURPOSES[goal].metric
        return metric_in(self._rows[0], name)

    def results(self) -> tuple[list[PrimaryTest], list[Untested]]:
        """Return all tests, corrected for their number, and the questions that could not be tested."""
        compared = [(answer, answer.pools.difference()) for answer in self._answers.values()]
        known = [(answer, found) for answer, found in compared if found is not None]
        tests = [
            PrimaryTest(
                question=answer.question,
                setting=answer.setting,
                metric=answer.metric,
                better=_better(answer.question, answer.metric),
                cells=answer.cells,
                synthetic=answer.synthetic,
                found=found,
                corrected=result.p,
                detectable=_possible(answer.metric, found, result.detectable),
            )
            for (answer, found), result in zip(known, corrected([found for _, found in known]), strict=True)
        ]
        untested = [
            Untested(
                question=answer.question,
                setting=answer.setting,
                metric=answer.metric,
                why=answer.why or "one of the runs has no finite score",
            )
            for answer, found in compared
            if found is None
        ]
        return tests, untested


def _setting(question: Question, cell: CellRow) -> Setting:
    """Return the setting of a cell.

    Utility and the reference are about the upload, whatever attack recognises it; appearance is about a picture, which
    several attacks may judge: parameters count for it only if they are those of the attack that made it.
    """
    attack, via = cell.attack, cell.via
    if question in ("utility", "reference"):
        attack, via = "", ""
    elif question == "appearance":
        attack, via = cell.picture, ""
    own = cell.attack_settings if attack == cell.attack else ""
    return Setting(
        experiment=cell.experiment,
        defense=cell.defense,
        attack=attack,
        via=via,
        params=f"{cell.settings} {own}",
    )


def _possible(metric: SampleMetric, found: Difference, detectable: float | None) -> float | None:
    """Return a detectable difference; None if the metric cannot differ so much from what it was before."""
    low, high = metric.range
    return detectable if detectable is not None and detectable <= max(high - found.before, found.before - low) else None


def _better(question: Question, metric: SampleMetric) -> Better:
    """Return which direction of a metric is better for the defense."""
    if question in _BETTER:
        return _BETTER[question]
    return "" if metric.better == "split" else metric.better
