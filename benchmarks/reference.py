"""Make the reference run of the standard suite: the rows of the shipped defenses, which travel with bench.

    python benchmarks/reference.py                      # suites/standard.toml into bench/reference/standard-1
    python benchmarks/reference.py --suite tiny.toml --defense noise --into references --out /tmp/work

It runs the suite with its controls and the defenses below, and copies the run without pictures, logs and paths. What is
in the cache is not computed again. Delete the folder of the reference run first to drop a defense from it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from bench.store.reference_writing import write_reference
from bench.store.run_folders import find_run

# The shipped defenses beside the controls that the suite itself names, at the settings for the bundled networks.
SHIPPED = (
    "pmt,label=PMT,steps=25,step_size=0.02",
    "mr-pmt,label=MR-PMT,steps=25,step_size=0.02",
    "noise,label=Noise 0.3,sigma=0.3",
    "blur",
    "pixelation",
    "block-permutation",
)
PACKAGE = Path(__file__).resolve().parent.parent / "bench" / "reference"


def main() -> int:
    """Run the suite, write its reference run, and return the exit code of the run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suite", default="standard", help="a suite with a version")
    parser.add_argument("--defense", action="append", help="as of bench run, in place of the shipped ones")
    parser.add_argument("--into", type=Path, default=PACKAGE, help="the folder for reference runs")
    parser.add_argument("--out", type=Path, default=Path(), help="where results/ goes")
    parser.add_argument("--workers", help="as of bench run")
    chosen = parser.parse_args()
    command = [sys.executable, "-m", "bench", "run", chosen.suite, "--recompute-reference", "--out", str(chosen.out)]
    command += ["--no-report", *(["--workers", chosen.workers] if chosen.workers else [])]
    for defense in chosen.defense or SHIPPED:
        command += ["--defense", defense]
    if code := subprocess.run(command, check=False).returncode:
        return code
    name = Path(chosen.suite).stem
    folder = write_reference(find_run(name, chosen.out / "results"), chosen.into)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{folder}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
