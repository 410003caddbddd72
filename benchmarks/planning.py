"""Measure how long planning a suite of 100,000 cells takes, and its peak memory, for suites of several shapes.

    python benchmarks/planning.py [--shape grid ...] [--json]

Each shape is planned twice, each time in a process of its own: first step by step with the functions that
``bench plan`` and ``bench run`` call, then with the whole command ``bench plan``. Seconds are those of one core, and
every cache is empty. The exit code is 1 if a shape has fewer than 100,000 cells, or if the command takes more than 10 s
or 1 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

CELLS, SECONDS, MEGABYTES = 100_000, 10.0, 1000.0
BENCH = Path(sysconfig.get_path("scripts")) / "bench"
ZOO = ["zoo-resnet", "zoo-mobilenet", "zoo-mobileface", "zoo-ir-arcface", "zoo-ir-softmax"]
DATASETS = [{"plugin": "synth-lfw", "calibration_identities": 200 + i, "label": f"faces-{i}"} for i in range(10)]
PMT = {"plugin": "pmt", "grid": {"steps": list(range(10, 60))}}
RECFACE = [{"plugin": "recface", "pairs": pairs, "label": f"recface-{pairs}"} for pairs in ("clean", "defense")]
INVERSION = [{"plugin": "inversion", "steps": steps, "label": f"inversion-{steps}"} for steps in (10, 20)]


def toml(value: Any) -> str:
    """Return a value as TOML."""
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(entry)}" for key, entry in value.items()) + " }"
    return json.dumps(value)


def suite_of(*experiments: Mapping[str, Any]) -> str:
    """Return the text of a suite with these experiments."""
    lines = ["[suite]", 'name = "planning"', 'data = "stand-in"']
    for i, experiment in enumerate(experiments):
        lines += ["", "[[experiment]]", f'name = "number-{i}"']
        lines += [f"{key} = {toml(value)}" for key, value in experiment.items()]
    return "\n".join(lines) + "\n"


def grid() -> str:
    """Return a suite like that of the paper, but larger; its cells share most of their stages.

    10 data sets, 50 defenses, 4 authorised and 5 evaluated models, 5 attacks, 2 repeats.
    """
    attacks = ["abuse", *RECFACE, *INVERSION]
    axes = {"datasets": DATASETS, "authorised": ZOO[:4], "evaluated": ZOO, "defenses": [PMT], "attacks": attacks}
    return suite_of(axes | {"repeats": 2})


def features() -> str:
    """Return a suite in which features are uploaded; most cells of the attack ``abuse`` are skipped.

    5 attacks, 10 data sets, 100 defenses, 4 authorised and 5 evaluated models.
    """
    attacks = ["abuse", *RECFACE, *INVERSION]
    defenses = [{"plugin": "pmt", "grid": {"steps": list(range(10, 110))}}]
    axes = {"datasets": DATASETS, "authorised": ZOO[:4], "evaluated": ZOO, "defenses": defenses, "attacks": attacks}
    return suite_of(axes | {"upload": "features", "split": "all"})


def noise() -> str:
    """Return a suite for Equation 9: attributes are estimated on reconstructions, at two noise levels.

    10 data sets, 250 defenses, 4 authorised and 5 evaluated models, 2 attacks.
    """
    attacks = [{"plugin": "attributes", "via": attack, "label": f"peek-{attack['label']}"} for attack in INVERSION]
    defenses = [{"plugin": "pmt", "grid": {"steps": list(range(10, 260))}}]
    axes = {"datasets": DATASETS, "authorised": ZOO[:4], "evaluated": ZOO, "defenses": defenses, "attacks": attacks}
    return suite_of(axes | {"noise_levels": [0.0, 0.1]})


def unshared() -> str:
    """Return a suite of 1,000 defenses with 100 repeats: each cell has a protect, an embed and two score stages."""
    defenses = [{"plugin": "noise", "grid": {"sigma": [i / 1000 for i in range(1000)]}}]
    axes = {"datasets": DATASETS[:1], "authorised": ZOO[:1], "evaluated": ZOO[:1], "defenses": defenses}
    return suite_of(axes | {"repeats": 100})


def skipped() -> str:
    """Return a suite that uploads features which 4 of 5 evaluated models cannot use; their cells are skipped."""
    defenses = [{"plugin": "pmt", "grid": {"steps": list(range(10, 1010))}}]
    axes = {"datasets": DATASETS, "authorised": ZOO[:2], "evaluated": ZOO, "defenses": defenses}
    return suite_of(axes | {"upload": "features"})


def experiments() -> str:
    """Return a suite of 1,000 experiments with 100 cells each; each experiment has different defenses."""
    return suite_of(
        *(
            {
                "datasets": DATASETS[:1],
                "authorised": ZOO[:2],
                "evaluated": ZOO,
                "defenses": [{"plugin": "pmt", "grid": {"steps": list(range(10 + i, 20 + i))}}],
            }
            for i in range(1000)
        )
    )


SHAPES: Mapping[str, Callable[[], str]] = {
    f.__name__: f for f in (grid, features, noise, unshared, skipped, experiments)
}


def peak_mb(usage: resource.struct_rusage) -> float:
    """Return the peak memory of a process in MB."""
    return usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10) * 1.048576


def measure(suite: Path, out: Path) -> dict[str, float]:
    """Plan a suite in this process and use the plan as a run does. Return counts, seconds by step, and peak memory."""
    from bench.engine.scheduler import missing_stages
    from bench.runs.run import plan_suite
    from bench.store.workspace import Folders

    folders, clock = Folders(out=out), time.process_time()
    measurements: dict[str, float] = {}

    def lap(step: str) -> None:
        nonlocal clock
        measurements[step] = round(time.process_time() - clock, 2)
        clock = time.process_time()

    plan = plan_suite(suite, folders, "cpu", [], None)
    lap("plan_s")
    measurements |= {
        "cells": len(plan.cells),
        "stages": len(plan.stages),
        "skipped": sum(c.skip is not None for c in plan.cells),
    }
    measurements["plan_mb"] = round(peak_mb(resource.getrusage(resource.RUSAGE_SELF)))
    clock = time.process_time()
    assert plan.digest
    lap("digest_s")
    plan.uses()
    lap("uses_s")
    for cell in plan.cells:
        plan.path_of(cell)
    lap("paths_s")
    missing_stages(plan, folders.cache, {}, lambda event: None)
    lap("missing_s")
    return measurements


def child(command: list[str | Path]) -> tuple[str, float, float]:
    """Run a command. Return what it prints, its seconds of CPU time and its peak memory in MB."""
    with tempfile.TemporaryFile("w+") as printed:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(list(map(str, command)), stdout=printed, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            sys.exit(f"{' '.join(map(str, command))}: exit code {process.returncode}")
        printed.seek(0)
        return printed.read(), usage.ru_utime + usage.ru_stime, peak_mb(usage)


def measured(name: str, folder: Path) -> dict[str, float]:
    """Return the measurements of a shape, step by step and for the whole command."""
    suite = folder / f"{name}.toml"
    suite.write_text(SHAPES[name](), encoding="utf-8")
    steps, _, _ = child([sys.executable, __file__, "--measure", suite])
    _, seconds, megabytes = child([BENCH, "plan", suite, "--device", "cpu", "--out", folder])
    return json.loads(steps) | {"command_s": round(seconds, 2), "command_mb": round(megabytes)}


def main() -> int:
    """Measure the shapes, print the measurements and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--shape", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--json", action="store_true", help="print one JSON object per shape")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.measure:
            print(json.dumps(measure(arguments.measure, Path(temporary))))
            return 0
        good = True
        for i, name in enumerate(arguments.shape):
            row = {"shape": name, **measured(name, Path(temporary))}
            good &= row["cells"] >= CELLS and row["command_s"] <= SECONDS and row["command_mb"] <= MEGABYTES
            if arguments.json:
                print(json.dumps(row), flush=True)
            else:
                for line in [row.values()] if i else [row, row.values()]:
                    print("  ".join(f"{entry:>11}" for entry in line), flush=True)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
