"""One defense of a run, as the verdict compares it: utility, leakage in every channel, cost, and the tests of leakage.

Leakage is the share of faces that held-out recognisers match to the person, or of pairs of uploads that they link, at
the adversary's threshold; the worst attack counts. Whether a defense leaks is decided by all comparisons of all
attacks in all channels together, estimated attributes included where its goal hides them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bench.analysis.cells import CellRow
from bench.analysis.dominance import CERTAIN
from bench.analysis.measured_pools import measured
from bench.analysis.measures import metric_in, metric_named
from bench.analysis.pooling import Pool, SampleScores, drawn_means
from bench.analysis.rows import Rows
from bench.analysis.table_model import Measurement, RowKind, absent
from bench.analysis.tables.client_cost import Cost, costs
from bench.analysis.tables.goals import PURPOSES, Bar, Purpose
from bench.analysis.tables.questions import PRIMARY, asked, by_design, is_upload, leaks_to
from bench.analysis.tables.row_layout import kind_of, sides_of
from bench.analysis.tables.self_checks import self_checks
from bench.analysis.tables.tried_attacks import (
    CHANNEL_NAMES,
    MATCH,
    MATCH_CHANCE,
    OTHER_PHOTO,
    Attacker,
    TriedAttack,
    attacker_of,
    tried_attacks,
    worst_by_channel,
)
from bench.core.domain import Channel, Goal
from bench.core.text import joined_labels

ACCURACY, DROP = (metric_named(n) for n in (PRIMARY["utility"], "accuracy-drop"))
OTHERS = replace(ACCURACY, label="accuracy of unauthorised models", better="lower")
LEAKAGE = replace(MATCH, label="faces matched or pairs linked by the worst attack")
CHANCE = replace(MATCH_CHANCE, label="the same for strangers, by that attack")
ENROLLED = replace(OTHER_PHOTO, label="matched to another photo after its worst attack")
_NO_UTILITY = "no experiment evaluates an authorised model on what this defense uploads"
NO_ATTACK = "no attack of this run ends with something that held-out recognisers could match"


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

    ``attacks`` are those that count: attacks on faces (recognition, reconstruction and linkage), the worst first, then
    those on attributes. ``leakage`` is the leakage under ``attacks[0]``, if that is an attack on faces. Its interval is
    that of the highest of them (`bench.analysis.dominance.interval_of_highest`); ``worst_share`` is the share of
    draws in which ``attacks[0]`` is that maximum. ``aside`` are attacks of attackers that failed their self-check; they
    do not count, and have the reason beside them. ``insiders`` are those of the service that does what it should.
    ``suite_version`` is the version of the suite, empty if it has none. ``upload`` is what the client sends, as cells
    have it: attackers of pictures cannot read a representation, nor those of representations a picture.
    ``protects``: its leakage is significantly below that of the unprotected upload under the same
    attackers, and below 100 %; None if that is not known. ``untried`` are the names of attackers that this defense did
    not face, and that others faced which send the same. ``dominators`` are sorted by share, highest first;
    ``front_share`` is the share of draws in which no defense dominates it, so that it lies on the Pareto front.
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
    aside: Sequence[tuple[TriedAttack, str]] = ()
    insiders: Sequence[TriedAttack] = ()
    suite_version: str = ""
    upload: str = "images"
    worst_share: float | None = None
    protects: bool | None = None
    untried: Sequence[str] = ()
    dominators: Sequence[Dominator] = ()
    front_share: float | None = None

    @property
    def worst(self) -> TriedAttack | None:
        """The attack on faces that leaks most; None if none has a value."""
        return next(iter(self.on_faces), None)

    @property
    def worst_match(self) -> TriedAttack | None:
        """The attack after which held-out recognisers match most faces: the worst one whose scores belong to one face
        and person, which those of links do not. None if none has a value."""
        return next((a for a in self.on_faces if a.channel != "linkage"), None)

    @property
    def tried(self) -> list[TriedAttack]:
        """The attacks that have a value."""
        return [a for a in self.attacks if any(f.measurement.value is not None for f in a.findings)]

    @property
    def on_faces(self) -> list[TriedAttack]:
        """The attacks on faces (recognition, reconstruction, linkage) that have a value, the worst first."""
        return [a for a in self.attacks if a.of_faces and a.measurement.value is not None]

    @property
    def channels(self) -> Mapping[Channel, TriedAttack]:
        """The worst attack of each channel."""
        return worst_by_channel(self.attacks)

    @property
    def leaking(self) -> list[Channel]:
        """The channels in which an attack beat chance."""
        found = {a.channel for a in self.attacks if a.leaks}
        return [name for name in CHANNEL_NAMES if name in found]

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

    def people(self, *channels: Channel) -> int:
        """Return the effective number of people of the finding in some channels (all by default) that was tested on the
        fewest; 0 if none was."""
        known = [a.people for a in self.tried if a.tests and (not channels or a.channel in channels)]
        return min(known, default=0)

    def detectable(self, *channels: Channel) -> float | None:
        """Return the share of faces or pairs above chance that every attack on faces in some channels would have shown
        with 80 % power; None if none would have been seen."""
        found = [a.test.detectable for a in self.on_faces if a.test is not None and a.channel in channels]
        known = [d for d in found if d is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def serves(self) -> float:
        """The largest number of models that one upload serves; infinite if the defense is model-free."""
        return max((float(len(models)) for models in self.sets), default=np.inf)

    def faced_as_much_as(self, other: AssessedDefense) -> bool:
        """True if it can dominate the other: it faced all attackers that the other faced, serves as many models at
        once, and leaks no attributes or links that the other does not leak."""
        wanted = other.serves if other.sets else 1.0
        asked = self.attackers >= other.attackers and self.serves >= wanted
        return asked and self.leaks_otherwise <= other.leaks_otherwise

    @property
    def complete(self) -> bool:
        """True if utility and leakage have values."""
        return self.utility.value is not None and self.leakage.value is not None

    @property
    def candidate(self) -> bool:
        """True if it protects, and utility and leakage have values."""
        return self.kind != "clean" and self.complete

    @property
    def sends_representation(self) -> bool:
        """True if it sends a representation in place of a picture."""
        return self.upload == "a representation"

    @property
    def utility_bars(self) -> list[Bar]:
        """The bars of the utility of its goal that can be asked. That on the drop from clean pictures is not asked of a
        defense that sends a representation: its recogniser sees no picture."""
        return [b for b in PURPOSES[self.goal].utility_bars if b.of != "drop" or not self.sends_representation]

    def measured(self, bar: Bar) -> Measurement:
        """Return what a bar of its utility limits."""
        return self.drop if bar.of == "drop" else self.utility

    @property
    def useful(self) -> bool | None:
        """True if it meets all `utility_bars`, False if it misses one, None if that depends on a missing value."""
        met = [bar.met(self.measured(bar)) for bar in self.utility_bars]
        if False in met:
            return False
        return None if None in met else True

    @property
    def leaks(self) -> bool | None:
        """True if an attack of any channel is significantly above chance, corrected for the number of comparisons; None
        if a value is missing."""
        tested = [a.leaks for a in self.tried if a.leaks is not None]
        return any(tested) if tested else None

    @property
    def leak_words(self) -> str:
        """The channels in which an attack beat chance, or that none did, as text; empty if nothing was tested."""
        if self.leaks is None:
            return ""
        return f"leaks in {joined_labels(self.leaking)}" if self.leaks else "no attack beat chance"

    @property
    def leaks_otherwise(self) -> frozenset[Channel]:
        """The channels that leak and whose leak ``leakage`` need not show: attributes, which are no share of faces, and
        links, which may rank pairs without exceeding a threshold."""
        return frozenset(self.leaking) & {"attributes", "linkage"}

    @property
    def on_pareto_front(self) -> bool:
        """True if it can be compared and no defense dominates it by the measured values."""
        return self.candidate and not self.dominators


# ---- one defense -----------------------------------------------------------------------------------------------------


class Assessment:
    """A defense, its ``cells``, and the pools of scores by which it is compared: ``utility``, and ``matched`` for each
    attack with a value, in the order of the attacks."""

    def __init__(self, rows: Rows, cells: Sequence[CellRow], goal: Goal, purpose: Purpose) -> None:
        self.cells = cells
        sides, metric = sides_of(rows.cells), metric_in(rows, purpose.metric)
        uploads = [c for c in cells if is_upload(c)]
        services = [c for c in uploads if asked("utility", c, sides, goal)]
        ((utility, kept),) = measured(rows, services, metric)
        ((drop, _),) = measured(rows, services, DROP)
        ((others, _),) = measured(rows, [c for c in uploads if sides.judges(c, goal)], ACCURACY)
        broken = {attacker: check.broken for attacker, check in self_checks(rows).items() if check.broken}
        against = [c for c in cells if leaks_to(c, sides, goal)]
        attacks, self.matched = tried_attacks(rows, [c for c in against if attacker_of(c) not in broken])
        aside, _ = tried_attacks(rows, [c for c in against if attacker_of(c) in broken])
        insiders, _ = tried_attacks(rows, [c for c in cells if by_design(c, goal) and not c.leaky])
        worst = attacks[0] if attacks and attacks[0].of_faces else None
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
            leakage=worst.measurement if worst else absent("missing", NO_ATTACK),
            attacks=attacks,
            aside=[(attack, broken[attack.attacker]) for attack in aside],
            insiders=insiders,
            suite_version=_suite_version(cells),
            upload=cells[0].upload,
            cost=costs(rows, cells),
        )

    @property
    def _on_faces(self) -> set[Attacker]:
        return {a.attacker for a in self.entry.on_faces}

    def protects(self, reference: Assessment | None) -> bool | None:
        """Return whether it leaks significantly less than 100 %, and than ``reference``, the unprotected upload, under
        the attackers that both faced; None if it has no leakage or protects nothing.

        It does if its worst case is lower than both in 95 % of the draws of people. 100 % is what recognisers measure
        that match each of the same people, so that a few faces that are missed are not enough.
        """
        if not self.matched or self.entry.kind == "clean":
            return None
        faced = set() if reference is None else self._on_faces & reference._on_faces
        sides = [self.matched], [[_all_matched(pool) for pool in self.matched]]
        if reference is not None and faced:
            for side, of in zip(sides, (self, reference), strict=True):
                tried = zip(of.entry.on_faces, of.matched, strict=True)
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


def _suite_version(cells: Sequence[CellRow]) -> str:
    """Return the version of the suite that all cells belong to; empty if there is no single one."""
    found = {c.suite_version or "" for c in cells}
    return found.pop() if len(found) == 1 else ""
