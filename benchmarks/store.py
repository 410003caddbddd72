"""Measure the results store on a run with many rows: seconds and memory of writing it, and of several queries.

    python benchmarks/store.py [--cells 2000] [--pairs 5000] [--out FOLDER]

A few score artifacts are generated. The code that writes results makes a run folder from them, as if each cell had its
own artifacts. Then the run is opened and queried, each time in a process of its own. "own MB" is the peak memory minus
that of the imports. The folder is removed at the end.
"""

from __future__ import annotations

import argparse
import functools
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from bench.core.domain import Cell, Component, Origin, Outcome
from bench.registry.discovery import discover
from bench.report.export import export
from bench.report.page import render
from bench.store.artifacts import Artifact, Cache
from bench.store.reading import RunResults
from bench.store.writing import write_run

DATASETS, MODELS = 5, 10  # of the suite; the third axis of its cells are defenses
VARIANTS = 8  # artifacts of each kind that are generated
ORIGIN = Origin(distribution="face-privacy-bench", version="0", package="bench", digest="0" * 64)


# ---- a run with many rows
# ---------------------------------------------------------------------------------------------


def component(kind: Any, name: str, label: str, **params: Any) -> Component:
    """Return a component of a built-in plugin."""
    return Component(kind=kind, name=name, label=label, params=params, passed=params, origin=ORIGIN)


def verification(pairs: int, seed: int) -> pa.Table:
    """Return random verification scores in the form of the score stage."""
    rng = np.random.default_rng(seed)
    people, same = rng.integers(pairs // 2, size=pairs), np.arange(pairs) % 2 == 0
    floats = {name: rng.normal(0.4, 0.2, pairs).clip(-1, 1) for name in ("cos_self", "cos_cross", "cos_clean")}
    flips = {name: rng.normal(0.4, 0.2, pairs).clip(-1, 1) for name in ("flip_cross", "flip_clean")}
    enrolled = pa.array(rng.integers(1, pairs, size=pairs), mask=~same)
    columns = {
        "pair": np.arange(pairs),
        "left_id": [f"person-{p:06d}/0001.jpg" for p in people],
        "right_id": [f"person-{p:06d}/0002.jpg" for p in people],
        "left_subject": people,
        "right_subject": np.where(same, people, people + 1),
        "same": same,
        "fold": np.arange(pairs) * 10 // pairs,
        **floats,
        **flips,
        "rank": rng.integers(1, pairs, size=pairs),
        "rank_enrolled": enrolled,
        "gallery": np.full(pairs, pairs),
        "kappa_calibrated": np.full(pairs, 0.31),
        "fmr": np.full(pairs, 0.01),
        "calibration_impostors": np.full(pairs, 10_000),
    }
    return pa.table(columns)


def images(pairs: int, seed: int) -> pa.Table:
    """Return random image scores in the form of the score stage."""
    rng = np.random.default_rng(seed)
    columns = {
        "reconstructed": np.full(pairs, False),
        "sample_id": [f"person-{i:06d}/0001.jpg" for i in range(pairs)],
        "subject": np.arange(pairs),
        "ssim": rng.uniform(0, 0.2, pairs),
        "psnr": rng.uniform(8, 12, pairs),
        "psnr_infinite": np.full(pairs, False),
        "lpips": pa.nulls(pairs, pa.float64()),
        "upload_bytes": np.full(pairs, 37_632),
    }
    return pa.table(columns)


def prepare(cache: Cache, pairs: int) -> None:
    """Generate the artifacts."""
    cache.root.mkdir()
    about = {"seconds": 0.1, "peak_mb": 1.0, "device": "cpu"}
    for kind, make in (("verification", verification), ("images", images)):
        for variant in range(VARIANTS):
            cache.write(key_of(kind, variant), Artifact(tables={kind: make(pairs, variant)}), about)


def key_of(kind: str, number: int) -> str:
    """Return the content key of an artifact."""
    return f"{number % 256:02x}{kind}-{number}"


class FewArtifacts(Cache):
    """A cache in which every key maps to one of the generated artifacts."""

    def read(self, key: str) -> Artifact:
        """Read and verify the artifact for a key."""
        kind, number = key[2:].rsplit("-", 1)
        return super().read(key_of(kind, int(number) % VARIANTS))


def outcomes(cells: int, pairs: int) -> Iterator[Outcome]:
    """Yield the outcomes of all combinations of data sets, defenses and evaluated models, up to ``cells``."""
    defenses = -(-cells // (DATASETS * MODELS))
    attack = component("attack", "abuse", "abuse")
    grid = product(range(DATASETS), range(defenses), range(MODELS))
    for number, (dataset, defense, model) in enumerate(grid):
        if number == cells:
            return
        sigma = 0.1 + defense / 1000
        cell = Cell(
            id=f"{number * 2654435761 % 2**32:08x}",
            experiment="large",
            table="VII",
            dataset=component("dataset", "synth-lfw", f"data set {dataset}"),
            authorised=(),
            defense=component("defense", "noise", f"noise {sigma:.3f}", sigma=sigma),
            attack=attack,
            evaluated=component("model", "zoo-mobileface", f"model {model}"),
            repeat=0,
            pairs=pairs,
            kappa=0.2,
            threat="sees the uploaded images",
            stages=(key_of("verification", number), key_of("images", dataset * defenses + defense)),
        )
        yield Outcome(cell=cell, status="ok", reason=None, seconds=0.1, peak_mb=1.0, cached=False, device="cpu")


def write(folder: Path, cells: int, pairs: int) -> str:
    """Write the run folder. Return its numbers of rows and files and its size."""
    cache = FewArtifacts(folder / "cache")
    every = list(outcomes(cells, pairs))
    suite = {"name": "large", "title": "Many rows", "description": "", "experiments": [{"name": "large"}]}
    run = {"suite": suite, "status": "complete"}
    write_run(folder / "run", every, cache, discover(), run)
    files = list((folder / "run").rglob("*.parquet"))
    size = sum(path.stat().st_size for path in files)
    return f"{len(every) * pairs:,} verification rows, {len(files)} files, {size / 1e6:,.0f} MB"


# ---- queries ---------------------------------------------------------------------------------------------------------


def one_cell(folder: Path) -> str:
    """Read all rows of one cell."""
    results = RunResults(folder / "run")
    cell = results.cells["cell"].iloc[len(results.cells) // 2]
    return f"{len(results.samples('verification', {'cell': cell})):,} rows"


def one_defense(folder: Path) -> str:
    """Compute the mean of Equation 10 for one defense, reading only the columns that it needs."""
    results = RunResults(folder / "run")
    where = {"defense": results.cells["defense"].iloc[len(results.cells) // 2]}
    n = hits = 0
    for rows in results.batches("verification", where, ["cos_self", "cos_cross", "same", "kappa_calibrated"]):
        kappa = rows["kappa_calibrated"]
        hits += int(((rows["cos_self"] > kappa) & ((rows["cos_cross"] > kappa) == rows["same"])).sum())
        n += len(rows)
    return f"{100 * hits / n:.2f} % of {n:,}"


def table(folder: Path) -> str:
    """Compute Table VII of the report, with intervals."""
    return f"{len(export(RunResults(folder / 'run'), 'VII', 'csv').splitlines()) - 1:,} measurements"


def page(folder: Path) -> str:
    """Render the whole page of the report."""
    return f"{len(render(RunResults(folder / 'run'))) / 1e6:.1f} MB of HTML"


QUERIES: dict[str, tuple[str, Callable[[Path], str]]] = {
    "cell": ("rows of one cell", one_cell),
    "defense": ("mean of one defense", one_defense),
    "table": ("table VII", table),
    "page": ("whole report", page),
}


# ---- measuring -------------------------------------------------------------------------------------------------------


def peak_mb() -> float:
    """Return the peak memory of this process in MB."""
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


def measured(step: Callable[[], str]) -> dict[str, Any]:
    """Run a step. Return its text, its seconds, and its peak memory with and without that of the imports."""
    before, start = peak_mb(), time.perf_counter()
    text = step()
    seconds = time.perf_counter() - start
    return {"text": text, "seconds": seconds, "peak": peak_mb(), "own": peak_mb() - before}


def in_own_process(folder: Path, step: str, *arguments: str) -> dict[str, Any]:
    """Run a step in a process of its own. Return its measurements."""
    command = [sys.executable, __file__, "--step", step, "--out", str(folder), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    """Write the run, query it, and print one line per step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=2_000)
    parser.add_argument("--pairs", type=int, default=5_000, help="per cell")
    parser.add_argument("--out", type=Path, help="an existing folder; a temporary one by default")
    parser.add_argument("--step", choices=["write", *QUERIES], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step == "write":
        print(json.dumps(measured(functools.partial(write, arguments.out, arguments.cells, arguments.pairs))))
        return
    if arguments.step:
        print(json.dumps(measured(functools.partial(QUERIES[arguments.step][1], arguments.out))))
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-store-", dir=arguments.out))
    try:
        prepare(Cache(folder / "cache"), arguments.pairs)
        print(f"{'':<22}{'seconds':>9}{'peak MB':>9}{'own MB':>8}")
        size = ("--cells", str(arguments.cells), "--pairs", str(arguments.pairs))
        for step, title in (("write", "write"), *((name, about) for name, (about, _) in QUERIES.items())):
            found = in_own_process(folder, step, *size)
            numbers = f"{found['seconds']:9.2f}{found['peak']:9.0f}{found['own']:8.0f}"
            print(f"{title:<22}{numbers}  {found['text']}", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
