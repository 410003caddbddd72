"""Leakage against what an attack may spend: auxiliary faces, uploads, steps, queries.

A curve joins attacks of one plugin whose parameters differ only in one budget. A parameter belongs to a budget if its
value is the number of that budget in every attack of the plugin; all other parameters, and all other budgets, must be
equal along a curve. Who has more faces may learn from them in more steps, so steps may grow along a curve of faces.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.analysis.channel_leaks import ChannelLeak
from bench.core.domain import Channel

Budget = Literal["faces", "uploads", "steps", "queries"]
BUDGETS: Sequence[Budget] = get_args(Budget)

_GROWS_WITH: Mapping[Budget, Budget] = {"faces": "steps"}
_Owned = dict[str, dict[str, set[str]]]  # By plugin and budget, the parameters that belong to it.


@dataclass(frozen=True, kw_only=True)
class BudgetCurve:
    """What attacks that differ only in one ``budget`` leak, in the order of that budget; ``label`` names the attack.

    ``grows``: the budget that grows along the curve as well; None if all others are equal.
    """

    budget: Budget
    grows: Budget | None
    channel: Channel
    experiment: str
    defense: str
    label: str
    leaks: Sequence[ChannelLeak]

    @property
    def xs(self) -> list[int]:
        """The budget of each point."""
        return [leak.spends[self.budget] for leak in self.leaks]


@dataclass(frozen=True, kw_only=True)
class _Family:
    """The attacks of a curve, and the budgets in which they differ."""

    differ: frozenset[Budget]
    leaks: Sequence[ChannelLeak]


def budget_curves(leaks: Sequence[ChannelLeak]) -> list[BudgetCurve]:
    """Return the curves of all budgets, with at least two points each; repeated points of an attack count once."""
    owned = _owned(leaks)
    made = []
    for budget in BUDGETS:
        points = [leak for leak in leaks if budget in leak.spends and leak.found.value is not None]
        found = [family for family in _families(points, budget, owned) if len(family.leaks) > 1]
        made += [
            BudgetCurve(
                budget=budget,
                grows=next(iter(family.differ - {budget}), None),
                channel=family.leaks[0].channel,
                experiment=family.leaks[0].experiment,
                defense=family.leaks[0].defense,
                label=label,
                leaks=family.leaks,
            )
            for family, label in zip(found, _labels(found, owned), strict=True)
        ]
    return made


def _owned(leaks: Sequence[ChannelLeak]) -> _Owned:
    """Return, by plugin and budget, the parameters whose values are the numbers of that budget in every attack."""
    found: _Owned = {}
    for leak in leaks:
        known = found.setdefault(leak.plugin, {})
        for budget in BUDGETS:
            number = leak.spends.get(budget)
            equal = {name for name, value in leak.params.items() if type(value) is int and value == number}
            if number is not None:
                known[budget] = known[budget] & equal if budget in known else equal
    return found


def _families(leaks: Sequence[ChannelLeak], budget: Budget, owned: _Owned) -> Iterator[_Family]:
    """Yield the attacks of each curve over a budget: those with another budget that grows along it together, where
    each number of the one has one number of the other; elsewhere those in which all other budgets are equal."""
    alone, other = frozenset[Budget]([budget]), _GROWS_WITH.get(budget)
    for group in _alike(leaks, alone if other is None else alone | {other}, owned):
        if other is not None and _grows(group, budget, other):
            yield _Family(differ=alone | {other}, leaks=_in_order(group, budget))
        else:
            for same in _alike(group, alone, owned):
                yield _Family(differ=alone, leaks=_in_order(same, budget))


def _alike(leaks: Sequence[ChannelLeak], differ: frozenset[Budget], owned: _Owned) -> Sequence[Sequence[ChannelLeak]]:
    """Return groups of attacks that differ in these budgets only."""
    found: dict[Hashable, list[ChannelLeak]] = {}
    for leak in leaks:
        about = (leak.experiment, leak.defense, leak.channel, leak.attribute, leak.plugin, leak.via)
        settings = {**_settings(leak, differ, owned), **_others(leak, differ)}
        found.setdefault((*about, json.dumps(settings, sort_keys=True, default=str)), []).append(leak)
    return list(found.values())


def _grows(leaks: Sequence[ChannelLeak], budget: Budget, other: Budget) -> bool:
    """Return True if attacks spend more of another budget where they spend more of one, and never less."""
    pairs = sorted({(leak.spends[budget], leak.spends.get(other, 0)) for leak in leaks})
    firsts, seconds = zip(*pairs, strict=True)
    return len(set(firsts)) == len(pairs) and list(seconds) == sorted(seconds) and seconds[0] < seconds[-1]


def _in_order(leaks: Sequence[ChannelLeak], budget: Budget) -> Sequence[ChannelLeak]:
    """Return the attacks by their budget, the first one of each number."""
    by_number: dict[int, ChannelLeak] = {}
    for leak in leaks:
        by_number.setdefault(leak.spends[budget], leak)
    return [by_number[number] for number in sorted(by_number)]


def _settings(leak: ChannelLeak, differ: frozenset[Budget], owned: _Owned) -> dict[str, object]:
    """Return the parameters of an attack that these budgets do not decide."""
    decided = {name for budget in differ for name in owned[leak.plugin].get(budget, ())}
    return {name: value for name, value in leak.params.items() if name not in decided}


def _others(leak: ChannelLeak, differ: frozenset[Budget]) -> dict[str, object]:
    """Return what an attack spends of other budgets than these."""
    return {name: number for name, number in leak.spends.items() if name not in differ}


def _labels(found: Sequence[_Family], owned: _Owned) -> list[str]:
    """Return a name for each curve: its plugin, with the settings in which curves of that plugin differ."""
    made = []
    for family in found:
        first = family.leaks[0]
        alike = [other for other in found if other.leaks[0].plugin == first.plugin]
        settings = [_named(other, owned) for other in alike]
        names = dict.fromkeys(name for each in settings for name in each)
        differ = [n for n in names if len({str(each.get(n)) for each in settings}) > 1]
        mine = _named(family, owned)
        about = [first.attribute] if first.attribute else []
        about += [f"via {first.via}"] if len({other.leaks[0].via for other in alike}) > 1 and first.via else []
        about += [f"{name} {mine[name]}" for name in differ if name in mine]
        made.append(", ".join([first.plugin, *about]))
    return made


def _named(family: _Family, owned: _Owned) -> dict[str, object]:
    """Return what the attacks of a curve have in common."""
    first = family.leaks[0]
    return {**_settings(first, family.differ, owned), **_others(first, family.differ)}
