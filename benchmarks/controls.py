"""How often the whole standard suite calls a picture that does not depend on the face leaking, over many seeds.

    python benchmarks/controls.py               # the full setting: every attack, 20 seeds
    python benchmarks/controls.py --shorter 10  # every attack, with a tenth of the steps of trainings and optimisations
    python benchmarks/controls.py --small       # cheap attacks on few people: whether the measurement works at all

The defense `oblivion` sends a random picture. The suite is run on it with as many repeats as seeds: each repeat has
random pictures of its own, and every attack that learns is trained again on them. Each repeat is then judged alone, by
the function that makes the verdict, so that an alarm is any attack in any channel that beats chance after the
correction for all of them. Where nothing can be learnt, a shorter training makes a false alarm neither more nor less
probable, as long as its seed and the judgement are the same; so --shorter measures the same, with weaker networks. The
bar is 5 %. Exit code 1 if more than 5 % of seeds raised an alarm and chance alone would
hardly do so.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd
from scipy.stats import binom, binomtest

from bench.analysis.rows import Rows
from bench.analysis.tables.assessed_defense import Assessment
from bench.analysis.tables.goals import purpose_of
from bench.registry.discovery import discover
from bench.runs.trial.setting import in_suite
from bench.store.reading import RunResults
from bench.store.run_folders import find_run
from bench.suite.bundled import published
from bench.suite.suite import load

BAR = 0.05
SEEDS = 20
_CHEAP = """experiment=[
    {name = "recognition", attacks = ["abuse", {plugin = "averaged", uploads = 2, label = "mean of 2 uploads"}]},
    {name = "linkage", attacks = ["linked"]},
]"""
STEPS = ("steps", "learning_steps")  # the parameters of attacks that are numbers of steps
SMALL = ("--pairs", "40", "--set", _CHEAP.replace("\n", " "))


@dataclass(frozen=True)
class OneRepeat(RunResults):
    """The results of one repeat of a run, as if it had been the only one."""

    number: int = 0

    @cached_property
    def cells(self) -> pd.DataFrame:
        """The cells of the repeat."""
        found = RunResults(self.folder).cells
        return found[found["repeat"] == self.number].reset_index(drop=True)


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """How many repeats were judged, and how many alarms there were: in all, and by attack and channel."""

    seeds: int
    raised: int
    by_attack: Counter[tuple[str, str]] = field(default_factory=Counter)

    @property
    def table(self) -> str:
        """The result as Markdown."""
        low, high = binomtest(self.raised, self.seeds).proportion_ci(method="wilson")
        share = f"{self.raised} of {self.seeds} ({100 * self.raised / self.seeds:.0f} %, 95 %: {100 * low:.0f} to"
        lines = ["| alarm | seeds |", "|---|---|", f"| any attack of the suite | {share} {100 * high:.0f} %) |"]
        lines += [f"| {attack} ({channel}) | {n} |" for (attack, channel), n in sorted(self.by_attack.items())]
        return "\n".join(lines)

    @property
    def too_many(self) -> bool:
        """True if so many alarms have a probability below 5 % where each seed raises one with that of the bar."""
        return bool(binom.sf(self.raised - 1, self.seeds, BAR) < 0.05)


def judged(run: Path, seeds: int) -> Alarms:
    """Return the alarms of a run that measured `oblivion` with as many repeats as ``seeds``."""
    raised, by_attack = 0, Counter[tuple[str, str]]()
    for number in range(seeds):
        rows = Rows(OneRepeat(run, number))
        goal = rows.cells[0].goal
        entry = Assessment(rows, rows.cells, goal, purpose_of(rows, goal)).entry
        found = {(attack.label, attack.channel) for attack in entry.attacks if attack.leaks}
        by_attack.update(found)
        raised += bool(found)
    return Alarms(seeds=seeds, raised=raised, by_attack=by_attack)


def shortened(suite: str, divisor: int) -> str:
    """Return the experiments of a suite as TOML, with 1/divisor of the steps of each training and optimisation."""
    file = published().get(suite, Path(suite))
    tables = tomllib.loads(file.read_text(encoding="utf-8"))["experiment"]
    for table, experiment in zip(tables, load(file, discover()).experiments, strict=True):
        fewer = (
            {name: max(1, attack.params[name] // divisor) for name in STEPS if name in attack.params}
            for attack in experiment.attacks
        )
        table["attacks"] = [written | steps for written, steps in zip(table["attacks"], fewer, strict=True)]
    return f"experiment=[{', '.join(in_suite(table) for table in tables)}]"


def command(suite: str, seeds: int, out: Path, more: Sequence[str]) -> list[str]:
    """Return the command that runs a suite on `oblivion` alone."""
    sets = [f"defaults.repeats={seeds}", 'defaults.defenses=["oblivion"]']
    options = [word for text in sets for word in ("--set", text)]
    return [sys.executable, "-m", "bench", "run", suite, "--no-report", "--out", str(out), *options, *more]


def main() -> int:
    """Run the suite, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="standard", help="a suite with [defaults]")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--small", action="store_true", help="few people and cheap attacks, in a few minutes")
    parser.add_argument("--shorter", type=int, metavar="N", help="1/N of the steps of trainings and optimisations")
    parser.add_argument("--out", type=Path, default=Path(), help="where results/ goes")
    chosen, more = parser.parse_known_args()
    if chosen.shorter:
        more = ["--set", shortened(chosen.suite, chosen.shorter), *more]
    more = [*(SMALL if chosen.small else ()), *more]
    if code := subprocess.run(command(chosen.suite, chosen.seeds, chosen.out, more), check=False).returncode:
        return code
    alarms = judged(find_run(Path(chosen.suite).stem, chosen.out / "results"), chosen.seeds)
    print(alarms.table)
    return int(alarms.too_many)


if __name__ == "__main__":
    sys.exit(main())
