"""The figures of docs/design/zoo.md, from a run of all defenses under the standard suite.

    bench run zoo-standard
    python benchmarks/zoo_figures.py [RUN]

It prints one row for each defense, from the verdict as `bench export` writes it, and how much processor time the stages
of the run took, whenever they were computed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import pandas as pd

from bench.store.artifacts import Cache
from bench.store.run_folders import find_run

RUN = sys.argv[1] if len(sys.argv) > 1 else "zoo-standard"
WORST = "faces matched or pairs linked by the worst attack"
CHANNELS = (
    "recognition: faces matched",
    "reconstruction: faces matched",
    "attributes: recovered",
    "linkage: pairs linked",
)
HOUR_S = 3600
RESULTS = Path("results")


def verdict(run: str) -> pd.DataFrame:
    """Return the rows of the verdict of a run."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "verdict.csv"
        command = [sys.executable, "-m", "bench", "export", run, "--table", "verdict", "--format", "csv"]
        subprocess.run([*command, "-o", str(file)], check=True)
        return pd.read_csv(file).drop_duplicates(["defense", "column"])  # identity stands under every goal


def shown(row: pd.Series | None) -> str:
    """Return a measured value with its interval, or a dash. Percentages have one decimal, SSIM has two."""
    if row is None or pd.isna(row["value"]):
        return "–"
    digits = 1 if row["unit"] == "%" else 2
    value, low, high = (f"{row[name]:.{digits}f}" for name in ("value", "low", "high"))
    return value if low == "nan" else f"{value} ({low} to {high})"


def line(defense: str, rows: pd.DataFrame) -> str:
    """Return the row of one defense as Markdown."""
    utility, by_column = rows.iloc[0], {row["column"]: row for _, row in rows.iterrows()}
    worst = by_column[WORST]
    channels = [shown(by_column.get(name)).split(" ")[0] for name in CHANNELS]
    return (
        "| " + " | ".join([defense, utility["column"], shown(utility), shown(worst), worst["attack"], *channels]) + " |"
    )


def times(run: Path, cache: Cache) -> dict[str, list[float]]:
    """Return the seconds of all stages behind the rows of a run, by kind, whichever run computed them."""
    waiting, seen = list(pd.read_parquet(run / "stages.parquet")["key"]), set[str]()
    found = defaultdict[str, list[float]](list)
    while waiting:
        key = waiting.pop()
        if key in seen:
            continue
        seen.add(key)
        about = cache.manifest(key)
        if about is None:
            raise SystemExit(f"{run}: stage {key} is no longer in the cache; run the suite again")
        found[about["kind"]].append(about["seconds"])
        waiting += about["inputs"].values()
    return found


def main() -> None:
    """Print the table and the times."""
    rows = verdict(RUN)
    print("| defense | utility | | worst case, % | by | recognition | reconstruction | attributes | linkage |")
    print("|" + 9 * "---|")
    for defense in dict.fromkeys(rows["defense"]):
        print(line(defense, rows[rows["defense"] == defense]))
    took = times(find_run(RUN, RESULTS), Cache(RESULTS / ".cache", only_read=True))
    print(f"\n{sum(map(len, took.values()))} stages, {sum(map(sum, took.values())) / HOUR_S:.1f} hours of one core:")
    for kind, seconds in sorted(took.items()):
        print(f"  {kind}: {len(seconds)} stages, {sum(seconds) / HOUR_S:.2f} hours")


if __name__ == "__main__":
    main()
