"""What counts as utility for each goal of a defense, and the bars that it must meet (see `bench.Defense`)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from bench.analysis.measures import METRICS
from bench.analysis.plugin_metrics import metrics_of
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, TableMetric
from bench.core.domain import Control, Goal

AUTHORISED = TableMetric(label="authorised accuracy", unit="%", digits=1, better="higher")
DROP = METRICS["accuracy-drop"]
UNAUTHORISED = TableMetric(label="unauthorised accuracy, average", unit="%", digits=1, better="lower")
SSIM = METRICS["ssim"]
_ACCURACY = METRICS["accuracy"]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A limit that a defense must meet, with all data sets pooled; ``of`` is what it limits, a field of `Summary`."""

    metric: TableMetric
    limit: float
    text: str
    of: Literal["kept", "drop", "leaked", "ssim"]

    def met(self, measurement: Measurement) -> bool | None:
        """Return whether the value meets the bar; None without a value."""
        if measurement.value is None:
            return None
        return measurement.value >= self.limit if self.metric.better == "higher" else measurement.value <= self.limit

    def certain(self, measurement: Measurement) -> bool:
        """Return whether the whole interval lies on one side of the bar."""
        if measurement.low is None or measurement.high is None:
            return False
        return measurement.low >= self.limit or measurement.high <= self.limit


@dataclass(frozen=True, kw_only=True)
class Purpose:
    """What a goal asks of a defense.

    - ``words``: the goal as a sentence; ``keeps``: what its utility is, for a heading
    - ``metric``: the name of the metric of its utility, whose scores are those of the cells of the question "utility"
    - ``utility``: the label, the unit and the direction of that metric
    - ``bars``: what it must meet to be useful, and what it must meet besides
    - ``hides_pixels``: True if a picture that is similar to the original counts as leakage
    - ``hides_attributes``: True if estimated attributes count as leakage; False if the defense keeps them on purpose
    - ``served``: True if the authorised service is meant to recognise, so that it is no leak if it recognises or links
      as an insider
    - ``note``: why another metric than the intended one stands for its utility; empty if none does
    """

    words: str
    keeps: str
    metric: str
    utility: TableMetric
    bars: Sequence[Bar]
    hides_pixels: bool
    hides_attributes: bool
    served: bool = False
    note: str = ""

    @property
    def of_picture(self) -> bool:
        """True if its utility is what a picture keeps, whichever model looks at it."""
        return self.metric != "accuracy"

    @property
    def utility_bars(self) -> list[Bar]:
        """The bars of its utility."""
        own = {"ssim"} if self.metric == "ssim" else {"kept", "drop"}
        return [bar for bar in self.bars if bar.of in own]


CONTROLS: Mapping[Control, str] = {
    "leaks": "it protects nothing, so every attack must succeed",
    "safe": "what it sends does not depend on the face, so no attack may succeed",
    "learnable": "attacks that learn from its own pictures must succeed, and no others",
}
SIDES: Mapping[str, str] = {
    "probe": "the picture that is sent",
    "gallery": "the picture that is enrolled",
    "both": "both pictures of a pair",
}


def goal_in_words(goal: Goal) -> str:
    """Return a goal with what it asks, as text."""
    return f"{goal}: {PURPOSES[goal].words}"


def bound_in_words(bound: str) -> str:
    """Return a formal guarantee, the JSON of `bench.Bound`, as text: its sentence, and its numbers."""
    found = json.loads(bound)
    numbers = [f"{name} = {found[name]:g}" for name in ("epsilon", "k") if isinstance(found.get(name), int | float)]
    words = str(found.get("words", ""))
    return f"{words} ({', '.join(numbers)})" if numbers else words


def declared_bound(bound: str) -> str:
    """Return the formal guarantee that a defense declares of one upload, out of that of all that an attack received:
    both are JSON."""
    found = json.loads(bound)
    return json.dumps(found.get("declared", found))


_FEW_RECOGNISED = Bar(metric=UNAUTHORISED, limit=0.20, text="at most 20 %", of="leaked")
_LIKENESS = replace(SSIM, label="SSIM to the original", better="higher")
PURPOSES: Mapping[Goal, Purpose] = {
    "recognition": Purpose(
        words="the authorised models still recognise the person",
        keeps="accuracy of authorised models",
        metric="accuracy",
        utility=replace(_ACCURACY, label="accuracy of authorised models", better="higher"),
        bars=(
            Bar(metric=AUTHORISED, limit=0.90, text="at least 90 %", of="kept"),
            Bar(metric=DROP, limit=0.08, text="at most 8 points", of="drop"),
            _FEW_RECOGNISED,
            Bar(metric=SSIM, limit=0.03, text="at most 0.03", of="ssim"),
        ),
        hides_pixels=True,
        hides_attributes=True,
        served=True,
    ),
    "template": Purpose(
        words="its own recogniser matches protected with protected pictures",
        keeps="accuracy of its own recogniser",
        metric="accuracy",
        utility=replace(_ACCURACY, label="accuracy of its own recogniser", better="higher"),
        bars=(Bar(metric=AUTHORISED, limit=0.90, text="at least 90 %", of="kept"),),
        hides_pixels=True,
        hides_attributes=True,
    ),
    "appearance": Purpose(
        words="people still see the same face, and no model recognises it",
        keeps="similarity to the original",
        metric="ssim",
        utility=_LIKENESS,
        bars=(Bar(metric=_LIKENESS, limit=0.90, text="at least 0.90", of="ssim"), _FEW_RECOGNISED),
        hides_pixels=False,
        hides_attributes=False,
    ),
    "anonymity": Purpose(
        words="nobody recognises the person, and as much as possible of the picture is kept",
        keeps="a face with its landmarks in place, or else similarity to the original",
        metric="ssim",
        utility=_LIKENESS,
        bars=(_FEW_RECOGNISED,),
        hides_pixels=False,
        hides_attributes=False,
    ),
}
FACE_KEPT = "face-kept"  # The metric of the plugin bench_facepoints that is the utility of the goal anonymity.


def purpose_of(rows: Rows, goal: Goal) -> Purpose:
    """Return what a goal asks of the defenses of a run.

    The utility of the goal anonymity is the share of pictures that keep a face, its landmarks in place, if all
    experiments with such a defense computed this metric of plugins on all their data sets. Otherwise it is SSIM to the
    original, with a note that says why.
    """
    purpose = PURPOSES[goal]
    cells = [c for c in rows.cells if c.goal == goal and not c.clean]
    if goal != "anonymity" or not cells:
        return purpose
    experiments = dict.fromkeys(c.experiment for c in cells)
    real = [c.dataset for c in cells if not c.synthetic]
    reason = f'the run computed no metric {FACE_KEPT}; add metrics = ["{FACE_KEPT}"] to its experiments'
    for component in rows.results.run.components:
        if component.kind != "metric" or component.name != FACE_KEPT:
            continue
        missing = [e for e in experiments if component.label not in metrics_of(rows, e)]
        if missing:
            reason = f"the experiment {missing[0]} did not compute {component.label}"
        elif component.synthetic and real:
            reason = (
                f"{component.label} learnt from generated faces and is not computed on the real ones of {real[0]}; "
                "name another detector of it"
            )
        else:
            metric = replace(metrics_of(rows)[component.label], better="higher")
            return replace(purpose, metric=metric.name, keeps="a face with its landmarks in place", utility=metric)
    return replace(purpose, note=f"SSIM stands in for the share of pictures that keep a face: {reason}")
