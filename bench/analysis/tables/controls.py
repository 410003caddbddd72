"""The controls of a run: does each attacker succeed where everything leaks, and find nothing where nothing can leak?

A row is an attacker, a column a control. Numbers say how far the attacker got on the way from chance to everything, so
that attackers of all channels can be compared. `bench.analysis.tables.self_checks` decides what follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.rows import Rows
from bench.analysis.table_model import Column, Measurement, Row, RowGroup, Table, absent
from bench.analysis.tables.goals import CONTROLS
from bench.analysis.tables.self_checks import AttackerCheck, control_settings, self_checks
from bench.analysis.tables.summary import POOLED
from bench.analysis.tables.tried_attacks import RECOVERED, Attacker, names_of
from bench.core.domain import Control
from bench.core.text import joined_labels, plural


@dataclass(frozen=True, kw_only=True)
class ControlResult:
    """A control defense of a run: ``expected`` says what a working tester finds, ``wrong`` which attackers did not find
    it, as text that is empty if all did, and ``tried`` is the number of attackers."""

    name: str
    control: Control
    expected: str
    tried: int
    wrong: str

    @property
    def words(self) -> str:
        """The result as a sentence."""
        found = self.wrong or f"{plural(self.tried, 'attacker')} did as expected"
        return f"{self.name}: {self.expected}. {found}."


def control_results(rows: Rows) -> list[ControlResult]:
    """Return the controls of a run, in the suite's order."""
    checks = self_checks(rows)
    names = names_of(list(checks))
    return [
        ControlResult(
            name=own[0].defense,
            control=control,
            expected=CONTROLS[control],
            tried=sum(own[0].defense in check.tried for check in checks.values()),
            wrong="; ".join(_wrong(control, own[0].defense, checks, names)),
        )
        for own in control_settings(rows.cells).values()
        if (control := own[0].control) is not None
    ]


def _wrong(
    control: Control, name: str, checks: Mapping[Attacker, AttackerCheck], names: Mapping[Attacker, str]
) -> Iterator[str]:
    """Yield what attackers did on a control that working attackers do not do."""
    beat = {a: c.tried[name].leaks for a, c in checks.items() if name in c.tried}
    must = [a for a in beat if control == "leaks" or (control == "learnable" and checks[a].learns)]
    may_not = [a for a in beat if control == "safe" or (control == "learnable" and checks[a].learns is False)]
    if missed := [names[a] for a in must if beat[a] is False]:
        yield f"Not shown by {joined_labels(missed)}"
    if caught := [names[a] for a in may_not if beat[a]]:
        yield f"Yet chance was beaten by {joined_labels(caught)}"


def controls_tables(rows: Rows) -> list[Table]:
    """Return the attackers of a run on its controls as one table; none without a control."""
    results = control_results(rows)
    if not results:
        return []
    checks = self_checks(rows)
    names = names_of(list(checks))
    controls = [r.name for r in results]
    return [
        Table(
            name="controls",
            title="Do the attackers work?",
            caption="How far each attacker gets on the controls, from chance (0 %) to everything (100 %), by its "
            "clearest finding; data sets and authorised models pooled. An attacker that fails is marked in every table "
            "and does not decide the verdict.",
            columns=[Column(label=r.name, metric=replace(RECOVERED, better="")) for r in results],
            groups=[
                RowGroup(
                    label=POOLED,
                    rows=[_row(check, names[a], controls) for a, check in checks.items()],
                    synthetic=any(c.synthetic for c in rows.cells),
                )
            ],
            experiment=" + ".join(rows.experiments),
            source="samples/verification, samples/links and samples/attributes of the cells of the controls",
            row_heading="Attacker",
            ranked=False,
            notes=[r.words for r in results],
        )
    ]


def _row(check: AttackerCheck, name: str, controls: Sequence[str]) -> Row:
    return Row(
        label=f"{name} ({check.channel})",
        kind="model-free",
        measurements=[_measured(check, control) for control in controls],
        flags=[check.words],
        looks={} if check.mark else {check.words: "safe"},
    )


def _measured(check: AttackerCheck, control: str) -> Measurement:
    attack = check.tried.get(control)
    if attack is None:
        return absent("not tested", "this attacker was not run on this control")
    return replace(attack.worst.recovered, attack=attack.label)
