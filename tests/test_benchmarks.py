"""The arithmetic of ``make bench``: rates, ratios within a round, bars, and that every benchmark can be found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import benchmark

run = benchmark("run")
BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


def measured(**bars: Any) -> Any:
    """Return a case with two variants in three rounds; the machine slows down from round to round."""
    speed = sys.modules["speed"]
    case = speed.Case("faces", "images", {"ours": lambda: 1.0, "theirs": lambda: 1.0}, **bars)
    rows = [
        run.Row("one", "faces", variant, "images", index, 60.0, seconds, 2 * seconds)
        for index, slow in enumerate((1, 2, 6), start=1)
        for variant, seconds in (("ours", 10.0 * slow), ("theirs", 30.0 * slow))
    ]
    return run.Measured("one", case, tuple(rows))


def test_a_rate_is_the_median_of_units_per_second() -> None:
    assert measured().rate("ours") == 3.0  # of 6, 3 and 1
    assert measured().rate("theirs") == 1.0


def test_a_ratio_is_taken_within_a_round() -> None:
    assert measured().ratio("ours", "theirs") == pytest.approx(3.0)


def test_a_bar_is_met_or_missed_and_left_out_if_a_variant_is_missing() -> None:
    bar = sys.modules["speed"].Bar
    found = measured(bars=[bar("ours", "theirs", 3.0), bar("ours", "theirs", 3.5), bar("ours", "absent", 1.0)])
    lines = [line for line in run.table(found) if line.startswith("- ")]
    assert lines == [
        "- ours, at least 3 times theirs: 3.00, met",
        "- ours, at least 3.5 times theirs: 3.00, **missed**",
    ]


def test_variants_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def variant(name: str) -> Any:
        return lambda: float(calls.append(name) or 5)

    case = sys.modules["speed"].Case("faces", "images", {"a": variant("a"), "b": variant("b")}, rounds=2)
    rows = list(run.rounds("one", case))
    assert calls == ["a", "b"] * 3
    assert [(row.variant, row.round, row.work) for row in rows] == [("a", 1, 5), ("b", 1, 5), ("a", 2, 5), ("b", 2, 5)]


@pytest.mark.slow
def test_every_benchmark_has_a_title_and_cases() -> None:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--list"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    modules = sorted(path.stem for path in (BENCHMARKS / "speed").glob("[a-z]*.py"))
    assert [line.partition(":")[0] for line in listed] == modules
    assert all(line.partition(": ")[2] for line in listed)
