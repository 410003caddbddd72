"""Measure the speed of bench next to what a user would take instead, in one process, and write the results.

    python benchmarks/run.py [NAME ...] [--list]      (make bench)

Every module of ``benchmarks/speed`` yields cases, and every case has variants that do the same work: bench, a plain
implementation, another library. The variants of a case take turns, round after round, after one round to warm up, so
that whatever else the machine does disturbs all of them alike. Time is processor time of this process, all its threads,
and of the processes that it started and that have ended, or passed time where a case says so. A rate is the median over
the rounds of the units of work per second. A ratio is the median over the rounds of the ratio within a round.

Without names, all benchmarks run, and ``benchmarks/RESULTS.md`` and ``benchmarks/results.parquet`` are written, after
each benchmark anew, so that an interruption loses only the present one. With names, only those run, and nothing is
written.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import platform
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import speed
from speed import Bar, Case

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One measurement: a variant in a round. Times are in seconds."""

    benchmark: str
    case: str
    variant: str
    unit: str
    round: int
    work: float
    cpu_s: float
    wall_s: float

    def rate(self, clock: str) -> float:
        """Return the units of work per second by the clock of a case."""
        return self.work / (self.cpu_s if clock == "processor" else self.wall_s)


@dataclass(frozen=True)
class Measured:
    """A case with its rows, and the benchmark that it belongs to."""

    benchmark: str
    case: Case
    rows: tuple[Row, ...]

    def rate(self, variant: str) -> float:
        """Return the median rate of a variant."""
        return median(row.rate(self.case.clock) for row in self.rows if row.variant == variant)

    def ratio(self, better: str, than: str) -> float:
        """Return the median over the rounds of the rate of one variant divided by that of another."""
        rates = {(row.variant, row.round): row.rate(self.case.clock) for row in self.rows}
        rounds = sorted({row.round for row in self.rows})
        return median(rates[better, one] / rates[than, one] for one in rounds)

    def bars(self) -> Iterator[tuple[Bar, float]]:
        """Yield the bars whose variants were measured, with the ratios found."""
        for bar in self.case.bars:
            if {bar.better, bar.than} <= set(self.case.variants):
                yield bar, self.ratio(bar.better, bar.than)


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    names = [found.name for found in pkgutil.iter_modules(speed.__path__)]
    parser = argparse.ArgumentParser(description="Measure the speed of bench next to the alternatives.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no benchmark {', '.join(unknown)}; there are {', '.join(names)}")
    if options.list:
        print("\n".join(f"{name}: {title(name)}" for name in names))
        return
    found: list[Measured] = []
    for name in options.names or names:
        found += list(measured(name))
        if not options.names:
            write(found)
    print(f"\n{machine()}")


def title(name: str) -> str:
    """Return the first line of the docstring of a benchmark."""
    return (importlib.import_module(f"speed.{name}").__doc__ or name).partition("\n")[0]


def measured(name: str) -> Iterator[Measured]:
    """Run a benchmark and yield its cases; each is printed when it is measured."""
    for case in importlib.import_module(f"speed.{name}").cases():
        rows = tuple(rounds(name, case))
        one = Measured(name, case, rows)
        print("\n".join(["", f"{name}: {case.name}", *table(one)]), flush=True)
        yield one


def rounds(name: str, case: Case) -> Iterator[Row]:
    """Measure all variants of a case in turn, after a round to warm up."""
    for index in range(case.rounds + 1):
        for variant, work in case.variants.items():
            wall, cpu = time.perf_counter(), processor_time()
            done = work()
            cpu, wall = processor_time() - cpu, time.perf_counter() - wall
            if index:
                yield Row(name, case.name, variant, case.unit, index, done, max(cpu, 1e-9), wall)


def processor_time() -> float:
    """Return the processor time in seconds of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def table(one: Measured) -> list[str]:
    """Return the rates of a case as a table in Markdown, its bars and its notes."""
    first = next(iter(one.case.variants))
    second = "second of processor time" if one.case.clock == "processor" else "second that passed"
    lines = [f"| | {one.case.unit} per {second} | {first}, in multiples |", "|---|---|---|"]
    for variant in one.case.variants:
        lines.append(f"| {variant} | {one.rate(variant):.4g} | {one.ratio(first, variant):.2f} |")
    lines.append("")
    for bar, ratio in one.bars():
        verdict = "met" if ratio >= bar.factor else "**missed**"
        lines.append(f"- {bar.better}, at least {bar.factor:g} times {bar.than}: {ratio:.2f}, {verdict}")
    lines += [f"- {note}" for note in one.case.notes]
    return lines


def machine() -> str:
    """Return one sentence about the machine and the versions."""
    import torch

    return (
        f"{processor()}, {os.cpu_count()} cores ({len(os.sched_getaffinity(0))} usable), {platform.system()} "
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__} on "
        f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}, "
        f"{torch.backends.cpu.get_cpu_capability()}."
    )


def processor() -> str:
    """Return the model of the processor, as the kernel names it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def write(found: Sequence[Measured]) -> None:
    """Write the results so far as Markdown and as Parquet."""
    parts = [
        "# Results of `make bench`",
        f"{date.today().isoformat()}. {machine()} Rates are medians over rounds. How "
        "they are measured: [run.py](run.py). What was tried: [performance.md](../docs/design/performance.md).",
    ]
    for name in dict.fromkeys(one.benchmark for one in found):
        parts.append(f"## {title(name)}")
        for one in found:
            if one.benchmark == name:
                parts.append("\n".join([f"### {one.case.name}", "", *table(one)]))
    (HERE / "RESULTS.md").write_text("\n\n".join(parts) + "\n")
    rows = pa.Table.from_pylist([asdict(row) for one in found for row in one.rows])
    pq.write_table(rows.replace_schema_metadata({"machine": machine()}), HERE / "results.parquet")


if __name__ == "__main__":
    sys.exit(main())
