"""The leaderboards of a site: which runs ask the same questions, and how the defenses of all of them stand.

Defenses of one goal are compared as in the report of a single run (`bench.analysis.tables.recommendation`): utility,
the worst case, bootstrap draws of people and tests are computed by the same functions, over the rows of several runs.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bench.analysis.cells import CellRow
from bench.analysis.table_model import Measurement, TableMetric
from bench.analysis.tables.assessed_defense import LEAKAGE, AssessedDefense, Assessment
from bench.analysis.tables.goals import CONTROLS, Bar, Purpose, purpose_of
from bench.analysis.tables.recommendation import Recommendation, assessments, by_itself, compare
from bench.analysis.tables.self_checks import control_settings
from bench.analysis.tables.tried_attacks import CHANNEL_NAMES, Attacker, TriedAttack, names_of
from bench.analysis.tables.verdict_table import OF_CHANNEL
from bench.core.domain import Channel, Control, Goal
from bench.core.packages import DISTRIBUTION
from bench.report.page.recommendation import remarks
from bench.report.site.sources import Source
from bench.store.badges import badge_key
from bench.store.run_record import ComponentRecord
from bench.suite.from_reference import without_defenses

Found = tuple[TableMetric, Measurement]


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """A defense on a board, as one run measured it.

    ``rank`` is None for controls, and for a defense that is not ranked, for ``reasons``. ``of_attackers`` is what each
    attacker found of it.
    """

    entry: AssessedDefense
    source: Source
    cell: CellRow
    board: str
    found: Recommendation
    rank: int | None = None
    reasons: Sequence[str] = ()
    of_attackers: Mapping[Attacker, TriedAttack] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Its name, which no other defense of the board has."""
        return self.entry.name

    @property
    def control(self) -> Control | None:
        """What it is a control for; None for a defense."""
        return self.cell.control

    @property
    def expected(self) -> str:
        """What a working tester finds of a control; empty for a defense."""
        return CONTROLS[self.control] if self.control else ""

    @property
    def component(self) -> ComponentRecord | None:
        """Its record in the run; None if the run has none."""
        return self.source.run.component("defense", self.cell.recorded)

    @property
    def built_in(self) -> bool:
        """True if its plugin comes with bench."""
        component = self.component
        return component is not None and component.origin.distribution == DISTRIBUTION

    @property
    def badge(self) -> str:
        """Whether its plugin comes with bench, or had passed the checks of the kit when the run was made."""
        component, checked = self.component, self.source.run.checked
        if component is None or self.built_in:
            return "built in" if component else "not recorded"
        if checked is None:
            return "not recorded"
        return "checked" if checked.get(badge_key(component)) else "unchecked"

    @property
    def mark(self) -> str:
        """Where its rows are from: the reference run, a run of whoever made the site, or a bundle."""
        if self.source.kind == "bundle":
            known = self.source.verification
            return "not verified" if known is None else "verified" if known.ok else "verification failed"
        return "reference" if self.source.kind == "reference" else "own run"

    @property
    def family(self) -> str:
        """What kind of defense it is, for a filter."""
        if self.control:
            return "control"
        if self.entry.kind == "authorised":
            return "made for authorised models"
        return "made with surrogate models" if self.entry.surrogates else "knows no model"

    @property
    def flagged(self) -> Sequence[str]:
        """What a reader must know about a ranked defense."""
        return ["leaks like no protection"] if self.entry.protects is False else []


@dataclass(frozen=True, kw_only=True)
class GoalBoard:
    """The defenses of a board with one goal, ranked, then controls, then those that are not ranked.

    ``attackers`` are the names of all attackers by channel.
    """

    goal: Goal
    purpose: Purpose
    found: Recommendation
    ranked: Sequence[Standing]
    controls: Sequence[Standing]
    unranked: Sequence[Standing]
    attackers: Mapping[Channel, Mapping[Attacker, str]]

    @property
    def standings(self) -> list[Standing]:
        """All of them, as they stand in the table."""
        return [*self.ranked, *self.controls, *self.unranked]


@dataclass(frozen=True, kw_only=True)
class Board:
    """What several runs of the same questions found. ``title`` names the questions: a version of a suite, or a run."""

    title: str
    sources: Sequence[Source]
    goals: Sequence[GoalBoard]
    notes: Sequence[str]


def of_attack(attack: TriedAttack) -> Found:
    """Return what an attack found, in the unit of its channel in the leaderboard."""
    metric = OF_CHANNEL[attack.channel]
    return metric, attack.worst.recovered if attack.channel == "attributes" else attack.measurement


# ---- which runs belong together --------------------------------------------------------------------------------------


def boards(sources: Sequence[Source]) -> list[Board]:
    """Return a board for each version of a suite and its questions, and for each run of a suite without a version."""
    groups: dict[object, list[Source]] = {}
    for source in sources:
        version = source.run.suite.version
        asked = json.dumps(without_defenses(source.run.suite.raw), sort_keys=True, default=str)
        groups.setdefault((version, asked) if version else source.name, []).append(source)
    versions = Counter(own[0].run.suite.version for own in groups.values())
    return [_board(own, ambiguous=versions[own[0].run.suite.version] > 1) for own in groups.values()]


def _board(sources: Sequence[Source], *, ambiguous: bool) -> Board:
    """Return the board of runs with the same questions; those that nobody verified come last, so that controls are
    never theirs if others have them. ``ambiguous``: another board has the same title, and the name of
    the first run is added."""
    sources = sorted(sources, key=lambda source: not source.trusted)
    suite = sources[0].run.suite
    what = suite.version or suite.title or suite.name
    title = f"{what} ({sources[0].name})" if ambiguous else what
    goals = dict.fromkeys(c.goal for s in sources for c in s.rows.cells if not c.clean and c.control is None)
    found = [board for goal in goals for board in _goal_boards(title, goal, sources)]
    return Board(title=title, sources=sources, goals=found, notes=list(_notes(sources)))


def _notes(sources: Sequence[Source]) -> Iterator[str]:
    """Yield what must be known of runs that are compared."""
    first, *others = sources
    for other in others:
        if other.run.host != first.run.host:
            yield (
                f"{other.name} was computed by other code of bench than {first.name}: measurements may differ by more "
                "than the defense."
            )
    for source in sources:
        if source.run.status != "complete":
            yield f"{source.name} is {source.run.status}: some of its cells have no result."


# ---- one goal --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class _Candidate:
    """A defense of a run before it is compared."""

    made: Assessment
    source: Source

    @property
    def cell(self) -> CellRow:
        """One of its cells."""
        return self.made.cells[0]

    @property
    def key(self) -> tuple[str, ...]:
        """What it has in common with the same defense in another run."""
        component = self.source.run.component("defense", self.cell.recorded)
        origin = component.origin.distribution if component else ""
        cell = self.cell
        return cell.plugin, origin, cell.settings, cell.protects, *cell.surrogates


def _goal_boards(title: str, goal: Goal, sources: Sequence[Source]) -> Iterator[GoalBoard]:
    """Yield the board of a goal: one for each metric that runs have for its utility, which is nearly always one."""
    by_metric: dict[str, list[Source]] = {}
    for source in sources:
        if any(c.goal == goal and not c.clean and c.control is None for c in source.rows.cells):
            by_metric.setdefault(purpose_of(source.rows, goal).metric, []).append(source)
    for own in by_metric.values():
        yield _goal_board(title, goal, own)


def _goal_board(title: str, goal: Goal, sources: Sequence[Source]) -> GoalBoard:
    purpose = purpose_of(sources[0].rows, goal)
    candidates, reference = _candidates(goal, sources)
    newest, older = _newest(candidates)
    named = _distinctly_named(newest)
    asked = names_of([a.attacker for c in _asking(named) for a in c.made.entry.tried if c.made.entry.candidate])
    found = compare(goal, purpose, [*(c.made for c in named), *(c.made for c in reference)], list(asked))
    by_name = {c.made.entry.name: c for c in named}
    standings = [
        _standing(title, found, entry, by_name[entry.name]) for entry in found.protections if entry.name in by_name
    ]
    ranked = _ranked([s for s in standings if not s.reasons])
    unranked = [s for s in standings if s.reasons] + [_superseded(title, found, c, newest) for c in older]
    controls = [
        _standing(title, found, _compared(found, c), c, judged=False)
        for c in [*reference, *_controls(goal, purpose, sources)]
    ]
    return GoalBoard(
        goal=goal,
        purpose=purpose,
        found=found,
        ranked=ranked,
        controls=controls,
        unranked=unranked,
        attackers=_by_channel([*ranked, *controls, *unranked]),
    )


def _candidates(goal: Goal, sources: Sequence[Source]) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return the defenses of all runs, and of the first of them the upload without protection."""
    found: list[_Candidate] = []
    reference: list[_Candidate] = []
    for source in sources:
        for made in assessments(source.rows, goal):
            one = _Candidate(made=made, source=source)
            if made.entry.kind != "clean":
                found.append(one)
            elif not reference:
                reference.append(one)
    return found, reference


def _newest(found: Sequence[_Candidate]) -> tuple[list[_Candidate], list[_Candidate]]:
    """Return the measurement of each defense that counts, and the others."""
    best: dict[tuple[str, ...], _Candidate] = {}
    for one in found:
        if one.key not in best or one.source.age > best[one.key].source.age:
            best[one.key] = one
    kept = list(best.values())
    return kept, [one for one in found if one not in kept]


def _distinctly_named(found: Sequence[_Candidate]) -> list[_Candidate]:
    """Give defenses that share a label the names of their runs as well, and a number if that is not enough."""
    count = Counter(one.made.entry.name for one in found)
    taken: Counter[str] = Counter()
    for one in found:
        name = one.made.entry.name
        if count[name] > 1:
            name = f"{name} ({one.source.name})"
        taken[name] += 1
        name = f"{name}, {taken[name]}" if taken[name] > 1 else name
        one.made.entry = replace(one.made.entry, name=name)
    return list(found)


def _asking(found: Sequence[_Candidate]) -> Sequence[_Candidate]:
    """Return the defenses whose attackers all others must have faced: those of trusted runs, if there are any, so that
    no bundle can make others look untried."""
    return [one for one in found if one.source.trusted] or found


def _controls(goal: Goal, purpose: Purpose, sources: Sequence[Source]) -> Iterator[_Candidate]:
    """Yield the controls besides the upload without protection: of several runs those of the first one."""
    known: set[tuple[str, ...]] = set()
    for source in sources:
        for cells in control_settings(source.rows.cells).values():
            if cells[0].clean:
                continue
            one = _Candidate(made=Assessment(source.rows, cells, goal, purpose), source=source)
            if one.key not in known:
                known.add(one.key)
                yield one


def _compared(found: Recommendation, one: _Candidate) -> AssessedDefense:
    """Return a control as it was compared, if it was: the upload without protection is."""
    return found.reference if found.reference is not None and one.cell.clean else by_itself(one.made)


def _standing(
    board: str, found: Recommendation, entry: AssessedDefense, one: _Candidate, *, judged: bool = True
) -> Standing:
    return Standing(
        entry=entry,
        source=one.source,
        cell=one.cell,
        board=board,
        found=found,
        reasons=_reasons(entry, found) if judged else (),
        of_attackers=_strongest(entry),
    )


def _strongest(entry: AssessedDefense) -> Mapping[Attacker, TriedAttack]:
    """Return the attack of each attacker that found most, over all experiments."""
    best: dict[Attacker, TriedAttack] = {}
    for attack in entry.attacks:
        value = of_attack(attack)[1].value
        known = of_attack(best[attack.attacker])[1].value if attack.attacker in best else None
        if attack.attacker not in best or (value is not None and (known is None or value > known)):
            best[attack.attacker] = attack
    return best


def _reasons(entry: AssessedDefense, found: Recommendation) -> list[str]:
    """Return why a defense is not ranked; none if it is."""
    made = []
    for what, measurement in (("utility", entry.utility), ("leakage", entry.leakage)):
        if measurement.value is None:
            made.append(f"no {what}: {measurement.reason or measurement.status}")
    if not entry.useful:
        limits = " and ".join(f"{bar.metric.label} {bar.text}" for bar in entry.utility_bars)
        has = " and ".join(_of_bar(entry, bar) for bar in entry.utility_bars)
        keeps = "does not keep its goal" if entry.useful is False else "may not keep its goal"
        made.append(f"{keeps}, which asks for {limits}: it has {has}")
    if entry.untried:
        made += [text for text in remarks(entry) if "untried: " in text]
    return made


def _of_bar(entry: AssessedDefense, bar: Bar) -> str:
    """Return what a bar limits, as text."""
    value = entry.measured(bar).value
    return "no known drop" if value is None else f"{bar.metric.shown(value)} {bar.metric.unit}".strip()


def _ranked(found: Sequence[Standing]) -> list[Standing]:
    """Return defenses in their order: those on which no attack beat chance first, as in the verdict, and of equals the
    one that leaks least. What leaks as much to the last digit that is shown has the same rank."""

    def order(one: Standing) -> tuple[bool, float, float]:
        entry = one.entry
        return entry.leaks is not False, entry.leakage.value or 0.0, -(entry.utility.value or 0.0)

    made: list[Standing] = []
    for i, one in enumerate(sorted(found, key=order), 1):
        before = made[-1] if made else None
        rank = before.rank if before is not None and _equal(before.entry, one.entry) else i
        made.append(replace(one, rank=rank))
    return made


def _equal(one: AssessedDefense, other: AssessedDefense) -> bool:
    shown = [LEAKAGE.shown(entry.leakage.value) for entry in (one, other)]
    return shown[0] == shown[1] and (one.leaks is False) == (other.leaks is False)


def _superseded(board: str, found: Recommendation, one: _Candidate, newest: Sequence[_Candidate]) -> Standing:
    """Return the standing of a defense that another run measured as well, whose measurement counts."""
    other = next(c for c in newest if c.key == one.key)
    why = "it is newer" if other.source.trusted == one.source.trusted else "it was verified or made here"
    made = _standing(board, found, by_itself(one.made), one, judged=False)
    reason = f"the same defense with the same parameters was measured in {other.source.name}, which counts: {why}"
    name = f"{made.name} ({one.source.name})"
    return replace(made, entry=replace(made.entry, name=name), reasons=[reason])


def _by_channel(found: Sequence[Standing]) -> Mapping[Channel, Mapping[Attacker, str]]:
    """Return the names of all attackers by channel, in the order in which they were tried."""
    names = names_of([attacker for one in found for attacker in one.of_attackers])
    made: dict[Channel, dict[Attacker, str]] = {channel: {} for channel in CHANNEL_NAMES}
    for one in found:
        for attacker, attack in one.of_attackers.items():
            made[attack.channel][attacker] = names[attacker]
    return made
