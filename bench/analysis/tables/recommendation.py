"""The recommendation: which defense dominates which, and which one to use, if any.

The worst attack on a defense counts, of all that did not learn from the evaluated people and that pass their self-check
(`bench.analysis.tables.self_checks`). A defense that faced fewer attackers than others cannot be chosen and does not
dominate one that faced more, and one that leaks like no protection is never the best. Controls are no candidates.
docs/design/verdict.md has all definitions and the limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.dominance import BootstrapDraws, dominates, draw, interval_of_highest
from bench.analysis.rows import Rows
from bench.analysis.table_model import ROW_KINDS
from bench.analysis.tables.assessed_defense import AssessedDefense, Assessment, Dominator
from bench.analysis.tables.goals import Purpose, purpose_of
from bench.analysis.tables.tried_attacks import Attacker, names_of
from bench.core.domain import Goal
from bench.core.text import plural
from bench.store.several_runs import Joined


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The defenses of a run that have one goal, with the upload without protection, and which one to use.

    ``purpose`` is what the goal asks of them, with the metric that this run has for its utility.
    ``attackers`` are the names of all attackers that a defense faced. ``fair`` are the defenses that could be chosen
    because they faced all of them and leak less than no protection; ``pointless`` are those that faced all of them and
    do not leak less. ``useful`` are those of ``fair`` that meet the bars of utility. ``best`` is the one to use if one
    has to be used, None if none could be chosen; of useful ones, those on which no attack beat chance come first.
    ``share`` is the share of draws in which it is the best by its leakage (by its utility if none is useful), None if
    it is the only choice.
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
    protection, or with controls only, gets the one of recognition.
    """
    if "recommendations" not in rows.conclusions:
        goals = dict.fromkeys(c.goal for c in rows.cells if not c.clean and c.control is None)
        rows.conclusions["recommendations"] = [recommend(rows, goal) for goal in goals or {"recognition": None}]
    found: list[Recommendation] = rows.conclusions["recommendations"]
    return found


def tested_for_leaks(rows: Rows) -> dict[str, AssessedDefense]:
    """Return each defense of which the verdict says whether it leaks, by its labels. Controls, the unprotected upload
    and what was not tested are left out."""
    return {
        label: e
        for found in recommendations(rows)
        for e in found.protections
        if e.leaks is not None
        for label in (e.name, *e.also)
    }


def recommend(rows: Rows, goal: Goal = "recognition") -> Recommendation:
    """Compare the defenses of a run with this goal, and choose the one to use."""
    return compare(goal, purpose_of(rows, goal), assessments(rows, goal))


def assessments(rows: Rows, goal: Goal) -> list[Assessment]:
    """Return the defenses of a run with this goal, each by itself, and the upload without protection."""
    purpose = purpose_of(rows, goal)
    return [
        Assessment(rows, cells, goal, purpose)
        for cells in _settings(rows).values()
        if cells[0].clean or (cells[0].goal == goal and cells[0].control is None)
    ]


def compare(
    goal: Goal, purpose: Purpose, made: Iterable[Assessment], asked: Sequence[Attacker] | None = None
) -> Recommendation:
    """Compare defenses with one goal, which may come from several runs of the same questions, and choose the one to
    use.

    ``asked`` are the attackers that each of them must have faced; by default all that any of them faced. Of these, a
    defense that sends a representation must have faced those that others faced which send one, and a defense that sends
    pictures or features those that others of its kind faced.
    """
    made = sorted(made, key=lambda m: -ROW_KINDS.index(m.entry.kind))
    faced = [a.attacker for m in made if m.entry.candidate for a in m.entry.tried]
    names = names_of(faced if asked is None else asked)
    drawn = draw([m.utility for m in made], [m.matched for m in made])
    entries = [_with_interval(m, drawn, i) for i, m in enumerate(made)]
    asked_of = _asked_by_upload(entries)
    entries = [replace(e, untried=_untried(e, names, asked_of[e.sends_representation])) for e in entries]
    entries = _compared(entries, drawn)
    reference = next((m for m in made if m.entry.kind == "clean"), None)
    entries = [replace(e, protects=m.protects(reference)) for e, m in zip(entries, made, strict=True)]
    faced_all = [i for i, e in enumerate(entries) if e.candidate and not e.untried]
    fair = [i for i in faced_all if entries[i].protects is not False]
    useful = [i for i in fair if entries[i].useful]
    best, share = _best(entries, drawn, useful=bool(useful), rivals=useful or fair)
    return Recommendation(
        goal=goal,
        purpose=purpose,
        entries=entries,
        attackers=list(names.values()),
        fair=[entries[i] for i in fair],
        pointless=[entries[i] for i in faced_all if i not in fair],
        useful=[entries[i] for i in useful],
        best=None if best is None else entries[best],
        share=share,
    )


def by_itself(made: Assessment) -> AssessedDefense:
    """Return a defense that is compared with no other, with the interval of its leakage that `compare` gives."""
    return _with_interval(made, draw([made.utility], [made.matched]), 0)


def _untried(entry: AssessedDefense, names: Mapping[Attacker, str], asked: frozenset[Attacker]) -> list[str]:
    return [name for attacker, name in names.items() if attacker in asked - entry.attackers]


def _asked_by_upload(entries: Sequence[AssessedDefense]) -> Mapping[bool, frozenset[Attacker]]:
    """Return the attackers that any of the defenses faced which send a representation (True), or do not (False)."""
    return {
        own: frozenset(a for e in entries if e.candidate and e.sends_representation == own for a in e.attackers)
        for own in (False, True)
    }


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


# ---- all together ----------------------------------------------------------------------------------------------------


def _with_interval(made: Assessment, drawn: BootstrapDraws, i: int) -> AssessedDefense:
    """Return the defense with the interval of the highest of all its attacks, and the share of draws in which the worst
    attack is the worst."""
    entry, chosen = made.entry, drawn.worst[:, i]
    known = chosen >= 0
    if entry.worst is None or not known.any():
        return entry
    entry = replace(entry, worst_share=float((chosen[known] == 0).mean()))
    found = interval_of_highest(made.matched) if len(made.matched) > 1 else None
    if found is None:
        return entry
    several = plural(len({a.attacker for a in entry.on_faces}), "attack")
    note = f"the worst of {several} that match or link faces; the interval allows for the choice"
    return replace(entry, leakage=replace(entry.leakage, low=found[0], high=found[1], interval="drawn", note=note))


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
    entries: Sequence[AssessedDefense], drawn: BootstrapDraws, *, useful: bool, rivals: Sequence[int]
) -> tuple[int | None, float | None]:
    """Return the index of the best of some ``rivals``, and the share of draws in which it is the best of them.

    If all are ``useful``, it is the one that leaks least of those on which no attack beat chance, or of all if there is
    none; otherwise it is the one with the highest utility. The share is that in which it leaks least, or has the
    highest utility; None without rivals.
    """
    if not rivals:
        return None, None
    values = drawn.leakage if useful else -drawn.utility
    rank = {i: (entries[i].leakage.value or 0.0, -(entries[i].utility.value or 0.0)) for i in rivals}
    best = min(rivals, key=lambda i: (entries[i].leaks is not False, *rank[i]) if useful else rank[i][::-1])
    others = [i for i in rivals if i != best]
    if not others:
        return best, None
    first = values[:, [best]] <= values[:, others]
    known = np.isfinite(values[:, [best, *others]]).all(axis=1)
    return best, float(first[known].all(axis=1).mean()) if known.any() else None
