"""Who is exposed: leakage and utility of each defense among groups of people, beside the rest.

A protection that works on average and fails some people fails. Leakage is the share of faces that are matched under the
attack after which most are (links of two uploads belong to no single face), utility is that of the goal of the defense.
Whether a group is exposed more than the rest, or served worse, is tested for all groups and defenses of a question
together (`bench.analysis.shuffle_tests`). How the most exposed people are chosen: `bench.analysis.people_groups`.
docs/design/exposed.md has the definitions and the error rates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.group_scores import FEWEST, GroupScores, Person, SplitScores
from bench.analysis.measures import metric_in
from bench.analysis.people_groups import EXPOSED, PeopleGroup, groups_of
from bench.analysis.rows import Rows
from bench.analysis.shuffle_tests import GroupGap, Ints, ShuffleTest, group_gaps
from bench.analysis.table_model import Column, Measurement, Row, RowGroup, RowKind, Table, TableMetric, absent
from bench.analysis.tables.assessed_defense import AssessedDefense
from bench.analysis.tables.goals import purpose_of
from bench.analysis.tables.recommendation import recommendations
from bench.analysis.tables.row_layout import not_applicable
from bench.analysis.tables.summary import POOLED
from bench.analysis.tables.tried_attacks import MATCH
from bench.core.domain import Goal
from bench.core.text import joined_labels, plural

Asked = Literal["leakage", "utility"]
MORE_EXPOSED, SERVED_WORSE = "more exposed", "served worse"
FLAGS: Mapping[Asked, str] = {"leakage": MORE_EXPOSED, "utility": SERVED_WORSE}
_UNTESTED = "there is nothing to test"
NEEDED = f"a gap needs scores of {FEWEST} people in the group and of {FEWEST} outside"
P_VALUE = TableMetric(label="p", digits=3, bounds=(0.0, 1.0))


@dataclass(frozen=True, kw_only=True)
class GroupAnswer:
    """A question about a group under a defense: what was measured, and the test of the gap, None if there is none.

    A reference without protection is not tested.
    """

    split: SplitScores
    test: ShuffleTest | None = None

    @property
    def flagged(self) -> bool:
        """True if the defense fails the group more than the rest."""
        return self.test is not None and self.test.significant


@dataclass(frozen=True, kw_only=True)
class ExposedEntry:
    """A group of people under a defense; ``attack`` is the one after which most faces are matched on average, empty if
    there is none."""

    goal: Goal
    defense: str
    kind: RowKind
    synthetic: bool
    attack: str
    group: PeopleGroup
    answers: Mapping[Asked, GroupAnswer]

    @property
    def too_few(self) -> bool:
        """True if no question has a gap, mostly because the group or the rest has too few people."""
        return all(answer.split.gap.value is None for answer in self.answers.values())

    @property
    def flags(self) -> list[str]:
        """The conclusions as text."""
        return [flag for asked, flag in FLAGS.items() if asked in self.answers and self.answers[asked].flagged]


def exposed(rows: Rows) -> list[ExposedEntry]:
    """Return an entry for each group under each defense, goal by goal; empty if no group is known."""
    groups = groups_of(rows)
    if not groups:
        return []
    cells = {c.cell: c for c in rows.cells}
    made = []
    for found in recommendations(rows):
        for e in found.entries:
            scores = _scores(rows, e, found.goal, cells)
            made += [(e, found.goal, group, scores) for group in groups if _shown(group, scores)]
    tests = _tested([(e.kind, group, scores) for e, _, group, scores in made], _strata(rows, groups, made))
    return [
        ExposedEntry(
            goal=goal,
            defense=e.name,
            kind=e.kind,
            synthetic=e.synthetic,
            attack=e.worst_match.label if e.worst_match else "",
            group=group,
            answers={
                asked: GroupAnswer(split=own.split(group), test=tests.get((i, asked))) for asked, own in scores.items()
            },
        )
        for i, (e, goal, group, scores) in enumerate(made)
    ]


_Scores = Mapping[Asked, GroupScores]


def _scores(rows: Rows, entry: AssessedDefense, goal: Goal, cells: Mapping[str, CellRow]) -> _Scores:
    """Return the scores of both questions about a defense that have some."""
    leaked = entry.worst_match.cells if entry.worst_match else ()
    kept = [cells[c] for c in entry.utility.cells if c in cells]
    utility = metric_in(rows, purpose_of(rows, goal).metric)
    found: dict[Asked, GroupScores] = {
        "leakage": GroupScores(rows, leaked, MATCH),
        "utility": GroupScores(rows, kept, utility),
    }
    return {asked: own for asked, own in found.items() if own.parts}


def _shown(group: PeopleGroup, scores: _Scores) -> bool:
    """Return True if somebody of the group has a score."""
    return any(any(group.of(cell).values()) for own in scores.values() for cell, _ in own.parts)


def _strata(
    rows: Rows, groups: Sequence[PeopleGroup], made: Sequence[tuple[AssessedDefense, Goal, PeopleGroup, _Scores]]
) -> tuple[dict[Person, int], Ints]:
    """Return the index of each person with a score, and the stratum of each: people are exchanged with those whom the
    same data sets show, and who have genuine pairs as well, or none."""
    sets: dict[Person, set[str]] = {}
    for scores in {id(s): s for *_, s in made}.values():
        for own in scores.values():
            for person, shown in own.people().items():
                sets.setdefault(person, set()).update(shown)
    names = {c.dataset: c.people_of for c in rows.cells}
    ranked = {
        (names[dataset], person)
        for group in groups
        if group.attribute == EXPOSED
        for dataset, members in group.members.items()
        if dataset in names
        for person in members.get("", {})
    }
    people = sorted(sets)
    kinds = [(*sorted(sets[p]), p in ranked) for p in people]
    _, strata = np.unique(np.array([str(kind) for kind in kinds], dtype=str), return_inverse=True)
    return {p: i for i, p in enumerate(people)}, strata.astype(np.int64)


def _tested(
    made: Sequence[tuple[RowKind, PeopleGroup, _Scores]], people: tuple[dict[Person, int], Ints]
) -> dict[tuple[int, Asked], ShuffleTest]:
    """Return the test of each gap by the position of the entry and the question; all gaps of a question are one
    family."""
    index, strata = people
    found: dict[tuple[int, Asked], ShuffleTest] = {}
    for asked in FLAGS:
        family: dict[int, GroupGap] = {}
        for i, (kind, group, scores) in enumerate(made):
            own = scores.get(asked)
            if kind != "clean" and own is not None and own.split(group).gap.value is not None:
                family[i] = own.compared(group, index, 1 if asked == "leakage" else -1)
        tests = group_gaps(strata, list(family.values()))
        found |= {(i, asked): test for i, test in zip(family, tests, strict=True)}
    return found


# ---- as tables -------------------------------------------------------------------------------------------------------


def exposed_tables(rows: Rows) -> list[Table]:
    """Return one table per goal, with a row for each defense and group."""
    return tables_of_entries(rows, exposed(rows))


def tables_of_entries(rows: Rows, entries: Sequence[ExposedEntry]) -> list[Table]:
    """Return the tables of entries that `exposed` returned."""
    return [
        _table(rows, goal, [e for e in entries if e.goal == goal]) for goal in dict.fromkeys(e.goal for e in entries)
    ]


def _table(rows: Rows, goal: Goal, entries: Sequence[ExposedEntry]) -> Table:
    other_goal = "" if goal == "recognition" else f", goal {goal}"
    return Table(
        name="exposed",
        title=f"Who is exposed{other_goal}",
        caption=f"Leakage and utility among groups of people and among all others with known membership; data sets and "
        f"evaluated models pooled. N is that of the group. {_attack_in_words(entries)}",
        columns=_columns(purpose_of(rows, goal).utility),
        groups=[
            RowGroup(
                label=POOLED,
                rows=rows_of_entries(entries),
                synthetic=any(e.synthetic for e in entries),
            )
        ],
        experiment=" + ".join(rows.experiments),
        source="samples/verification, samples/images and samples/people",
        row_heading="Defense: group of people",
        ranked=False,
        notes=notes(entries),
    )


def _columns(utility: TableMetric) -> list[Column]:
    found = []
    for metric, name in ((replace(MATCH, label="leakage"), "leakage"), (utility, "utility")):
        gap = replace(metric, label=f"gap in {name}", unit="points" if metric.unit == "%" else metric.unit)
        span = metric.range[1] - metric.range[0]
        found += [
            Column(label=name, metric=metric),
            Column(label=f"{name} of the rest", metric=metric),
            Column(label=gap.label, metric=replace(gap, bounds=(-span, span), better="")),
            Column(label=f"p of the gap in {name}", metric=replace(P_VALUE, label=f"p of the gap in {name}")),
        ]
    return found


def _attack_in_words(entries: Sequence[ExposedEntry]) -> str:
    """Return the sentences on the attack of each defense."""
    defenses: dict[str, dict[str, None]] = {}
    for e in entries:
        defenses.setdefault(e.attack, {})[e.defense] = None
    defenses.pop("", None)
    if not defenses:
        return "No attack matches faces."
    which = [
        attack if len(defenses) == 1 else f"{attack} on {joined_labels(list(of))}" for attack, of in defenses.items()
    ]
    return (
        f"Leakage: faces matched after the attack after which most are matched on average: {'; '.join(which)}. Links "
        "belong to two uploads and to no single face, and are not counted here, also where they leak most."
    )


def rows_of_entries(entries: Sequence[ExposedEntry], *, named: bool = True) -> list[Row]:
    """Return the rows of groups under their defenses; ``named``: whether labels begin with the defense. The groups of a
    defense that have too few people for any gap share one row, which says how many people a gap needs."""
    found = []
    for defense in dict.fromkeys(e.defense for e in entries):
        own = [e for e in entries if e.defense == defense]
        found += [_row(e, named) for e in own if not e.too_few]
        if few := sum(e.too_few for e in own):
            label = f"{few} of {plural(len(own), 'group')} of people"
            found.append(
                Row(
                    label=f"{defense}: {label}" if named else label,
                    kind=own[0].kind,
                    measurements=[absent("too few people", NEEDED), *[not_applicable(NEEDED)] * (4 * len(FLAGS) - 1)],
                    defense=defense,
                )
            )
    return found


def _row(entry: ExposedEntry, named: bool) -> Row:
    measurements: list[Measurement] = []
    for asked in FLAGS:
        answer = entry.answers.get(asked)
        if answer is None:
            measurements += [absent("missing", f"{asked} was not measured")] * 4
            continue
        split = answer.split
        measurements += [split.inside, split.rest, split.gap, _p_value(answer, entry.kind)]
    label = f"{entry.defense}: {entry.group.name}" if named else entry.group.name
    return Row(label=label, kind=entry.kind, measurements=measurements, defense=entry.defense, flags=entry.flags)


def _p_value(answer: GroupAnswer, kind: RowKind) -> Measurement:
    if answer.test is None:
        reason = "the reference without protection is not tested" if kind == "clean" else answer.split.gap.reason
        return absent("not tested", reason or _UNTESTED)
    return Measurement(value=answer.test.p, n=answer.split.inside.n, people=answer.split.inside.people)


def notes(entries: Sequence[ExposedEntry]) -> list[str]:
    """Return sentences on how people were chosen, what was tested and what was not."""
    sizes = {asked: max((_family(e, asked) for e in entries), default=0) for asked in FLAGS}
    tested = ", ".join(f"{plural(n, 'gap')} in {asked}" for asked, n in sizes.items() if n)
    found = []
    if any(e.group.attribute == EXPOSED for e in entries):
        found.append(
            f"The tenth {EXPOSED}: people with genuine pairs whom recognisers tell apart best on clean pictures, by "
            "the mean of the ranks of all recognisers but the one that is evaluated; no protected picture takes part "
            "in the choice."
        )
    else:
        found.append(
            f"Nobody could be chosen as {EXPOSED}: that needs a second recogniser, because the one that is evaluated "
            "must not choose."
        )
    if {e.group.attribute for e in entries} <= {EXPOSED}:
        found.append(
            "The run holds no labels of people, so that no group of gender, age or appearance is known: the data set "
            "has none, or an older version made the run (bench rescore adds them)."
        )
    if tested:
        found.append(
            f"{MORE_EXPOSED}, {SERVED_WORSE}: the gap is significant in a test that shuffles people, corrected for "
            f"{tested}. If no group differs, one of the flags of a question is raised in at most 5 % of runs; "
            f"intervals are those of single gaps. A gap needs {FEWEST} people on both sides."
        )
    return found


def _family(entry: ExposedEntry, asked: Asked) -> int:
    answer = entry.answers.get(asked)
    return answer.test.family if answer is not None and answer.test is not None else 0
