"""Leakage against what an attack may spend: auxiliary faces, uploads, steps, queries.

A curve joins attacks of one plugin whose parameters differ only in one budget. A parameter belongs to a budget if its
value is the number of that budget in every attack of the plugin; all other parameters, and all other budgets, must be
equal along a curve.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from bench.analysis.channel_leaks import ChannelLeak
from bench.core.domain import Channel

Budget = Literal["faces", "uploads", "steps", "queries"]
BUDGETS: Sequence[Budget] = get_args(Budget)


@dataclass(frozen=True, kw_only=True)
class BudgetCurve:
    """What attacks that differ only in one ``budget`` leak, in the order of that budget; ``label`` names the attack."""

    budget: Budget
    channel: Channel
    experiment: str
    defense: str
    label: str
    leaks: Sequence[ChannelLeak]

    @property
    def xs(self) -> list[int]:
        """The budget of each point."""
        return [leak.spends[self.budget] for leak in self.leaks]


def budget_curves(leaks: Sequence[ChannelLeak]) -> list[BudgetCurve]:
    """Return the curves of all budgets, with at least two points each; repeated points of an attack count once."""
    owned = _owned(leaks)
    made = []
    for budget in BUDGETS:
        families: dict[Hashable, dict[int, ChannelLeak]] = {}
        for leak in leaks:
            if budget in leak.spends and leak.found.value is not None:
                families.setdefault(_family(leak, budget, owned), {}).setdefault(leak.spends[budget], leak)
        found = [list(map(own.__getitem__, sorted(own))) for own in families.values() if len(own) > 1]
        made += [
            BudgetCurve(
                budget=budget,
                channel=own[0].channel,
                experiment=own[0].experiment,
                defense=own[0].defense,
                label=label,
                leaks=own,
            )
            for own, label in zip(found, _labels(found, budget, owned), strict=True)
        ]
    return made


def _owned(leaks: Sequence[ChannelLeak]) -> dict[str, dict[str, set[str]]]:
    """Return, by plugin and budget, the parameters whose values are the numbers of that budget in every attack."""
    found: dict[str, dict[str, set[str]]] = {}
    for leak in leaks:
        known = found.setdefault(leak.plugin, {})
        for budget in BUDGETS:
            number = leak.spends.get(budget)
            equal = {name for name, value in leak.params.items() if type(value) is int and value == number}
            if number is not None:
                known[budget] = known[budget] & equal if budget in known else equal
    return found


def _family(leak: ChannelLeak, budget: Budget, owned: dict[str, dict[str, set[str]]]) -> Hashable:
    """Return what attacks of one curve have in common."""
    spent = {name: number for name, number in leak.spends.items() if name != budget}
    about = (leak.experiment, leak.defense, leak.channel, leak.attribute, leak.plugin, leak.via)
    return *about, _text(spent), _text(_settings(leak, budget, owned))


def _settings(leak: ChannelLeak, budget: Budget, owned: dict[str, dict[str, set[str]]]) -> dict[str, object]:
    """Return the parameters of an attack that its budget does not decide."""
    return {name: value for name, value in leak.params.items() if name not in owned[leak.plugin][budget]}


def _text(values: dict[str, object] | dict[str, int]) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _labels(found: Sequence[Sequence[ChannelLeak]], budget: Budget, owned: dict[str, dict[str, set[str]]]) -> list[str]:
    """Return a name for each curve: its plugin, with the settings in which curves of that plugin differ."""
    made = []
    for own in found:
        first = own[0]
        alike = [other[0] for other in found if other[0].plugin == first.plugin]
        settings = [{**_settings(leak, budget, owned), **_others(leak, budget)} for leak in alike]
        names = dict.fromkeys(name for each in settings for name in each)
        differ = [n for n in names if len({str(each.get(n)) for each in settings}) > 1]
        mine = {**_settings(first, budget, owned), **_others(first, budget)}
        about = [first.attribute] if first.attribute else []
        about += [f"via {first.via}"] if len({leak.via for leak in alike}) > 1 and first.via else []
        about += [f"{name} {mine[name]}" for name in differ if name in mine]
        made.append(", ".join([first.plugin, *about]))
    return made


def _others(leak: ChannelLeak, budget: Budget) -> dict[str, object]:
    return {name: number for name, number in leak.spends.items() if name != budget}
