"""The recommendation: utility and leakage of each defense, which one dominates which, and which one to use, if any.

Leakage is the share of faces that held-out recognisers match to the person at the adversary's threshold, on uploads and
on their reconstructions. The worst attack counts, of all that did not learn from the evaluated people; whether it
lies above chance is decided for all attacks together (`bench.analysis.chance_tests`). A defense that faced fewer
attackers than others cannot be chosen and does not dominate one that faced more, and one that leaks like no protection
is never the best. docs/design/verdict.md has all definitions and the limits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.dominance import CERTAIN, BootstrapDraws, dominates, draw, interval
from bench.analysis.measured_pools import measured
from bench.analysis.measures import metric_in, metric_named
from bench.analysis.pooling import Pool, SampleScores, drawn_means
from bench.analysis.rows import Rows
from bench.analysis.table_model import ROW_KINDS, Column, Measurement, Row, RowGroup, RowKind, Table, absent
from bench.analysis.tables.client_cost import BYTES, FLOPS, LATENCY, Cost, costs
from bench.analysis.tables.goals import PURPOSES, Purpose, purpose_of
from bench.analysis.tables.questions import PRIMARY, asked, is_upload
from bench.analysis.tables.row_layout import kind_of, sides_of
from bench.analysis.tables.summary import POOLED
from bench.analysis.tables.tried_attacks import (
    MATCH,
    MATCH_CHANCE,
    OTHER_PHOTO,
    Attacker,
    TriedAttack,
    names_of,
    tried_attacks,
)
from bench.core.domain import Goal
from bench.core.text import joined_labels, plural, set_label
from bench.store.several_runs import Joined

ACCURACY, DROP = (metric_named(n) for n in (PRIMARY["utility"], "accuracy-drop"))
OTHERS = replace(ACCURACY, label="accuracy of unauthorised models", better="lower")
LEAKAGE = replace(MATCH, label="faces matched after the worst attack")
CHANCE = replace(MATCH_CHANCE, label="strangers matched after that attack")
ENROLLED = replace(OTHER_PHOTO, label="matched to another photo after its worst attack")
_NO_UTILITY = "no experiment evaluates an authorised model on what this defense uploads"
_NO_ATTACK = "no attack of this run ends with something that held-out recognisers could match"


@dataclass(frozen=True, kw_only=True)
class Dominator:
    """A defense with at least the utility and at most the leakage of another one.

    ``share`` is the share of draws in which it dominates the other one.
    """

    name: str
    share: float

    @property
    def certain(self) -> bool:
        """True if it dominates in nearly all draws."""
        return self.share >= CERTAIN


@dataclass(frozen=True, kw_only=True)
class AssessedDefense:
    """One defense with its parameters over all experiments; authorised models and data sets are pooled, and repeats
    averaged.

    ``also`` holds further labels of the same plugin with the same parameters, ``sets`` the authorised sets that are
    pooled, ``surrogates`` the models that it uses in place of unknown ones. ``utility`` is the accuracy of the
    authorised models (Equation 10), ``drop`` its difference from clean faces, ``others`` the same accuracy of
    unauthorised models.

    ``leakage`` is the leakage under ``attacks[0]``, the worst attack. Its interval is the interval of the maximum over
    all attacks, which is chosen again in each draw; ``worst_share`` is the share of draws in which ``attacks[0]`` is
    that maximum. ``protects``: its leakage is significantly below that of the unprotected upload under the same
    attackers, and below 100 %; None if that is not known. ``untried`` are the names of attackers that others faced and
    this defense did not. ``dominators`` are sorted by share, highest first; ``front_share`` is the share of draws in
    which no defense dominates it, so that it lies on the Pareto front.
    """

    name: str
    also: Sequence[str]
    goal: Goal
    kind: RowKind
    sets: Sequence[tuple[str, ...]]
    surrogates: Sequence[str]
    synthetic: bool
    utility: Measurement
    drop: Measurement
    others: Measurement
    leakage: Measurement
    attacks: Sequence[TriedAttack]
    cost: Cost
    worst_share: float | None = None
    protects: bool | None = None
    untried: Sequence[str] = ()
    dominators: Sequence[Dominator] = ()
    front_share: float | None = None

    @property
    def worst(self) -> TriedAttack | None:
        """The attack that leaks most; None if no attack has a value."""
        return self.attacks[0] if self.attacks and self.attacks[0].measurement.value is not None else None

    @property
    def tried(self) -> list[TriedAttack]:
        """The attacks whose measurement has a value."""
        return [a for a in self.attacks if a.measurement.value is not None]

    @property
    def attackers(self) -> frozenset[Attacker]:
        """The attackers that it faced."""
        return frozenset(a.attacker for a in self.tried)

    @property
    def baseline(self) -> float | None:
        """The share of strangers who are matched after the worst attack; None if it is unknown."""
        return self.worst.chance.value if self.worst else None

    @property
    def enrolled(self) -> TriedAttack | None:
        """The attack after which most faces are matched to another photo of the person; None if there is none."""
        known = [a for a in self.attacks if a.enrolled.value is not None]
        return max(known, key=lambda a: a.enrolled.value or 0.0, default=None)

    @property
    def people(self) -> int:
        """The effective number of people of the attack that was tested on the fewest."""
        return min((a.test.people for a in self.tried if a.test is not None), default=0)

    @property
    def detectable(self) -> float | None:
        """The leakage above chance that would have been found under every attack with 80 % power; None if none would
        have been."""
        found = [a.test.detectable for a in self.tried if a.test is not None]
        known = [d for d in found if d is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def serves(self) -> float:
        """The largest number of models that one upload serves; infinite if the defense is model-free."""
        return max((float(len(models)) for models in self.sets), default=np.inf)

    def faced_as_much_as(self, other: AssessedDefense) -> bool:
        """True if it faced all attackers that the other faced, and serves as many models with one upload."""
        wanted = other.serves if other.sets else 1.0
        return self.attackers >= other.attackers and self.serves >= wanted

    @property
    def complete(self) -> bool:
        """True if utility and leakage have values."""
        return self.utility.value is not None and self.leakage.value is not None

    @property
    def candidate(self) -> bool:
        """True if it protects, and utility and leakage have values."""
        return self.kind != "clean" and self.complete

    @property
    def useful(self) -> bool | None:
        """True if it meets the bars of the utility of its goal; None if a value is missing."""
        met = [bar.met(self.drop if bar.of == "drop" else self.utility) for bar in PURPOSES[self.goal].utility_bars]
        return None if None in met else all(met)

    @property
    def leaks(self) -> bool | None:
        """True if an attack is significantly above chance, corrected for the number of attacks; None if a value is
        missing."""
        tests = [a.test for a in self.tried if a.test is not None]
        return any(t.beyond for t in tests) if tests else None

    @property
    def on_pareto_front(self) -> bool:
        """True if it can be compared and no defense dominates it by the measured values."""
        return self.candidate and not self.dominators


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The defenses of a run that have one goal, with the upload without protection, and which one to use.

    ``purpose`` is what the goal asks of them, with the metric that this run has for its utility.
    ``attackers`` are the names of all attackers that a defense faced. ``fair`` are the defenses that could be chosen
    because they faced all of them and leak less than no protection; ``pointless`` are those that faced all of them and
    do not leak less. ``useful`` are those of ``fair`` that meet the bars of utility. ``best`` is the one to use if one
    has to be used, None if none could be chosen; ``share`` is the share of draws in which it is the best, None if it is
    the only choice.
    """

    goal: Goal
    purpose: Purpose
    entries: Sequence[AssessedDefense]
    attackers: Sequence[str]
    fair: Sequence[AssessedDefense] = ()
    pointless: Sequence[AssessedDefense] = ()
    useful: Sequence[AssessedDefense] = ()
    best: AssessedDefense | None = None
    share: float | None = None

    @property
    def reference(self) -> AssessedDefense | None:
        """The upload without protection; None if the run has none."""
        return next((e for e in self.entries if e.kind == "clean"), None)

    @property
    def protections(self) -> list[AssessedDefense]:
        """All defenses but the reference."""
        return [e for e in self.entries if e.kind != "clean"]


def recommendations(rows: Rows) -> list[Recommendation]:
    """Compare the defenses of a run with those of the same goal, and choose the one to use for each goal.

    A defense is never judged by the question of another goal. The goals are in the order of the suite; a run without
    protection gets the one of recognition.
    """
    goals = dict.fromkeys(c.goal for c in rows.cells if not c.clean)
    return [recommend(rows, goal) for goal in goals or {"recognition": None}]


def recommend(rows: Rows, goal: Goal = "recognition") -> Recommendation:
    """Compare the defenses of a run with this goal, and choose the one to use."""
    settings, purpose = _settings(rows).values(), purpose_of(rows, goal)
    made = [_Assessment(rows, cells, goal, purpose) for cells in settings if cells[0].clean or cells[0].goal == goal]
    made.sort(key=lambda m: -ROW_KINDS.index(m.entry.kind))
    entries = [m.entry for m in made]
    names = names_of([a.attacker for e in entries if e.candidate for a in e.tried])
    drawn = draw([m.utility for m in made], [m.matched for m in made])
    entries = [_with_interval(e, drawn, i) for i, e in enumerate(entries)]
    entries = [replace(e, untried=[name for k, name in names.items() if k not in e.attackers]) for e in entries]
    entries = _compared(entries, drawn)
    reference = next((m for m in made if m.entry.kind == "clean"), None)
    entries = [replace(e, protects=m.protects(reference)) for e, m in zip(entries, made, strict=True)]
    asked = [i for i, e in enumerate(entries) if e.candidate and not e.untried]
    fair = [i for i in asked if entries[i].protects is not False]
    useful = [i for i in fair if entries[i].useful]
    best, share = _best(entries, drawn, useful, fair)
    return Recommendation(
        goal=goal,
        purpose=purpose,
        entries=entries,
        attackers=list(names.values()),
        fair=[entries[i] for i in fair],
        pointless=[entries[i] for i in asked if i not in fair],
        useful=[entries[i] for i in useful],
        best=None if best is None else entries[best],
        share=share,
    )


# ---- one defense -----------------------------------------------------------------------------------------------------


def _settings(rows: Rows) -> Mapping[tuple[str, ...], list[CellRow]]:
    """Return the cells of each plugin with its parameters that protects one side of pairs with the same surrogates,
    whatever its labels.

    Where several runs are read together, a label that was changed to tell runs apart is kept apart.
    """
    results, found = rows.results, dict[tuple[str, ...], list[CellRow]]()
    renamed = {n for run in results.named for n in run.labels.values()} if isinstance(results, Joined) else set()
    for c in rows.cells:
        label = c.defense if c.defense in renamed else ""
        found.setdefault((c.plugin, c.settings, c.protects, *c.surrogates, label), []).append(c)
    return found


class _Assessment:
    """A defense with the pools of scores by which it is compared: ``utility``, and ``matched`` for each attack with a
    value, in the order of the attacks."""

    def __init__(self, rows: Rows, cells: Sequence[CellRow], goal: Goal, purpose: Purpose) -> None:
        sides, metric = sides_of(rows.cells), metric_in(rows, purpose.metric)
        uploads = [c for c in cells if is_upload(c)]
        services = [c for c in uploads if asked("utility", c, sides, goal)]
        ((utility, kept),) = measured(rows, services, metric)
        ((drop, _),) = measured(rows, services, DROP)
        ((others, _),) = measured(rows, [c for c in uploads if sides.judges(c, goal)], ACCURACY)
        attacks, self.matched = tried_attacks(rows, [c for c in cells if asked("leakage", c, sides, goal)])
        worst = attacks[0] if attacks else None
        labels = list(dict.fromkeys(c.defense for c in cells))
        kind = _kind(cells)
        sets = list(dict.fromkeys(c.authorised_models for c in cells if c.authorised_models))
        self.utility = kept if utility.value is not None else None
        utility = replace(utility, note="; ".join(filter(None, (utility.note, purpose.note))) or None)
        self.entry = AssessedDefense(
            name=labels[0],
            also=labels[1:],
            goal=goal,
            kind=kind,
            sets=sets if kind == "authorised" else [],
            surrogates=cells[0].surrogates,
            synthetic=any(c.synthetic for c in cells),
            utility=replace(utility, role="authorised" if metric is ACCURACY else "any")
            if services
            else absent("missing", _NO_UTILITY),
            drop=drop if services else absent("missing", _NO_UTILITY),
            others=replace(others, role="unauthorised"),
            leakage=worst.measurement if worst else absent("missing", _NO_ATTACK),
            attacks=attacks,
            cost=costs(rows, cells),
        )

    def protects(self, reference: _Assessment | None) -> bool | None:
        """Return whether it leaks significantly less than 100 %, and than ``reference``, the unprotected upload, under
        the attackers that both faced; None if it has no leakage or protects nothing.

        It does if its worst case is lower than both in 95 % of the draws of people. 100 % is what recognisers measure
        that match each of the same people, so that a few faces that are missed are not enough.
        """
        if not self.matched or self.entry.kind == "clean":
            return None
        faced = set() if reference is None else self.entry.attackers & reference.entry.attackers
        sides = [self.matched], [[_all_matched(pool) for pool in self.matched]]
        if reference is not None and faced:
            for side, of in zip(sides, (self, reference), strict=True):
                tried = zip(of.entry.tried, of.matched, strict=True)
                side.append([pool for attack, pool in tried if attack.attacker in faced])
        return all(_lower(own, others) >= CERTAIN for own, others in zip(*sides, strict=True))


def _all_matched(pool: Pool) -> Pool:
    """Return the decisions of recognisers that match all faces of a pool."""
    pairs, _, counts = pool.per_pair()
    people = np.array(pairs.people, dtype=str)
    counts = np.ceil(counts - 1e-9)  # Those of a score that only some repeats have are fractions.
    first, second = (np.repeat(people[side], counts.astype(np.int64)) for side in (pairs.first, pairs.second))
    return Pool([SampleScores(np.ones(len(first)), first, others=second)])


def _lower(own: Sequence[Pool], others: Sequence[Pool]) -> float:
    """Return the share of draws of people in which the highest mean of some pools is lower than that of others."""
    means = drawn_means([*own, *others])
    return float((means[:, : len(own)].max(axis=1) < means[:, len(own) :].max(axis=1)).mean())


def _kind(cells: Sequence[CellRow]) -> RowKind:
    """Return the kind of row of a defense.

    Where features are attacked, even a model-free defense has a model in its cells; so any cell without an authorised
    model shows that it is model-free.
    """
    if cells[0].clean:
        return "clean"
    return kind_of(next((c for c in cells if not c.authorised), cells[0]))


# ---- all together ----------------------------------------------------------------------------------------------------


def _with_interval(entry: AssessedDefense, drawn: BootstrapDraws, i: int) -> AssessedDefense:
    """Return the defense with the interval of the maximum over its attacks, if the worst attack differs between
    draws."""
    chosen = drawn.worst[:, i]
    known = chosen >= 0
    if entry.worst is None or not known.any():
        return entry
    share = float((chosen[known] == 0).mean())
    found = interval(drawn.leakage[:, i]) if share < 1 else None
    if found is None:
        return replace(entry, worst_share=share)
    value = entry.leakage.value or 0.0
    note = f"the worst of {plural(len(entry.attackers), 'attack')}, chosen again in each draw"
    leakage = replace(entry.leakage, low=min(found[0], value), high=max(found[1], value), interval="drawn", note=note)
    return replace(entry, leakage=leakage, worst_share=share)


def _compared(entries: Sequence[AssessedDefense], drawn: BootstrapDraws) -> list[AssessedDefense]:
    """Return the defenses with the ones that dominate them.

    A defense can dominate another only if it faced at least as much (`AssessedDefense.faced_as_much_as`).
    """
    pairs_allowed = [[a is not b and a.faced_as_much_as(b) for b in entries] for a in entries]
    allowed = np.array(pairs_allowed, dtype=bool).reshape(len(entries), len(entries))
    values = [[np.nan if v is None else v for v in (e.utility.value, e.leakage.value)] for e in entries]
    points = np.array(values, dtype=np.float64).reshape(len(entries), 2)
    now = dominates(points[:, 0], points[:, 1], allowed)
    held = np.zeros(now.shape)
    free = np.zeros(len(entries))
    for kept, leaked in zip(drawn.utility, drawn.leakage, strict=True):
        found = dominates(kept, leaked, allowed)
        held += found
        free += ~found.any(axis=0)
    draws = max(1, len(drawn.utility))
    made = []
    for b, entry in enumerate(entries):
        over = [
            Dominator(name=entries[a].name, share=float(held[a, b]) / draws) for a in np.flatnonzero(now[:, b]).tolist()
        ]
        over.sort(key=lambda d: -d.share)
        front_share = float(free[b]) / draws if entry.candidate else None
        made.append(replace(entry, dominators=over if entry.kind != "clean" else [], front_share=front_share))
    return made


def _best(
    entries: Sequence[AssessedDefense], drawn: BootstrapDraws, useful: Sequence[int], fair: Sequence[int]
) -> tuple[int | None, float | None]:
    """Return the index of the best defense, and the share of draws in which it is the best of its rivals.

    It is the one of the ``useful`` defenses that leaks least; if there is none, the ``fair`` one with the highest
    utility. The share is None without rivals.
    """
    if useful:
        best = min(useful, key=lambda i: (entries[i].leakage.value or 0.0, -(entries[i].utility.value or 0.0)))
        rivals, values = useful, drawn.leakage
    elif fair:
        best = max(fair, key=lambda i: (entries[i].utility.value or 0.0, -(entries[i].leakage.value or 0.0)))
        rivals, values = fair, -drawn.utility
    else:
        return None, None
    others = [i for i in rivals if i != best]
    if not others:
        return best, None
    first = values[:, [best]] <= values[:, others]
    known = np.isfinite(values[:, [best, *others]]).all(axis=1)
    return best, float(first[known].all(axis=1).mean()) if known.any() else None


# ---- as a table ------------------------------------------------------------------------------------------------------


def verdict_tables(rows: Rows) -> list[Table]:
    """Return the recommendation as a table per goal, for exports; the flags of a row hold what is not a number."""
    return [_verdict_table(rows, found) for found in recommendations(rows)] if rows.cells else []


def _verdict_table(rows: Rows, found: Recommendation) -> Table:
    metrics = (found.purpose.utility, DROP, OTHERS, LEAKAGE, CHANCE, ENROLLED, FLOPS, LATENCY, BYTES)
    made = []
    for e in found.entries:
        sent = next((f for _, f in e.cost.sent if f.value is not None), absent("missing", "nothing was uploaded"))
        unknown = absent("missing", _NO_ATTACK)
        chance = e.worst.chance if e.worst else unknown
        enrolled = e.enrolled.enrolled if e.enrolled else unknown
        measurements = [e.utility, e.drop, e.others, e.leakage, chance, enrolled, e.cost.flops, e.cost.latency, sent]
        made.append(
            Row(
                label=e.name,
                kind=e.kind,
                measurements=measurements,
                defense=e.name,
                authorised=", ".join(map(set_label, e.sets)),
                flags=_flags(e),
            )
        )
    other_goal = "" if found.goal == "recognition" else f", goal {found.goal}"
    return Table(
        name="verdict",
        title=f"Which defense to use{other_goal}",
        caption="Utility, leakage under the worst of all attacks, and cost per face of every defense; authorised "
        "models and data sets pooled, repeats averaged.",
        columns=[Column(label=m.label, metric=m) for m in metrics],
        groups=[RowGroup(label=POOLED, rows=made, synthetic=any(e.synthetic for e in found.entries))],
        experiment=" + ".join(rows.experiments),
        source="samples/verification, samples/images and stages.parquet",
        ranked=False,
    )


def _flags(entry: AssessedDefense) -> list[str]:
    """Return the flags of a row: the worst attack, whether it leaks, missing attackers, and the strongest dominator."""
    found = []
    if entry.worst is not None:
        found.append(
            f"worst of {plural(len(entry.attackers), 'attack')}: {entry.worst.label} ({entry.worst.experiment})"
        )
    if entry.leaks is not None:
        found.append("leaks" if entry.leaks else "no attack beat chance")
    if entry.protects is False:
        found.append("leaks like no protection")
    if entry.untried and entry.kind != "clean":
        found.append(f"not tried: {joined_labels(entry.untried)}")
    if entry.dominators:
        first = entry.dominators[0]
        found.append(f"{'' if first.certain else 'probably '}dominated by {first.name}")
    return found
