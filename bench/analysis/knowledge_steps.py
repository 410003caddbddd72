"""What the last step of knowledge buys: the best leak of each channel, from the weakest adversary to the strongest.

An adversary who knows more can do what one who knows less does. Where the weaker one leaks significantly more on the
same people, the stronger attack is therefore broken, or the defense hides the gradients that it follows
(Athalye, Carlini and Wagner 2018). All such comparisons of a run are one family (`bench.analysis.shuffle_tests`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.analysis.channel_leaks import LEAKAGE, ORDER, ChannelLeak, on_common_cells
from bench.analysis.dominance import interval_of_highest
from bench.analysis.pooling import Pool
from bench.analysis.rows import Rows
from bench.analysis.shuffle_tests import ShuffleTest, paired
from bench.analysis.table_model import Measurement
from bench.core.domain import KNOWLEDGE, Channel


@dataclass(frozen=True, kw_only=True)
class KnowledgeStep:
    """The best attack of a channel with exactly this knowledge, an index of `bench.core.domain.KNOWLEDGE`.

    ``found`` is its leak; its interval is that of the highest of the ``tried`` attacks
    (`bench.analysis.dominance.interval_of_highest`).
    """

    knowledge: int
    best: ChannelLeak
    found: Measurement
    tried: int


@dataclass(frozen=True, kw_only=True)
class Overtaken:
    """A weaker attack that leaks significantly more than the best one of a stronger step, on the same people.

    ``shares`` are the leaks of both where both were judged.
    """

    channel: Channel
    weaker: ChannelLeak
    stronger: ChannelLeak
    shares: tuple[float, float]
    test: ShuffleTest

    @property
    def words(self) -> str:
        """A sentence for a reader."""
        metric = LEAKAGE[self.channel]
        unit = " %" if metric.unit == "%" else ""
        first, second = (f"{metric.shown(share)}{unit}" for share in self.shares)
        what = [f"{one.name} ({KNOWLEDGE[one.knowledge or 0]})" for one in (self.weaker, self.stronger)]
        return (
            f"{self.channel.capitalize()}: {what[0]} leaks {first}, and {what[1]}, the best of those that know as "
            f"much, {second} on the same people ({self.test.words}): then the "
            "stronger one is broken, or the defense hides its gradients."
        )


@dataclass(frozen=True, kw_only=True)
class KnowledgeOfDefense:
    """What knowledge buys against one defense: the steps of each channel in rising order, and the warnings."""

    defense: str
    steps: Mapping[Channel, Sequence[KnowledgeStep]]
    overtaken: Sequence[Overtaken]


def knowledge_steps(rows: Rows, leaks: Sequence[ChannelLeak]) -> list[KnowledgeOfDefense]:
    """Return an entry for each defense that faced attacks of two steps of knowledge in a channel, in suite order."""
    leaks = [leak for leak in leaks if leak.knowledge is not None and leak.found.value is not None]
    by_defense: dict[str, list[ChannelLeak]] = {}
    for leak in leaks:
        if not leak.clean:
            by_defense.setdefault(leak.defense, []).append(leak)
    overtaken = _overtaken(rows, by_defense)
    made = []
    for defense, own in by_defense.items():
        steps = {c: found for c in ORDER if (found := _steps([leak for leak in own if leak.channel == c]))}
        if any(len(found) > 1 for found in steps.values()):
            made.append(KnowledgeOfDefense(defense=defense, steps=steps, overtaken=overtaken.get(defense, [])))
    return made


def _steps(leaks: Sequence[ChannelLeak]) -> list[KnowledgeStep]:
    """Return the steps of one channel that some attack stands on."""
    made = []
    for step in sorted({leak.knowledge for leak in leaks if leak.knowledge is not None}):
        own = [leak for leak in leaks if leak.knowledge == step]
        best = max(own, key=lambda leak: leak.leak)
        made.append(KnowledgeStep(knowledge=step, best=best, found=_of_the_best(best, own), tried=len(own)))
    return made


def _of_the_best(best: ChannelLeak, tried: Sequence[ChannelLeak]) -> Measurement:
    """Return the leak of the best attack, with the interval of the maximum, and its name as a note."""
    found = replace(best.found, note=best.name if len(tried) == 1 else f"{best.name}, best of {len(tried)}")
    if len(tried) < 2:
        return found
    ends = interval_of_highest([leak.pool for leak in tried])
    return found if ends is None else replace(found, low=ends[0], high=ends[1], interval="drawn")


# ---- the weaker against the stronger ---------------------------------------------------------------------------------


def _overtaken(rows: Rows, by_defense: Mapping[str, Sequence[ChannelLeak]]) -> dict[str, list[Overtaken]]:
    """Return the warnings by defense: of each stronger step, the weaker attack that overtakes its best one most."""
    compared: list[tuple[ChannelLeak, ChannelLeak, tuple[Pool, Pool]]] = []
    for leaks in by_defense.values():
        for weaker in leaks:
            rivals = (_strongest(rows, weaker, leaks, step) for step in range(len(KNOWLEDGE)))
            compared += [(weaker, *rival) for rival in rivals if rival]
    tests = paired([pools for *_, pools in compared])
    found: dict[str, dict[tuple[Channel, str, int], Overtaken]] = {}
    for (weaker, stronger, pools), test in zip(compared, tests, strict=True):
        own = found.setdefault(weaker.defense, {})
        key = (weaker.channel, weaker.attribute, stronger.knowledge or 0)
        if test.significant and (key not in own or test.difference > own[key].test.difference):
            own[key] = Overtaken(
                channel=weaker.channel,
                weaker=weaker,
                stronger=stronger,
                shares=(pools[0].mean, pools[1].mean),
                test=test,
            )
    return {defense: [own[key] for key in sorted(own)] for defense, own in found.items()}


def _strongest(
    rows: Rows, weaker: ChannelLeak, leaks: Sequence[ChannelLeak], step: int
) -> tuple[ChannelLeak, tuple[Pool, Pool]] | None:
    """Return the attack of a stronger step that leaks most where the weaker one was judged as well, with the scores of
    both; None if there is none. The best one is the hardest to overtake, so that choosing it raises no false alarm."""
    if weaker.knowledge is None or step <= weaker.knowledge:
        return None
    same = (weaker.channel, weaker.attribute)
    rivals = [leak for leak in leaks if leak.knowledge == step and (leak.channel, leak.attribute) == same]
    found = [(rival, pools) for rival in rivals if (pools := on_common_cells(rows, [weaker, rival]))]
    if not found:
        return None
    best, pools = max(found, key=lambda one: one[1][1].mean)
    return best, (pools[0], pools[1])
